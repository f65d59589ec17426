//! Hand-written gradients.
//!
//! | file | what |
//! |---|---|
//! | `rows` | norms and gated units |
//! | `linear` | the same in front of a quantised product |
//! | `attention`, `dense`, `embedding`, `gelu`, `loss` | as they are called |

mod attention;
mod dense;
mod embedding;
mod gelu;
mod linear;
mod loss;
mod rows;

use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::ops::NodeGuard;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Autodiff, Backend};
use burn::tensor::DType;
use tritburn_formats::PackedLayout;

use super::backend::{TrainingOps, in_dtype};
use super::operand::{
    AdamWStep, Depth, LossGradients, LossOptions, Moments, Optional, Prologue, Sequences,
    WantedGradients,
};
use crate::ops::{Bias, WeightOperand};

impl<B: TrainingOps, C: CheckpointStrategy> TrainingOps for Autodiff<B, C> {
    fn prologue(x: FloatTensor<Self>, prologue: Prologue<Self>) -> FloatTensor<Self> {
        rows::prologue::<B, C>(x, prologue)
    }

    fn prologue_quantize(
        x: FloatTensor<Self>,
        prologue: Prologue<Self>,
    ) -> (IntTensor<Self>, FloatTensor<Self>) {
        let (prologue, _) = split_prologue::<B, C>(prologue);
        let (codes, scales) = B::prologue_quantize(x.into_primitive(), prologue);
        (codes, constant::<B, C>(scales))
    }

    fn prologue_backward(
        x: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        prologue: Prologue<Self>,
    ) -> (FloatTensor<Self>, Optional<Self>) {
        let (prologue, _) = split_prologue::<B, C>(prologue);
        let (dx, dgamma) = B::prologue_backward(x.into_primitive(), dy.into_primitive(), prologue);
        (constant::<B, C>(dx), constant_option::<B, C>(dgamma))
    }

    fn prologue_bit_linear(
        x: FloatTensor<Self>,
        prologue: Prologue<Self>,
        weight: FloatTensor<Self>,
        bias: Bias<Self>,
        layout: PackedLayout,
    ) -> FloatTensor<Self> {
        linear::bit_linear::<B, C>(x, prologue, weight, bias, layout)
    }

    fn prologue_packed_linear(
        x: FloatTensor<Self>,
        prologue: Prologue<Self>,
        weight: WeightOperand<Self>,
        bias: Bias<Self>,
        layout: PackedLayout,
    ) -> FloatTensor<Self> {
        linear::packed_linear::<B, C>(x, prologue, weight, bias, layout)
    }

    fn dense_linear(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        dense::linear::<B, C>(x, weight)
    }

    fn dense_product(
        left: FloatTensor<Self>,
        right: FloatTensor<Self>,
        depths: [Depth; 2],
        dtype: DType,
    ) -> FloatTensor<Self> {
        let (left, right) = (left.into_primitive(), right.into_primitive());
        constant::<B, C>(B::dense_product(left, right, depths, dtype))
    }

