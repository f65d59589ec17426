//! Plan of the product on tensor cores.

use crate::device::DeviceFacts;
use crate::device_code::MmaType;
use crate::operand::{FloatMatrix, FloatType, QuantizedActivations};

/// Bytes of a row in a step: 32 columns of half precision, 64 of int8. The four lanes that share a row load
/// them at once.
pub const STEP: usize = 64;
/// Strips of 16 rows of a warp. Each activation that the warp loads is multiplied with both.
pub const STRIPS: usize = 2;

/// The plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::decoder::dense) struct TablePlan {
    /// Tiles of 8 tokens of a cube.
    pub tiles: usize,
    /// Bytes of a row of the table, and of a token.
    pub row: usize,
    /// Warps of a cube.
    pub warps: usize,
    /// Prefetch depth: steps of the table that a warp has in flight.
    pub ahead: usize,
    /// Type of the multiplied elements.
    pub types: MmaType,
}

impl TablePlan {
    /// Most tiles of tokens of a cube.
    const MOST: usize = 8;

    /// A plan for `x · wᵀ`. `None` unless `device` has the instructions, both operands have the same
    /// half-precision type, rows are made of whole steps, and the activations fit shared memory.
    pub fn half(x: &FloatMatrix, w: &FloatMatrix, device: &DeviceFacts) -> Option<Self> {
        let dtype = w.dtype();
        let half = dtype != FloatType::F32 && x.dtype() == dtype;
        let lines = x.starts_lines() && w.starts_lines();
        let types = MmaType::of(dtype);
        let plan = Self::new(x.rows(), x.cols() * dtype.size(), types, device);
        plan.filter(|_| half && lines)
    }

    /// A plan for int8 rows. `None` unless `device` has the instructions, rows are made of whole steps, and
    /// the activations fit shared memory.
    pub fn int8(x: &QuantizedActivations, device: &DeviceFacts) -> Option<Self> {
        let row = 4 * QuantizedActivations::words_per_row(x.cols());
        Self::new(x.rows(), row, MmaType::Int8, device)
    }

    fn new(tokens: usize, row: usize, types: MmaType, device: &DeviceFacts) -> Option<Self> {
        let cuda = device.cuda?;
        let plan = |tiles| Self {
            tiles,
            row,
            warps: 16,
            // Accumulators and prefetched lines share the registers.
            ahead: if tiles > 4 { 2 } else { 4 },
            types,
        };
        // With one token the portable kernels are bound by memory as well.
        let fits = cuda.capability >= 80 && row.is_multiple_of(STEP) && tokens > 1;
        let most = tokens.div_ceil(8).min(Self::MOST);
        let tiles = (1..=most).rev().map(plan);
        let mut tiles = tiles.filter(|plan| plan.shared_bytes() <= device.shared_bytes);
        tiles.next().filter(|_| fits)
    }

    /// Tokens of a cube.
    pub const fn tokens(self) -> usize {
        8 * self.tiles
    }

    /// Rows of the table that a cube processes at once.
    pub const fn rows(self) -> usize {
        16 * STRIPS * self.warps
    }

    /// Units of a cube.
    pub const fn units(self) -> usize {
        32 * self.warps
    }

    /// Bytes from token to token in shared memory: an odd multiple of half the banks, so that the lanes of
    /// one load access different banks.
    pub const fn pitch(self) -> usize {
        self.row
            + match self.row % 128 {
                64 => 0,
                _ => 64,
            }
    }

    /// Bytes of shared memory: the activations.
    pub const fn shared_bytes(self) -> usize {
        self.tokens() * self.pitch()
    }
}
