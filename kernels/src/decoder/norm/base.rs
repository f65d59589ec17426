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
    /// `sum = x + add`; both are other buffers than x, and than each other.
    Add {
        /// Addend `[T, K]`.
        add: &'a FloatMatrix,
        /// The sum `[T, K]`, written.
        sum: &'a FloatMatrix,
    },
    /// `h = x + h`, where `h` `[T, K]` is the residual stream, read and written in place.
    InPlace(&'a FloatMatrix),
}

/// Where normalised rows go.
#[derive(Clone, Copy, Debug)]
pub enum RowOutput<'a> {
    /// int8 codes and a scale a row.
    Int8(&'a QuantizedActivations),
    /// Floats of the type of the input.
    Float(&'a FloatMatrix),
}

/// What the values of a row are made of: what a kernel is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    /// `x`.
    Plain,
    /// `x + add`, stored.
    Add,
    /// `x + sum`, stored where the sum was read.
    InPlace,
    /// `gate(x[..K]) · x[K..]`.
    Gated(GatedActivation),
}

impl Source {
    /// Whether a row of x has gate and up.
    pub const fn is_gated(self) -> bool {
        matches!(self, Self::Gated(_))
    }
}

/// The plan of the kernel that holds a row in registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LinePlan {
    /// Units of a cube, which has one row.
    pub team: Team,
    /// Lines of a unit.
    pub lines: usize,
    /// Whether the device takes PTX.
    pub ptx: bool,
}

impl LinePlan {
    /// Values that a unit may hold, with as many of gamma next to them.
    const MOST_VALUES: usize = 32;
    /// Units that a row gets if it can be: more wait longer for each other.
    const UNITS: usize = 512;

    /// Rows that keep a device busy if each has only a few planes.
    const MANY: usize = 4096;

    /// A plan for `rows` rows of `lines` lines of `width` values.
    pub fn new(rows: usize, lines: usize, width: usize, device: &DeviceFacts) -> Option<Self> {
        let most = device.max_units.min(1024) as usize;
        let lanes = LANES as usize;
        let per_unit = match lines <= most {
            // As many lines a unit as it may hold: few planes wait for each other, and a unit has all
            // its loads under way at once.
            true if rows >= Self::MANY => {
                let most = Self::MOST_VALUES / width;
                let planes = lines.div_ceil(lanes * most);
                lines.div_ceil(lanes * planes)
            }
            // One line a unit as long as units last: nothing is quicker than all loads at once.
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
