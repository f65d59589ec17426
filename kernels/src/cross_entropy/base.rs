//! What a loss is made of.

use crate::operand::FloatVector;

/// Terms of the loss.
#[derive(Clone, Copy, Debug, Default)]
pub struct CrossEntropy<'a> {
    /// Target of tokens that do not count.
    pub ignore: Option<u32>,
    /// Factor of `lse²`; 0 leaves the term out.
    pub z_loss: f32,
    /// Weight of each label, f32 `[V]`; 1 where there are none.
    pub label_weights: Option<&'a FloatVector>,
}
