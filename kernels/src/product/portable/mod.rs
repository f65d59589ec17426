//! Products on every device, from the canonical layout: [`gemm`] for many tokens, [`gemv`] for a
//! few.

mod args;
pub mod gemm;
pub mod gemv;
