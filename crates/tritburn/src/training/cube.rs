//! CubeCL devices: the kernels of `tritburn-kernels` on Burn's tensors.
//!
//! Operands are checked by [`super::api`] before they get here, so a refusal by the kernel crate is
//! a bug and panics with its message.

mod dense;
mod loss;

use burn::backend::TensorMetadata;
use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::tensor::DType;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::{into_contiguous, untile};
use burn_cubecl::ops::{numeric::zeros_client, reshape};
use burn_cubecl::tensor::CubeTensor;
use tritburn_formats::layout::activation_words_per_row;
use tritburn_kernels::FloatMatrix;
use tritburn_kernels::cross_entropy;
use tritburn_kernels::decoder::attention::training as attention;
use tritburn_kernels::decoder::embedding;
use tritburn_kernels::decoder::glu::{self, NormGradient};
use tritburn_kernels::decoder::norm::{self, Residual, RowOutput};
use tritburn_kernels::decoder::rotary::{self, Rotation};
use tritburn_kernels::optimizer::{self, AdamW, AdamWOperands};

use super::backend::TrainingOps;
use super::operand::{
    AdamWStep, Depth, GatedActivation, LossGradients, LossOptions, Moments, Optional, Prologue,
    Sequences, WantedGradients,
};
use crate::ops::TernaryOps;
use crate::ops::cube::{activations, buffer, checked, empty, float_matrix, float_vector};
use crate::transformer::{Heads, TransformerOps};

impl TrainingOps for CubeBackend {
    fn prologue(x: FloatTensor<Self>, prologue: Prologue<Self>) -> FloatTensor<Self> {
        let [tokens, width] = x.shape().dims();
        let shape = [tokens, prologue.features(width)].into();
        let y = empty(&x, shape, x.dtype());
        let out = float_matrix(y.clone());
        run(x, prologue, RowOutput::Float(&out));
        y
    }

    fn prologue_quantize(
        x: FloatTensor<Self>,
        prologue: Prologue<Self>,
    ) -> (IntTensor<Self>, FloatTensor<Self>) {
        // What no norm has bounded is rounded to the dtype of `x` first.
        if let Prologue::Gate { .. } = prologue {
            return Self::quantize_activations(Self::prologue(x, prologue));
        }
        let [tokens, width] = x.shape().dims();
        let features = prologue.features(width);
        let words = tokens * activation_words_per_row(features);
        let codes = empty(&x, [words].into(), DType::U32);
        let scales = empty(&x, [tokens].into(), DType::F32);
        let out = activations(&codes, &scales, features);
        run(x, prologue, RowOutput::Int8(&out));
        (codes, scales)
    }

    fn prologue_backward(
        x: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        prologue: Prologue<Self>,
    ) -> (FloatTensor<Self>, Optional<Self>) {
        let client = x.client.clone();
        let dx = empty(&x, x.shape(), x.dtype());
        let dgamma = prologue
            .gamma()
            .map(|gamma| empty(&x, gamma.shape(), DType::F32));
        let (x, dy, out) = (float_matrix(x), float_matrix(dy), float_matrix(dx.clone()));
        let gradient = dgamma.clone().map(float_vector);
        match (prologue, &gradient) {
            (Prologue::Norm { gamma, epsilon }, Some(dgamma)) => {
                let gamma = float_vector(gamma);
                let result = norm::backward(&client, &x, &gamma, epsilon, &dy, None, &out, dgamma);
                checked(result);
            }
            (
                Prologue::GateNorm {
                    activation,
                    gamma,
                    epsilon,
                },
                Some(dgamma),
            ) => {
                let norm = NormGradient {
                    gamma: &float_vector(gamma),
                    eps: epsilon,
                    dgamma,
                };
                let activation = activation.into();
                checked(glu::backward(
                    &client,
                    &x,
                    activation,
                    Some(norm),
                    &dy,
                    &out,
                ));
            }
            (Prologue::Gate { activation }, _) => {
                let activation = activation.into();
                checked(glu::backward(&client, &x, activation, None, &dy, &out));
            }
            (_, None) => unreachable!("a norm has gains"),
        }
        (dx, dgamma.into())
    }

    fn dense_product(
        left: FloatTensor<Self>,
        right: FloatTensor<Self>,
        depths: [Depth; 2],
        dtype: DType,
    ) -> FloatTensor<Self> {
        dense::product(left, right, depths, dtype, None)
    }

