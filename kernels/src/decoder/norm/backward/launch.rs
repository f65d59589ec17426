//! Checked launches of the gradients.

use cubecl::prelude::*;

use super::lines::{GradientExtentsLaunch, gradient_lines};
use super::strided::{gamma_partials, gradient_strided};
use crate::decoder::norm::Source;
use crate::device::{DeviceFacts, address, cubes};
use crate::device_code::team::Team;
use crate::error::KernelError;
use crate::operand::{Buffer, FloatMatrix, FloatType, FloatVector};
use crate::rows::{RowTeams, column_sum};

/// Gradients of `y = gamma · rms_norm(x)` for `dy` `[T, K]`, from `x` `[T, K]` and `gamma` `[K]` of
/// any float type: `dx` `[T, K]` and `dgamma` f32 `[K]`. With `add`, `dx` is `add` plus the gradient of
/// `x`: the gradient that reaches `x` by the residual connection. Matrices have the type of `x`. `dx`
/// must not alias the inputs. T = 0 writes zeros to `dgamma`.
///
/// # Errors
/// [`KernelError`] if shapes or types differ or the device lacks one.
#[allow(clippy::too_many_arguments, reason = "operands of one operation")]
pub fn backward(
    client: &Client,
    x: &FloatMatrix,
    gamma: &FloatVector,
    eps: f32,
    dy: &FloatMatrix,
    add: Option<&FloatMatrix>,
    dx: &FloatMatrix,
    dgamma: &FloatVector,
) -> Result<(), KernelError> {
    launch_gradients(
        client,
        &RowGradients {
            x,
            cols: x.cols(),
            source: Source::Plain,
            gamma,
            eps,
            dy,
            add,
            dx,
            dgamma,
        },
    )
}

/// Operands of the backward pass of the norm, and of the gated unit with a norm.
pub(crate) struct RowGradients<'a> {
    pub x: &'a FloatMatrix,
    /// Values of a normalised row: for the gated unit, half of x's columns.
    pub cols: usize,
    pub source: Source,
    pub gamma: &'a FloatVector,
    pub eps: f32,
    pub dy: &'a FloatMatrix,
    pub add: Option<&'a FloatMatrix>,
    pub dx: &'a FloatMatrix,
    pub dgamma: &'a FloatVector,
}

