//! Products of float matrices.

use burn::backend::TensorMetadata;
use burn::backend::ops::FloatTensorOps;
use burn::tensor::DType;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::matmul::{MatmulStrategy, matmul};
use burn_cubecl::tensor::CubeTensor;
use tritburn_kernels::dense::{self, DenseOperand};

use crate::ops::cube::{checked, empty, float_matrix};
use crate::training::operand::Depth;

/// `left · rightᵀ` in `dtype`, transposed by `depths`; added to `sum`, if there is one, which nobody
/// else may read and which has that dtype.
pub(super) fn product(
    left: CubeTensor,
    right: CubeTensor,
    depths: [Depth; 2],
    dtype: DType,
    sum: Option<CubeTensor>,
) -> CubeTensor {
    let halves = [&left, &right].map(|tensor| matches!(tensor.dtype(), DType::BF16 | DType::F16));
    if halves == [true; 2] {
        let matrices = [left.clone(), right.clone()].map(float_matrix);
        let operand = |at: usize| DenseOperand {
            matrix: &matrices[at],
            depth: match depths[at] {
                Depth::Columns => dense::Depth::Columns,
                Depth::Rows => dense::Depth::Rows,
            },
        };
        let (left_operand, right_operand) = (operand(0), operand(1));
        let client = left.client.clone();
        if dense::runs(&client, left_operand, right_operand) {
            let [rows, cols] = [(&left, depths[0]), (&right, depths[1])]
                .map(|(tensor, depth)| tensor.shape()[usize::from(depth == Depth::Rows)]);
            let accumulate = sum.is_some();
            let out = sum.unwrap_or_else(|| empty(&left, [rows, cols].into(), dtype));
            let matrix = float_matrix(out.clone());
            let launched = dense::launch(&client, left_operand, right_operand, &matrix, accumulate);
            checked(launched);
            return out;
        }
    }
    let left = transposed_if(left, depths[0] == Depth::Rows);
    let right = transposed_if(right, depths[1] == Depth::Columns);
    let part = matmul(left, right, None, MatmulStrategy::default(), dtype)
        .unwrap_or_else(|error| panic!("operands were checked before dispatch: {error:?}"));
    match sum {
        None => part,
        Some(sum) => CubeBackend::float_add(sum, part),
    }
}

fn transposed_if(tensor: CubeTensor, transposed: bool) -> CubeTensor {
    match transposed {
        true => <CubeBackend as FloatTensorOps<CubeBackend>>::float_transpose(tensor),
        false => tensor,
    }
}
