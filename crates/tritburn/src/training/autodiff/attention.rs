//! The gradient of causal attention.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend};

use super::super::backend::TrainingOps;
use super::super::operand::{Optional, Sequences};
use super::inner_option;

/// What the forward pass leaves: linear in the number of tokens.
#[derive(Clone, Debug)]
struct Saved<B: Backend> {
    rotated: FloatTensor<B>,
    out: FloatTensor<B>,
    statistics: FloatTensor<B>,
    table: Optional<B>,
    sequences: Sequences,
}

#[derive(Debug)]
struct AttentionBackward;

impl<B: TrainingOps> Backward<B, 1> for AttentionBackward {
    type State = Saved<B>;

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let d_out = grads.consume::<B>(&ops.node);
        let [Some(qkv)] = ops.parents else { return };
        let Saved {
            rotated,
            out,
            statistics,
            table,
            sequences,
        } = ops.state;
        let d_qkv = B::attention_backward(rotated, out, statistics, d_out, table, sequences);
        grads.register::<B>(qkv.id, d_qkv);
    }
}

pub(super) fn rotary_attention<B: TrainingOps, C: CheckpointStrategy>(
    qkv: FloatTensor<Autodiff<B, C>>,
    table: Optional<Autodiff<B, C>>,
    sequences: Sequences,
) -> FloatTensor<Autodiff<B, C>> {
    let (qkv, node) = qkv.into_parts();
    let table = inner_option::<B, C>(table);
    match AttentionBackward
        .prepare::<C>([node])
        .compute_bound()
        .stateful()
    {
        OpsKind::UnTracked(prep) => prep.finish(B::rotary_attention(qkv, table, sequences)),
        OpsKind::Tracked(prep) => {
            let (out, rotated, statistics) = B::attention_forward(qkv, table.clone(), sequences);
            let saved = Saved {
                rotated,
                out: out.clone(),
                statistics,
                table,
                sequences,
            };
            prep.finish(saved, out)
        }
    }
}
