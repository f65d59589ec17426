//! Norms and gated units.

use burn::backend::Dispatch;
use burn::tensor::Tensor;

use super::super::backend::TrainingOps;
use super::super::operand::{GatedActivation, Prologue};
use super::check::Rows;
use crate::error::Error;
use crate::ops::{check_device, check_float, check_shape};

/// A root-mean-square norm: gains and the number that keeps its root away from zero.
#[derive(Clone, Debug)]
pub struct Norm {
    /// Gains `[features]`, of any float dtype.
    pub gamma: Tensor<1>,
    /// Added to the mean of the squares.
    pub epsilon: f32,
}

impl Norm {
    /// Checks the gains against an input on `device`.
    pub(super) fn check<const D: usize>(
        &self,
        x: &Tensor<D>,
        features: usize,
    ) -> Result<(), Error> {
        check_float("norm weight", self.gamma.dtype(), &self.gamma.device())?;
        check_shape("norm weight", &self.gamma.dims(), &[features])?;
        check_device("norm weight", &self.gamma.device(), &x.device())
    }

    /// The norm in front of a product.
    pub(crate) fn prologue(self) -> Prologue<Dispatch> {
        Prologue::Norm {
            gamma: self.gamma.into_dispatch(),
            epsilon: self.epsilon,
        }
    }
}

/// Root-mean-square norm (Zhang & Sennrich 2019, arXiv 1910.07467):
/// `gamma · x / √(mean(x²) + epsilon)`, in f32 until it is rounded to the dtype of `x`.
///
/// # Shapes
/// `x` `[.., features]` of f32, bf16 or f16, `gamma` `[features]` of any float dtype; returns the
/// shape and dtype of `x`. Differentiable in both; the gradient of the gains has their dtype and is
/// summed in f32.
///
/// # Errors
/// [`Error::InputFeatures`], [`Error::DType`] or [`Error::Device`].
///
/// ```
/// # use burn::tensor::{Device, Tensor};
/// # use tritburn::training::{Norm, rms_norm};
/// # let device = Device::default();
/// let x = Tensor::<3>::ones([2, 5, 64], &device);
/// let norm = Norm { gamma: Tensor::ones([64], &device), epsilon: 1e-5 };
/// assert_eq!(rms_norm(x, norm)?.dims(), [2, 5, 64]);
/// # Ok::<(), tritburn::Error>(())
/// ```
pub fn rms_norm<const D: usize>(x: Tensor<D>, norm: Norm) -> Result<Tensor<D>, Error> {
    let features = norm.gamma.dims()[0];
    let rows = Rows::new("input", &x, features)?;
    norm.check(&x, features)?;
    Ok(rows.map(x, features, |x| apply(x, norm.prologue())))
}

/// A gated unit, `norm(f(gate) · up)`, in f32 until it is rounded to the dtype of the input: what
/// is not normalised yet may overflow f16.
///
/// # Shapes
/// `gate_up` `[.., 2 · features]` with the gate first, f32, bf16 or f16; returns `[.., features]`
/// in its dtype. Differentiable in `gate_up` and in the gains of `norm`.
///
/// # Errors
/// [`Error::OddFeatures`], [`Error::Shape`], [`Error::DType`] or [`Error::Device`].
pub fn gated<const D: usize>(
    gate_up: Tensor<D>,
    activation: GatedActivation,
    norm: Option<Norm>,
) -> Result<Tensor<D>, Error> {
    let (rows, features) = gate_rows(&gate_up, norm.as_ref())?;
    Ok(rows.map(gate_up, features, |x| {
        apply(x, gate_prologue(activation, norm))
    }))
}

/// Checks the input of a gated unit; returns its rows and the features that come out.
pub(super) fn gate_rows<const D: usize>(
    gate_up: &Tensor<D>,
    norm: Option<&Norm>,
) -> Result<(Rows<D>, usize), Error> {
    let width = gate_up.dims()[D - 1];
    let rows = Rows::new("gate|up", gate_up, width)?;
    if width % 2 == 1 {
        return Err(Error::OddFeatures { found: width });
    }
    if let Some(norm) = norm {
        norm.check(gate_up, width / 2)?;
    }
    Ok((rows, width / 2))
}

/// The gate in front of a product.
pub(crate) fn gate_prologue(activation: GatedActivation, norm: Option<Norm>) -> Prologue<Dispatch> {
    match norm {
        None => Prologue::Gate { activation },
        Some(Norm { gamma, epsilon }) => Prologue::GateNorm {
            activation,
            gamma: gamma.into_dispatch(),
            epsilon,
        },
    }
}

fn apply(x: Tensor<2>, prologue: Prologue<Dispatch>) -> Tensor<2> {
    Tensor::from_dispatch(<Dispatch as TrainingOps>::prologue(
        x.into_dispatch(),
        prologue,
    ))
}
