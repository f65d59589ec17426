//! How the planes of a cube are divided between rows.

use cubecl::prelude::*;

use crate::device::{DeviceFacts, LANES};
use crate::device_code::team::{Team, planes};

/// The teams of a cube. A team is one or more planes that hold a row in registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RowTeams {
    /// Planes of a team.
    pub planes: usize,
    /// Teams of a cube.
    pub teams: usize,
    /// Lines that a unit holds.
    pub lines: usize,
}

impl RowTeams {
    /// Planes of a cube of small teams: enough to hide a cube's start, few enough for good occupancy.
    const CUBE_PLANES: usize = 8;

    /// Teams for rows of `lines` lines, of which a unit may hold `most`. `None` if the device has no
    /// planes of 32 or the rows are too long.
    pub fn new(client: &Client, device: &DeviceFacts, lines: usize, most: usize) -> Option<Self> {
        match device.lockstep && planes(client) {
            true => Self::of(lines, most, device.max_units),
            false => None,
        }
    }

    /// The team with the fewest idle units; ties go to the fewest planes, which synchronise fastest.
    fn of(lines: usize, most: usize, max_units: u32) -> Option<Self> {
        let per_plane = lines.div_ceil(LANES as usize);
        let limit = (max_units.min(1024) / LANES) as usize;
        let sizes = (1..=limit).map(|planes| (planes, per_plane.div_ceil(planes)));
        let fitting = sizes.filter(|&(_, lines)| lines <= most);
        let (planes, lines) = fitting.min_by_key(|&(planes, lines)| (planes * lines, planes))?;
        Some(Self {
            planes,
            teams: (Self::CUBE_PLANES.min(limit) / planes).max(1),
            lines,
        })
    }

    /// A cube that is one team.
    pub const fn of_team(team: Team) -> Self {
        Self {
            planes: team.units / LANES as usize,
            teams: 1,
            lines: 1,
        }
    }

    /// Units of a team.
    pub const fn units(self) -> usize {
        self.planes * LANES as usize
    }

    /// Planes of a cube.
    pub const fn cube_planes(self) -> usize {
        self.planes * self.teams
    }

    /// The dimensions of a cube.
    pub fn cube_dim(self) -> CubeDim {
        CubeDim::new_1d((self.units() * self.teams) as u32)
    }

    /// Number of persistent cubes that divide `rows` rows as evenly as possible, at most `per_processor`
    /// a multiprocessor.
    pub fn persistent(self, client: &Client, rows: usize, per_processor: usize) -> usize {
        let most = multiprocessors(client) * per_processor * self.teams;
        let turns = rows.div_ceil(most).max(1);
        rows.div_ceil(turns * self.teams).max(1)
    }
}

/// Multiprocessors of a GPU, or a guess where the runtime does not say.
pub(crate) fn multiprocessors(client: &Client) -> usize {
    let hardware = &client.properties().hardware;
    hardware.num_streaming_multiprocessors.unwrap_or(32) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn teams_leave_no_unit_idle_where_they_can() {
        let teams = |lines, most| {
            let plan = RowTeams::of(lines, most, 1024)?;
            Some((plan.planes, plan.teams, plan.lines))
        };
        assert_eq!(teams(1, 3), Some((1, 8, 1)));
        assert_eq!(teams(96, 3), Some((1, 8, 3)));
        assert_eq!(teams(256, 3), Some((4, 2, 2)));
        assert_eq!(teams(512, 4), Some((4, 2, 4)));
        assert_eq!(teams(4096, 4), Some((32, 1, 4)));
        assert_eq!(teams(4097, 4), None);
    }
}
