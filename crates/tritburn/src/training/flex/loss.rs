//! Output layer and cross entropy, a chunk of tokens at a time.

use burn::backend::ops::FloatTensorOps;
use burn::backend::{Flex, TensorMetadata};
use burn::tensor::{DType, Slice};
use burn_flex::FlexTensor;
use tritburn_cpu as kernels;

use super::{rounded, vector};
use crate::ops::flex::{checked, contiguous_f32, float_tensor, slice};
use crate::training::operand::{LossGradients, LossOptions, Optional, WantedGradients};

/// Losses, weights and the wanted gradients; logits of `options.chunk` tokens exist at a time.
pub(super) fn run(
    x: FlexTensor,
    table: FlexTensor,
    targets: FlexTensor,
    label_weights: Optional<Flex>,
    options: LossOptions,
    wanted: WantedGradients,
) -> LossGradients<Flex> {
    let dtype = x.dtype();
    let [tokens, features] = x.shape().dims();
    let vocabulary = table.shape()[0];
    let (x, table) = (contiguous_f32(x), contiguous_f32(table));
    let targets = targets.to_contiguous();
    let targets = slice!(targets, u32);
    let labels = label_weights.into_option().map(contiguous_f32);
    let config = kernels::CrossEntropy {
        ignore: options.ignore,
        z_loss: options.z_loss,
        label_weights: labels.as_ref().map(|labels| slice!(labels, f32)),
    };
    let (mut losses, mut weights) = (vec![0.0; tokens], vec![0.0; tokens]);
    let mut d_input = wanted.input.then(|| Vec::with_capacity(tokens * features));
    let mut d_table: Option<FlexTensor> = None;
    for first in (0..tokens).step_by(options.chunk) {
        let last = (first + options.chunk).min(tokens);
        let range = Slice::from(first..last);
        let rows = Flex::float_slice(x.clone(), &[range, Slice::from(0..features)]);
        let columns = Flex::float_transpose(table.clone());
        let mut logits = contiguous_f32(Flex::float_matmul(rows.clone(), columns));
        let run = match wanted.input || wanted.table {
            true => kernels::cross_entropy_gradient,
            false => kernels::cross_entropy,
        };
        checked(run(
            logits.storage_mut::<f32>(),
            vocabulary,
            &targets[first..last],
            config,
            &mut losses[first..last],
            &mut weights[first..last],
        ));
        if let Some(d_input) = &mut d_input {
            let part = contiguous_f32(Flex::float_matmul(logits.clone(), table.clone()));
            d_input.extend_from_slice(slice!(part, f32));
        }
        if wanted.table {
            let part = Flex::float_matmul(Flex::float_transpose(logits), rows);
            d_table = Some(match d_table.take() {
                None => part,
                Some(sum) => Flex::float_add(sum, part),
            });
        }
    }
    LossGradients {
        losses: vector(losses),
        weights: vector(weights),
        d_input: d_input
            .map(|d| {
                rounded(
                    float_tensor(d, [tokens, features].into(), DType::F32),
                    dtype,
                )
            })
            .into(),
        d_table: d_table.into(),
    }
}
