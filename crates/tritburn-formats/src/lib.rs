//! Quantisers, the canonical 2-bit layout and (in time) the storage formats of ternary and other
//! very-low-bit weights. Pure Rust: no Burn, no GPU.
//!
//! | module | what |
//! |---|---|
//! | [`code`] | which value a stored 2-bit field means |
//! | [`scale`] | how many f32 scales a matrix carries and which weight uses which |
//! | [`layout`] | the shape of a packed matrix: [`PackedLayout`] |
//! | [`header`] | the typed, versioned header that travels with stored weights |

pub mod code;
pub mod error;
pub mod header;
pub mod layout;
pub mod scale;

pub use code::WeightCode;
pub use error::{HeaderError, LayoutError};
pub use header::PackedHeader;
pub use layout::PackedLayout;
pub use scale::ScaleGranularity;