    fn exact_gelu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        gelu::gelu::<B, C>(x)
    }

    fn exact_gelu_backward(x: FloatTensor<Self>, dy: FloatTensor<Self>) -> FloatTensor<Self> {
        let (x, dy) = (x.into_primitive(), dy.into_primitive());
        constant::<B, C>(B::exact_gelu_backward(x, dy))
    }

    fn rotary_attention(
        qkv: FloatTensor<Self>,
        table: Optional<Self>,
        sequences: Sequences,
    ) -> FloatTensor<Self> {
        attention::rotary_attention::<B, C>(qkv, table, sequences)
    }

    fn attention_forward(
        qkv: FloatTensor<Self>,
        table: Optional<Self>,
        sequences: Sequences,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let table = inner_option::<B, C>(table);
        let (out, rotated, statistics) =
            B::attention_forward(qkv.into_primitive(), table, sequences);
        (
            constant::<B, C>(out),
            constant::<B, C>(rotated),
            constant::<B, C>(statistics),
        )
    }

    fn attention_backward(
        rotated: FloatTensor<Self>,
        out: FloatTensor<Self>,
        statistics: FloatTensor<Self>,
        d_out: FloatTensor<Self>,
        table: Optional<Self>,
        sequences: Sequences,
    ) -> FloatTensor<Self> {
        constant::<B, C>(B::attention_backward(
            rotated.into_primitive(),
            out.into_primitive(),
            statistics.into_primitive(),
            d_out.into_primitive(),
            inner_option::<B, C>(table),
            sequences,
        ))
    }

    fn token_embedding(
        table: FloatTensor<Self>,
        ids: IntTensor<Self>,
        dtype: DType,
    ) -> FloatTensor<Self> {
        embedding::embedding::<B, C>(table, ids, dtype)
    }

    fn table_gradient(
        dy: FloatTensor<Self>,
        ids: IntTensor<Self>,
        vocabulary: usize,
    ) -> FloatTensor<Self> {
        constant::<B, C>(B::table_gradient(dy.into_primitive(), ids, vocabulary))
    }

    fn token_losses(
        x: FloatTensor<Self>,
        table: FloatTensor<Self>,
        targets: IntTensor<Self>,
        label_weights: Optional<Self>,
        options: LossOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (losses, weights) = B::token_losses(
            x.into_primitive(),
            table.into_primitive(),
            targets,
            inner_option::<B, C>(label_weights),
            options,
        );
        (constant::<B, C>(losses), constant::<B, C>(weights))
    }

    fn loss_gradients(
        x: FloatTensor<Self>,
        table: FloatTensor<Self>,
        targets: IntTensor<Self>,
        label_weights: Optional<Self>,
        options: LossOptions,
        wanted: WantedGradients,
    ) -> LossGradients<Self> {
        let found = B::loss_gradients(
            x.into_primitive(),
            table.into_primitive(),
            targets,
            inner_option::<B, C>(label_weights),
            options,
            wanted,
        );
        LossGradients {
            losses: constant::<B, C>(found.losses),
            weights: constant::<B, C>(found.weights),
            d_input: constant_option::<B, C>(found.d_input),
            d_table: constant_option::<B, C>(found.d_table),
        }
    }

    fn linear_cross_entropy(
        x: FloatTensor<Self>,
        table: FloatTensor<Self>,
        targets: IntTensor<Self>,
        label_weights: Optional<Self>,
        options: LossOptions,
    ) -> FloatTensor<Self> {
        loss::linear_cross_entropy::<B, C>(x, table, targets, label_weights, options)
    }

    fn mean_loss(
        losses: FloatTensor<Self>,
        weights: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (losses, weights) = (losses.into_primitive(), weights.into_primitive());
        let (mean, reciprocal) = B::mean_loss(losses, weights);
        (constant::<B, C>(mean), constant::<B, C>(reciprocal))
    }

    fn adamw(
        parameter: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        factor: Optional<Self>,
        moments: Moments<Self>,
        step: AdamWStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let moments = match moments {
            Moments::Absent => Moments::Absent,
            Moments::Present { first, second } => Moments::Present {
                first: first.into_primitive(),
                second: second.into_primitive(),
            },
        };
        let (parameter, first, second) = B::adamw(
            parameter.into_primitive(),
            gradient.into_primitive(),
            inner_option::<B, C>(factor),
            moments,
            step,
        );
        (
            constant::<B, C>(parameter),
            constant::<B, C>(first),
            constant::<B, C>(second),
        )
    }

    fn write_square_sum(
        sums: FloatTensor<Self>,
        x: FloatTensor<Self>,
        index: usize,
    ) -> FloatTensor<Self> {
        let (sums, x) = (sums.into_primitive(), x.into_primitive());
        constant::<B, C>(B::write_square_sum(sums, x, index))
    }

    fn clip_factor(
        sums: FloatTensor<Self>,
        max_norm: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (norm, factor) = B::clip_factor(sums.into_primitive(), max_norm);
        (constant::<B, C>(norm), constant::<B, C>(factor))
    }
}

/// A result that no gradient flows through.
fn constant<B: Backend, C: CheckpointStrategy>(
    primitive: FloatTensor<B>,
) -> FloatTensor<Autodiff<B, C>> {
    FloatTensor::<Autodiff<B, C>>::new(primitive)
}

fn constant_option<B: Backend, C: CheckpointStrategy>(
    tensor: Optional<B>,
) -> Optional<Autodiff<B, C>> {
    tensor.into_option().map(constant::<B, C>).into()
}

fn inner_option<B: Backend, C: CheckpointStrategy>(
    tensor: Optional<Autodiff<B, C>>,
) -> Optional<B> {
    tensor.into_option().map(|t| t.into_primitive()).into()
}

/// A parent that no gradient flows to, where an operand is left out: operations have a fixed number
/// of parents.
fn no_parent<B: Backend, C: CheckpointStrategy>(any: &FloatTensor<B>) -> NodeGuard {
    constant::<B, C>(any.clone()).into_parts().1
}

/// A prologue without its autodiff association, and the node of its gains.
fn split_prologue<B: Backend, C: CheckpointStrategy>(
    prologue: Prologue<Autodiff<B, C>>,
) -> (Prologue<B>, Option<NodeGuard>) {
    match prologue {
        Prologue::Norm { gamma, epsilon } => {
            let (gamma, node) = gamma.into_parts();
            (Prologue::Norm { gamma, epsilon }, Some(node))
        }
        Prologue::Gate { activation } => (Prologue::Gate { activation }, None),
        Prologue::GateNorm {
            activation,
            gamma,
            epsilon,
        } => {
            let (gamma, node) = gamma.into_parts();
            let prologue = Prologue::GateNorm {
                activation,
                gamma,
                epsilon,
            };
            (prologue, Some(node))
        }
    }
}
