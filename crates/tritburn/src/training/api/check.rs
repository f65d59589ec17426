//! What several operations check.

use burn::tensor::{DType, Tensor};

use crate::error::Error;
use crate::ops::{check_ready, check_written};

/// An input whose leading axes are flattened to one token axis and restored afterwards.
pub(super) struct Rows<const D: usize> {
    dims: [usize; D],
}

impl<const D: usize> Rows<D> {
    /// Checks that kernels can read and write `x` and that its rows have `features` floats.
    pub(super) fn new(
        operand: &'static str,
        x: &Tensor<D>,
        features: usize,
    ) -> Result<Self, Error> {
        check_written(operand, x.dtype(), &x.device())?;
        check_ready(&x.device())?;
        let dims = x.dims();
        let found = dims.last().copied().unwrap_or(0);
        if found != features {
            return Err(Error::InputFeatures {
                shape: dims.to_vec(),
                found,
                expected: features,
            });
        }
        Ok(Self { dims })
    }

    /// Applies `function` from `[tokens, features]` to `[tokens, columns]`.
    pub(super) fn map(
        self,
        x: Tensor<D>,
        columns: usize,
        function: impl FnOnce(Tensor<2>) -> Tensor<2>,
    ) -> Tensor<D> {
        let (leading, features) = (&self.dims[..D - 1], self.dims[D - 1]);
        let tokens: usize = leading.iter().product();
        let mut out = self.dims;
        out[D - 1] = columns;
        if tokens * columns == 0 {
            return Tensor::empty(out, (&x.device(), x.dtype()));
        }
        function(x.reshape([tokens, features])).reshape(out)
    }
}

pub(super) fn check_f32(operand: &'static str, found: DType) -> Result<(), Error> {
    match found {
        DType::F32 => Ok(()),
        _ => Err(Error::DType {
            operand,
            found,
            expected: "f32",
        }),
    }
}
