//! Checked launches of the row kernels.

use cubecl::prelude::*;

use super::base::{LinePlan, Residual, RowOutput, Source};
use super::lines::{RowExtentsLaunch, norm_lines};
use super::strided::norm_strided;
use crate::device::{DeviceFacts, address, cubes};
use crate::device_code::team::{Team, planes};
use crate::error::KernelError;
use crate::operand::{FloatMatrix, FloatVector, QuantizedActivations};

/// `out = gamma · rms_norm(x + residual)` for `x` `[T, K]` and `gamma` `[K]` of any float type;
/// every other float operand has the type of `x`. T = 0 launches nothing.
///
/// As int8, a row with NaN or infinity becomes zeros with a NaN scale.
///
/// # Errors
/// [`KernelError`] if shapes or types differ or the device lacks one.
pub fn launch(
    client: &Client,
    x: &FloatMatrix,
    residual: Residual<'_>,
    gamma: &FloatVector,
    eps: f32,
    out: RowOutput<'_>,
) -> Result<(), KernelError> {
    let shape = [x.rows(), x.cols()];
    let same = |operand, matrix: &FloatMatrix| {
        matrix.check(client, operand, shape)?;
        x.dtype().expect(operand, matrix.dtype())
    };
    let (source, add, sum) = match residual {
        Residual::None => (Source::Plain, None, None),
        Residual::Add { add, sum } => (Source::Add, Some(add), Some(sum)),
        Residual::InPlace(sum) => (Source::InPlace, None, Some(sum)),
    };
    add.map_or(Ok(()), |add| same("residual", add))?;
    sum.map_or(Ok(()), |sum| same("residual sum", sum))?;
    launch_rows(
        client,
        &Rows {
            x,
            cols: x.cols(),
            source,
            add,
            sum,
            gamma,
            eps,
            out,
        },
    )
}

/// The operands of the row kernels; the residual has been checked.
pub(crate) struct Rows<'a> {
    pub x: &'a FloatMatrix,
    /// Values of a normalised row: for the gated unit, half of x's columns.
    pub cols: usize,
    pub source: Source,
    pub add: Option<&'a FloatMatrix>,
    pub sum: Option<&'a FloatMatrix>,
    pub gamma: &'a FloatVector,
    pub eps: f32,
    pub out: RowOutput<'a>,
}

impl Rows<'_> {
    fn check(&self, client: &Client) -> Result<(), KernelError> {
        let shape = [self.x.rows(), self.cols];
        self.x.dtype().check(client, "x")?;
        self.gamma.check(client, "gamma", self.cols)?;
        match self.out {
            RowOutput::Float(y) => {
                y.check(client, "y", shape)?;
                self.x.dtype().expect("y", y.dtype())
            }
            RowOutput::Int8(out) if [out.rows(), out.cols()] != shape => Err(KernelError::Shape {
                operand: "activations",
                expected: shape,
                found: [out.rows(), out.cols()],
            }),
            RowOutput::Int8(_) => Ok(()),
        }
    }

    fn floats(&self) -> impl Iterator<Item = &FloatMatrix> {
        let y = match self.out {
            RowOutput::Float(y) => Some(y),
            RowOutput::Int8(_) => None,
        };
        [Some(self.x), self.add, self.sum, y].into_iter().flatten()
    }

    /// Elements of a line that all operands allow; 1 if one of them is not made of whole lines.
    fn width(&self) -> usize {
        let widths = self.floats().map(FloatMatrix::line_width);
        let width = widths.min().unwrap_or(1);
        // A line must not reach past the last word of 16 codes of a row.
        match self.cols.is_multiple_of(16) && self.gamma.line_width(width) > 1 {
            true => width,
            false => 1,
        }
    }

    fn line_plan(&self, client: &Client, device: &DeviceFacts) -> Option<(usize, LinePlan)> {
        let width = self.width();
        let possible = device.lockstep && planes(client) && width > 1;
        let plan = LinePlan::new(self.x.rows(), self.cols / width, width, device);
        plan.filter(|_| possible).map(|plan| (width, plan))
    }

    fn extents(&self, width: usize) -> RowExtentsLaunch {
        let stride = |matrix: Option<&FloatMatrix>| matrix.map_or(0, |m| m.row_stride() / width);
        let y = match self.out {
            RowOutput::Float(y) => y.row_stride() / width,
            RowOutput::Int8(_) => 0,
        };
        RowExtentsLaunch::new(
            self.x.rows(),
            self.cols / width,
            self.x.row_stride() / width,
            stride(self.add),
            stride(self.sum),
            y,
            self.eps,
        )
    }
}

/// Runs the line kernel if rows fit registers, else the strided one.
pub(crate) fn launch_rows(client: &Client, rows: &Rows<'_>) -> Result<(), KernelError> {
    rows.check(client)?;
    let count = rows.x.rows();
    if count == 0 {
        return Ok(());
    }
    let device = DeviceFacts::of(client);
    let words = QuantizedActivations::words_per_row(rows.cols);
    let extents = rows.floats().map(FloatMatrix::extent).max().unwrap_or(0);
    let address = address(client, &[extents, count * words])?;
    let plan = rows.line_plan(client, &device);
    let width = plan.map_or(1, |(width, _)| width);
    let lines = |matrix: Option<&FloatMatrix>| matrix.map(|matrix| matrix.lines(width));
    let (y, codes, scales) = match rows.out {
        RowOutput::Float(y) => (Some(y), None, None),
        RowOutput::Int8(out) => (None, Some(out.codes()), Some(out.scales())),
    };
    // SAFETY: the buffers cover the operands' shapes, rows are whole lines where lines are wider than
    // one element, and the kernels access nothing outside of them.
    unsafe {
        match plan {
            Some((_, plan)) => {
                let gamma_width = rows.gamma.line_width(width);
                norm_lines::launch_unchecked(
                    client,
                    cubes(client, count, 1)?,
                    CubeDim::new_1d(plan.team.units as u32),
                    address,
                    width,
                    gamma_width,
                    width / 4,
                    rows.x.lines(width),
                    lines(rows.add).into(),
                    lines(rows.sum).into(),
                    rows.gamma.lines(gamma_width),
                    codes.map(|codes| codes.lines(width / 4)).into(),
                    scales.map(|scales| scales.arg()).into(),
                    lines(y).into(),
                    rows.extents(width),
                    rows.source,
                    plan,
                    rows.x.dtype().elem(),
                    rows.gamma.dtype().elem(),
                );
            }
            None => {
                let team = Team::new(client, &device);
                norm_strided::launch_unchecked(
                    client,
                    cubes(client, count, team.rows())?,
                    CubeDim::new_1d(team.units as u32),
                    address,
                    rows.x.lines(1),
                    lines(rows.add).into(),
                    lines(rows.sum).into(),
                    rows.gamma.arg(),
                    codes.map(|codes| codes.arg()).into(),
                    scales.map(|scales| scales.arg()).into(),
                    lines(y).into(),
                    rows.extents(1),
                    words,
                    rows.source,
                    team,
                    rows.x.dtype().elem(),
                    rows.gamma.dtype().elem(),
                );
            }
        }
    }
    Ok(())
}
