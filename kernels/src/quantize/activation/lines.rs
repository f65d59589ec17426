//! The activation quantiser for GPUs with planes of 32: a row is read once, 16 bytes at a time, and kept in
//! registers.

use cubecl::ir::features::Plane;
use cubecl::prelude::*;

use super::kernel::quantized_word;
use super::rounding::{rounding_of, scale_of};
use crate::device::{DeviceFacts, LANES};
use crate::device_code::decode::magnitude_bits;
use crate::operand::FloatMatrix;

/// The resolved plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct LinePlan {
    /// Units of a row: a multiple of 32; exactly 32 if a cube has several rows.
    pub units: usize,
    /// Lines of a unit.
    pub lines: usize,
    /// Rows of a cube.
    pub rows: usize,
    /// Whether the kernel may contain PTX.
    pub ptx: bool,
}

impl LinePlan {
    /// Most units of a row, and lines of a unit.
    const MOST: (usize, usize) = (256, 16);
    /// Rows of a cube, most lines of a unit and fewest rows for one plane per row, which needs no barrier
    /// but is slow for long rows.
    const MANY: (usize, usize, usize) = (4, 4, 512);

    /// A plan for the rows of `x`. `None` unless they are made of whole lines and fit registers.
    pub fn new(client: &Client, x: &FloatMatrix, device: &DeviceFacts) -> Option<Self> {
        let hardware = &client.properties().hardware;
        let planes = client.features().plane.contains(Plane::Ops)
            && (hardware.plane_size_min, hardware.plane_size_max) == (LANES, LANES);
        let width = x.line_width();
        if !device.lockstep || !planes || width == 1 {
            return None;
        }
        let lines = x.cols() / width;
        let (lanes, most) = (LANES as usize, device.max_units as usize);
        let (rows, units) = match x.rows() >= Self::MANY.2 && lines <= lanes * Self::MANY.1 {
            true => (Self::MANY.0.min(most / lanes), lanes),
            false => (1, lines.div_ceil(2).next_power_of_two()),
        };
        let units = units.clamp(lanes, Self::MOST.0.min(most));
        let lines = lines.div_ceil(units).next_power_of_two();
        let plan = Self {
            units,
            lines,
            rows,
            ptx: device.ampere().is_some(),
        };
        (plan.lines <= Self::MOST.1).then_some(plan)
    }
}

/// Quantises `plan.rows` rows a cube. `lines` is the number of lines of a row.
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(
    clippy::too_many_arguments,
    reason = "a kernel's signature is its binding list"
)]
pub(super) fn quantize_lines<F: Float, V: Size, C: Size>(
    x: &[Vector<F, V>],
    codes: &mut [Vector<u32, C>],
    scales: &mut [f32],
    rows: usize,
    lines: usize,
    stride: usize,
    #[comptime] plan: LinePlan,
    #[define(F)] _dtype: ElemType,
) {
    let unit = UNIT_POS as usize % comptime!(plan.units);
    let row = CUBE_POS * comptime!(plan.rows) + UNIT_POS as usize / comptime!(plan.units);
    // Planes past the last row repeat it and store nothing, because every unit must reach the barrier.
    let source = min(row, rows - 1);
    let width = V::value();
    let mut held = Array::<Vector<F, V>>::new(comptime!(plan.lines));
    #[unroll]
    for i in 0..comptime!(plan.lines) {
        let line = unit + comptime!(i * plan.units);
        // Units past the end of the row repeat its last line, which changes no maximum.
        held[i] = x[source * stride + min(line, lines - 1)];
    }
    // The bits of |x| compare as integers as the numbers do; infinity and NaN are above all others.
    let mut top = 0u32;
    #[unroll]
    for i in 0..comptime!(plan.lines) {
        #[unroll]
        for j in 0..width {
            top = max(top, magnitude_bits(f32::cast_from(held[i].extract(j))));
        }
    }
    top = plane_max(top);
    let planes = comptime!(plan.units / 32);
    if comptime!(planes > 1) {
        let mut shared = Shared::<[u32]>::new_slice(planes);
        let lane = unit % 32;
        if lane == 0 {
            shared[unit / 32] = top;
        }
        sync_cube();
        #[unroll]
        for i in 0..planes {
            top = max(top, shared[i]);
        }
    }
    let rounding = rounding_of(top);
    let (finite, a) = (rounding.finite, rounding.a);
    #[unroll]
    for i in 0..comptime!(plan.lines) {
        let line = unit + comptime!(i * plan.units);
        if line < lines && row < rows {
            let mut packed = Vector::<u32, C>::empty();
            #[unroll]
            for word in 0..comptime!(width / 4) {
                let bytes = quantized_word(
                    f32::cast_from(held[i].extract(comptime!(4 * word))),
                    f32::cast_from(held[i].extract(comptime!(4 * word + 1))),
                    f32::cast_from(held[i].extract(comptime!(4 * word + 2))),
                    f32::cast_from(held[i].extract(comptime!(4 * word + 3))),
                    a,
                    finite,
                    comptime!(plan.ptx),
                );
                packed.insert(word, bytes);
            }
            codes[row * lines + line] = packed;
        }
    }
    if unit == 0 && row < rows {
        scales[row] = scale_of(&rounding);
    }
}
