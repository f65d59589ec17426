//! The mean loss.

use cubecl::prelude::*;

use crate::device::{DeviceFacts, address};
use crate::device_code::team::{Team, team_place, team_sum};
use crate::error::KernelError;
use crate::operand::{Buffer, FloatType, FloatVector};

/// `mean = Σ losses / Σ weights` and `reciprocal = 1 / Σ weights`; all are f32, both results `[1]`. If
/// all weights are zero the reciprocal is finite, so that the mean is zero. Sums are f32 and added in
/// a fixed order.
///
/// # Errors
/// [`KernelError`] if lengths or types differ.
pub fn mean(
    client: &Client,
    losses: &FloatVector,
    weights: &FloatVector,
    mean: &Buffer,
    reciprocal: &Buffer,
) -> Result<(), KernelError> {
    for (operand, vector) in [("losses", losses), ("token weights", weights)] {
        vector.check(client, operand, losses.len())?;
        FloatType::F32.expect(operand, vector.dtype())?;
    }
    mean.check_exact("mean loss", 1)?;
    reciprocal.check_exact("reciprocal of the weights", 1)?;
    let team = Team::new(client, &DeviceFacts::of(client));
    // SAFETY: the buffers cover their operands, and the kernel stays within them.
    unsafe {
        mean_of::launch_unchecked(
            client,
            CubeCount::new_single(),
            CubeDim::new_1d(team.units as u32),
            address(client, &[losses.len()])?,
            losses.arg(),
            weights.arg(),
            mean.arg(),
            reciprocal.arg(),
            losses.len(),
            team,
        );
    }
    Ok(())
}

/// Run by one team, each of whose units adds every `lanes`-th element.
#[cube(launch_unchecked, address_type = "dynamic")]
fn mean_of(
    losses: &[f32],
    weights: &[f32],
    mean: &mut [f32],
    reciprocal: &mut [f32],
    len: usize,
    #[comptime] team: Team,
) {
    let (place, lane) = team_place(team);
    if place == 0 {
        let mut shared = Shared::<[u32]>::new_slice(comptime!(team.shared_words(2)));
        let mut loss = 0.0f32;
        let mut weight = 0.0f32;
        let mut at = lane;
        while at < len {
            loss += losses[at];
            weight += weights[at];
            at += comptime!(team.lanes());
        }
        let loss = team_sum(loss, &mut shared, 0usize, team);
        let weight = team_sum(weight, &mut shared, 1usize, team);
        if lane == 0 {
            let one = 1.0f32 / max(weight, comptime!(f32::MIN_POSITIVE).runtime());
            reciprocal[0] = one;
            mean[0] = loss * one;
        }
    }
}
