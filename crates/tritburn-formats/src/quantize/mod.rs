//! The quantisers of this crate's own models: [`weight`] (absmean ternary, four-level int2) and
//! [`activation`] (per-token absmax int8). Rounding is half to even and scales are f32, everywhere.
//! [`recognize`] is for weights that are ternary before anyone quantises them, and [`affine`]
//! takes trained models to 2, 3 and 4 bits.

pub mod activation;
pub mod affine;
pub mod recognize;
pub mod weight;

pub use activation::{QuantizedActivations, quantize_row};
pub use recognize::recognize_ternary;
pub use weight::{pack_weights, quantize_weights, weight_scales};

/// Floor of `mean|W|` and of `max|x|`: keeps a zero matrix or a zero token from dividing by zero.
pub const SCALE_FLOOR: f32 = 1e-5;
