//! The three bf16 products of a linear layer, f32 accumulation, bf16 output.

use anyhow::Result;
use cudarc::cublas::result::gemm_ex;
use cudarc::cublas::sys::{
    cublasComputeType_t, cublasGemmAlgo_t, cublasOperation_t, cudaDataType_t,
};

use super::{Cublas, Product};
use crate::timing::Timing;

impl Cublas {
    /// Times one product at `[m, n, k]`; where it reads weights, they rotate.
    ///
    /// # Errors
    /// What the library or the driver reports.
    pub(super) fn bf16(&self, product: Product, [m, n, k]: [usize; 3]) -> Result<Timing> {
        // Row-major operands are column-major ones transposed, so the library computes the
        // transposed result: `left` is what stands right in the row-major product.
        use cublasOperation_t::{CUBLAS_OP_N as AS_IS, CUBLAS_OP_T as TRANSPOSED};
        let (rows, cols, depth) = match product {
            Product::Forward => (n, m, k),
            Product::Input => (k, m, n),
            Product::Weight => (k, n, m),
        };
        let (left, right) = match product {
            Product::Forward => ((TRANSPOSED, n * k, k), (AS_IS, m * k, k)),
            Product::Input => ((AS_IS, n * k, k), (AS_IS, m * n, n)),
            Product::Weight => ((AS_IS, m * k, k), (TRANSPOSED, m * n, n)),
        };
        let lefts = match product {
            Product::Weight => vec![self.random::<u16>(left.1, 1)?],
            _ => self.cold::<u16>(left.1, 1)?,
        };
        let other = self.random::<u16>(right.1, 2)?;
        let result = self.stream.alloc_zeros::<u16>(rows * cols)?;
        let (b, c) = (self.pointer(&other), self.pointer(&result));
        let a: Vec<u64> = lefts.iter().map(|left| self.pointer(left)).collect();
        let (alpha, beta) = (1.0f32, 0.0f32);
        self.time(a.len(), |copy| {
            let bf16 = cudaDataType_t::CUDA_R_16BF;
            // SAFETY: the buffers hold what the shapes and leading dimensions say and outlive the
            // replays; the scalars are read during the call.
            unsafe {
                gemm_ex(
                    self.handle,
                    left.0,
                    right.0,
                    rows as i32,
                    cols as i32,
                    depth as i32,
                    (&raw const alpha).cast(),
                    a[copy] as *const _,
                    bf16,
                    left.2 as i32,
                    b as *const _,
                    bf16,
                    right.2 as i32,
                    (&raw const beta).cast(),
                    c as *mut _,
                    bf16,
                    rows as i32,
                    cublasComputeType_t::CUBLAS_COMPUTE_32F,
                    cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
                )?;
            }
            Ok(())
        })
    }
}
