//! The sum of all devices' gradients.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::distributed::{ReduceOperation, all_reduce};
use burn::tensor::{DType, Device, Tensor};

use super::agreement::Agreement;

/// Adds up the gradients of a step, and its loss, over devices.
///
/// All gradients of a device are one tensor on the way. Burn can add them up one by one while the backward
/// pass goes on; each of these sums costs the host more time than it hides.
#[derive(Debug)]
pub enum Exchange {
    /// By Burn's collective operation (NCCL).
    Collective(Vec<Device>),
    /// Through the memory of the host: for devices that Burn cannot join.
    Host(HostSum),
}

impl Exchange {
    /// Between `devices`, directly where Burn can.
    pub fn new(devices: &[Device], collective: bool) -> Self {
        match collective {
            true => Self::Collective(
                devices
                    .iter()
                    .map(|device| device.clone().inner())
                    .collect(),
            ),
            false => Self::Host(HostSum::new(devices.len())),
        }
    }

    /// The sums of `loss` and of the gradients of `model` over all devices, of which this is the one
    /// numbered `index`. Each of them calls this once a step.
    pub fn sum<M: Module>(
        &self,
        model: &M,
        loss: Tensor<1>,
        mut gradients: GradientsParams,
        index: usize,
    ) -> (Tensor<1>, GradientsParams) {
        let mut gather = Gather {
            gradients: &mut gradients,
            pieces: vec![loss.cast(DType::F32)],
            places: BTreeMap::new(),
            length: 1,
        };
        model.visit(&mut gather);
        let Gather { pieces, places, .. } = gather;
        let flat = Tensor::cat(pieces, 0);
        let flat = match self {
            Self::Collective(devices) => {
                all_reduce(flat, ReduceOperation::Sum, devices.clone()).resolve()
            }
            Self::Host(sum) => sum.of(flat, index),
        };
        let loss = flat.clone().narrow(0, 0, 1);
        let mut scatter = Scatter {
            gradients: &mut gradients,
            places,
            flat,
        };
        model.visit(&mut scatter);
        (loss, gradients)
    }
}

/// Takes gradients out and lays them side by side.
struct Gather<'a> {
    gradients: &'a mut GradientsParams,
    pieces: Vec<Tensor<1>>,
    places: BTreeMap<ParamId, Range<usize>>,
    length: usize,
}

impl ModuleVisitor for Gather<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(gradient) = self.gradients.remove::<D>(param.id) else {
            return;
        };
        let count = gradient.shape().num_elements();
        self.places
            .insert(param.id, self.length..self.length + count);
        self.length += count;
        self.pieces.push(gradient.reshape([count]));
    }
}

/// Puts sums in the places of gradients.
struct Scatter<'a> {
    gradients: &'a mut GradientsParams,
    places: BTreeMap<ParamId, Range<usize>>,
    flat: Tensor<1>,
}

impl ModuleVisitor for Scatter<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(place) = self.places.remove(&param.id) else {
            return;
        };
        let sum = self.flat.clone().narrow(0, place.start, place.len());
        let sum = sum.reshape(param.lazy_shape());
        self.gradients.register::<D>(param.id, sum);
    }
}

/// Sums in the order of the devices, so that every run has the same bits.
#[derive(Debug)]
pub struct HostSum {
    parts: Mutex<Vec<Vec<f32>>>,
    agreement: Agreement,
}

impl HostSum {
    fn new(devices: usize) -> Self {
        Self {
            parts: Mutex::new(vec![Vec::new(); devices]),
            agreement: Agreement::new(devices),
        }
    }

    fn of(&self, flat: Tensor<1>, index: usize) -> Tensor<1> {
        let device = flat.device();
        let own = flat.into_data().iter::<f32>().collect();
        self.lock()[index] = own;
        self.agreement.decide(None);
        let sum = {
            let parts = self.lock();
            let mut sum = parts[0].clone();
            for part in &parts[1..] {
                sum.iter_mut()
                    .zip(part)
                    .for_each(|(sum, value)| *sum += value);
            }
            sum
        };
        // Nobody writes the next step's part before all have read this one's.
        self.agreement.decide(None);
        Tensor::from_data(sum.as_slice(), &device)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Vec<f32>>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
