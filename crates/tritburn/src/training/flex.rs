//! Flex: the training kernels of `tritburn-cpu` on Burn's CPU tensors.
//!
//! Operands are checked by [`super::api`] before they get here, so a refusal by the CPU crate is a
//! bug and panics with its message.

mod loss;

use burn::backend::ops::{ActivationOps, FloatTensorOps};
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Flex, TensorMetadata};
use burn::tensor::{DType, TensorData};
use burn_flex::FlexTensor;
use tritburn_cpu as kernels;
use tritburn_formats::layout::activation_words_per_row;

use super::backend::TrainingOps;
use super::operand::{
    AdamWStep, Depth, GatedActivation, LossGradients, LossOptions, Moments, Optional, Prologue,
    Sequences, WantedGradients,
};
use crate::ops::TernaryOps;
use crate::ops::flex::{checked, contiguous_f32, float_tensor, slice, word_tensor};
use crate::transformer::{Heads, TransformerOps};

/// Added to the norm of gradients, as torch's `clip_grad_norm_` does.
const CLIP_EPSILON: f32 = 1e-6;

impl TrainingOps for Flex {
    fn prologue(x: FloatTensor<Self>, prologue: Prologue<Self>) -> FloatTensor<Self> {
        let [tokens, width] = x.shape().dims();
        let (dtype, features) = (x.dtype(), prologue.features(width));
        let (x, prologue) = (contiguous_f32(x), Rows::new(prologue));
        let (x, mut y) = (slice!(x, f32), vec![0.0; tokens * features]);
        checked(match prologue.borrow() {
            View::Norm(norm) => kernels::rms_norm(x, None, norm, None, &mut y),
            View::Gate(gate) => kernels::gated(x, features, gate, &mut y),
        });
        float_tensor(y, [tokens, features].into(), dtype)
    }

    fn prologue_quantize(
        x: FloatTensor<Self>,
        prologue: Prologue<Self>,
    ) -> (IntTensor<Self>, FloatTensor<Self>) {
        // What no norm has bounded is rounded to the dtype of `x` first, as on CubeCL devices.
        if let Prologue::Gate { .. } = prologue {
            return Self::quantize_activations(Self::prologue(x, prologue));
        }
        let [tokens, width] = x.shape().dims();
        let features = prologue.features(width);
        let (x, prologue) = (contiguous_f32(x), Rows::new(prologue));
        let x = slice!(x, f32);
        let mut codes = vec![0; tokens * activation_words_per_row(features)];
        let mut scales = vec![0.0; tokens];
        checked(match prologue.borrow() {
            View::Norm(norm) => {
                kernels::rms_norm_quantize(x, None, norm, None, &mut codes, &mut scales)
            }
            View::Gate(gate) => kernels::gated_quantize(x, features, gate, &mut codes, &mut scales),
        });
        (word_tensor(codes), vector(scales))
    }

    fn prologue_backward(
        x: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        prologue: Prologue<Self>,
    ) -> (FloatTensor<Self>, Optional<Self>) {
        let (shape, dtype) = (x.shape(), x.dtype());
        let features = prologue.features(shape[1]);
        let normed = prologue.gamma().is_some();
        let (x, dy, prologue) = (contiguous_f32(x), contiguous_f32(dy), Rows::new(prologue));
        let (x, dy) = (slice!(x, f32), slice!(dy, f32));
        let mut dx = vec![0.0; x.len()];
        let mut dgamma = vec![0.0; if normed { features } else { 0 }];
        checked(match prologue.borrow() {
            View::Norm(norm) => kernels::rms_norm_backward(x, norm, dy, &mut dx, &mut dgamma),
            View::Gate(gate) => {
                kernels::gated_backward(x, features, gate, dy, &mut dx, &mut dgamma)
            }
        });
        let dgamma = normed.then(|| vector(dgamma));
        (float_tensor(dx, shape, dtype), dgamma.into())
    }

