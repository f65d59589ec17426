//! Gradients of a float product.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, TensorMetadata};
use burn::tensor::DType;

use super::super::backend::TrainingOps;
use super::super::operand::Depth;
use super::in_dtype;

/// `dX = dY · W`, `dW = dYᵀ · X`.
#[derive(Debug)]
struct LinearBackward;

/// The input, if the weight is trained, the weight in the dtype of the input, if the input is, and the
/// weight's own dtype.
impl<B: TrainingOps> Backward<B, 2> for LinearBackward {
    type State = (Option<FloatTensor<B>>, Option<FloatTensor<B>>, DType);

    fn backward(
        self,
        ops: Ops<Self::State, 2>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let dy = grads.consume::<B>(&ops.node);
        let (x, weight, dtype) = ops.state;
        let [x_node, weight_node] = ops.parents;
        if let (Some(node), Some(weight)) = (x_node, weight) {
            let depths = [Depth::Columns, Depth::Rows];
            let dx = B::dense_product(dy.clone(), weight, depths, dy.dtype());
            grads.register::<B>(node.id, dx);
        }
        if let (Some(node), Some(x)) = (weight_node, x) {
            let dw = B::dense_product(dy, x, [Depth::Rows; 2], DType::F32);
            grads.register::<B>(node.id, in_dtype::<B>(dw, dtype));
        }
    }
}

pub(super) fn linear<B: TrainingOps, C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<B, C>>,
    weight: FloatTensor<Autodiff<B, C>>,
) -> FloatTensor<Autodiff<B, C>> {
    let (x_trained, weight_trained) = (x.is_tracked(), weight.is_tracked());
    let (x, x_node) = x.into_parts();
    let (weight, weight_node) = weight.into_parts();
    match LinearBackward
        .prepare::<C>([x_node, weight_node])
        .compute_bound()
        .stateful()
    {
        OpsKind::UnTracked(prep) => prep.finish(B::dense_linear(x, weight)),
        OpsKind::Tracked(prep) => {
            let dtype = weight.dtype();
            let weight = in_dtype::<B>(weight, x.dtype());
            let y = B::dense_linear(x.clone(), weight.clone());
            let saved = (
                weight_trained.then_some(x),
                x_trained.then_some(weight),
                dtype,
            );
            prep.finish(saved, y)
        }
    }
}
