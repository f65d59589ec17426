//! Operand and plan of the dense products.

use crate::device::DeviceFacts;
use crate::device_code::team::Fold;
use crate::operand::{FloatMatrix, QuantizedActivations};

/// The right operand, `[V, K]`.
#[derive(Clone, Copy, Debug)]
pub enum DenseWeights<'a> {
    /// Floats.
    Float(&'a FloatMatrix),
    /// int8 codes and a scale a row, in the layout of int8 activations;
    /// [`quantize::activation`](crate::quantize::activation) makes them of a float matrix.
    Int8(&'a QuantizedActivations),
}

impl DenseWeights<'_> {
    /// Rows: outputs.
    pub fn rows(&self) -> usize {
        match self {
            Self::Float(w) => w.rows(),
            Self::Int8(w) => w.rows(),
        }
    }

    /// Columns: inputs.
    pub fn cols(&self) -> usize {
        match self {
            Self::Float(w) => w.cols(),
            Self::Int8(w) => w.cols(),
        }
    }
}

/// The plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct DensePlan {
    /// Rows of W of a team of lanes.
    pub rows: usize,
    /// Tokens of a team.
    pub tokens: usize,
    /// Units of a team.
    pub lanes: usize,
    /// Units of a cube.
    pub units: usize,
    /// How lanes fold their sums.
    pub fold: Fold,
}

impl DensePlan {
    /// Most tokens for which W is read once.
    pub const MAX_TOKENS: usize = 16;

    /// A plan for `tokens` tokens.
    pub fn new(tokens: usize, planes: bool, device: &DeviceFacts) -> Self {
        let units = device.cube_units as usize;
        let (lanes, fold) = match (device.lockstep, planes) {
            (false, _) => (1, Fold::Alone),
            (true, true) => (32, Fold::Planes),
            (true, false) => (units, Fold::Tree),
        };
        let tokens = tokens.next_power_of_two().min(Self::MAX_TOKENS);
        Self {
            // As many loads at once; accumulators are rows times tokens.
            rows: if tokens > 8 { 2 } else { 4 },
            tokens,
            lanes,
            units,
            fold,
        }
    }

    /// Teams of a cube.
    pub const fn teams(self) -> usize {
        self.units / self.lanes
    }
}
