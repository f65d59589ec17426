//! The checked launch.

use cubecl::prelude::*;

use super::addresses::ENTRIES;
use super::base::{StackPlan, StackScratch, StackShape};
use super::device::{StackExtentsLaunch, stack};
use crate::decoder::rotary::Placement;
use crate::device::{DeviceFacts, address};
use crate::error::KernelError;
use crate::operand::{Buffer, FloatMatrix, KvCache};

fn plan(
    client: &Client,
    shape: &StackShape,
    layers: usize,
    block: Option<usize>,
) -> Option<StackPlan> {
    let plan = StackPlan::new(*shape, block, &DeviceFacts::of(client));
    plan.filter(|_| (1..=StackPlan::MAX_LAYERS).contains(&layers))
}

/// Whether `client`'s device runs stacks of `layers` layers of `shape`: 96 at most.
pub fn runs(client: &Client, shape: &StackShape, layers: usize) -> bool {
    [None, Some(64)]
        .iter()
        .all(|&block| plan(client, shape, layers, block).is_some())
}

/// Runs `layers` layers, whose operands [`record`](super::record) wrote to `table`, on the residual stream `x`
/// `[1, hidden]` of one token. `sum` and `delta` `[1, hidden]` become the stream and what the last layer adds
/// to it, of which the next norm takes the sum. Keys and values go to the caches; `cache` is that of any
/// layer. A cube that has waited for seconds gives up: then `delta` holds NaN.
///
/// # Errors
/// [`KernelError::Plan`] where [`runs`] is false; otherwise if shapes or types differ.
#[allow(clippy::too_many_arguments, reason = "the operands of a launch")]
pub fn launch(
    client: &Client,
    shape: &StackShape,
    layers: usize,
    x: &FloatMatrix,
    table: &Buffer,
    rotary_rows: usize,
    place: Placement<'_>,
    cache: &KvCache,
    eps: f32,
    scale: f32,
    scratch: &StackScratch,
    sum: &FloatMatrix,
    delta: &FloatMatrix,
) -> Result<(), KernelError> {
    let Some(plan) = plan(client, shape, layers, cache.block()) else {
        return Err(KernelError::Plan {
            reason: format!(
                "a stack of {layers} layers of {shape:?} wants an NVIDIA GPU of compute capability 9.0, \
                 1 to {} layers, half precision, features in multiples of 128 and heads of 64 or 128",
                StackPlan::MAX_LAYERS
            ),
        });
    };
    for (operand, matrix) in [("x", x), ("residual sum", sum), ("addend", delta)] {
        matrix.check(client, operand, [1, shape.hidden])?;
        shape.dtype.expect(operand, matrix.dtype())?;
        if !matrix.starts_lines() {
            let reason = format!("{operand} does not start at a multiple of 16 bytes");
            return Err(KernelError::Plan { reason });
        }
    }
    place.check(1)?;
    table.check_exact("address table", layers * 2 * ENTRIES)?;
    scratch.check(shape)?;
    let dim = CubeDim::new_1d(StackPlan::UNITS as u32);
    // SAFETY: `record` checked the operands whose addresses the table holds; the others are checked here, and
    // the kernel stays within them.
    unsafe {
        stack::launch_unchecked(
            client,
            CubeCount::new_1d(plan.cubes as u32),
            dim,
            address(client, &[cache.elements()])?,
            x.lines(1),
            table.arg(),
            place.rows.arg(),
            place.positions.arg(),
            cache.table(place.rows).arg(),
            scratch.handed_on.arg(),
            scratch.begin.arg(),
            sum.lines(1),
            delta.lines(1),
            StackExtentsLaunch::new(
                layers,
                cache.batch(),
                cache.positions(),
                cache.blocks(),
                rotary_rows,
                eps,
                scale,
            ),
            plan,
            shape.dtype.elem(),
        );
    }
    Ok(())
}
