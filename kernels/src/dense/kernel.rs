//! Device code of the dense product.

use cubecl::prelude::*;
use cubecl_cpp::cuda::ptx::tensor_map_address;

use super::base::{
    BLOCK, BLOCK_BYTES, LEFT_BLOCKS, PLAN, RIGHT_BLOCKS, RIGHT_BYTES, RING, SHARED_BYTES,
    STEP_BYTES,
};
use crate::device_code::MmaType;
use crate::device_code::decode::rounded_product;
use crate::device_code::epilogue::store_line;
use crate::device_code::ptx::bulk::{copy_own_tile, copy_tile, prefetch_map};
use crate::device_code::ptx::cluster::leave_cluster;
use crate::device_code::ptx::registers::{REGISTERS, lower_registers, raise_registers};
use crate::device_code::ptx::shared_address;
use crate::product::cuda::wgmma::ring::{
    Ring, advance, await_filled, begin_filling, filled_barrier, init_ring, is_producer,
    release_previous, stage_address,
};
use crate::product::cuda::wgmma::{
    SharedOperand, WarpgroupTile, accumulator, declare_accumulators, descriptor, finish_products,
    output_tile, slice_offset, start_shared,
};

/// Runtime sizes.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub(super) struct DenseExtents {
    /// Rows of the output.
    pub rows: usize,
    /// Columns of the output.
    pub cols: usize,
    /// Steps of 128 bytes of the depth.
    pub steps: usize,
    /// Parts that the depth is divided into; each has its own output matrix of partial sums.
    pub parts: usize,
    /// Steps of a part. The last part may have fewer.
    pub share: usize,
    /// Row stride of the output, in elements.
    pub stride: usize,
    /// Elements from one part of the output to the next.
    pub part_stride: usize,
}

/// Compile-time facts of the product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Form {
    pub left: SharedOperand,
    pub right: SharedOperand,
    /// Whether sums are added to the output's current values.
    pub accumulate: bool,
    pub types: MmaType,
}

impl Form {
    /// Elements of a step, as tensor maps count them: half-precision floats, or words of four int8.
    const fn step(self) -> usize {
        match self.types {
            MmaType::Int8 => STEP_BYTES / 4,
            MmaType::Bf16 | MmaType::F16 => STEP_BYTES / 2,
        }
    }
}

/// Computes all output tiles. Cubes are persistent; tiles of the first part come before those of the
/// second. With scales, a sum is multiplied by the product of its column's and its row's.
#[cube(
    launch_unchecked,
    address_type = "dynamic",
    cluster_dim = CubeDim::new_1d(PLAN.multicast as u32)
)]
#[allow(
    clippy::too_many_arguments,
    reason = "a kernel's signature is its binding list"
)]
pub(super) fn dense<F: Numeric, O: Float, W: Size>(
    left: &TensorMap<F, Tiled>,
    right: &TensorMap<F, Tiled>,
    left_scales: ComptimeOption<&[f32]>,
    right_scales: ComptimeOption<&[f32]>,
    out: &mut [Vector<O, W>],
    extents: DenseExtents,
    #[comptime] form: Form,
    #[define(F)] _operand_type: ElemType,
    #[define(O)] _out_type: ElemType,
) {
    let plan = comptime!(PLAN);
    let types = comptime!(form.types);
    let shared = Shared::<[u32]>::new_aligned_slice(comptime!(SHARED_BYTES / 4), 1024usize);
    let base = (shared_address::<u32>(&shared) + 1023u32) & 0xFFFF_FC00u32;
    let declare = comptime!(declare_accumulators(plan, types));
    gpu_asm!("{declare}");

    let mut ring = init_ring(base, RING);
    let cubes = comptime!(plan.multicast);
    let rank = CUBE_POS % cubes;
    let col_tiles = (extents.cols + comptime!(plan.tokens - 1)) / comptime!(plan.tokens);
    let rows = comptime!(plan.rows() * plan.multicast);
    let row_tiles = (extents.rows + comptime!(rows - 1)) / rows;
    let tiles = col_tiles * row_tiles;
    let count = tiles * extents.parts;
    let mut index = CUBE_POS / cubes;

    if is_producer(RING) {
        lower_registers(comptime!(REGISTERS[1]));
        if UNIT_POS == comptime!(plan.units() as u32) {
            let left = tensor_map_address::<F, Tiled>(left);
            let right = tensor_map_address::<F, Tiled>(right);
            prefetch_map(left);
            prefetch_map(right);
            while index < count {
                let tile = own_tile(index % tiles, col_tiles, row_tiles, rank);
                let mut step = index / tiles * extents.share;
                let end = min(step + extents.share, extents.steps);
                while step < end {
                    fill(&ring, left, right, &tile, step, rank, form);
                    advance(&mut ring, RING);
                    step += 1;
                }
                index += CUBE_COUNT / cubes;
            }
        }
    } else {
        raise_registers(comptime!(REGISTERS[0]));
        let block = UNIT_POS / 128 * comptime!(BLOCK_BYTES as u32);
        while index < count {
            let part = index / tiles;
            let tile = own_tile(index % tiles, col_tiles, row_tiles, rank);
            let first = part * extents.share;
            let end = min(first + extents.share, extents.steps);
            let mut step = first;
            while step < end {
                await_filled(&ring, RING);
                let stage = stage_address(&ring, RING);
                products(stage, block, step == first, form);
                // `products` has waited for this warp's wgmmas of the previous stage.
                release_previous(&ring, step > first, RING);
                advance(&mut ring, RING);
                step += 1;
            }
            finish_products();
            release_previous(&ring, true, RING);
            let start = part * extents.part_stride;
            let whole = tile.token + comptime!(plan.tokens) <= extents.cols
                && tile.row_tile * BLOCK + comptime!(plan.rows()) <= extents.rows;
            // A tile inside of the matrix is stored without a branch per pair of outputs, as
            // branches would serialise the stores.
            if whole {
                write::<O, W>(
                    out,
                    &left_scales,
                    &right_scales,
                    start,
                    &tile,
                    &extents,
                    true,
                    form,
                );
            } else {
                write::<O, W>(
                    out,
                    &left_scales,
                    &right_scales,
                    start,
                    &tile,
                    &extents,
                    false,
                    form,
                );
            }
            index += CUBE_COUNT / cubes;
        }
    }
    leave_cluster();
}

