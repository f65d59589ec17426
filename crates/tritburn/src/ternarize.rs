//! Ternary training of an existing model: every Burn `Linear` sees quantised weights, no layer is
//! rewritten.

use std::collections::HashSet;

use burn::module::{Module, Param, Reparameterization, Reparameterizer};
use burn::tensor::Tensor;
use tritburn_formats::{PackedLayout, ScaleGranularity, WeightCode};

use crate::error::Error;
use crate::linears::Linears;
use crate::ops;

/// Quantises a `Linear` weight in the forward pass, with straight-through gradients.
///
/// The effective value equals what packing the same latent weight gives, bit for bit. Inputs
/// stay float (weight-only, as in TriLM): int8 activations need a [`BitLinear`](crate::BitLinear).
/// Burn's `Linear` always multiplies by a dense weight, so such a model trains ternary but does not
/// run packed; [`BitLinear::from_linear`](crate::BitLinear::from_linear) takes its layers over.
#[derive(Module, Debug)]
pub struct TernaryWeight {
    #[module(skip)]
    layout: PackedLayout,
}

impl TernaryWeight {
    /// Layout of the weight as `[d_output, d_input]`, the transpose of Burn's own.
    pub fn layout(&self) -> &PackedLayout {
        &self.layout
    }
}

impl Reparameterization for TernaryWeight {
    const NAME: &'static str = "ternary";

    fn apply<const D: usize>(&self, base: Tensor<D>) -> Tensor<D> {
        let latent = Tensor::<2>::from_dispatch(base.clone().detach().into_dispatch());
        let dtype = latent.dtype();
        let quantized = ops::quantize_weight(latent.transpose(), &self.layout)
            .and_then(|(codes, scales)| ops::unpack_weight(codes, scales, &self.layout, dtype))
            .unwrap_or_else(|error| panic!("a ternary weight is checked when attached: {error}"));
        let quantized = Tensor::<D>::from_dispatch(quantized.transpose().into_dispatch());
        // `base - base` is exactly 0 for finite weights: the value is Ŵ, the gradient is 1.
        base.clone() - base.detach() + quantized
    }
}

/// Makes every `Linear` of `model` train with ternary weights and one scale per tensor.
///
/// Undo it with [`Module::materialize`], which leaves dense ternary-valued weights.
///
/// # Errors
/// [`Error::Layout`] for a `Linear` with no inputs, no outputs or too many inputs,
/// [`Error::Reparameterized`] if one carries another reparameterization.
///
/// # Examples
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::tensor::{Device, Tensor};
/// use tritburn::{BitLinear, BitLinearConfig, InputPrecision, Pack, ternarize_linears};
///
/// let device = Device::default();
/// // Any module; its `Linear`s are found by themselves.
/// let model = ternarize_linears(LinearConfig::new(64, 32).init(&device))?;
/// let y = model.forward(Tensor::<2>::ones([3, 64], &device));
/// assert_eq!(y.dims(), [3, 32]);
///
/// // Trained, it becomes a layer that packs.
/// let config = BitLinearConfig::new(64, 32).with_input_precision(InputPrecision::Float);
/// let packed = BitLinear::from_linear(&model, &config)?.pack()?;
/// assert!(packed.is_packed());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn ternarize_linears<M: Module>(model: M) -> Result<M, Error> {
    ternarize_linears_with(model, WeightCode::Ternary, &ScaleGranularity::Tensor)
}

/// As [`ternarize_linears`], with a chosen code table and granularity.
///
/// # Arguments
/// - `model`: any module
/// - `code`: the code table of every weight
/// - `scale`: which weights share a scale, seen as `[d_output, d_input]`
///
/// # Errors
/// [`Error::Layout`] where a layer does not fit the granularity, [`Error::Reparameterized`] if one
/// carries another reparameterization.
pub fn ternarize_linears_with<M: Module>(
    model: M,
    code: WeightCode,
    scale: &ScaleGranularity,
) -> Result<M, Error> {
    let Linears { paths, shapes } = Linears::of(&model)?;
    for [d_input, d_output] in shapes {
        PackedLayout::new(d_output, d_input, code, scale.clone())?;
    }
    Ok(model.apply_reparameterization(Ternarize {
        paths,
        code,
        scale: scale.clone(),
    }))
}

struct Ternarize {
    paths: HashSet<String>,
    code: WeightCode,
    scale: ScaleGranularity,
}

impl Reparameterizer for Ternarize {
    type Reparam = TernaryWeight;

    fn reparameterize<const D: usize>(
        &mut self,
        path: &str,
        param: Param<Tensor<D>>,
    ) -> (Param<Tensor<D>>, Option<TernaryWeight>) {
        if D != 2 || !self.paths.contains(path) {
            return (param, None);
        }
        let [d_input, d_output] = param.lazy_shape().dims();
        let layout = PackedLayout::new(d_output, d_input, self.code, self.scale.clone());
        (param, layout.ok().map(|layout| TernaryWeight { layout }))
    }
}
