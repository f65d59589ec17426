//! From one checkpoint format to another: [`convert`].
//!
//! Tensors are read, converted and written one at a time (tables in pieces), so that a large model
//! needs little memory. The result appears under its name only when it is complete and has been
//! read back and compared; what would be lost on the way is refused unless it is allowed.

mod affine;
mod check;
mod compare;
mod error;
mod fit;
mod header;
mod job;
mod loss;
mod master;
mod output;
mod report;
mod table;
mod target;

pub(crate) use master::master_weights;

pub use error::ConvertError;
pub use job::{Options, Progress, convert};
pub use loss::Loss;
pub use report::{Report, RoundedProjection};
pub use table::TableType;
pub use target::Target;
