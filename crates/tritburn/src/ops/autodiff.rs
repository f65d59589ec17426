//! Hand-written gradients.
//!
//! `bit_linear` keeps int8 activations and packed weights for the backward pass, never float
//! copies: 1 byte an activation and 2 bits a weight.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, NodeGuard, Ops, OpsKind};
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Autodiff, Backend, TensorMetadata};
use burn::tensor::DType;
use tritburn_formats::PackedLayout;

use super::backend::{TernaryOps, grad_weight_float};
use super::bias::Bias;
use super::operand::WeightOperand;
use crate::precision::InputPrecision;

/// What a parent node is to the linear step.
#[derive(Clone, Copy, Debug)]
enum Role {
    Input,
    Weight,
    Bias,
}

/// What the weight gradient needs of the input.
#[derive(Clone, Debug)]
enum SavedInput<B: Backend> {
    Int8 {
        codes: IntTensor<B>,
        scales: FloatTensor<B>,
    },
    Float(FloatTensor<B>),
}

/// Everything the backward pass reads.
#[derive(Clone, Debug)]
struct Saved<B: Backend, const N: usize> {
    roles: [Role; N],
    codes: IntTensor<B>,
    scales: FloatTensor<B>,
    layout: PackedLayout,
    /// Present when the weight is trained, with the weight's dtype.
    input: Option<(SavedInput<B>, DType)>,
}

/// `dX = dY · Ŵ`, `dW = dYᵀ · X̂`, `db = Σ dY`.
#[derive(Debug)]
struct LinearBackward;

impl<B: Backend + TernaryOps, const N: usize> Backward<B, N> for LinearBackward {
    type State = Saved<B, N>;

    fn backward(
        self,
        ops: Ops<Self::State, N>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let dy = grads.consume::<B>(&ops.node);
        let Saved {
            roles,
            codes,
            scales,
            layout,
            mut input,
        } = ops.state;

        for (parent, role) in ops.parents.into_iter().zip(roles) {
            let Some(parent) = parent else { continue };
            let grad = match role {
                Role::Input => {
                    B::grad_input(dy.clone(), codes.clone(), scales.clone(), layout.clone())
                }
                Role::Weight => match input.take() {
                    Some((SavedInput::Int8 { codes, scales }, dtype)) => {
                        B::grad_weight(dy.clone(), codes, scales, layout.clone(), dtype)
                    }
                    Some((SavedInput::Float(x), dtype)) => {
                        let grad = grad_weight_float::<B>(dy.clone(), x);
                        match grad.dtype() == dtype {
                            true => grad,
                            false => B::float_cast(grad, dtype.into()),
                        }
                    }
                    None => continue,
                },
                Role::Bias => B::float_reshape(
                    B::float_sum_dim(dy.clone(), 0),
                    [layout.out_features()].into(),
                ),
            };
            grads.register::<B>(parent.id, grad);
        }
    }
}

/// Runs the forward product and registers [`LinearBackward`] for `parents`.
#[allow(clippy::too_many_arguments)]
fn linear<B: Backend + TernaryOps, C: CheckpointStrategy, const N: usize>(
    parents: [NodeGuard; N],
    roles: [Role; N],
    x: FloatTensor<B>,
    weight: WeightOperand<B>,
    bias: Bias<B>,
    layout: PackedLayout,
    precision: InputPrecision,
    trained_weight: Option<DType>,
) -> FloatTensor<Autodiff<B, C>> {
    let prepared = Backward::<B, N>::prepare::<C>(LinearBackward, parents);
    match prepared.compute_bound().stateful() {
        OpsKind::UnTracked(prep) => {
            prep.finish(B::packed_linear(x, weight, bias, layout, precision))
        }
        OpsKind::Tracked(prep) => {
            let weight = (weight, layout);
            let (saved, y) = forward::<B, N>(roles, x, weight, bias, precision, trained_weight);
            prep.finish(saved, y)
        }
    }
}

/// The product and all that stays alive for its gradients.
fn forward<B: Backend + TernaryOps, const N: usize>(
    roles: [Role; N],
    x: FloatTensor<B>,
    (weight, layout): (WeightOperand<B>, PackedLayout),
    bias: Bias<B>,
    precision: InputPrecision,
    trained_weight: Option<DType>,
) -> (Saved<B, N>, FloatTensor<B>) {
    let (codes, scales) = weight.clone().into_canonical();
    let (input, y) = match trained_weight {
        // Without a weight that trains nothing asks for the input again.
        None => {
            let y = B::packed_linear(x, weight, bias, layout.clone(), precision);
            (None, y)
        }
        Some(dtype) if precision == InputPrecision::Int8 => {
            let x_dtype = x.dtype();
            let (x_codes, x_scales) = B::quantize_activations(x);
            let (q, a) = (x_codes.clone(), x_scales.clone());
            let y = B::matmul_w2a8(q, a, weight, bias, layout.clone(), x_dtype);
            let input = SavedInput::Int8 {
                codes: x_codes,
                scales: x_scales,
            };
            (Some((input, dtype)), y)
        }
        Some(dtype) => {
            let y = B::matmul_w2a16(x.clone(), weight, bias, layout.clone());
            (Some((SavedInput::Float(x), dtype)), y)
        }
    };
    let saved = Saved {
        roles,
        codes,
        scales,
        layout,
        input,
    };
    (saved, y)
}

