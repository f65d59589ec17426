//! Checked launch of the weight quantiser.

use cubecl::prelude::*;
use tritburn_formats::{ScaleGranularity, WeightCode};

use super::base::{SumBlueprint, SumProblem};
use super::kernel::{MeanOfLaunch, SegmentsLaunch, block_sums, pack};
use crate::device::{DeviceFacts, address, cubes};
use crate::device_code::decode::scale_map;
use crate::error::KernelError;
use crate::operand::{FloatMatrix, PackedWeights};

/// Quantises `w` `[N, K]` into the words and scales of `out`, which the caller allocated.
///
/// # Errors
/// [`KernelError`] if the shapes differ or the device lacks the element type.
pub fn launch(client: &Client, w: &FloatMatrix, out: &PackedWeights) -> Result<(), KernelError> {
    launch_with(client, w, out, None)
}

/// As [`launch`], with a plan of the caller's choice for the reduction.
///
/// # Errors
/// As [`launch`], and [`KernelError::Plan`].
pub fn launch_with(
    client: &Client,
    w: &FloatMatrix,
    out: &PackedWeights,
    plan: Option<SumBlueprint>,
) -> Result<(), KernelError> {
    let layout = out.layout();
    let (rows, cols) = (layout.out_features(), layout.in_features());
    w.check(client, "w", [rows, cols])?;
    let device = DeviceFacts::of(client);
    let plan = plan.unwrap_or_else(|| SumBlueprint::new(&device));
    plan.validate(&device)?;

    let scales = Reduction {
        client,
        w,
        out,
        plan,
    };
    match layout.scale() {
        ScaleGranularity::Tensor => scales.whole_rows(0, rows, [0, 1])?,
        ScaleGranularity::Segments { rows } => {
            let (mut first, mut index) = (0, 0);
            let together = w.is_contiguous();
            for equal in rows.chunk_by(|a, b| together && a == b) {
                let (rows, count) = (equal[0], equal.len());
                scales.whole_rows(first, rows, [index, count])?;
                first += rows * count;
                index += count;
            }
        }
        ScaleGranularity::Group { size } => scales.within_rows((*size).min(cols))?,
        _ => scales.within_rows(cols)?,
    }
    codes(client, w, out, &device)
}

fn codes(
    client: &Client,
    w: &FloatMatrix,
    out: &PackedWeights,
    device: &DeviceFacts,
) -> Result<(), KernelError> {
    let layout = out.layout();
    let words = layout.word_count();
    // SAFETY: the buffers cover their operands, and the kernel stays within them.
    unsafe {
        pack::launch_unchecked(
            client,
            cubes(client, words, device.cube_units as usize)?,
            device.cube_dim(),
            address(client, &[w.extent(), words])?,
            w.lines(1),
            out.scales().arg(),
            out.words().arg(),
            scale_map(layout),
            layout.out_features(),
            layout.in_features(),
            w.row_stride(),
            layout.words_per_row(),
            layout.code(),
            w.dtype().elem(),
        );
    }
    Ok(())
}

/// The launches that turn a weight matrix into its scales.
struct Reduction<'a> {
    client: &'a Client,
    w: &'a FloatMatrix,
    out: &'a PackedWeights,
    plan: SumBlueprint,
}

impl Reduction<'_> {
    /// Computes `count` scales, from index `scale` on, each of `rows` consecutive rows, the first of which
    /// begin at row `first`. `count` is 1 if rows are pitched.
    fn whole_rows(
        &self,
        first: usize,
        rows: usize,
        [scale, count]: [usize; 2],
    ) -> Result<(), KernelError> {
        let cols = self.w.cols();
        let len = rows * cols;
        // Contiguous rows are treated as one long row, which saves a division per element.
        let level = match self.w.is_contiguous() {
            true => Level {
                problem: SumProblem {
                    segments: count,
                    len,
                    per_row: 1,
                },
                start: first * cols,
                cols: len,
                stride: len,
            },
            false => Level {
                problem: SumProblem {
                    segments: 1,
                    len,
                    per_row: 0,
                },
                start: first * self.w.row_stride(),
                cols,
                stride: self.w.row_stride(),
            },
        };
        self.reduce(level, [len, 1, len], scale)
    }

    /// Computes a scale for every `size` inputs of each row.
    fn within_rows(&self, size: usize) -> Result<(), KernelError> {
        let cols = self.w.cols();
        let per_row = cols.div_ceil(size);
        let level = Level {
            problem: SumProblem {
                segments: self.w.rows() * per_row,
                len: size,
                per_row,
            },
            start: 0,
            cols,
            stride: self.w.row_stride(),
        };
        self.reduce(level, [size, per_row, cols], 0)
    }

    /// Launches levels of the reduction until every segment is one block, whose sum becomes a scale.
    fn reduce(&self, mut level: Level, mean: [usize; 3], scale: usize) -> Result<(), KernelError> {
        let mut input = (self.w.lines(1), self.w.extent(), self.w.dtype().elem());
        loop {
            let SumProblem { segments, .. } = level.problem;
            let sums = segments * level.problem.blocks();
            if level.problem.blocks() == 1 {
                let code = Some(self.out.layout().code());
                let out = self.out.scales().arg();
                return self.level(level, input, (out, scale), mean, code);
            }
            let partials = self.client.empty(sums * size_of::<f32>());
            // SAFETY: allocated with this length on the line above.
            let [out, next] =
                [(); 2].map(|()| unsafe { BufferArg::from_raw_parts(partials.clone(), sums) });
            self.level(level, input, (out, 0), mean, None)?;
            input = (next, sums, f32::elem_type_native());
            level = Level::of_partials(level.problem.partials());
        }
    }

    fn level(
        &self,
        level: Level,
        (x, extent, dtype): (BufferArg, usize, ElemType),
        (out, first_out): (BufferArg, usize),
        [len, per_row, cols]: [usize; 3],
        finish: Option<WeightCode>,
    ) -> Result<(), KernelError> {
        let Level { problem, .. } = level;
        let blocks = problem.segments * problem.blocks();
        // SAFETY: `level` describes segments inside of `x`, and `out` has room for every block.
        unsafe {
            block_sums::launch_unchecked(
                self.client,
                cubes(self.client, blocks, self.plan.blocks_per_cube())?,
                CubeDim::new_1d(self.plan.cube_units as u32),
                address(self.client, &[extent, blocks])?,
                x,
                out,
                SegmentsLaunch::new(
                    problem.segments,
                    problem.len,
                    problem.per_row.max(1),
                    level.start,
                    level.cols,
                    level.stride,
                    problem.per_row == 0,
                ),
                first_out,
                MeanOfLaunch::new(len, per_row, cols),
                finish,
                self.plan,
                dtype,
            );
        }
        Ok(())
    }
}

/// One launch of the reduction: what is summed and where it lies.
#[derive(Clone, Copy)]
struct Level {
    problem: SumProblem,
    /// First element.
    start: usize,
    cols: usize,
    stride: usize,
}

impl Level {
    fn of_partials(problem: SumProblem) -> Self {
        Self {
            problem,
            start: 0,
            cols: problem.len,
            stride: problem.len,
        }
    }
}
