//! Clipping of gradients by the norm of all of them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use burn::backend::Dispatch;
use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::{DType, Device, Tensor};

use crate::training::TrainingOps;

/// Scales the gradients of `model` so that the norm of all of them together is at most `max_norm`
/// (Pascanu et al. 2013, arXiv 1211.5063): each is multiplied by
/// `min(1, max_norm / (norm + 1e-6))`. Returns them and the norm before that, F32 `[1]`.
///
/// For any optimiser; with [`AdamW`](super::AdamW), a [`GlobalNormClip`] does the same and saves a
/// pass over the gradients.
///
/// All of it happens on the device of the first gradient, squares are summed in f32, and the host
/// waits for nothing: read the norm when it is to be shown. A gradient that is not finite makes
/// norm and gradients NaN or zero. Gradients of parameters that `model` lacks stay as they are.
pub fn clip_by_global_norm<M: Module>(
    mut grads: GradientsParams,
    model: &M,
    max_norm: f32,
) -> (GradientsParams, Tensor<1>) {
    let Measured { ids, norm, factor } = measure(&grads, model, max_norm);
    let mut scale = Scale {
        grads: &mut grads,
        left: ids,
        factor,
    };
    model.visit(&mut scale);
    (grads, norm)
}

/// [`clip_by_global_norm`] inside of an optimiser's step: [`measure`](Self::measure) finds the norm, and
/// an [`AdamW`](super::AdamW) [that holds](super::AdamW::with_clip) a clone of this multiplies gradients
/// by the factor where it reads them.
///
/// Several devices that train replicas of a model may share one: each clips by what was measured on it.
#[derive(Clone, Debug)]
pub struct GlobalNormClip {
    max_norm: f32,
    /// The latest factor of each device, F32 `[1]`.
    factors: Arc<Mutex<Vec<(Device, Tensor<1>)>>>,
}

impl GlobalNormClip {
    /// A clip to a norm of `max_norm`; nothing is clipped before the first measurement.
    pub fn new(max_norm: f32) -> Self {
        Self {
            max_norm,
            factors: Arc::default(),
        }
    }

    /// The norm of the gradients of `model` together, F32 `[1]`. What it is clipped by holds for every
    /// step on the same device until the next measurement there.
    pub fn measure<M: Module>(&self, grads: &GradientsParams, model: &M) -> Tensor<1> {
        let Measured { norm, factor, .. } = measure(grads, model, self.max_norm);
        let device = factor.device();
        let mut factors = self.lock();
        match factors.iter_mut().find(|(known, _)| *known == device) {
            Some((_, latest)) => *latest = factor,
            None => factors.push((device, factor)),
        }
        norm
    }

    /// What the gradients of a model on `device` are multiplied by, F32 `[1]`.
    pub(super) fn factor(&self, device: &Device) -> Option<Tensor<1>> {
        let factors = self.lock();
        let own = factors.iter().find(|(known, _)| known == device);
        // A model that is spread over devices has one norm, measured on the first of them.
        let factor = own.or(factors.first().filter(|_| factors.len() == 1));
        factor.map(|(_, factor)| factor.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Device, Tensor<1>)>> {
        self.factors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The gradients of a model as one.
struct Measured {
    /// Parameters that have some.
    ids: BTreeSet<ParamId>,
    /// Their norm, F32 `[1]`.
    norm: Tensor<1>,
    /// What clips it, F32 `[1]`.
    factor: Tensor<1>,
}

fn measure<M: Module>(grads: &GradientsParams, model: &M, max_norm: f32) -> Measured {
    let mut found = Found {
        grads,
        ids: BTreeSet::new(),
        device: None,
    };
    model.visit(&mut found);
    let Found { ids, device, .. } = found;
    let Some(device) = device else {
        let device = model.devices().first().cloned().unwrap_or_default().inner();
        return Measured {
            ids,
            norm: Tensor::zeros([1], (&device, DType::F32)),
            factor: Tensor::ones([1], (&device, DType::F32)),
        };
    };
    let mut squares = Squares {
        grads,
        left: ids.clone(),
        at: 0,
        sums: Tensor::zeros([ids.len()], (&device, DType::F32)),
    };
    model.visit(&mut squares);
    let (norm, factor) =
        <Dispatch as TrainingOps>::clip_factor(squares.sums.into_dispatch(), max_norm);
    let [norm, factor] = [norm, factor].map(Tensor::from_dispatch);
    Measured { ids, norm, factor }
}

/// Parameters that have gradients, each once however often a model holds it.
struct Found<'a> {
    grads: &'a GradientsParams,
    ids: BTreeSet<ParamId>,
    device: Option<Device>,
}

impl ModuleVisitor for Found<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = self.grads.get::<D>(param.id) {
            self.ids.insert(param.id);
            self.device.get_or_insert_with(|| grad.device());
        }
    }
}

/// Writes the sums of their squares next to each other.
struct Squares<'a> {
    grads: &'a GradientsParams,
    left: BTreeSet<ParamId>,
    at: usize,
    sums: Tensor<1>,
}

impl ModuleVisitor for Squares<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if !self.left.remove(&param.id) {
            return;
        }
        let Some(grad) = self.grads.get::<D>(param.id) else {
            return;
        };
        let grad = grad.to_device(&self.sums.device());
        // The only holder of the sums hands them over, so that they are written in place.
        let sums = std::mem::replace(&mut self.sums, Tensor::empty([0], &grad.device()));
        self.sums = Tensor::from_dispatch(<Dispatch as TrainingOps>::write_square_sum(
            sums.into_dispatch(),
            grad.into_dispatch(),
            self.at,
        ));
        self.at += 1;
    }
}

/// Multiplies them by one factor.
struct Scale<'a> {
    grads: &'a mut GradientsParams,
    left: BTreeSet<ParamId>,
    factor: Tensor<1>,
}

impl ModuleVisitor for Scale<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if !self.left.remove(&param.id) {
            return;
        }
        let Some(grad) = self.grads.remove::<D>(param.id) else {
            return;
        };
        let factor = self.factor.clone().to_device(&grad.device());
        let factor = factor.cast(grad.dtype()).reshape([1; D]);
        self.grads.register(param.id, grad * factor);
    }
}
