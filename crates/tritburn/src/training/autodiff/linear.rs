//! Gradients of a quantised product with a prologue.
//!
//! The int8 codes of the prologue's result are all that the weight gradient needs of it, and the
//! input, which the layer before holds anyway, all that the prologue's does: no float copy of a
//! normalised or gated row is kept.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, NodeGuard, Ops, OpsKind};
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Autodiff, Backend, TensorMetadata};
use burn::tensor::DType;
use tritburn_formats::PackedLayout;

use super::super::backend::TrainingOps;
use super::super::operand::Prologue;
use super::{in_dtype, no_parent, split_prologue};
use crate::ops::{Bias, WeightOperand, inner_bias, inner_weight};

/// Everything the backward pass reads.
#[derive(Clone, Debug)]
struct Saved<B: Backend> {
    /// Packed weights and their scales.
    weight: (IntTensor<B>, FloatTensor<B>),
    layout: PackedLayout,
    /// If the prologue's input or gains are trained.
    rows: Option<(FloatTensor<B>, Prologue<B>)>,
    /// If the weight is trained: the prologue's result as int8 codes and scales, and the dtype of
    /// the weight.
    quantized: Option<(IntTensor<B>, FloatTensor<B>, DType)>,
}

/// With x̂ the prologue of x: `dx̂ = dY · Ŵ`, `dW = dYᵀ · x̂`, `db = Σ dY`, and from dx̂ what the
/// prologue makes of it.
#[derive(Debug)]
struct LinearBackward;

impl<B: TrainingOps> Backward<B, 4> for LinearBackward {
    type State = Saved<B>;

    fn backward(
        self,
        ops: Ops<Self::State, 4>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let dy = grads.consume::<B>(&ops.node);
        let Saved {
            weight: (codes, scales),
            layout,
            rows,
            quantized,
        } = ops.state;
        let [x, gamma, weight, bias] = ops.parents;
        if let Some(bias) = bias {
            let sum = B::float_sum_dim(dy.clone(), 0);
            let shape = [layout.out_features()].into();
            grads.register::<B>(bias.id, B::float_reshape(sum, shape));
        }
        if let (Some(weight), Some((x_codes, x_scales, dtype))) = (weight, quantized) {
            let dw = B::grad_weight(dy.clone(), x_codes, x_scales, layout.clone(), dtype);
            grads.register::<B>(weight.id, dw);
        }
        if let Some((input, prologue)) = rows {
            let gamma_dtype = prologue.gamma().map(|gamma| gamma.dtype());
            let d_rows = B::grad_input(dy, codes, scales, layout);
            let (dx, dgamma) = B::prologue_backward(input, d_rows, prologue);
            if let Some(x) = x {
                grads.register::<B>(x.id, dx);
            }
            if let (Some(gamma), Some(dgamma), Some(dtype)) =
                (gamma, dgamma.into_option(), gamma_dtype)
            {
                grads.register::<B>(gamma.id, in_dtype::<B>(dgamma, dtype));
            }
        }
    }
}

pub(super) fn bit_linear<B: TrainingOps, C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<B, C>>,
    prologue: Prologue<Autodiff<B, C>>,
    weight: FloatTensor<Autodiff<B, C>>,
    bias: Bias<Autodiff<B, C>>,
    layout: PackedLayout,
) -> FloatTensor<Autodiff<B, C>> {
    let trained = weight.is_tracked().then(|| (weight.node(), weight.dtype()));
    let (codes, scales) = B::quantize_weight(weight.into_primitive(), layout.clone());
    let weight = WeightOperand::Canonical { codes, scales };
    linear::<B, C>(x, prologue, weight, trained, bias, layout)
}

pub(super) fn packed_linear<B: TrainingOps, C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<B, C>>,
    prologue: Prologue<Autodiff<B, C>>,
    weight: WeightOperand<Autodiff<B, C>>,
    bias: Bias<Autodiff<B, C>>,
    layout: PackedLayout,
) -> FloatTensor<Autodiff<B, C>> {
    linear::<B, C>(x, prologue, inner_weight(weight), None, bias, layout)
}

/// The product; `trained` has the node and the dtype of latent weights that ask for a gradient.
fn linear<B: TrainingOps, C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<B, C>>,
    prologue: Prologue<Autodiff<B, C>>,
    weight: WeightOperand<B>,
    trained: Option<(NodeGuard, DType)>,
    bias: Bias<Autodiff<B, C>>,
    layout: PackedLayout,
) -> FloatTensor<Autodiff<B, C>> {
    let gamma_tracked = match &prologue {
        Prologue::Norm { gamma, .. } | Prologue::GateNorm { gamma, .. } => gamma.is_tracked(),
        Prologue::Gate { .. } => false,
    };
    let rows_tracked = x.is_tracked() || gamma_tracked;
    let (x, x_node) = x.into_parts();
    let (prologue, gamma_node) = split_prologue::<B, C>(prologue);
    let bias_node = match &bias {
        Bias::Absent => None,
        Bias::Present(bias) => Some(bias.node()),
    };
    let bias = inner_bias(bias);
    let (weight_node, weight_dtype) = trained.unzip();
    let absent = || no_parent::<B, C>(&x);
    let parents = [
        x_node,
        gamma_node.unwrap_or_else(absent),
        weight_node.unwrap_or_else(absent),
        bias_node.unwrap_or_else(absent),
    ];
    match LinearBackward
        .prepare::<C>(parents)
        .compute_bound()
        .stateful()
    {
        OpsKind::UnTracked(prep) => {
            prep.finish(B::prologue_packed_linear(x, prologue, weight, bias, layout))
        }
        OpsKind::Tracked(prep) => {
            let dtype = x.dtype();
            let rows = rows_tracked.then(|| (x.clone(), prologue.clone()));
            let (codes, scales) = B::prologue_quantize(x, prologue);
            let saved = Saved {
                weight: weight.clone().into_canonical(),
                layout: layout.clone(),
                rows,
                quantized: weight_dtype.map(|dtype| (codes.clone(), scales.clone(), dtype)),
            };
            let y = B::matmul_w2a8(codes, scales, weight, bias, layout, dtype);
            prep.finish(saved, y)
        }
    }
}
