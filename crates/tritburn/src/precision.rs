//! Precision of a layer's input.

use serde::{Deserialize, Serialize};

/// What a layer multiplies its 2-bit weights with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum InputPrecision {
    /// W2A8: int8 with one absmax scale per token, exact i32 sums. BitNet b1.58.
    #[default]
    Int8,
    /// W2A16: the input as it is (weight-only quantisation). TriLM.
    Float,
}
