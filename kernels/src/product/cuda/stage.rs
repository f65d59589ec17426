//! Stages of the GEMMs in which every unit copies: their layout in shared memory, and the copies.

use cubecl::prelude::*;

use crate::device_code::ptx::{
    copy_async, copy_async_commit, copy_async_wait, load_global, store_line,
};
use crate::prepack::{FragmentLayout, TILE_COLS, TILE_ROWS};
use crate::product::MatmulProblem;

/// Weight rows of a strip: the rows of a fragment.
pub(super) const STRIP_ROWS: usize = 16;
/// Bytes of a strip: 16 rows × 128 columns of 2 bits.
pub(super) const STRIP_BYTES: usize = STRIP_ROWS * TILE_COLS / 4;
/// Bytes of a row of activations in shared memory.
const LINE_BYTES: usize = 128;

/// Runtime sizes.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub(super) struct TileExtents {
    /// Tokens.
    pub m: usize,
    /// Weight rows.
    pub n: usize,
    /// Tiles of 128 columns.
    pub col_tiles: usize,
    /// Tiles of 64 rows.
    pub row_tiles: usize,
    /// Row stride of x, in bytes.
    pub x_stride: usize,
    /// Bytes of a token of x that may be read.
    pub x_bytes: usize,
    /// Row stride of y, in elements.
    pub y_stride: usize,
}

/// The extents of `problem` with weights of `fragments`, for activations of `x_bytes` bytes a token and a
/// row stride of `x_stride` bytes.
pub(super) fn tile_extents(
    problem: &MatmulProblem,
    fragments: &FragmentLayout,
    x_stride: usize,
    x_bytes: usize,
    y_stride: usize,
) -> TileExtentsLaunch {
    TileExtentsLaunch::new(
        problem.m,
        problem.n,
        fragments.col_tiles(),
        fragments.row_tiles(),
        x_stride,
        x_bytes,
        y_stride,
    )
}

/// The layout of a stage: the activations of one column tile, a row of 128 bytes per token (half types
/// have two blocks of such rows), then the packed words of every strip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct StageShape {
    /// Units that copy.
    pub units: usize,
    /// Tokens of the cube.
    pub tokens: usize,
    /// Strips of 16 weight rows of the cube.
    pub strips: usize,
    /// Bytes of an activation.
    pub element: usize,
    /// How rows avoid bank conflicts.
    pub rows: RowSpacing,
    /// How bytes are copied.
    pub copies: Copies,
}

/// How a unit copies 16 bytes from global to shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Copies {
    /// `cp.async`: compute capability 8.0 and up.
    Asynchronous,
    /// A load and a store, on any device. A line of less than 16 valid bytes is filled with zeros; int8
    /// activations and packed words have no such lines.
    Synchronous,
}

/// Starts the copy of 16 bytes to `shared`; bytes from `valid` on are zero.
#[cube]
fn copy_line(shared: u32, global: u64, valid: u32, #[comptime] copies: Copies) {
    if comptime!(copies == Copies::Asynchronous) {
        copy_async(shared, global, valid);
    } else {
        let mut line = Vector::<u32, Const<4>>::new(0u32);
        if valid == 16 {
            line = load_global(global);
        }
        store_line(
            shared,
            line.extract(0usize),
            line.extract(1usize),
            line.extract(2usize),
            line.extract(3usize),
        );
    }
}

/// Closes a group of copies, which [`await_stages`] counts.
#[cube]
pub(super) fn commit_stage(#[comptime] copies: Copies) {
    if comptime!(copies == Copies::Asynchronous) {
        copy_async_commit();
    }
}

/// Waits until at most `pending` groups of copies of this unit are incomplete.
#[cube]
pub(super) fn await_stages(#[comptime] pending: usize, #[comptime] copies: Copies) {
    if comptime!(copies == Copies::Asynchronous) {
        copy_async_wait(pending);
    }
}

/// How rows of shared memory avoid bank conflicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum RowSpacing {
    /// The 16-byte line `l` of a row is stored at `l xor (row mod 8)`.
    Swizzled,
    /// Rows are padded by 16 bytes, for WMMA, which can only read rows of a constant stride.
    Padded,
}

