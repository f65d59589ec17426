//! Canonical 2-bit codes to numbers, and the index of a weight's scale.

use cubecl::prelude::*;
use tritburn_formats::{PackedLayout, ScaleGranularity, WeightCode};

/// [`ScaleGranularity`] without its sizes. A kernel is compiled for one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScaleKind {
    /// One scale.
    Tensor,
    /// One scale per row.
    Row,
    /// Several scales per row.
    Group,
    /// One scale per run of rows.
    Segments,
}

impl From<&ScaleGranularity> for ScaleKind {
    fn from(scale: &ScaleGranularity) -> Self {
        match scale {
            ScaleGranularity::Tensor => Self::Tensor,
            ScaleGranularity::Group { .. } => Self::Group,
            ScaleGranularity::Segments { .. } => Self::Segments,
            _ => Self::Row,
        }
    }
}

/// The sizes of a [`ScaleGranularity`], passed at run time.
#[derive(CubeType, CubeLaunch)]
pub struct ScaleMap {
    /// Scales of one row.
    pub groups: usize,
    /// Packed words of one group.
    pub words_per_group: usize,
    /// First row after each segment but the last.
    pub ends: Sequence<u32>,
    /// The granularity: it says which of the sizes matter.
    #[cube(comptime)]
    pub kind: ScaleKind,
}

/// The launch argument for the scales of `layout`.
pub(crate) fn scale_map(layout: &PackedLayout) -> ScaleMapLaunch {
    let mut ends = SequenceArg::new();
    let (mut groups, mut words_per_group) = (1, layout.words_per_row());
    match layout.scale() {
        ScaleGranularity::Group { size } => {
            groups = layout.scale().groups_per_row(layout.in_features());
            words_per_group = size / tritburn_formats::layout::WEIGHTS_PER_WORD;
        }
        ScaleGranularity::Segments { rows } => {
            let mut end = 0;
            for rows in &rows[..rows.len() - 1] {
                end += *rows as u32;
                ends.push(end);
            }
        }
        _ => {}
    }
    ScaleMapLaunch::new(groups, words_per_group, ends, layout.scale().into())
}

/// Index of the scale of the weights in word `word` of row `row`.
#[cube]
pub(crate) fn scale_index(map: &ScaleMap, row: usize, word: usize) -> usize {
    let kind = comptime!(map.kind);
    match comptime!(kind) {
        ScaleKind::Tensor => 0usize.runtime(),
        ScaleKind::Row => row,
        ScaleKind::Group => row * map.groups + word / map.words_per_group,
        ScaleKind::Segments => {
            let mut index = 0usize.runtime();
            #[unroll]
            for i in 0..map.ends.len() {
                index += usize::cast_from(row >= usize::cast_from(*map.ends.index(i)));
            }
            index
        }
    }
}

/// The codes (0..=3) of inputs `4j..4j + 4` of a word, one a byte.
#[cube]
pub(crate) fn code_bytes(word: u32, #[comptime] j: u32) -> i32 {
    let byte = word >> comptime!(8 * j).runtime();
    let nibbles = (byte & 0xF) | ((byte & 0xF0) << 12);
    i32::reinterpret((nibbles | (nibbles << 6)) & 0x0303_0303)
}

/// The codes (0..=3) of inputs `first..first + A` of a word.
#[cube]
pub(crate) fn codes<A: Size>(word: u32, #[comptime] first: usize) -> Vector<i32, A> {
    let mut shifts = Vector::<u32, A>::empty();
    #[unroll]
    for i in 0..A::value() {
        shifts.insert(i, comptime!(2 * (first + i) as u32).runtime());
    }
    Vector::cast_from((Vector::<u32, A>::new(word) >> shifts) & Vector::new(3u32))
}

/// The integer values of inputs `first..first + A` of a word, as f32.
#[cube]
pub(crate) fn values<A: Size>(
    word: u32,
    #[comptime] first: usize,
    #[comptime] code: WeightCode,
) -> Vector<f32, A> {
    let codes = codes::<A>(word, first);
    let multiplier = Vector::<i32, A>::new(comptime!(code.multiplier()).runtime());
    let offset = Vector::<i32, A>::new(comptime!(code.offset()).runtime());
    Vector::cast_from(codes * multiplier - offset)
}

/// `a · b` rounded to f32. The reinterpretation keeps CubeCL's optimiser from contracting the
/// product and a following addition into one fused multiply-add.
#[cube]
pub(crate) fn rounded_product(a: f32, b: f32) -> f32 {
    f32::reinterpret(u32::reinterpret(a * b))
}

/// A NaN. It is computed from `bits`, any value, because WGSL refuses a NaN constant.
#[cube]
pub(crate) fn nan_of(bits: u32) -> f32 {
    f32::reinterpret(bits | 0x7FC0_0000)
}

/// Bits of f32 infinity. As integers, those of `|NaN|` are larger and those of every finite `|x|`
/// smaller.
pub(crate) const INFINITY_BITS: u32 = 0x7F80_0000;

/// Bits of `|x|`, which compare as integers as the magnitudes do. Finds NaN and infinity without a
/// float comparison, which a fast-math compiler may fold.
#[cube]
pub(crate) fn magnitude_bits(x: f32) -> u32 {
    u32::reinterpret(x) & 0x7FFF_FFFF
}
