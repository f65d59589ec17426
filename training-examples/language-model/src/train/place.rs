//! Where a training runs.

use burn::tensor::Device;
use burn::train::{ExecutionStrategy, TrainingStrategy};
use std::sync::Arc;

use tritburn::device::{self, DeviceError};

use super::Trainee;
use super::parallel::{DataParallel, Exchange};

/// The device of a training, or the devices.
#[derive(Clone, Debug)]
pub enum Place {
    /// A single device.
    One(Device),
    /// Devices that divide every step and add up their gradients; one of them works too.
    Joined(Vec<Device>),
}

impl Place {
    /// The device called `name`, or the first `count` of that name.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn open(name: &str, count: Option<usize>) -> Result<Self, DeviceError> {
        let Some(count) = count else {
            return device::open(name).map(Self::One);
        };
        let mut devices = device::open_all(name, count)?;
        match name {
            "cuda" => Ok(Self::Joined(devices)),
            _ => Ok(Self::One(devices.remove(0))),
        }
    }

    /// Every device; the first one holds the model in the end.
    pub fn devices(&self) -> &[Device] {
        match self {
            Self::One(device) => std::slice::from_ref(device),
            Self::Joined(devices) => devices,
        }
    }

    /// How Burn trains here.
    pub(super) fn strategy(&self) -> TrainingStrategy<Trainee> {
        match self {
            Self::One(device) => {
                TrainingStrategy::Default(ExecutionStrategy::single(device.clone().autodiff()))
            }
            Self::Joined(devices) => TrainingStrategy::Custom(Arc::new(DataParallel::new(devices))),
        }
    }

    /// What adds up gradients; `None` for one device.
    pub(super) fn exchange(&self) -> Option<Exchange> {
        let devices = self.devices();
        let collective = device::has_collectives(&devices[0]);
        (devices.len() > 1).then(|| Exchange::new(devices, collective))
    }
}
