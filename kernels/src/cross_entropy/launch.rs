//! Checked launch of the loss.

use cubecl::prelude::*;

use super::base::CrossEntropy;
use super::fold::TermsLaunch;
use super::lines::losses_of_lines;
use super::strided::losses_of_rows;
use crate::device::{DeviceFacts, address, cubes};
use crate::device_code::team::{Fold, Team};
use crate::error::KernelError;
use crate::operand::{Buffer, FloatMatrix, FloatType, FloatVector};
use crate::rows::RowTeams;

/// Most values of a row that a unit holds in registers.
const MOST_VALUES: usize = 32;

/// The loss of each row of `logits` `[T, V]`, of any float type, for `targets` u32 `[T]`.
///
/// Writes `losses` f32 `[T]`, weighted; `weights` f32 `[T]`, the weight of each token (the mean loss is
/// the sum of losses over the sum of weights); and, if given, `d_logits` `[T, V]` in the type of
/// `logits`, which may be `logits` itself. T = 0 launches nothing.
///
/// An ignored token has loss, weight and gradient 0. A target that is neither ignored nor a column
/// gives a loss and a gradient of NaN, and so does a row with NaN or +inf. A logit of -inf has
/// probability 0.
///
/// # Errors
/// [`KernelError`] if shapes or types differ, or the device lacks one.
pub fn launch(
    client: &Client,
    logits: &FloatMatrix,
    targets: &Buffer,
    terms: CrossEntropy<'_>,
    losses: &FloatVector,
    weights: &FloatVector,
    d_logits: Option<&FloatMatrix>,
) -> Result<(), KernelError> {
    let (rows, cols) = (logits.rows(), logits.cols());
    check(client, logits, targets, terms, [losses, weights], d_logits)?;
    if rows == 0 {
        return Ok(());
    }
    let device = DeviceFacts::of(client);
    let width = d_logits.map_or(logits.line_width(), |d| {
        d.line_width().min(logits.line_width())
    });
    let extent = d_logits.map_or(0, FloatMatrix::extent);
    let address = address(client, &[logits.extent(), extent])?;
    let gradients = d_logits.map(|d| {
        // `logits` is buffer argument 0, which this output may alias.
        d.output_lines(logits, 0, width)
    });
    let label_weights = terms.label_weights.map(FloatVector::arg);
    let sizes = TermsLaunch::new(
        rows,
        cols,
        cols / width,
        logits.row_stride() / width,
        d_logits.map_or(0, |d| d.row_stride() / width),
        terms.ignore.unwrap_or(0),
        u32::from(terms.ignore.is_some()),
        terms.z_loss,
    );
    let most = MOST_VALUES / width;
    let plan = RowTeams::new(client, &device, cols / width, most).filter(|_| width > 1);
    // SAFETY: the buffers cover the operands' shapes, rows are whole lines, and the kernels access
    // nothing outside of them.
    unsafe {
        match plan {
            Some(plan) => losses_of_lines::launch_unchecked(
                client,
                cubes(client, rows, plan.teams)?,
                plan.cube_dim(),
                address,
                width,
                logits.lines(width),
                targets.arg(),
                label_weights.into(),
                losses.arg(),
                weights.arg(),
                gradients.into(),
                sizes,
                plan,
                logits.dtype().elem(),
            ),
            None => {
                let team = team_for(client, &device, cols / width);
                losses_of_rows::launch_unchecked(
                    client,
                    cubes(client, rows, team.rows())?,
                    CubeDim::new_1d(team.units as u32),
                    address,
                    width,
                    logits.lines(width),
                    targets.arg(),
                    label_weights.into(),
                    losses.arg(),
                    weights.arg(),
                    gradients.into(),
                    sizes,
                    team,
                    logits.dtype().elem(),
                );
            }
        }
    }
    Ok(())
}

/// The team for a row. A long row gets as many units as a cube may have: the sooner the second pass
/// over a row begins, the more of the row is still in the cache.
fn team_for(client: &Client, device: &DeviceFacts, lines: usize) -> Team {
    let team = Team::new(client, device);
    let most = device.max_units.min(1024) as usize;
    match team.fold {
        Fold::Planes if lines >= 4 * most && most.is_multiple_of(32) => Team {
            units: most,
            ..team
        },
        _ => team,
    }
}

fn check(
    client: &Client,
    logits: &FloatMatrix,
    targets: &Buffer,
    terms: CrossEntropy<'_>,
    [losses, weights]: [&FloatVector; 2],
    d_logits: Option<&FloatMatrix>,
) -> Result<(), KernelError> {
    let (rows, cols) = (logits.rows(), logits.cols());
    logits.check(client, "logits", [rows, cols])?;
    targets.check_exact("targets", rows)?;
    let vector = |operand, vector: &FloatVector, len| {
        vector.check(client, operand, len)?;
        FloatType::F32.expect(operand, vector.dtype())
    };
    vector("losses", losses, rows)?;
    vector("token weights", weights, rows)?;
    if let Some(weights) = terms.label_weights {
        vector("label weights", weights, cols)?;
    }
    if let Some(matrix) = d_logits {
        matrix.check(client, "gradient of logits", [rows, cols])?;
        logits
            .dtype()
            .expect("gradient of logits", matrix.dtype())?;
    }
    Ok(())
}
