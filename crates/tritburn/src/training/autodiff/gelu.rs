//! The gradient of GELU.

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;

use super::super::backend::TrainingOps;

#[derive(Debug)]
struct GeluBackward;

/// The input is kept.
impl<B: TrainingOps> Backward<B, 1> for GeluBackward {
    type State = FloatTensor<B>;

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let dy = grads.consume::<B>(&ops.node);
        let [Some(x)] = ops.parents else { return };
        let dx = B::exact_gelu_backward(ops.state, dy);
        grads.register::<B>(x.id, dx);
    }
}

pub(super) fn gelu<B: TrainingOps, C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<B, C>>,
) -> FloatTensor<Autodiff<B, C>> {
    let (x, node) = x.into_parts();
    match GeluBackward.prepare::<C>([node]).compute_bound().stateful() {
        OpsKind::UnTracked(prep) => prep.finish(B::exact_gelu(x)),
        OpsKind::Tracked(prep) => {
            let y = B::exact_gelu(x.clone());
            prep.finish(x, y)
        }
    }
}
