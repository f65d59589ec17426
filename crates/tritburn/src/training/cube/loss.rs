//! Output layer and cross entropy, a chunk of tokens at a time.

use burn::backend::TensorMetadata;
use burn::backend::ops::{FloatTensorOps, IntTensorOps};
use burn::tensor::{DType, Slice};
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;
use tritburn_kernels::cross_entropy::{self, CrossEntropy};

use super::dense::product;
use crate::ops::cube::{buffer, checked, empty, float_matrix, float_vector};
use crate::training::backend::in_dtype;
use crate::training::operand::{Depth, LossGradients, LossOptions, Optional, WantedGradients};

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
    let table = in_dtype::<CubeBackend>(table, dtype);
    let labels = label_weights.into_option().map(float_vector);
    let (mut losses, mut weights, mut d_input) = (Vec::new(), Vec::new(), Vec::new());
    let mut d_table = None;
    for first in (0..tokens).step_by(options.chunk) {
        let range = Slice::from(first..(first + options.chunk).min(tokens));
        let rows = CubeBackend::float_slice(x.clone(), &[range]);
        let targets = CubeBackend::int_slice(targets.clone(), &[range]);
        let logits = product(
            rows.clone(),
            table.clone(),
            [Depth::Columns; 2],
            dtype,
            None,
        );
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
            let depths = [Depth::Columns, Depth::Rows];
            d_input.push(product(logits.clone(), table.clone(), depths, dtype, None));
        }
        if wanted.table {
            let sum = d_table.take();
            d_table = Some(product(logits, rows, [Depth::Rows; 2], DType::F32, sum));
        }
    }
    LossGradients {
        losses: joined(losses),
        weights: joined(weights),
        d_input: wanted.input.then(|| joined(d_input)).into(),
        d_table: d_table.into(),
    }
}

/// The parts of all chunks; one of its own is not copied.
fn joined(mut parts: Vec<CubeTensor>) -> CubeTensor {
    match parts.len() {
        1 => parts.remove(0),
        _ => CubeBackend::float_cat(parts, 0),
    }
}
