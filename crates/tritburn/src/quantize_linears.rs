//! Training with weights of 2, 3 or 4 bits in groups: every Burn `Linear` sees quantised weights, no layer
//! is rewritten.

use std::collections::HashSet;

use burn::module::{Module, Param, Reparameterization, Reparameterizer};
use burn::tensor::{DType, Device, Tensor};
use tritburn_formats::affine::{AffineLayout, Bits, FloatType};
use tritburn_formats::quantize::affine::{AffineMethod, AffineQuantizer};

use crate::error::Error;
use crate::linears::Linears;

/// Quantises a `Linear` weight in the forward pass to codes of few bits with a scale and an integer zero point per
/// group, with straight-through gradients.
///
/// `Ŵ = (clamp(round(W / s + z), 0, 2^b - 1) - z) · s`
///
/// with `s = (high - low) / (2^b - 1)` and `z = round(-low / s)` of the smallest and largest weights of the group, 0
/// among them ([`round_in_range`](tritburn_formats::quantize::affine::round_in_range)). The value equals what
/// [`AffineLinear::from_linear`](crate::AffineLinear::from_linear) packs, bit for bit. Inputs stay float.
#[derive(Module, Debug)]
pub struct AffineWeight {
    #[module(skip)]
    quantizer: AffineQuantizer,
    #[module(skip)]
    layout: AffineLayout,
}

impl AffineWeight {
    /// What quantises the trained weight.
    pub(crate) fn quantizer(&self) -> &AffineQuantizer {
        &self.quantizer
    }

    /// Layout of the weight as `[d_output, d_input]`, the transpose of Burn's own.
    pub fn layout(&self) -> &AffineLayout {
        &self.layout
    }

    /// The quantised weights of `[d_output, d_input]` latent ones, in f32.
    fn quantized(&self, latent: Tensor<2>) -> Tensor<2> {
        let layout = &self.layout;
        let [out, input] = latent.dims();
        let (groups, span) = (layout.groups_per_row(), layout.span());
        let max = f32::from(layout.bits().max_code());
        // Zeros behind the end of a row change no range.
        let padded = match groups * span - input {
            0 => latent,
            missing => {
                let zeros = Tensor::zeros([out, missing], &latent.device());
                Tensor::cat(vec![latent, zeros], 1)
            }
        };
        let w: Tensor<3> = padded.reshape([out, groups, span]);
        let low = w.clone().min_dim(2).clamp_max(0.0);
        let high = w.clone().max_dim(2).clamp_min(0.0);
        let empty = high.clone().equal(low.clone());
        let scale = self.stored((high - low.clone()) / max);
        let scale = scale.mask_fill(empty.clone(), 1.0);
        let zero = (low.neg() / scale.clone()).round().clamp_max(max);
        let zero = zero.mask_fill(empty, f32::from(layout.bits().midpoint()));
        let codes = (w / scale.clone() + zero.clone()).round().clamp(0.0, max);
        let weights = ((codes - zero) * scale).reshape([out, groups * span]);
        weights.narrow(1, 0, input)
    }

    /// Scales as they are stored.
    fn stored(&self, scale: Tensor<3>) -> Tensor<3> {
        let floats = self.layout.floats();
        let scale = match floats {
            FloatType::F32 => scale,
            FloatType::F16 => scale.cast(DType::F16).cast(DType::F32),
            FloatType::Bf16 => scale.cast(DType::BF16).cast(DType::F32),
        };
        scale.clamp_min(floats.smallest())
    }
}

impl Reparameterization for AffineWeight {
    const NAME: &'static str = "affine";

    fn apply<const D: usize>(&self, base: Tensor<D>) -> Tensor<D> {
        let latent = Tensor::<2>::from_dispatch(base.clone().detach().into_dispatch());
        let dtype = latent.dtype();
        let quantized = self.quantized(latent.cast(DType::F32).transpose());
        let quantized = quantized.transpose().cast(dtype).into_dispatch();
        // `base - base` is exactly 0 for finite weights: the value is Ŵ, the gradient is 1.
        base.clone() - base.detach() + Tensor::<D>::from_dispatch(quantized)
    }
}

/// Makes every `Linear` of `model` train with weights of `bits` and a scale and a zero point for every
/// `group_size` inputs, a multiple of 16, or for every row. Scales are f16, or f32 on a device without f16.
///
/// Undo it with [`Module::materialize`], which leaves dense weights of the quantised values.
///
/// # Errors
/// [`Error::Layout`] for a group size that is no multiple of 16, or a `Linear` without inputs or outputs;
/// [`Error::Reparameterized`] if one carries another reparameterization.
///
/// # Examples
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::tensor::{Device, Tensor};
/// use tritburn::formats::affine::Bits;
/// use tritburn::formats::quantize::affine::AffineQuantizer;
/// use tritburn::{AffineLinear, quantize_linears};
///
/// let device = Device::default();
/// // Any module; its `Linear`s are found by themselves.
/// let model = quantize_linears(LinearConfig::new(256, 32).init(&device), Bits::Four, Some(128))?;
/// let y = model.forward(Tensor::<2>::ones([3, 256], &device)); // train it
///
/// // Trained, it becomes a layer of 4 bits with the same weights.
/// let (int4, report) = AffineLinear::from_linear(&model, &AffineQuantizer::new(Bits::Four, None))?;
/// assert_eq!(int4.layout().group_size(), Some(128)); // that of the training
/// assert!(report.relative_error < 0.1);
/// # assert_eq!(y.dims(), [3, 32]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn quantize_linears<M: Module>(
    model: M,
    bits: Bits,
    group_size: Option<usize>,
) -> Result<M, Error> {
    let quantizer = AffineQuantizer::new(bits, group_size).with_method(AffineMethod::Range);
    let Linears { paths, shapes } = Linears::of(&model)?;
    for [d_input, d_output] in shapes {
        quantizer.layout([d_output, d_input])?;
    }
    Ok(model.apply_reparameterization(Quantize { paths, quantizer }))
}

struct Quantize {
    paths: HashSet<String>,
    quantizer: AffineQuantizer,
}

impl Quantize {
    /// The quantiser with scales of a type that `device` rounds to.
    fn on(&self, device: &Device) -> AffineQuantizer {
        match device.supports_dtype(DType::F16) {
            true => self.quantizer,
            false => self.quantizer.with_floats(FloatType::F32),
        }
    }
}

impl Reparameterizer for Quantize {
    type Reparam = AffineWeight;

    fn reparameterize<const D: usize>(
        &mut self,
        path: &str,
        param: Param<Tensor<D>>,
    ) -> (Param<Tensor<D>>, Option<AffineWeight>) {
        if D != 2 || !self.paths.contains(path) {
            return (param, None);
        }
        let [d_input, d_output] = param.lazy_shape().dims();
        let quantizer = self.on(&param.lazy_device());
        let layout = quantizer.layout([d_output, d_input]);
        let weight = layout.ok().map(|layout| AffineWeight { quantizer, layout });
        (param, weight)
    }
}
