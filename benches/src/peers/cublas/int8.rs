//! `x · Wᵀ` in int8 with i32 output, through cuBLASLt's first heuristic.

use std::ffi::c_void;

use anyhow::{Context, Result};
use cudarc::cublaslt::result;
use cudarc::cublaslt::sys::{
    cublasComputeType_t, cublasLtMatmulDesc_t, cublasLtMatmulDescAttributes_t,
    cublasLtMatmulPreference_t, cublasLtMatmulPreferenceAttributes_t, cublasLtMatrixLayout_t,
    cudaDataType,
};

use super::{Cublas, WORKSPACE_BYTES};
use crate::timing::Timing;

/// `CUBLAS_OP_T`.
static TRANSPOSED: i32 = 1;

impl Cublas {
    /// Times `x · Wᵀ` at `[m, n, k]`, weights in rotation.
    ///
    /// # Errors
    /// What the library or the driver reports; shapes it has no kernel for.
    pub(super) fn int8(&self, [m, n, k]: [usize; 3]) -> Result<Timing> {
        let lt = self.lt.context("no cuBLASLt library (libcublasLt.so)")?;
        let weights = self.cold::<i8>(n * k, 1)?;
        let x = self.random::<i8>(m * k, 2)?;
        let y = self.stream.alloc_zeros::<i32>(m * n)?;
        let descriptors = Descriptors::new([m, n, k])?;
        let Descriptors {
            matmul,
            a: w_layout,
            b: x_layout,
            c: y_layout,
            preference,
        } = descriptors;
        // SAFETY: the descriptors live until the end of this function.
        let heuristic = unsafe {
            result::get_matmul_algo_heuristic(
                lt, matmul, w_layout, x_layout, y_layout, y_layout, preference,
            )
        }
        .context("no int8 kernel for this shape")?;
        let (x, y) = (self.pointer(&x), self.pointer(&y));
        let w: Vec<u64> = weights.iter().map(|copy| self.pointer(copy)).collect();
        let workspace = self.pointer(&self.workspace);
        let (alpha, beta) = (1i32, 0i32);
        self.time(w.len(), |copy| {
            // SAFETY: the buffers hold what the layouts say and outlive the replays, as do the
            // descriptors; the scalars are read during the call.
            unsafe {
                result::matmul(
                    lt,
                    matmul,
                    (&raw const alpha).cast(),
                    (&raw const beta).cast(),
                    w[copy] as *const _,
                    w_layout,
                    x as *const _,
                    x_layout,
                    y as *const _,
                    y_layout,
                    y as *mut _,
                    y_layout,
                    &raw const heuristic.algo,
                    workspace as *mut _,
                    WORKSPACE_BYTES,
                    self.stream.cu_stream().cast(),
                )?;
            }
            Ok(())
        })
    }
}

/// What cuBLASLt is told about a product: `a` is W, `b` x and `c` the output, each row-major and
/// so column-major transposed.
struct Descriptors {
    matmul: cublasLtMatmulDesc_t,
    a: cublasLtMatrixLayout_t,
    b: cublasLtMatrixLayout_t,
    c: cublasLtMatrixLayout_t,
    preference: cublasLtMatmulPreference_t,
}

impl Descriptors {
    fn new([m, n, k]: [usize; 3]) -> Result<Self> {
        let layout = |dtype, rows: usize, cols: usize| {
            result::create_matrix_layout(dtype, rows as u64, cols as u64, rows as i64)
        };
        let (int8, int32) = (cudaDataType::CUDA_R_8I, cudaDataType::CUDA_R_32I);
        let compute = cublasComputeType_t::CUBLAS_COMPUTE_32I;
        let this = Self {
            matmul: result::create_matmul_desc(compute, int32)?,
            a: layout(int8, k, n)?,
            b: layout(int8, k, m)?,
            c: layout(int32, n, m)?,
            preference: result::create_matmul_pref()?,
        };
        let bytes = WORKSPACE_BYTES;
        // SAFETY: the descriptors were just made; each attribute has the size it is given with.
        unsafe {
            result::set_matmul_desc_attribute(
                this.matmul,
                cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_TRANSA,
                (&raw const TRANSPOSED).cast::<c_void>(),
                size_of::<i32>(),
            )?;
            result::set_matmul_pref_attribute(
                this.preference,
                cublasLtMatmulPreferenceAttributes_t::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                (&raw const bytes).cast::<c_void>(),
                size_of::<usize>(),
            )?;
        }
        Ok(this)
    }
}

impl Drop for Descriptors {
    fn drop(&mut self) {
        // SAFETY: each was made in `new` and is destroyed once; a failure leaves nothing to do.
        unsafe {
            let _ = result::destroy_matmul_pref(self.preference);
            for layout in [self.a, self.b, self.c] {
                let _ = result::destroy_matrix_layout(layout);
            }
            let _ = result::destroy_matmul_desc(self.matmul);
        }
    }
}