impl<B: Backend + TernaryOps, C: CheckpointStrategy> TernaryOps for Autodiff<B, C> {
    fn quantize_weight(
        weight: FloatTensor<Self>,
        layout: PackedLayout,
    ) -> (IntTensor<Self>, FloatTensor<Self>) {
        let (codes, scales) = B::quantize_weight(weight.into_primitive(), layout);
        (codes, constant::<B, C>(scales))
    }

    fn quantize_activations(x: FloatTensor<Self>) -> (IntTensor<Self>, FloatTensor<Self>) {
        let (codes, scales) = B::quantize_activations(x.into_primitive());
        (codes, constant::<B, C>(scales))
    }

    fn unpack_weight(
        codes: IntTensor<Self>,
        scales: FloatTensor<Self>,
        layout: PackedLayout,
        dtype: DType,
    ) -> FloatTensor<Self> {
        constant::<B, C>(B::unpack_weight(
            codes,
            scales.into_primitive(),
            layout,
            dtype,
        ))
    }

    fn prepack(
        codes: IntTensor<Self>,
        scales: FloatTensor<Self>,
        layout: PackedLayout,
        precision: InputPrecision,
    ) -> (IntTensor<Self>, FloatTensor<Self>) {
        let (words, row_scales) = B::prepack(codes, scales.into_primitive(), layout, precision);
        (words, constant::<B, C>(row_scales))
    }

    fn matmul_w2a8(
        x_codes: IntTensor<Self>,
        x_scales: FloatTensor<Self>,
        weight: WeightOperand<Self>,
        bias: Bias<Self>,
        layout: PackedLayout,
        dtype: DType,
    ) -> FloatTensor<Self> {
        constant::<B, C>(B::matmul_w2a8(
            x_codes,
            x_scales.into_primitive(),
            inner_weight(weight),
            inner_bias(bias),
            layout,
            dtype,
        ))
    }

    fn matmul_quantizing(
        x: FloatTensor<Self>,
        weight: WeightOperand<Self>,
        bias: Bias<Self>,
        layout: PackedLayout,
    ) -> FloatTensor<Self> {
        Self::packed_linear(x, weight, bias, layout, InputPrecision::Int8)
    }

    fn matmul_w2a16(
        x: FloatTensor<Self>,
        weight: WeightOperand<Self>,
        bias: Bias<Self>,
        layout: PackedLayout,
    ) -> FloatTensor<Self> {
        Self::packed_linear(x, weight, bias, layout, InputPrecision::Float)
    }

    fn grad_input(
        dy: FloatTensor<Self>,
        codes: IntTensor<Self>,
        scales: FloatTensor<Self>,
        layout: PackedLayout,
    ) -> FloatTensor<Self> {
        constant::<B, C>(B::grad_input(
            dy.into_primitive(),
            codes,
            scales.into_primitive(),
            layout,
        ))
    }

    fn grad_weight(
        dy: FloatTensor<Self>,
        x_codes: IntTensor<Self>,
        x_scales: FloatTensor<Self>,
        layout: PackedLayout,
        dtype: DType,
    ) -> FloatTensor<Self> {
        constant::<B, C>(B::grad_weight(
            dy.into_primitive(),
            x_codes,
            x_scales.into_primitive(),
            layout,
            dtype,
        ))
    }

    fn packed_linear(
        x: FloatTensor<Self>,
        weight: WeightOperand<Self>,
        bias: Bias<Self>,
        layout: PackedLayout,
        precision: InputPrecision,
    ) -> FloatTensor<Self> {
        let weight = inner_weight(weight);
        let (x, x_node) = x.into_parts();
        match bias {
            Bias::Absent => linear::<B, C, 1>(
                [x_node],
                [Role::Input],
                x,
                weight,
                Bias::Absent,
                layout,
                precision,
                None,
            ),
            Bias::Present(bias) => {
                let (bias, bias_node) = bias.into_parts();
                linear::<B, C, 2>(
                    [x_node, bias_node],
                    [Role::Input, Role::Bias],
                    x,
                    weight,
                    Bias::Present(bias),
                    layout,
                    precision,
                    None,
                )
            }
        }
    }