    fn exact_gelu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let (shape, dtype) = (x.shape(), x.dtype());
        if dtype == DType::F64 {
            return <Self as ActivationOps<Self>>::gelu(x);
        }
        let x = contiguous_f32(x);
        let mut y = vec![0.0; shape.num_elements()];
        checked(kernels::gelu(slice!(x, f32), &mut y));
        float_tensor(y, shape, dtype)
    }

    fn exact_gelu_backward(x: FloatTensor<Self>, dy: FloatTensor<Self>) -> FloatTensor<Self> {
        let (shape, dtype) = (x.shape(), x.dtype());
        if dtype == DType::F64 {
            return <Self as ActivationOps<Self>>::gelu_backward(x, dy);
        }
        let [x, dy] = [x, dy].map(contiguous_f32);
        let mut dx = vec![0.0; shape.num_elements()];
        let (x, dy) = (slice!(x, f32), slice!(dy, f32));
        checked(kernels::gelu_backward(x, dy, &mut dx));
        float_tensor(dx, shape, dtype)
    }

    fn dense_product(
        left: FloatTensor<Self>,
        right: FloatTensor<Self>,
        depths: [Depth; 2],
        dtype: DType,
    ) -> FloatTensor<Self> {
        // Flex sums half precision in half precision.
        let [left, right] = [left, right].map(contiguous_f32);
        let left = match depths[0] {
            Depth::Columns => left,
            Depth::Rows => Self::float_transpose(left),
        };
        let right = match depths[1] {
            Depth::Columns => Self::float_transpose(right),
            Depth::Rows => right,
        };
        rounded(Self::float_matmul(left, right), dtype)
    }

    fn attention_forward(
        qkv: FloatTensor<Self>,
        table: Optional<Self>,
        sequences: Sequences,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let dtype = qkv.dtype();
        let tokens = qkv.shape()[0];
        let heads = sequences.heads;
        let sequences = of_length(sequences, tokens);
        let rotated = rotate(contiguous_f32(qkv), table, sequences, false);
        let mut out = vec![0.0; tokens * heads.query_width()];
        let mut statistics = vec![0.0; tokens * heads.query];
        let scale = scale(heads);
        let qkv = slice!(rotated, f32);
        checked(kernels::sequence_attention(
            qkv,
            sequences,
            scale,
            &mut out,
            &mut statistics,
        ));
        (
            float_tensor(out, [tokens, heads.query_width()].into(), dtype),
            rounded(rotated, dtype),
            vector(statistics),
        )
    }

    fn attention_backward(
        rotated: FloatTensor<Self>,
        out: FloatTensor<Self>,
        statistics: FloatTensor<Self>,
        d_out: FloatTensor<Self>,
        table: Optional<Self>,
        sequences: Sequences,
    ) -> FloatTensor<Self> {
        let (shape, dtype) = (rotated.shape(), rotated.dtype());
        let heads = sequences.heads;
        let sequences = of_length(sequences, shape[0]);
        let [qkv, out, d_out] = [rotated, out, d_out].map(contiguous_f32);
        let statistics = contiguous_f32(statistics);
        let mut d_qkv = vec![0.0; shape.num_elements()];
        checked(kernels::sequence_attention_backward(
            slice!(qkv, f32),
            slice!(out, f32),
            slice!(statistics, f32),
            slice!(d_out, f32),
            sequences,
            scale(heads),
            &mut d_qkv,
        ));
        let d_qkv = FlexTensor::from_data(TensorData::new(d_qkv, shape));
        rounded(rotate(d_qkv, table, sequences, true), dtype)
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
        let features = dy.shape()[1];
        let (dy, ids) = (contiguous_f32(dy), ids.to_contiguous());
        let mut d_table = vec![0.0; vocabulary * features];
        checked(kernels::embedding_backward(
            slice!(dy, f32),
            features,
            slice!(ids, u32),
            &mut d_table,
        ));
        float_tensor(d_table, [vocabulary, features].into(), DType::F32)
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
        let sum = Self::float_clamp_min(Self::float_sum(weights), f32::MIN_POSITIVE.into());
        let reciprocal = Self::float_recip(sum);
        let mean = Self::float_mul(Self::float_sum(losses), reciprocal.clone());
        (mean, reciprocal)
    }

    fn adamw(
        parameter: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        factor: Optional<Self>,
        moments: Moments<Self>,
        step: AdamWStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let (shape, dtype) = (parameter.shape(), parameter.dtype());
        let mut parameter = contiguous_f32(parameter);
        let mut gradient = contiguous_f32(gradient);
        if let Some(factor) = factor.into_option() {
            let factor = contiguous_f32(factor);
            let factor = slice!(factor, f32)[0];
            for value in gradient.storage_mut::<f32>() {
                *value *= factor;
            }
        }
        let (mut first, mut second) = match moments {
            Moments::Absent => {
                let zeros = || FlexTensor::zeros(shape.clone(), DType::F32);
                (zeros(), zeros())
            }
            Moments::Present { first, second } => (contiguous_f32(first), contiguous_f32(second)),
        };
        let (correction_1, correction_2) = step.corrections();
        let step = kernels::AdamWStep {
            beta_1: step.beta_1,
            beta_2: step.beta_2,
            epsilon: step.epsilon,
            correction_1,
            correction_2,
            rate: step.learning_rate as f32,
            keep: step.keep(),
        };
        // Written in place where nobody else holds the tensor, else to a copy.
        checked(kernels::adamw(
            step,
            parameter.storage_mut::<f32>(),
            slice!(gradient, f32),
            first.storage_mut::<f32>(),
            second.storage_mut::<f32>(),
        ));
        (
            rounded(parameter, dtype),
            rounded(first, dtype),
            rounded(second, dtype),
        )
    }

    fn write_square_sum(
        sums: FloatTensor<Self>,
        x: FloatTensor<Self>,
        index: usize,
    ) -> FloatTensor<Self> {
        let (x, mut sums) = (contiguous_f32(x), contiguous_f32(sums));
        sums.storage_mut::<f32>()[index] = kernels::square_sum(slice!(x, f32));
        sums
    }

    fn clip_factor(
        sums: FloatTensor<Self>,
        max_norm: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let sums = contiguous_f32(sums);
        let norm = slice!(sums, f32).iter().sum::<f32>().sqrt();
        let factor = max_norm / (norm + CLIP_EPSILON);
        // NaN is not 1 or more.
        let factor = if factor >= 1.0 { 1.0 } else { factor };
        (vector(vec![norm]), vector(vec![factor]))
    }
}

