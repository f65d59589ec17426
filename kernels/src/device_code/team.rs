//! Teams: the units that reduce one row together.

use cubecl::ir::features::Plane;
use cubecl::prelude::*;

use crate::device::{DeviceFacts, LANES};

/// How the units of a cube reduce rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Fold {
    /// A cube has one row, reduced by plane shuffles (planes of 32) and then across planes.
    Planes,
    /// A cube has one row, reduced by a tree in shared memory; units are a power of two.
    Tree,
    /// Every unit reduces a row by itself.
    Alone,
}

/// The units of a cube.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Team {
    /// Units of a cube: whole planes where planes fold.
    pub units: usize,
    /// How they reduce.
    pub fold: Fold,
}

impl Team {
    /// A team for rows of any length on `device`.
    pub fn new(client: &Client, device: &DeviceFacts) -> Self {
        let units = device.cube_units as usize;
        let fold = match (device.lockstep, planes(client)) {
            (false, _) => Fold::Alone,
            (true, true) if units.is_multiple_of(LANES as usize) => Fold::Planes,
            (true, _) => Fold::Tree,
        };
        Self { units, fold }
    }

    /// Units of a row.
    pub const fn lanes(self) -> usize {
        match self.fold {
            Fold::Alone => 1,
            _ => self.units,
        }
    }

    /// Rows of a cube.
    pub const fn rows(self) -> usize {
        self.units / self.lanes()
    }

    /// Words of shared memory that `folds` reductions need.
    pub const fn shared_words(self, folds: usize) -> usize {
        match self.fold {
            Fold::Planes => folds * self.units / LANES as usize,
            Fold::Tree => self.units,
            Fold::Alone => 1,
        }
    }
}

/// Whether planes have 32 units and support reductions.
pub(crate) fn planes(client: &Client) -> bool {
    let hardware = &client.properties().hardware;
    client.features().plane.contains(Plane::Ops)
        && (hardware.plane_size_min, hardware.plane_size_max) == (LANES, LANES)
}

/// Row and lane of this unit. A team's row is its cube's position, so that compilers that require
/// uniform control flow around barriers can prove it.
#[cube]
pub(crate) fn team_place(#[comptime] team: Team) -> (usize, usize) {
    match comptime!(team.fold) {
        Fold::Alone => (ABSOLUTE_POS, 0usize.runtime()),
        _ => (CUBE_POS, UNIT_POS as usize),
    }
}

/// The sum over the team, returned to all of its units. Each reduction of a kernel uses a `slot` of
/// its own, so that one barrier per reduction suffices.
#[cube]
pub(crate) fn team_sum(
    value: f32,
    shared: &mut [u32],
    #[comptime] slot: usize,
    #[comptime] team: Team,
) -> f32 {
    let unit = UNIT_POS as usize;
    match comptime!(team.fold) {
        Fold::Alone => value,
        Fold::Planes => {
            let planes = comptime!(team.units / 32);
            let mut sum = plane_sum(value);
            if comptime!(planes > 1) {
                let lane = unit % 32;
                if lane == 0 {
                    shared[comptime!(slot * planes) + unit / 32] = u32::reinterpret(sum);
                }
                sync_cube();
                let part = shared[comptime!(slot * planes) + min(lane, comptime!(planes - 1))];
                sum = plane_sum(select(lane < planes, f32::reinterpret(part), 0.0f32));
            }
            sum
        }
        Fold::Tree => {
            shared[unit] = u32::reinterpret(value);
            sync_cube();
            #[unroll]
            for i in 0..comptime!(team.units.ilog2()) {
                let step = comptime!(team.units >> (i + 1));
                if unit < step {
                    let sum =
                        f32::reinterpret(shared[unit]) + f32::reinterpret(shared[unit + step]);
                    shared[unit] = u32::reinterpret(sum);
                }
                sync_cube();
            }
            let sum = f32::reinterpret(shared[0]);
            sync_cube();
            sum
        }
    }
}

/// The maximum over the team, returned to all of its units.
#[cube]
pub(crate) fn team_max(
    value: u32,
    shared: &mut [u32],
    #[comptime] slot: usize,
    #[comptime] team: Team,
) -> u32 {
    let unit = UNIT_POS as usize;
    match comptime!(team.fold) {
        Fold::Alone => value,
        Fold::Planes => {
            let planes = comptime!(team.units / 32);
            let mut top = plane_max(value);
            if comptime!(planes > 1) {
                let lane = unit % 32;
                if lane == 0 {
                    shared[comptime!(slot * planes) + unit / 32] = top;
                }
                sync_cube();
                // Lanes past the last plane repeat its maximum, which changes nothing.
                top =
                    plane_max(shared[comptime!(slot * planes) + min(lane, comptime!(planes - 1))]);
            }
            top
        }
        Fold::Tree => {
            shared[unit] = value;
            sync_cube();
            #[unroll]
            for i in 0..comptime!(team.units.ilog2()) {
                let step = comptime!(team.units >> (i + 1));
                if unit < step {
                    shared[unit] = max(shared[unit], shared[unit + step]);
                }
                sync_cube();
            }
            let top = shared[0];
            sync_cube();
            top
        }
    }
}

/// The sum of integer counts over the team, returned to all of its units.
#[cube]
pub(crate) fn team_count(
    value: u32,
    shared: &mut [u32],
    #[comptime] slot: usize,
    #[comptime] team: Team,
) -> u32 {
    let unit = UNIT_POS as usize;
    match comptime!(team.fold) {
        Fold::Alone => value,
        Fold::Planes => {
            let planes = comptime!(team.units / 32);
            let mut sum = plane_sum(value);
            if comptime!(planes > 1) {
                let lane = unit % 32;
                if lane == 0 {
                    shared[comptime!(slot * planes) + unit / 32] = sum;
                }
                sync_cube();
                let part = shared[comptime!(slot * planes) + min(lane, comptime!(planes - 1))];
                sum = plane_sum(select(lane < planes, part, 0u32));
            }
            sum
        }
        Fold::Tree => {
            shared[unit] = value;
            sync_cube();
            #[unroll]
            for i in 0..comptime!(team.units.ilog2()) {
                let step = comptime!(team.units >> (i + 1));
                if unit < step {
                    let other = shared[unit + step];
                    shared[unit] += other;
                }
                sync_cube();
            }
            let sum = shared[0];
            sync_cube();
            sum
        }
    }
}