/// Output tile `index` of a part: of the cluster's tile, the rows of this cube.
#[cube]
fn own_tile(index: usize, col_tiles: usize, row_tiles: usize, rank: usize) -> WarpgroupTile {
    let plan = comptime!(PLAN);
    let mut tile = output_tile(index, col_tiles, row_tiles, plan);
    tile.row_tile += rank * comptime!(plan.rows() / BLOCK);
    tile
}

/// Producer: starts the copies of one step: this cube's half of the right operand to both cubes of the
/// cluster, the left operand to this cube. Elements outside of a matrix become zero.
#[cube]
fn fill(
    ring: &Ring,
    left: u64,
    right: u64,
    tile: &WarpgroupTile,
    step: usize,
    rank: usize,
    #[comptime] form: Form,
) {
    begin_filling(ring, RING);
    let (stage, barrier) = (stage_address(ring, RING), filled_barrier(ring, RING));
    let depth = u32::cast_from(step * comptime!(form.step()));
    let share = rank * comptime!(RIGHT_BLOCKS);
    let first = u32::cast_from(tile.token + share * BLOCK);
    let to = stage + u32::cast_from(share) * comptime!(BLOCK_BYTES as u32);
    #[unroll]
    for i in 0..comptime!(RIGHT_BLOCKS as u32) {
        let (at, to) = (
            first + comptime!(BLOCK as u32 * i),
            to + comptime!(BLOCK_BYTES as u32 * i),
        );
        let cubes = comptime!(PLAN.multicast as u32);
        match comptime!(form.right) {
            SharedOperand::DepthInner => copy_tile(to, right, at, depth, barrier, cubes),
            SharedOperand::DepthOuter => copy_tile(to, right, depth, at, barrier, cubes),
        }
    }
    let first = u32::cast_from(tile.row_tile * BLOCK);
    let to = stage + comptime!(RIGHT_BYTES as u32);
    #[unroll]
    for i in 0..comptime!(LEFT_BLOCKS as u32) {
        let (at, to) = (
            first + comptime!(BLOCK as u32 * i),
            to + comptime!(BLOCK_BYTES as u32 * i),
        );
        match comptime!(form.left) {
            SharedOperand::DepthInner => copy_own_tile(to, left, at, depth, barrier),
            SharedOperand::DepthOuter => copy_own_tile(to, left, depth, at, barrier),
        }
    }
}

