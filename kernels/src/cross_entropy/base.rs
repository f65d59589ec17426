//! The options of the loss.

use crate::operand::FloatVector;

/// Options of the loss.
#[derive(Clone, Copy, Debug, Default)]
pub struct CrossEntropy<'a> {
    /// Target that marks a token as ignored.
    pub ignore: Option<u32>,
    /// Factor of `lse²`; 0 leaves the term out.
    pub z_loss: f32,
    /// Weight of each label, f32 `[V]`; `None` weights every label 1.
    pub label_weights: Option<&'a FloatVector>,
}