    fn attention_forward(
        qkv: FloatTensor<Self>,
        table: Optional<Self>,
        sequences: Sequences,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let Sequences { heads, batch, .. } = with_kernels(sequences);
        let tokens = qkv.shape()[0];
        let client = qkv.client.clone();
        let out = empty(&qkv, [tokens, heads.query_width()].into(), qkv.dtype());
        let statistics = empty(&qkv, [tokens * heads.query].into(), DType::F32);
        let rotated = match table.into_option() {
            None => qkv,
            Some(table) => {
                let rotated = empty(&qkv, qkv.shape(), qkv.dtype());
                let (from, to) = (float_matrix(qkv), float_matrix(rotated.clone()));
                let rotation = rotation(heads, tokens / batch, false);
                checked(rotary::rotate(
                    &client,
                    &from,
                    &buffer(&table),
                    rotation,
                    &to,
                ));
                rotated
            }
        };
        let (qkv, y) = (float_matrix(rotated.clone()), float_matrix(out.clone()));
        let shape = attention_shape(heads, tokens, batch);
        let sums = buffer(&statistics);
        checked(attention::forward(
            &client,
            &qkv,
            &shape,
            scale(heads),
            &y,
            &sums,
        ));
        (out, rotated, statistics)
    }

    fn attention_backward(
        rotated: FloatTensor<Self>,
        out: FloatTensor<Self>,
        statistics: FloatTensor<Self>,
        d_out: FloatTensor<Self>,
        table: Optional<Self>,
        sequences: Sequences,
    ) -> FloatTensor<Self> {
        let Sequences { heads, batch, .. } = with_kernels(sequences);
        let tokens = rotated.shape()[0];
        let client = rotated.client.clone();
        let d_qkv = empty(&rotated, rotated.shape(), rotated.dtype());
        let gradient = float_matrix(d_qkv.clone());
        checked(attention::backward(
            &client,
            &float_matrix(rotated),
            &float_matrix(out),
            &buffer(&statistics),
            &float_matrix(d_out),
            &attention_shape(heads, tokens, batch),
            scale(heads),
            &gradient,
        ));
        if let Some(table) = table.into_option() {
            let rotation = rotation(heads, tokens / batch, true);
            let table = buffer(&table);
            checked(rotary::rotate(
                &client, &gradient, &table, rotation, &gradient,
            ));
        }
        d_qkv
    }

    fn token_embedding(
        table: FloatTensor<Self>,
        ids: IntTensor<Self>,
        dtype: DType,
    ) -> FloatTensor<Self> {
        <Self as TransformerOps>::embedding(table, ids, dtype)
    }

    fn table_gradient(
        dy: FloatTensor<Self>,
        ids: IntTensor<Self>,
        vocabulary: usize,
    ) -> FloatTensor<Self> {
        let shape = [vocabulary, dy.shape()[1]];
        let d_table = empty(&dy, shape.into(), DType::F32);
        let client = dy.client.clone();
        let (dy, out) = (float_matrix(dy), float_matrix(d_table.clone()));
        checked(embedding::backward(&client, &dy, &buffer(&ids), &out));
        d_table
    }

    fn token_losses(
        x: FloatTensor<Self>,
        table: FloatTensor<Self>,
        targets: IntTensor<Self>,
        label_weights: Optional<Self>,
        options: LossOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let wanted = WantedGradients {
            input: false,
            table: false,
        };
        let found = loss::run(x, table, targets, label_weights, options, wanted);
        (found.losses, found.weights)
    }

    fn loss_gradients(
        x: FloatTensor<Self>,
        table: FloatTensor<Self>,
        targets: IntTensor<Self>,
        label_weights: Optional<Self>,
        options: LossOptions,
        wanted: WantedGradients,
    ) -> LossGradients<Self> {
        loss::run(x, table, targets, label_weights, options, wanted)
    }

    fn mean_loss(
        losses: FloatTensor<Self>,
        weights: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let one = || empty(&losses, [1].into(), DType::F32);
        let (mean, reciprocal) = (one(), one());
        let (to, by) = (buffer(&mean), buffer(&reciprocal));
        let client = losses.client.clone();
        let (losses, weights) = (float_vector(losses), float_vector(weights));
        checked(cross_entropy::mean(&client, &losses, &weights, &to, &by));
        (mean, reciprocal)
    }