/// Issues the wgmmas of a stage, and waits for those of the previous stage. `block` is the offset of this
/// warpgroup's left operand.
#[cube]
fn products(stage: u32, block: u32, first: bool, #[comptime] form: Form) {
    let right = descriptor(stage, comptime!(form.right));
    let left = descriptor(
        stage + comptime!(RIGHT_BYTES as u32) + block,
        comptime!(form.left),
    );
    gpu_asm!("wgmma.fence.sync.aligned;");
    #[unroll]
    for slice in 0..comptime!(STEP_BYTES / 32) {
        let more = match comptime!(slice) {
            0 => u32::cast_from(!first),
            _ => 1u32.runtime(),
        };
        start_shared(
            left + comptime!(slice_offset(form.left, slice)),
            right + comptime!(slice_offset(form.right, slice)),
            more,
            comptime!([form.left, form.right]),
            comptime!(form.types),
            PLAN,
        );
    }
    gpu_asm!("wgmma.commit_group.sync.aligned; wgmma.wait_group.sync.aligned 1;");
}

/// Stores the sums of this warpgroup's 64 rows. `whole`: all of them are inside of the matrix.
#[cube]
#[allow(clippy::too_many_arguments, reason = "the place and kind of a store")]
fn write<O: Float, W: Size>(
    out: &mut [Vector<O, W>],
    left_scales: &ComptimeOption<&[f32]>,
    right_scales: &ComptimeOption<&[f32]>,
    start: usize,
    tile: &WarpgroupTile,
    extents: &DenseExtents,
    #[comptime] whole: bool,
    #[comptime] form: Form,
) {
    let plan = comptime!(PLAN);
    let unit = UNIT_POS as usize;
    let (warpgroup, warp, lane) = (unit / 128, (unit / 32) % 4, unit % 32);
    let col = tile.token + 2 * (lane % 4);
    // Counted in lines of the output. If a line is two elements, rows are made of whole lines.
    let width = W::value();
    #[unroll]
    for half in 0..2usize {
        let row = (tile.row_tile + warpgroup) * BLOCK + warp * 16 + lane / 4 + comptime!(8 * half);
        if comptime!(whole).runtime() || row < extents.rows {
            let line = (start + row * extents.stride + col) / width;
            #[unroll]
            for i in 0..comptime!(plan.tokens / 8) {
                let at = col + comptime!(8 * i);
                if comptime!(whole).runtime() || at < extents.cols {
                    let line = line + comptime!(8 * i) / width;
                    let both = comptime!(whole).runtime() || at + 1 < extents.cols;
                    let sum = comptime!(4 * i + 2 * half);
                    let mut first = sum_of(sum, form);
                    let mut second = sum_of(comptime!(sum + 1), form);
                    #[comptime]
                    if let ComptimeOption::Some(right) = right_scales {
                        #[comptime]
                        if let ComptimeOption::Some(left) = left_scales {
                            let next = select(both, at + 1, at);
                            first = rounded_product(first, rounded_product(right[at], left[row]));
                            second =
                                rounded_product(second, rounded_product(right[next], left[row]));
                        }
                    }
                    add_line::<O, W>(out, line, first, second, both, comptime!(form.accumulate));
                }
            }
        }
    }
}

/// A sum of this unit.
#[cube]
fn sum_of(#[comptime] index: usize, #[comptime] form: Form) -> f32 {
    match comptime!(form.types) {
        MmaType::Int8 => f32::cast_from(accumulator::<i32>(index, MmaType::Int8)),
        _ => accumulator::<f32>(index, comptime!(form.types)),
    }
}

/// Stores two adjacent sums, or adds them to the output if `accumulate`.
#[cube]
fn add_line<O: Float, W: Size>(
    out: &mut [Vector<O, W>],
    line: usize,
    first: f32,
    second: f32,
    both: bool,
    #[comptime] accumulate: bool,
) {
    let (mut first, mut second) = (first, second);
    if comptime!(accumulate) {
        let width = W::value();
        if comptime!(width == 2) {
            let old = out[line];
            first += f32::cast_from(old.extract(0usize));
            second += f32::cast_from(old.extract(1usize));
        } else {
            first += f32::cast_from(out[line].extract(0usize));
            second += f32::cast_from(out[select(both, line + 1, line)].extract(0usize));
        }
    }
    store_line::<O, W>(out, line, O::cast_from(first), O::cast_from(second), both);
}
