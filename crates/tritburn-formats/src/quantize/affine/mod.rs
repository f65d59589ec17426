//! Float weights to codes of 2, 3 or 4 bits with a scale, and if wanted a zero point, per group.
//!
//! | function | zero points | what is small |
//! |---|---|---|
//! | [`round_to_nearest`] | none, or integers | squared error of the weights, scales searched |
//! | [`round_in_range`] | none, or integers | time: nothing is searched |
//! | [`half_quadratic`] | real numbers | an error that outliers weigh less in (HQQ) |
//! | [`second_order`] | none, or integers | error of the outputs for given activations (GPTQ) |
//!
//! Whatever the function, a code is `clamp(round(w / scale + zero), 0, 2^b - 1)` with the scale and
//! the zero point as they are stored, rounded half to even; groups are independent of each other
//! (but for [`second_order`], where errors go on to later inputs). A sparse layout keeps the 16
//! largest weights of every 32 ([`keep_largest`]), and its scales are those of the kept weights.

mod driver;
mod half_quadratic;
mod prune;
mod quantizer;
mod range;
mod report;
mod round;
mod second_order;

pub use half_quadratic::{HalfQuadratic, half_quadratic};
pub use prune::keep_largest;
pub use quantizer::{AffineMethod, AffineQuantizer};
pub use range::round_in_range;
pub use report::{WeightReport, weight_report};
pub use round::round_to_nearest;
pub use second_order::{InputMoments, SecondOrder, second_order};
