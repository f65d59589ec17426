//! The sum of all devices' gradients.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::distributed::{ReduceOperation, all_reduce};
use burn::tensor::{DType, Device, Tensor};

use super::agreement::Agreement;

/// Gradients of at least so many elements are added up by themselves: their memory need not be copied.
const ALONE: usize = if cfg!(test) { 1 << 11 } else { 1 << 22 };
/// Smaller ones share tensors of up to so many elements: a sum costs the host and both devices some 30 µs,
/// whatever its length.
const SHARED: usize = 2 * ALONE;

/// Adds up the gradients of a step, and its loss, over devices.
///
/// Burn can add them up one by one while the backward pass goes on; for small ones these sums cost the host
/// more time than they hide.
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
            parcels: vec![Parcel::of(loss.cast(DType::F32))],
            shared: None,
            places: BTreeMap::new(),
        };
        model.visit(&mut gather);
        let Gather {
            parcels, places, ..
        } = gather;
        let sums = self.sums(parcels.into_iter().map(Parcel::flat), index);
        let loss = sums[0].clone();
        let mut scatter = Scatter {
            gradients: &mut gradients,
            places,
            sums,
        };
        model.visit(&mut scatter);
        (loss, gradients)
    }

    /// The sums of `parts` over all devices.
    fn sums(&self, parts: impl Iterator<Item = Tensor<1>>, index: usize) -> Vec<Tensor<1>> {
        match self {
            Self::Collective(devices) => {
                // All are under way before the first is waited for.
                let sent = parts
                    .map(|part| all_reduce(part, ReduceOperation::Sum, devices.clone()))
                    .collect::<Vec<_>>();
                sent.into_iter().map(|sum| sum.resolve()).collect()
            }
            Self::Host(sum) => parts.map(|part| sum.of(part, index)).collect(),
        }
    }
}

/// Tensors that are added up as one.
struct Parcel {
    pieces: Vec<Tensor<1>>,
    length: usize,
}

impl Parcel {
    fn of(piece: Tensor<1>) -> Self {
        Self {
            length: piece.dims()[0],
            pieces: vec![piece],
        }
    }

    fn flat(mut self) -> Tensor<1> {
        match self.pieces.len() {
            1 => self.pieces.remove(0),
            _ => Tensor::cat(self.pieces, 0),
        }
    }
}

/// Takes gradients out and puts them into parcels.
struct Gather<'a> {
    gradients: &'a mut GradientsParams,
    parcels: Vec<Parcel>,
    /// The parcel that small gradients go into.
    shared: Option<usize>,
    /// Parcel of each gradient, and where in it.
    places: BTreeMap<ParamId, (usize, Range<usize>)>,
}

impl ModuleVisitor for Gather<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(gradient) = self.gradients.remove::<D>(param.id) else {
            return;
        };
        let count = gradient.shape().num_elements();
        let piece = gradient.reshape([count]);
        let small = count < ALONE;
        let parcel = match self.shared {
            Some(shared) if small && self.parcels[shared].length + count <= SHARED => {
                self.parcels[shared].pieces.push(piece);
                self.parcels[shared].length += count;
                shared
            }
            _ => {
                self.parcels.push(Parcel::of(piece));
                let new = self.parcels.len() - 1;
                self.shared = if small { Some(new) } else { self.shared };
                new
            }
        };
        let end = self.parcels[parcel].length;
        self.places.insert(param.id, (parcel, end - count..end));
    }
}

/// Puts sums in the places of gradients.
struct Scatter<'a> {
    gradients: &'a mut GradientsParams,
    places: BTreeMap<ParamId, (usize, Range<usize>)>,
    /// By parcel.
    sums: Vec<Tensor<1>>,
}

impl ModuleVisitor for Scatter<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some((parcel, place)) = self.places.remove(&param.id) else {
            return;
        };
        let mut sum = self.sums[parcel].clone();
        if place.len() < sum.dims()[0] {
            sum = sum.narrow(0, place.start, place.len());
        }
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