    fn adamw(
        parameter: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        factor: Optional<Self>,
        moments: Moments<Self>,
        step: AdamWStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let dtype = parameter.dtype();
        let client = parameter.client.clone();
        let (first, second) = match moments {
            Moments::Present { first, second } => (owned_f32(first), owned_f32(second)),
            Moments::Absent => {
                let zeros = || {
                    let (client, device) = (client.clone(), parameter.device.clone());
                    zeros_client(client, device, parameter.shape(), DType::F32)
                };
                (zeros(), zeros())
            }
        };
        let parameter = owned_f32(parameter);
        let factor = factor.into_option().map(|factor| buffer(&factor));
        checked(optimizer::adamw(
            &client,
            AdamW {
                lr: step.learning_rate,
                beta1: step.beta_1,
                beta2: step.beta_2,
                epsilon: step.epsilon,
                weight_decay: step.weight_decay,
                step: step.time,
            },
            factor.as_ref(),
            AdamWOperands {
                param: &matrix_of_any_rank(parameter.clone()),
                grad: &matrix_of_any_rank(gradient),
                m: &matrix_of_any_rank(first.clone()),
                v: &matrix_of_any_rank(second.clone()),
            },
        ));
        let [parameter, first, second] = [parameter, first, second].map(|tensor| match dtype {
            DType::F32 => tensor,
            _ => Self::float_cast(tensor, dtype.into()),
        });
        (parameter, first, second)
    }

    fn write_square_sum(
        sums: FloatTensor<Self>,
        x: FloatTensor<Self>,
        index: usize,
    ) -> FloatTensor<Self> {
        let (client, sums) = (x.client.clone(), owned_f32(sums));
        let x = matrix_of_any_rank(x);
        checked(optimizer::square_sum(&client, &x, &buffer(&sums), index));
        sums
    }

    fn clip_factor(
        sums: FloatTensor<Self>,
        max_norm: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let one = || empty(&sums, [1].into(), DType::F32);
        let (norm, factor) = (one(), one());
        let (to, by) = (buffer(&norm), buffer(&factor));
        let client = sums.client.clone();
        checked(optimizer::clip_factor(
            &client,
            &buffer(&sums),
            max_norm,
            &to,
            &by,
        ));
        (norm, factor)
    }
}

impl From<GatedActivation> for glu::GatedActivation {
    fn from(activation: GatedActivation) -> Self {
        match activation {
            GatedActivation::SquaredRelu => Self::SquaredRelu,
            GatedActivation::Silu => Self::Silu,
            GatedActivation::Gelu => Self::Gelu,
            GatedActivation::GeluTanh => Self::GeluTanh,
        }
    }
}

fn run(x: CubeTensor, prologue: Prologue<CubeBackend>, out: RowOutput<'_>) {
    let client = x.client.clone();
    let x = float_matrix(x);
    checked(match prologue {
        Prologue::Norm { gamma, epsilon } => {
            let gamma = float_vector(gamma);
            norm::launch(&client, &x, Residual::None, &gamma, epsilon, out)
        }
        Prologue::Gate { activation } => glu::launch(&client, &x, activation.into(), None, out),
        Prologue::GateNorm {
            activation,
            gamma,
            epsilon,
        } => {
            let gamma = float_vector(gamma);
            glu::launch(&client, &x, activation.into(), Some((&gamma, epsilon)), out)
        }
    });
}

/// Callers compose what has no kernels.
fn with_kernels(sequences: Sequences) -> Sequences {
    assert!(sequences.causal, "attention kernels are causal");
    sequences
}

fn rotation(heads: Heads, length: usize, inverse: bool) -> Rotation {
    Rotation {
        length,
        heads: heads.query,
        kv_heads: heads.key_value,
        dim: heads.size,
        inverse,
    }
}

fn attention_shape(heads: Heads, tokens: usize, batch: usize) -> attention::AttentionShape {
    attention::AttentionShape {
        batch,
        length: tokens / batch,
        heads: heads.query,
        kv_heads: heads.key_value,
        dim: heads.size,
    }
}

fn scale(heads: Heads) -> f32 {
    1.0 / (heads.size as f32).sqrt()
}

/// A tensor in f32 that nobody else reads, in memory that [`matrix_of_any_rank`] takes as it is:
/// itself if it is one, else a copy. What a kernel writes in place must be one.
fn owned_f32(tensor: CubeTensor) -> CubeTensor {
    let tensor = match tensor.dtype {
        DType::F32 => untile(tensor),
        _ => CubeBackend::float_cast(tensor, DType::F32.into()),
    };
    let in_order = match **tensor.meta.strides() {
        [row, 1] => row >= tensor.meta.shape()[1],
        _ => tensor.is_contiguous(),
    };
    match in_order {
        true if tensor.can_mut() => tensor,
        true => tensor.copy(),
        false => into_contiguous(tensor),
    }
}

/// A tensor of any rank as a matrix over the same memory.
fn matrix_of_any_rank(tensor: CubeTensor) -> FloatMatrix {
    let shape = tensor.shape();
    let columns = shape.iter().last().copied().unwrap_or(1);
    let rows = shape.num_elements().checked_div(columns).unwrap_or(0);
    match tensor.rank() {
        2 => float_matrix(tensor),
        _ => float_matrix(reshape(into_contiguous(tensor), [rows, columns].into())),
    }
}
