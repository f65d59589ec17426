//! Device code: reduces two sums of a row together, with one barrier.

use cubecl::prelude::*;

use super::base::RowTeams;

/// Index of this unit's team in the cube, and of the unit in its team.
#[cube]
pub(crate) fn team_of_row(#[comptime] plan: RowTeams) -> (usize, usize) {
    let unit = UNIT_POS as usize;
    (
        unit / comptime!(plan.units()),
        unit % comptime!(plan.units()),
    )
}

/// The sums of `a` and `b` over the team, returned to all of its units. `shared` has
/// `4 · plan.cube_planes()` words. Calls alternate between turns 0 and 1, which use different halves of
/// it, so that one barrier per call suffices.
#[cube]
pub(crate) fn fold_sums(
    a: f32,
    b: f32,
    shared: &mut [f32],
    turn: usize,
    #[comptime] plan: RowTeams,
) -> (f32, f32) {
    let mut a = plane_sum(a);
    let mut b = plane_sum(b);
    if comptime!(plan.planes > 1) {
        let planes = comptime!(plan.planes);
        let unit = UNIT_POS as usize;
        let (plane, lane) = (unit / 32, unit % 32);
        let slot = turn * comptime!(2 * plan.cube_planes());
        if lane == 0 {
            shared[slot + plane] = a;
            shared[slot + comptime!(plan.cube_planes()) + plane] = b;
        }
        sync_cube();
        let at = slot + plane / planes * planes + min(lane, comptime!(planes - 1));
        let real = lane < planes;
        a = plane_sum(select(real, shared[at], 0.0f32));
        b = plane_sum(select(
            real,
            shared[at + comptime!(plan.cube_planes())],
            0.0f32,
        ));
    }
    (a, b)
}
