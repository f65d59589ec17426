//! The gradient of an embedding table.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Autodiff, TensorMetadata};
use burn::tensor::DType;

use super::super::backend::TrainingOps;
use super::in_dtype;

#[derive(Debug)]
struct EmbeddingBackward;

/// The ids, the length of the table and its dtype.
impl<B: TrainingOps> Backward<B, 1> for EmbeddingBackward {
    type State = (IntTensor<B>, usize, DType);

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let dy = grads.consume::<B>(&ops.node);
        let (ids, vocabulary, dtype) = ops.state;
        let [Some(table)] = ops.parents else { return };
        let d_table = B::table_gradient(dy, ids, vocabulary);
        grads.register::<B>(table.id, in_dtype::<B>(d_table, dtype));
    }
}

pub(super) fn embedding<B: TrainingOps, C: CheckpointStrategy>(
    table: FloatTensor<Autodiff<B, C>>,
    ids: IntTensor<B>,
    dtype: DType,
) -> FloatTensor<Autodiff<B, C>> {
    let (table, node) = table.into_parts();
    match EmbeddingBackward
        .prepare::<C>([node])
        .compute_bound()
        .stateful()
    {
        OpsKind::UnTracked(prep) => prep.finish(B::token_embedding(table, ids, dtype)),
        OpsKind::Tracked(prep) => {
            let saved = (ids.clone(), table.shape()[0], table.dtype());
            prep.finish(saved, B::token_embedding(table, ids, dtype))
        }
    }
}
