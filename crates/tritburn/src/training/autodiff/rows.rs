//! Gradients of norms and gated units.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, TensorMetadata};

use super::super::backend::TrainingOps;
use super::super::operand::Prologue;
use super::{in_dtype, no_parent, split_prologue};

#[derive(Debug)]
struct PrologueBackward;

/// The input and the gains; rows are computed again.
impl<B: TrainingOps> Backward<B, 2> for PrologueBackward {
    type State = (FloatTensor<B>, Prologue<B>);

    fn backward(
        self,
        ops: Ops<Self::State, 2>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let dy = grads.consume::<B>(&ops.node);
        let (x, prologue) = ops.state;
        let gamma_dtype = prologue.gamma().map(|gamma| gamma.dtype());
        let (dx, dgamma) = B::prologue_backward(x, dy, prologue);
        let [x, gamma] = ops.parents;
        if let Some(x) = x {
            grads.register::<B>(x.id, dx);
        }
        if let (Some(gamma), Some(dgamma), Some(dtype)) = (gamma, dgamma.into_option(), gamma_dtype)
        {
            grads.register::<B>(gamma.id, in_dtype::<B>(dgamma, dtype));
        }
    }
}

pub(super) fn prologue<B: TrainingOps, C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<B, C>>,
    prologue: Prologue<Autodiff<B, C>>,
) -> FloatTensor<Autodiff<B, C>> {
    let (x, x_node) = x.into_parts();
    let (prologue, gamma_node) = split_prologue::<B, C>(prologue);
    let parents = [x_node, gamma_node.unwrap_or_else(|| no_parent::<B, C>(&x))];
    match PrologueBackward
        .prepare::<C>(parents)
        .compute_bound()
        .stateful()
    {
        OpsKind::UnTracked(prep) => prep.finish(B::prologue(x, prologue)),
        OpsKind::Tracked(prep) => {
            let y = B::prologue(x.clone(), prologue.clone());
            prep.finish((x, prologue), y)
        }
    }
}
