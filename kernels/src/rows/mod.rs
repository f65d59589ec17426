//! Building blocks of kernels that keep rows in registers: teams of planes, and the sums of the partial
//! results that persistent cubes leave.

mod base;
mod columns;
mod fold;
mod parts;

pub(crate) use base::{RowTeams, multiprocessors};
pub(crate) use columns::column_sum;
pub(crate) use fold::{fold_sums, team_of_row};
pub(crate) use parts::add_parts;
