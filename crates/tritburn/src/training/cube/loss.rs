//! Output layer and cross entropy, a chunk of tokens at a time.

use burn::backend::TensorMetadata;
use burn::backend::ops::{FloatTensorOps, IntTensorOps};
use burn::tensor::{DType, Slice};
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::matmul::{MatmulStrategy, matmul};
use burn_cubecl::tensor::CubeTensor;
use tritburn_kernels::cross_entropy::{self, CrossEntropy};

use crate::ops::cube::{buffer, checked, empty, float_matrix, float_vector};
use crate::training::operand::{LossGradients, LossOptions, Optional, WantedGradients};

/// Losses, weights and the wanted gradients; logits of `options.chunk` tokens exist at a time.
pub(super) fn run(
    x: CubeTensor,
    table: CubeTensor,
    targets: CubeTensor,
    label_weights: Optional<CubeBackend>,
    options: LossOptions,
    wanted: WantedGradients,
) -> LossGradients<CubeBackend> {
    let (client, dtype) = (x.client.clone(), x.dtype());
    let [tokens, _] = x.shape().dims();
    let table = match table.dtype() == dtype {
        true => table,
        false => CubeBackend::float_cast(table, dtype.into()),
    };
    let labels = label_weights.into_option().map(float_vector);
    let (mut losses, mut weights, mut d_input) = (Vec::new(), Vec::new(), Vec::new());
    let mut d_table = None;
    for first in (0..tokens).step_by(options.chunk) {
        let range = Slice::from(first..(first + options.chunk).min(tokens));
        let rows = CubeBackend::float_slice(x.clone(), &[range]);
        let targets = CubeBackend::int_slice(targets.clone(), &[range]);
        let logits = CubeBackend::float_matmul(rows.clone(), transpose(table.clone()));
        let per_token = || empty(&x, targets.shape(), DType::F32);
        let (loss, weight) = (per_token(), per_token());
        let matrix = float_matrix(logits.clone());
        checked(cross_entropy::launch(
            &client,
            &matrix,
            &buffer(&targets),
            CrossEntropy {
                ignore: options.ignore,
                z_loss: options.z_loss,
                label_weights: labels.as_ref(),
            },
            &float_vector(loss.clone()),
            &float_vector(weight.clone()),
            (wanted.input || wanted.table).then_some(&matrix),
        ));
        losses.push(loss);
        weights.push(weight);
        if wanted.input {
            d_input.push(CubeBackend::float_matmul(logits.clone(), table.clone()));
        }
        if wanted.table {
            let part = product_f32(transpose(logits), rows);
            d_table = Some(match d_table.take() {
                None => part,
                Some(sum) => CubeBackend::float_add(sum, part),
            });
        }
    }
    LossGradients {
        losses: joined(losses),
        weights: joined(weights),
        d_input: wanted.input.then(|| joined(d_input)).into(),
        d_table: d_table.into(),
    }
}

fn transpose(tensor: CubeTensor) -> CubeTensor {
    <CubeBackend as FloatTensorOps<CubeBackend>>::float_transpose(tensor)
}

/// The parts of all chunks; one of its own is not copied.
fn joined(mut parts: Vec<CubeTensor>) -> CubeTensor {
    match parts.len() {
        1 => parts.remove(0),
        _ => CubeBackend::float_cat(parts, 0),
    }
}

/// A product in f32, whatever the dtype of the operands.
fn product_f32(lhs: CubeTensor, rhs: CubeTensor) -> CubeTensor {
    let strategy = MatmulStrategy::default();
    matmul(lhs, rhs, None, strategy, DType::F32)
        .unwrap_or_else(|error| panic!("operands were checked before dispatch: {error:?}"))
}
