//! Device code of the affine product: [`gemv`](super::super::gemv) with another decoder.

use cubecl::prelude::*;

use crate::device_code::affine::{UnitCode, unit_weights};
use crate::device_code::decode::nan_of;
use crate::device_code::dot::{load, sum_lanes};
use crate::device_code::extents::Extents;
use crate::product::portable::gemv::GemvBlueprint;
use crate::product::portable::gemv::kernel::{fold, store, unit_outputs};

/// Inputs of a unit, and of half of one, which lies in one group.
const UNIT: usize = 32;
const HALF: usize = 16;

/// The operands of a product except activations and output, and its sizes.
#[derive(CubeType, CubeLaunch)]
pub(super) struct AffineArgs<S: Float, B: Float> {
    /// Codes.
    pub words: &'static [u32],
    /// Kept inputs of a sparse matrix, a word a unit.
    pub mask: ComptimeOption<&'static [u32]>,
    /// `[N, groups]`.
    pub scales: &'static [S],
    /// `[N, groups]`.
    pub zeros: ComptimeOption<&'static [S]>,
    /// A bias per weight row.
    pub bias: ComptimeOption<&'static [B]>,
    /// Runtime sizes; `words` counts those of a row.
    pub extents: Extents,
    /// Units of a row.
    pub units: usize,
    /// Groups of a row.
    pub groups: usize,
    /// Inputs of a group.
    pub span: usize,
    /// How words are read.
    #[cube(comptime)]
    pub code: UnitCode,
    /// The zero point where none are stored.
    #[cube(comptime)]
    pub midpoint: u32,
}

/// `y = x · Wᵀ + bias`: a lane multiplies every `lanes`-th unit of its rows.
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(
    clippy::too_many_arguments,
    reason = "a kernel's signature is its binding list"
)]
pub(super) fn affine<F: Float, S: Float, O: Numeric, B: Float, V: Size, A: Size>(
    x: &[Vector<F, V>],
    args: &AffineArgs<S, B>,
    y: &mut [O],
    #[comptime] plan: GemvBlueprint,
    #[define(F)] _x_type: ElemType,
    #[define(S)] _scale_type: ElemType,
    #[define(O)] _out_type: ElemType,
    #[define(B)] _bias_type: ElemType,
) {
    let (stored, group_scales) = (args.words, args.scales);
    let (kept, points, extents) = (&args.mask, &args.zeros, &args.extents);
    let tile = comptime!(plan.tile);
    let code = comptime!(args.code);
    let per_unit = comptime!(code.words());
    let lanes = A::value();
    let outputs = unit_outputs(extents, plan);
    let mut wide = Array::<Vector<f32, A>>::new(comptime!(tile.len()));
    #[unroll]
    for i in 0..comptime!(tile.len()) {
        wide[i] = Vector::<f32, A>::new(0.0f32);
    }
    let mut unit = outputs.lane;
    while unit < args.units {
        let mut words = Array::<u32>::new(comptime!(tile.rows * per_unit));
        let mut masks = Array::<u32>::new(comptime!(tile.rows));
        #[unroll]
        for r in 0..comptime!(tile.rows) {
            #[unroll]
            for w in 0..per_unit {
                words[comptime!(r * per_unit + w)] =
                    stored[outputs.w_base[r] + unit * per_unit + w];
            }
            masks[r] = 0u32;
            #[comptime]
            if let ComptimeOption::Some(mask) = kept {
                masks[r] = mask[min(outputs.row + r, extents.n - 1) * args.units + unit];
            }
        }
        #[unroll]
        for half in 0..2usize {
            let start = unit * comptime!(UNIT) + comptime!(half * HALF);
            // The second half of the last unit may lie behind the row.
            if start < extents.k {
                let mut scales = Array::<f32>::new(comptime!(tile.rows));
                let mut zeros = Array::<f32>::new(comptime!(tile.rows));
                #[unroll]
                for r in 0..comptime!(tile.rows) {
                    let row = min(outputs.row + r, extents.n - 1);
                    let group = row * args.groups + start / args.span;
                    scales[r] = f32::cast_from(group_scales[group]);
                    zeros[r] = f32::cast_from(comptime!(args.midpoint).runtime());
                    #[comptime]
                    if let ComptimeOption::Some(points) = points {
                        zeros[r] = f32::cast_from(points[group]);
                    }
                }
                #[unroll]
                for chunk in 0..comptime!(HALF / lanes) {
                    let mut inputs = Array::<Vector<f32, A>>::new(comptime!(tile.tokens));
                    #[unroll]
                    for t in 0..comptime!(tile.tokens) {
                        let col = start + comptime!(chunk * lanes);
                        inputs[t] = load::<F, V, A>(x, outputs.x_base[t], col, extents.k);
                    }
                    #[unroll]
                    for r in 0..comptime!(tile.rows) {
                        let weights = unit_weights::<A>(
                            &words,
                            masks[r],
                            scales[r],
                            zeros[r],
                            comptime!(r * per_unit),
                            comptime!(half * HALF + chunk * lanes),
                            code,
                        );
                        #[unroll]
                        for t in 0..comptime!(tile.tokens) {
                            let i = comptime!(r * tile.tokens + t);
                            wide[i] += weights * inputs[t];
                        }
                    }
                }
            }
        }
        unit += comptime!(plan.lanes);
    }
    let mut sums = Array::<f32>::new(comptime!(tile.len()));
    sum_lanes::<A>(&wide, &mut sums, tile);
    fold::<f32>(&mut sums, outputs.lane, plan);
    store::<f32, O, B>(y, &sums, &args.bias, &outputs, extents, plan, false);
}

/// `out[m, c] = x[m, order[c]]`, one unit an element; NaN where `x` has no such column.
#[cube(launch_unchecked, address_type = "dynamic")]
#[allow(
    clippy::too_many_arguments,
    reason = "a kernel's signature is its binding list"
)]
pub(super) fn gather_columns<F: Float>(
    x: &[F],
    order: &[u32],
    out: &mut [F],
    rows: usize,
    cols: usize,
    x_stride: usize,
    #[define(F)] _dtype: ElemType,
) {
    let row = ABSOLUTE_POS / cols;
    if row < rows {
        let column = order[ABSOLUTE_POS % cols];
        let known = usize::cast_from(column) < cols;
        let from = x[row * x_stride + select(known, usize::cast_from(column), 0usize)];
        let value = select(known, f32::cast_from(from), nan_of(column));
        out[ABSOLUTE_POS] = F::cast_from(value);
    }
}