    fn bit_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: Bias<Self>,
        layout: PackedLayout,
        precision: InputPrecision,
    ) -> FloatTensor<Self> {
        let trained = weight.is_tracked().then(|| weight.dtype());
        let (x, x_node) = x.into_parts();
        let (weight, weight_node) = weight.into_parts();
        let (codes, scales) = B::quantize_weight(weight, layout.clone());
        let weight = WeightOperand::Canonical { codes, scales };
        match bias {
            Bias::Absent => linear::<B, C, 2>(
                [x_node, weight_node],
                [Role::Input, Role::Weight],
                x,
                weight,
                Bias::Absent,
                layout,
                precision,
                trained,
            ),
            Bias::Present(bias) => {
                let (bias, bias_node) = bias.into_parts();
                linear::<B, C, 3>(
                    [x_node, weight_node, bias_node],
                    [Role::Input, Role::Weight, Role::Bias],
                    x,
                    weight,
                    Bias::Present(bias),
                    layout,
                    precision,
                    trained,
                )
            }
        }
    }
}

/// A result that no gradient flows through.
fn constant<B: Backend, C: CheckpointStrategy>(
    primitive: FloatTensor<B>,
) -> FloatTensor<Autodiff<B, C>> {
    FloatTensor::<Autodiff<B, C>>::new(primitive)
}

/// The same tensors without their autodiff association: weights of a product are constants.
pub(crate) fn inner_weight<B: Backend, C: CheckpointStrategy>(
    weight: WeightOperand<Autodiff<B, C>>,
) -> WeightOperand<B> {
    match weight {
        WeightOperand::Canonical { codes, scales } => WeightOperand::Canonical {
            codes,
            scales: scales.into_primitive(),
        },
        WeightOperand::Prepacked {
            codes,
            scales,
            words,
            row_scales,
        } => WeightOperand::Prepacked {
            codes,
            scales: scales.into_primitive(),
            words,
            row_scales: row_scales.into_primitive(),
        },
        WeightOperand::Fragments { words, row_scales } => WeightOperand::Fragments {
            words,
            row_scales: row_scales.into_primitive(),
        },
    }
}

pub(crate) fn inner_bias<B: Backend, C: CheckpointStrategy>(bias: Bias<Autodiff<B, C>>) -> Bias<B> {
    bias.into_option().map(|bias| bias.into_primitive()).into()
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use burn::backend::Flex;
    use burn::tensor::TensorData;
    use burn_flex::FlexTensor;
    use tritburn_formats::{ScaleGranularity, WeightCode};

    /// Bytes of every tensor in `saved`.
    fn bytes<const N: usize>(saved: &Saved<Flex, N>) -> usize {
        // No `..`: a field that is added must be counted.
        let Saved {
            roles: _,
            codes,
            scales,
            layout: _,
            input,
        } = saved;
        let input = match input {
            None => 0,
            Some((SavedInput::Int8 { codes, scales }, _)) => {
                codes.bytes().len() + scales.bytes().len()
            }
            Some((SavedInput::Float(x), _)) => x.bytes().len(),
        };
        codes.bytes().len() + scales.bytes().len() + input
    }

    /// A quarter of f32 activations and a sixteenth of f32 weights stay for the backward pass.
    #[test]
    fn precision_and_packed_weights_are_all_that_is_saved() {
        let (tokens, n, k) = (64, 128, 256);
        let layout =
            PackedLayout::new(n, k, WeightCode::Ternary, ScaleGranularity::Tensor).unwrap();
        let tensor = |rows: usize| {
            let values = (0..rows * k).map(|i| (i % 7) as f32 - 3.0).collect();
            FlexTensor::from_data(TensorData::new::<f32, _>(values, [rows, k]))
        };
        let (codes, scales) = Flex::quantize_weight(tensor(n), layout.clone());
        let saved = |precision: InputPrecision, trained: bool| {
            let (codes, scales) = (codes.clone(), scales.clone());
            let weight = (WeightOperand::Canonical { codes, scales }, layout.clone());
            let roles = [Role::Input, Role::Weight];
            let trained = trained.then_some(DType::F32);
            let (saved, _) = forward::<Flex, 2>(
                roles,
                tensor(tokens),
                weight,
                Bias::Absent,
                precision,
                trained,
            );
            bytes(&saved)
        };
        let weight = n * k / 4 + 4;
        assert_eq!(
            saved(InputPrecision::Int8, true),
            weight + tokens * k + 4 * tokens
        );
        assert_eq!(saved(InputPrecision::Int8, false), weight);
        assert_eq!(saved(InputPrecision::Float, true), weight + 4 * tokens * k);
    }
}
