//! Number types that tables, heads and caches are stored in.

use half::{bf16, f16};

use super::{attention, embedding, head, rotary};
use crate::isa::Isa;

/// A float as a table, a head or a cache stores it: `f32`, [`struct@f16`] or [`bf16`].
pub trait Element: sealed::Kernels + Copy + Default + Send + Sync + 'static {
    /// The value as f32, exact.
    fn to_f32(self) -> f32;
    /// The nearest value, ties to even.
    fn from_f32(value: f32) -> Self;
}

/// How the bits of an element are read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    F32,
    F16,
    Bf16,
}

pub(crate) mod sealed {
    use super::*;

    /// The kernels of an element type. They are methods of a trait, so that they are compiled in this crate,
    /// with its options, and not once in every crate that calls them.
    pub trait Kernels: Sized {
        const KIND: Kind;

        fn attention(isa: Isa, job: attention::AttentionJob<'_, Self>);
        fn dense(isa: Isa, job: head::DenseJob<'_, Self>);
        fn embedding(isa: Isa, job: embedding::EmbeddingJob<'_, Self>);
        fn rotary(isa: Isa, job: rotary::RotaryJob<'_, Self>);
        fn quantize(job: head::QuantizeJob<'_, Self>);
    }
}

macro_rules! element {
    ($type:ty, $kind:ident, $to:expr, $from:expr) => {
        impl sealed::Kernels for $type {
            const KIND: Kind = Kind::$kind;

            fn attention(isa: Isa, job: attention::AttentionJob<'_, Self>) {
                job.run(isa)
            }

            fn dense(isa: Isa, job: head::DenseJob<'_, Self>) {
                job.run(isa)
            }

            fn embedding(isa: Isa, job: embedding::EmbeddingJob<'_, Self>) {
                job.run(isa)
            }

            fn rotary(isa: Isa, job: rotary::RotaryJob<'_, Self>) {
                job.run(isa)
            }

            fn quantize(job: head::QuantizeJob<'_, Self>) {
                job.run()
            }
        }

        impl Element for $type {
            #[inline(always)]
            fn to_f32(self) -> f32 {
                $to(self)
            }

            #[inline(always)]
            fn from_f32(value: f32) -> Self {
                $from(value)
            }
        }
    };
}

element!(f32, F32, |v| v, |v| v);
element!(f16, F16, f16::to_f32, f16::from_f32);
element!(bf16, Bf16, bf16::to_f32, bf16::from_f32);