impl RowSpacing {
    /// Bytes from row to row.
    pub const fn pitch(self) -> usize {
        match self {
            Self::Swizzled => LINE_BYTES,
            Self::Padded => LINE_BYTES + 16,
        }
    }
}

impl StageShape {
    /// Bytes of the activations.
    pub const fn x_bytes(&self) -> usize {
        self.tokens * self.element * self.rows.pitch()
    }

    /// Bytes of a stage.
    pub const fn bytes(&self) -> usize {
        self.x_bytes() + self.strips * STRIP_BYTES
    }
}

/// An output tile of a cube.
#[derive(CubeType, Clone, Copy)]
pub(super) struct OutputTile {
    /// First weight row, in strips of 16.
    pub strip: usize,
    /// First token.
    pub token: usize,
}

/// Output tile `index` of `tiles_m · tiles_n`. Tiles are numbered in groups of up to `group` token
/// tiles that advance together along the weight rows, so that concurrent cubes share both operands
/// in L2.
#[cube]
pub(super) fn output_tile(
    index: usize,
    tiles_m: usize,
    tiles_n: usize,
    #[comptime] group: usize,
    #[comptime] shape: StageShape,
) -> OutputTile {
    let per_group = tiles_n * group;
    let first = (index / per_group) * group;
    let within = index % per_group;
    let width = min(group.runtime(), tiles_m - first);
    OutputTile {
        strip: (within / width) * comptime!(shape.strips),
        token: (first + within % width) * comptime!(shape.tokens),
    }
}

/// Starts copying column tile `column` to the stage at address `stage`. Activations past K and M, and
/// words past the last row tile, become zeros.
#[cube]
pub(super) fn copy_stage(
    stage: u32,
    x_base: u64,
    w_base: u64,
    tile: &OutputTile,
    column: usize,
    extents: &TileExtents,
    #[comptime] shape: StageShape,
) {
    let unit = UNIT_POS as usize;
    let line = unit % 8;
    let rows_per_pass = comptime!(shape.units / 8);
    #[unroll]
    for part in 0..comptime!(shape.element) {
        let offset = (column * comptime!(shape.element) + part) * 128 + line * 16;
        let left = select(offset < extents.x_bytes, extents.x_bytes - offset, 0usize);
        #[unroll]
        for pass in 0..comptime!(shape.tokens.div_ceil(rows_per_pass)) {
            let row = unit / 8 + comptime!(pass * rows_per_pass);
            // In the last pass some units may have no row.
            if comptime!((pass + 1) * rows_per_pass <= shape.tokens).runtime()
                || row < comptime!(shape.tokens)
            {
                let token = tile.token + row;
                let inside = token < extents.m && left > 0;
                let valid = select(inside, u32::cast_from(min(left, 16usize)), 0u32);
                let from = select(inside, token * extents.x_stride + offset, 0usize);
                let at = match comptime!(shape.rows) {
                    RowSpacing::Swizzled => line ^ (row % 8),
                    RowSpacing::Padded => line,
                };
                let row = row + comptime!(part * shape.tokens);
                let to = u32::cast_from(row * comptime!(shape.rows.pitch()) + at * 16);
                copy_line(
                    stage + to,
                    x_base + u64::cast_from(from),
                    valid,
                    comptime!(shape.copies),
                );
            }
        }
    }
    let words = stage + comptime!(shape.x_bytes() as u32);
    let lines = comptime!(shape.strips * 32);
    #[unroll]
    for pass in 0..comptime!(lines.div_ceil(shape.units)) {
        let line = unit + comptime!(pass * shape.units);
        if comptime!((pass + 1) * shape.units <= lines).runtime() || line < lines {
            let strip = tile.strip + line / 32;
            let row_tile = strip / comptime!(TILE_ROWS / STRIP_ROWS);
            let inside = row_tile < extents.row_tiles;
            let valid = select(inside, 16u32, 0u32);
            let within =
                (strip % comptime!(TILE_ROWS / STRIP_ROWS)) * STRIP_BYTES + (line % 32) * 16;
            let start =
                (row_tile * extents.col_tiles + column) * comptime!(TILE_ROWS * TILE_COLS / 4);
            let from = select(inside, start + within, 0usize);
            copy_line(
                words + u32::cast_from(line) * 16,
                w_base + u64::cast_from(from),
                valid,
                comptime!(shape.copies),
            );
        }
    }
}
