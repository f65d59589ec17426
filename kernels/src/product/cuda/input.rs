//! Activations as the GEMMs copy them: in lines of 16 bytes, or by tensor map.

use cubecl::prelude::*;

use crate::error::KernelError;
use crate::operand::QuantizedActivations;
use crate::product::cuda::MmaInput;
use crate::product::{Call, Input};

/// The left operand of a call whose rows start at multiples of 16 bytes.
pub(super) struct InputLines {
    /// The activations.
    pub x: BufferArg,
    /// Where its tokens lie.
    pub tokens: TokenBytes,
    /// Type of the binding.
    pub dtype: ElemType,
}

/// Where the tokens of activations lie, in bytes.
#[derive(Clone, Copy)]
pub(super) struct TokenBytes {
    /// Row stride.
    pub stride: usize,
    /// Bytes of a token that may be read.
    pub len: usize,
}

impl InputLines {
    /// Binds the activations of `call`.
    ///
    /// # Errors
    /// [`KernelError::Plan`] for f32 activations, and for rows that do not start at multiples of 16 bytes.
    pub fn of(call: &Call<'_>) -> Result<Self, KernelError> {
        match &call.x {
            Input::Int8(x) => {
                let bytes = 4 * QuantizedActivations::words_per_row(call.problem.k);
                Ok(Self {
                    x: x.codes().arg(),
                    tokens: TokenBytes {
                        stride: bytes,
                        len: bytes,
                    },
                    dtype: u32::elem_type_native(),
                })
            }
            Input::Float(x)
                if x.starts_lines() && MmaInput::of(call.problem.activations).terms == 1 =>
            {
                let size = x.dtype().size();
                Ok(Self {
                    x: x.lines(1),
                    tokens: TokenBytes {
                        stride: x.row_stride() * size,
                        len: call.problem.k * size,
                    },
                    dtype: x.dtype().elem(),
                })
            }
            Input::Float(x) => Err(KernelError::Plan {
                reason: format!(
                    "activations must be int8, or f16 or bf16 with rows at multiples of 16 bytes; \
                     these are {} with rows {} elements apart",
                    x.dtype(),
                    x.row_stride()
                ),
            }),
        }
    }
}

/// The tensor map of a call's left operand, with the 128-byte swizzle.
pub(super) fn tensor_map(call: &Call<'_>, tile: [usize; 2]) -> TensorMapArg<Tiled> {
    match &call.x {
        Input::Int8(x) => x.tensor_map(tile),
        Input::Float(x) => x.tensor_map(tile),
    }
}
