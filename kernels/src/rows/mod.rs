//! Teams of planes that hold rows in registers, and sums down the columns that they leave.

mod base;
mod columns;
mod fold;
mod parts;

pub(crate) use base::{RowTeams, multiprocessors};
pub(crate) use columns::column_sum;
pub(crate) use fold::{fold_sums, team_of_row};
pub(crate) use parts::add_parts;