impl RowGradients<'_> {
    /// Most values of a row that a unit holds in registers, next to as many of gamma and of gamma's
    /// gradient.
    const MOST_VALUES: usize = 24;
    /// Cubes per multiprocessor: two cubes of 256 units with some 128 registers each fit at once. A third
    /// would start after them and run alone.
    const PER_PROCESSOR: usize = 2;
    /// Rows per partial sum in the strided kernels.
    const CHUNK: usize = 64;

    fn check(&self, client: &Client) -> Result<(), KernelError> {
        let rows = self.x.rows();
        self.x.dtype().check(client, "x")?;
        self.gamma.check(client, "gamma", self.cols)?;
        self.dgamma.check(client, "gradient of gamma", self.cols)?;
        FloatType::F32.expect("gradient of gamma", self.dgamma.dtype())?;
        let same = |operand, matrix: &FloatMatrix, cols| {
            matrix.check(client, operand, [rows, cols])?;
            self.x.dtype().expect(operand, matrix.dtype())
        };
        same("gradient of y", self.dy, self.cols)?;
        same("gradient of x", self.dx, self.x.cols())?;
        self.add
            .map_or(Ok(()), |add| same("joining gradient", add, self.cols))
    }

    fn floats(&self) -> impl Iterator<Item = &FloatMatrix> {
        [Some(self.x), Some(self.dy), self.add, Some(self.dx)]
            .into_iter()
            .flatten()
    }

    /// Elements of a line that all operands allow; 1 if one of them is not made of whole lines.
    fn width(&self) -> usize {
        let width = self.floats().map(FloatMatrix::line_width).min();
        let width = width.unwrap_or(1);
        match self.cols.is_multiple_of(width) && self.gamma.line_width(width) > 1 {
            true => width,
            false => 1,
        }
    }

    fn extents(&self, width: usize) -> GradientExtentsLaunch {
        GradientExtentsLaunch::new(
            self.x.rows(),
            self.cols / width,
            self.x.row_stride() / width,
            self.dy.row_stride() / width,
            self.add.map_or(0, |add| add.row_stride() / width),
            self.dx.row_stride() / width,
            self.eps,
        )
    }

    fn address(&self, client: &Client, partials: usize) -> Result<AddressType, KernelError> {
        let extents = self.floats().map(FloatMatrix::extent).max().unwrap_or(0);
        address(client, &[extents, partials * self.cols])
    }

    /// Allocates partial sums of gamma's gradient, f32 `[rows, K]`.
    fn partials(&self, client: &Client, rows: usize) -> Buffer {
        let len = rows * self.cols;
        Buffer::new(client.empty(len.max(1) * size_of::<f32>()), len)
    }

    fn lines(&self, client: &Client, width: usize, plan: RowTeams) -> Result<Buffer, KernelError> {
        let count = plan.persistent(client, self.x.rows(), Self::PER_PROCESSOR);
        let partials = self.partials(client, count);
        let (gamma_width, partial_width) = (self.gamma.line_width(width), width.min(4));
        // SAFETY: the buffers cover the operands' shapes, rows are whole lines, and the kernel
        // accesses nothing outside of them.
        unsafe {
            gradient_lines::launch_unchecked(
                client,
                CubeCount::new_1d(count as u32),
                plan.cube_dim(),
                self.address(client, count)?,
                width,
                gamma_width,
                partial_width,
                self.x.lines(width),
                self.dy.lines(width),
                self.add.map(|add| add.lines(width)).into(),
                self.gamma.lines(gamma_width),
                self.dx.lines(width),
                partials.lines(partial_width),
                self.extents(width),
                count * plan.teams,
                self.source,
                plan,
                self.x.dtype().elem(),
                self.gamma.dtype().elem(),
            );
        }
        Ok(partials)
    }

    fn strided(&self, client: &Client, device: &DeviceFacts) -> Result<Buffer, KernelError> {
        let rows = self.x.rows();
        let team = Team::new(client, device);
        let scales = Buffer::new(client.empty(rows * size_of::<f32>()), rows);
        let chunks = rows.div_ceil(Self::CHUNK);
        let partials = self.partials(client, chunks);
        let address = self.address(client, chunks)?;
        // SAFETY: the buffers cover their operands, and the kernels stay within them.
        unsafe {
            gradient_strided::launch_unchecked(
                client,
                cubes(client, rows, team.rows())?,
                CubeDim::new_1d(team.units as u32),
                address,
                self.x.lines(1),
                self.dy.lines(1),
                self.add.map(|add| add.lines(1)).into(),
                self.gamma.arg(),
                self.dx.lines(1),
                scales.arg(),
                self.extents(1),
                self.source,
                team,
                self.x.dtype().elem(),
                self.gamma.dtype().elem(),
            );
            gamma_partials::launch_unchecked(
                client,
                cubes(client, chunks * self.cols, device.cube_units as usize)?,
                device.cube_dim(),
                address,
                self.x.lines(1),
                self.dy.lines(1),
                scales.arg(),
                partials.arg(),
                self.extents(1),
                Self::CHUNK,
                self.source,
                self.x.dtype().elem(),
            );
        }
        Ok(partials)
    }
}

/// Runs the line kernel if rows fit registers, else the strided ones.
pub(crate) fn launch_gradients(
    client: &Client,
    rows: &RowGradients<'_>,
) -> Result<(), KernelError> {
    rows.check(client)?;
    let device = DeviceFacts::of(client);
    let width = rows.width();
    let most = RowGradients::MOST_VALUES / width;
    let plan = RowTeams::new(client, &device, rows.cols / width, most).filter(|_| width > 1);
    let partials = match plan {
        _ if rows.x.rows() == 0 => rows.partials(client, 0),
        Some(plan) => rows.lines(client, width, plan)?,
        None => rows.strided(client, &device)?,
    };
    column_sum(client, &partials, rows.dgamma)
}