/// A prologue with its gains contiguous and in f32.
enum Rows {
    Norm(FlexTensor, f32),
    Gate(GatedActivation, Option<(FlexTensor, f32)>),
}

/// The same, borrowed.
enum View<'a> {
    Norm(kernels::RmsNorm<'a>),
    Gate(kernels::Gate<'a>),
}

impl Rows {
    fn new(prologue: Prologue<Flex>) -> Self {
        match prologue {
            Prologue::Norm { gamma, epsilon } => Self::Norm(contiguous_f32(gamma), epsilon),
            Prologue::Gate { activation } => Self::Gate(activation, None),
            Prologue::GateNorm {
                activation,
                gamma,
                epsilon,
            } => Self::Gate(activation, Some((contiguous_f32(gamma), epsilon))),
        }
    }

    fn borrow(&self) -> View<'_> {
        fn norm(gamma: &FlexTensor, eps: f32) -> kernels::RmsNorm<'_> {
            let gamma = slice!(gamma, f32);
            kernels::RmsNorm { gamma, eps }
        }
        match self {
            Self::Norm(gamma, epsilon) => View::Norm(norm(gamma, *epsilon)),
            Self::Gate(activation, sub_norm) => View::Gate(kernels::Gate {
                activation: (*activation).into(),
                norm: sub_norm
                    .as_ref()
                    .map(|(gamma, epsilon)| norm(gamma, *epsilon)),
            }),
        }
    }
}

/// The sequences that `tokens` are made of.
fn of_length(sequences: Sequences, tokens: usize) -> kernels::Sequences {
    let Sequences {
        heads,
        batch,
        causal,
    } = sequences;
    kernels::Sequences {
        batch,
        length: tokens / batch,
        heads: checked(kernels::Heads::new(
            heads.query,
            heads.key_value,
            heads.size,
        )),
        causal,
    }
}

fn scale(heads: Heads) -> f32 {
    1.0 / (heads.size as f32).sqrt()
}

/// Queries and keys of contiguous f32, rotated if there is a table.
fn rotate(
    mut qkv: FlexTensor,
    table: Optional<Flex>,
    sequences: kernels::Sequences,
    inverse: bool,
) -> FlexTensor {
    if let Some(table) = table.into_option() {
        let table = table.to_contiguous();
        checked(kernels::rotate(
            qkv.storage_mut::<f32>(),
            sequences.length,
            sequences.heads,
            slice!(table, f32),
            inverse,
        ));
    }
    qkv
}

fn vector(values: Vec<f32>) -> FlexTensor {
    let len = values.len();
    float_tensor(values, [len].into(), DType::F32)
}

/// An f32 tensor in `dtype`.
fn rounded(tensor: FlexTensor, dtype: DType) -> FlexTensor {
    use burn::backend::ops::FloatTensorOps;

    match dtype {
        DType::F32 => tensor,
        _ => Flex::float_cast(tensor, dtype.into()),
    }
}

impl From<GatedActivation> for kernels::GatedActivation {
    fn from(activation: GatedActivation) -> Self {
        match activation {
            GatedActivation::SquaredRelu => Self::SquaredRelu,
            GatedActivation::Silu => Self::Silu,
            GatedActivation::Gelu => Self::Gelu,
            GatedActivation::GeluTanh => Self::GeluTanh,
        }
    }
}
