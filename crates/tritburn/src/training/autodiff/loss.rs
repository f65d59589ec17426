//! The gradient of the loss, which the forward pass has computed already.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Autodiff, Backend, TensorMetadata};
use burn::tensor::DType;

use super::super::backend::TrainingOps;
use super::super::operand::{LossOptions, Optional, WantedGradients};
use super::{in_dtype, inner_option};

/// Gradients of the sum of the losses, and what makes a mean of it.
#[derive(Clone, Debug)]
struct Saved<B: Backend> {
    d_input: Optional<B>,
    d_table: Optional<B>,
    reciprocal: FloatTensor<B>,
    table_dtype: DType,
}

#[derive(Debug)]
struct LossBackward;

impl<B: TrainingOps> Backward<B, 2> for LossBackward {
    type State = Saved<B>;

    fn backward(
        self,
        ops: Ops<Self::State, 2>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let d_loss = grads.consume::<B>(&ops.node);
        let Saved {
            d_input,
            d_table,
            reciprocal,
            table_dtype,
        } = ops.state;
        let factor = B::float_mul(d_loss, reciprocal);
        let [x, table] = ops.parents;
        if let (Some(x), Some(d_input)) = (x, d_input.into_option()) {
            let dtype = d_input.dtype();
            let scaled = scale::<B>(in_dtype::<B>(d_input, DType::F32), factor.clone());
            grads.register::<B>(x.id, in_dtype::<B>(scaled, dtype));
        }
        if let (Some(table), Some(d_table)) = (table, d_table.into_option()) {
            let scaled = scale::<B>(d_table, factor);
            grads.register::<B>(table.id, in_dtype::<B>(scaled, table_dtype));
        }
    }
}

fn scale<B: Backend>(gradient: FloatTensor<B>, factor: FloatTensor<B>) -> FloatTensor<B> {
    B::float_mul(gradient, B::float_reshape(factor, [1, 1].into()))
}

pub(super) fn linear_cross_entropy<B: TrainingOps, C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<B, C>>,
    table: FloatTensor<Autodiff<B, C>>,
    targets: IntTensor<B>,
    label_weights: Optional<Autodiff<B, C>>,
    options: LossOptions,
) -> FloatTensor<Autodiff<B, C>> {
    let wanted = WantedGradients {
        input: x.is_tracked(),
        table: table.is_tracked(),
    };
    let (x, x_node) = x.into_parts();
    let (table, table_node) = table.into_parts();
    let labels = inner_option::<B, C>(label_weights);
    let parents = [x_node, table_node];
    match LossBackward
        .prepare::<C>(parents)
        .compute_bound()
        .stateful()
    {
        OpsKind::UnTracked(prep) => {
            let loss = B::linear_cross_entropy(x, table, targets, labels, options);
            prep.finish(loss)
        }
        OpsKind::Tracked(prep) => {
            let table_dtype = table.dtype();
            let found = B::loss_gradients(x, table, targets, labels, options, wanted);
            let (loss, reciprocal) = B::mean_loss(found.losses, found.weights);
            let saved = Saved {
                d_input: found.d_input,
                d_table: found.d_table,
                reciprocal,
                table_dtype,
            };
            prep.finish(saved, loss)
        }
    }
}
