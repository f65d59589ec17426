//! The quantisers: [`weight`] (absmean scales, 2-bit codes) and [`activation`] (per-token absmax
//! int8). Bit-equal to `tritburn_formats` on devices with IEEE f32 division and half-to-even
//! `round`: CubeCL's CPU runtime and CUDA. Elsewhere a code may differ at a rounding tie.

pub mod activation;
pub mod weight;
