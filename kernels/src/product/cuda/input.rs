//! Activations as the GEMMs copy them.

use cubecl::prelude::*;

use crate::error::KernelError;
use crate::operand::QuantizedActivations;
use crate::product::cuda::Operand;
use crate::product::{Call, Input};

/// The left operand of a call whose rows start at multiples of 16 bytes.
pub(super) struct InputLines {
    /// The activations.
    pub x: BufferArg,
    /// Their scales, of int8 ones.
    pub scales: Option<BufferArg>,
    /// Bytes from token to token.
    pub stride: usize,
    /// Bytes of a token that may be read.
    pub bytes: usize,
    /// Type of the binding.
    pub dtype: ElemType,
}

impl InputLines {
    /// # Errors
    /// [`KernelError::Plan`] for f32 activations, and rows that start elsewhere.
    pub fn of(call: &Call<'_>) -> Result<Self, KernelError> {
        match &call.x {
            Input::Int8(x) => {
                let bytes = 4 * QuantizedActivations::words_per_row(call.problem.k);
                Ok(Self {
                    x: x.codes().arg(),
                    scales: Some(x.scales().arg()),
                    stride: bytes,
                    bytes,
                    dtype: u32::elem_type_native(),
                })
            }
            Input::Float(x)
                if x.starts_lines() && Operand::of(call.problem.activations).terms == 1 =>
            {
                let size = x.dtype().size();
                Ok(Self {
                    x: x.lines(1),
                    scales: None,
                    stride: x.row_stride() * size,
                    bytes: call.problem.k * size,
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

/// The left operand of a call for copies of tiles, swizzled over 128 bytes.
pub(super) fn tensor_map(call: &Call<'_>, tile: [usize; 2]) -> TensorMapArg<Tiled> {
    match &call.x {
        Input::Int8(x) => x.tensor_map(tile),
        Input::Float(x) => x.tensor_map(tile),
    }
}
