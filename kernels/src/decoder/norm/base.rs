//! Operands and plans of the row kernels: the norm and the gated unit.

use crate::decoder::glu::GatedActivation;
use crate::device::{DeviceFacts, LANES};
use crate::device_code::team::{Fold, Team};
use crate::operand::{FloatMatrix, QuantizedActivations};

/// What is added to `x` before the norm.
#[derive(Clone, Copy, Debug)]
pub enum Residual<'a> {
    /// Nothing.
    None,
    /// `sum = x + add`. The buffers of `x`, `add` and `sum` must not alias.
    Add {
        /// Addend `[T, K]`.
        add: &'a FloatMatrix,
        /// The sum `[T, K]`, written.
        sum: &'a FloatMatrix,
    },
    /// `h = x + h`, where `h` `[T, K]` is the residual stream, read and written in place.
    InPlace(&'a FloatMatrix),
}

/// The output: normalised rows as int8 or as floats.
#[derive(Clone, Copy, Debug)]
pub enum RowOutput<'a> {
    /// int8 codes and a scale per row.
    Int8(&'a QuantizedActivations),
    /// Floats of the type of the input.
    Float(&'a FloatMatrix),
}

/// How the values of a row are computed. A kernel is compiled for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    /// `x`.
    Plain,
    /// `x + add`, which is also stored.
    Add,
    /// `x + h`, which overwrites `h`.
    InPlace,
    /// `gate(x[..K]) · x[K..]`.
    Gated(GatedActivation),
}

impl Source {
    /// Whether a row of x holds gate and up.
    pub const fn is_gated(self) -> bool {
        matches!(self, Self::Gated(_))
    }
}

/// The plan of the line kernel, which holds a row in registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LinePlan {
    /// The units of a cube, which processes one row.
    pub team: Team,
    /// Lines per unit.
    pub lines: usize,
    /// Whether the kernel may contain PTX.
    pub ptx: bool,
}

impl LinePlan {
    /// Most values that a unit holds in registers, next to as many of gamma.
    const MOST_VALUES: usize = 32;
    /// Most units of a row, if that suffices: with more, barriers take longer.
    const UNITS: usize = 512;

    /// Rows that keep a device busy with a few planes per row.
    const MANY: usize = 4096;

    /// A plan for `rows` rows of `lines` lines of `width` values.
    pub fn new(rows: usize, lines: usize, width: usize, device: &DeviceFacts) -> Option<Self> {
        let most = device.max_units.min(1024) as usize;
        let lanes = LANES as usize;
        let per_unit = match lines <= most {
            // As many lines per unit as it may hold: few planes have to synchronise, and all loads of a
            // unit are in flight at once.
            true if rows >= Self::MANY => {
                let most = Self::MOST_VALUES / width;
                let planes = lines.div_ceil(lanes * most);
                lines.div_ceil(lanes * planes)
            }
            // One line per unit where there are enough units: all loads of the row are in flight at once.
            true => 1,
            false => lines.div_ceil(Self::UNITS.min(most)),
        };
        let units = lines.div_ceil(per_unit).div_ceil(lanes) * lanes;
        let fits = units <= most && per_unit * width <= Self::MOST_VALUES;
        fits.then_some(Self {
            team: Team {
                units,
                fold: Fold::Planes,
            },
            lines: per_unit,
            ptx: device.ampere().is_some(),
        })
    }
}
