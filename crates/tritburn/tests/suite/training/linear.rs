//! Products whose input is normalised or gated on the way.

use burn::tensor::{DType, Device, Tensor};
use rstest::rstest;
use tritburn::training::{
    GatedActivation, Norm, gated, gated_bit_linear, norm_bit_linear, rms_norm,
};
use tritburn::{Error, InputPrecision, PackedLayout, ScaleGranularity, WeightCode, ops};

use super::{Results, assert_close, half_types, leaf, tensor, weighed};
use crate::common::{device as reference, devices, to_vec};

const EPSILON: f32 = 1e-5;
const N: usize = 33;

fn norm(gamma: Tensor<1>) -> Norm {
    Norm {
        gamma,
        epsilon: EPSILON,
    }
}

fn layout(k: usize, scale: ScaleGranularity) -> PackedLayout {
    PackedLayout::new(N, k, WeightCode::Ternary, scale).unwrap()
}

/// What stands in front of the product.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Front {
    Norm,
    Gate(GatedActivation),
    GateNorm(GatedActivation),
}

impl Front {
    /// Columns of the input for `k` of the product.
    fn width(self, k: usize) -> usize {
        if self == Self::Norm { k } else { 2 * k }
    }

    fn apply(self, x: Tensor<3>, gamma: Tensor<1>) -> Tensor<3> {
        match self {
            Self::Norm => rms_norm(x, norm(gamma)),
            Self::Gate(activation) => gated(x, activation, None),
            Self::GateNorm(activation) => gated(x, activation, Some(norm(gamma))),
        }
        .unwrap()
    }

    fn linear(self, operands: Operands, layout: &PackedLayout) -> Tensor<3> {
        let Operands {
            x,
            gamma,
            weight,
            bias,
        } = operands;
        match self {
            Self::Norm => norm_bit_linear(x, norm(gamma), weight, bias, layout),
            Self::Gate(activation) => gated_bit_linear(x, activation, None, weight, bias, layout),
            Self::GateNorm(activation) => {
                gated_bit_linear(x, activation, Some(norm(gamma)), weight, bias, layout)
            }
        }
        .unwrap()
    }
}

#[derive(Clone)]
struct Operands {
    x: Tensor<3>,
    gamma: Tensor<1>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
}

/// Which of x, gamma, weight and bias are trained.
type Trained = [bool; 4];
const ALL: Trained = [true; 4];

struct Case {
    front: Front,
    tokens: [usize; 2],
    k: usize,
    dtype: DType,
    trained: Trained,
    with_bias: bool,
}

impl Case {
    fn operands(&self, device: &Device) -> Operands {
        let [x, gamma, weight, bias] = self.trained;
        let [batch, length] = self.tokens;
        let width = self.front.width(self.k);
        Operands {
            x: leaf(1, [batch, length, width], (self.dtype, x), device),
            gamma: leaf(2, [self.k], (DType::F32, gamma), device),
            weight: leaf(3, [N, self.k], (DType::F32, weight), device),
            bias: self
                .with_bias
                .then(|| leaf(4, [N], (self.dtype, bias), device)),
        }
    }

    fn run(&self, device: &Device, op: &dyn Fn(Operands) -> Tensor<3>) -> Results {
        let operands = self.operands(&device.clone().autodiff());
        let y = op(operands.clone());
        assert_eq!(y.dtype(), self.dtype);
        let mut results = vec![("y", to_vec(y.clone()))];
        if self.trained == [false; 4] {
            return results;
        }
        let grads = weighed(y, 5).backward();
        let Operands {
            x,
            gamma,
            weight,
            bias,
        } = operands;
        let found = [
            ("dx", x.grad(&grads).map(|g| (g.dtype(), to_vec(g)))),
            ("dgamma", gamma.grad(&grads).map(|g| (g.dtype(), to_vec(g)))),
            ("dw", weight.grad(&grads).map(|g| (g.dtype(), to_vec(g)))),
            (
                "db",
                bias.and_then(|b| b.grad(&grads))
                    .map(|g| (g.dtype(), to_vec(g))),
            ),
        ];
        let dtypes = [self.dtype, DType::F32, DType::F32, self.dtype];
        for ((name, gradient), expected) in found.into_iter().zip(dtypes) {
            if let Some((dtype, gradient)) = gradient {
                assert_eq!(dtype, expected, "{name}");
                results.push((name, gradient));
            }
        }
        results
    }
}

const RELU2: GatedActivation = GatedActivation::SquaredRelu;
const SILU: GatedActivation = GatedActivation::Silu;

/// The same integers, so the same bits forward, and the sums of the gradients in another order at
/// most.
#[rstest]
fn a_fused_product_equals_its_parts(
    #[values(
        Front::Norm,
        Front::Gate(RELU2),
        Front::GateNorm(RELU2),
        Front::GateNorm(SILU)
    )]
    front: Front,
    #[values(
        ScaleGranularity::Tensor,
        ScaleGranularity::Group { size: 32 },
        ScaleGranularity::Segments { rows: vec![10, 3, 20] }
    )]
    scale: ScaleGranularity,
    #[values(([1, 1], 16, false), ([2, 5], 100, true))] shape: ([usize; 2], usize, bool),
) {
    let (tokens, k, with_bias) = shape;
    let layout = layout(k, scale);
    let case = Case {
        front,
        tokens,
        k,
        dtype: DType::F32,
        trained: ALL,
        with_bias,
    };
    for device in devices() {
        let found = case.run(&device, &|operands| front.linear(operands, &layout));
        let parts = case.run(&device, &|operands| {
            let x = front.apply(operands.x, operands.gamma);
            let (weight, bias) = (operands.weight, operands.bias);
            ops::bit_linear(x, weight, bias, &layout, InputPrecision::Int8).unwrap()
        });
        assert_eq!(found[0], parts[0], "{device:?}");
        assert_close(&found, &parts, 1e-6, &format!("{front:?} on {device:?}"));
        let again = case.run(&device, &|operands| front.linear(operands, &layout));
        assert_eq!(found, again, "{device:?}");
    }
}

/// Straight-through quantisers out of Burn's operations. An activation next to a tie may be rounded
/// to its other neighbour there, which moves results by less than a step of the quantiser.
#[rstest]
fn a_fused_product_is_close_to_the_plain_composition(
    #[values(Front::Norm, Front::GateNorm(SILU))] front: Front,
) {
    let k = 100;
    let layout = layout(k, ScaleGranularity::Tensor);
    let case = Case {
        front,
        tokens: [2, 9],
        k,
        dtype: DType::F32,
        trained: ALL,
        with_bias: true,
    };
    let expected = case.run(&reference(), &|operands| {
        let x = match front {
            Front::Norm => operands.x,
            _ => {
                let [gate, up]: [Tensor<3>; 2] = operands.x.chunk(2, 2).try_into().unwrap();
                burn::tensor::activation::silu(gate) * up
            }
        };
        let rms = (x.clone().square().mean_dim(2) + EPSILON).sqrt();
        let x = x / rms * operands.gamma.unsqueeze();
        let step = x.clone().detach().abs().max_dim(2) / 127.0;
        let rounded = (x.clone().detach() / step.clone()).round() * step;
        let x = x.clone() + rounded - x.detach();
        let (codes, scales) = ops::quantize_weight(operands.weight.clone(), &layout).unwrap();
        let rounded = ops::unpack_weight(codes, scales, &layout, DType::F32).unwrap();
        let weight = operands.weight.clone() + rounded - operands.weight.detach();
        let y = x.matmul(weight.transpose().unsqueeze());
        y + operands.bias.unwrap().unsqueeze()
    });
    for device in devices() {
        let found = case.run(&device, &|operands| front.linear(operands, &layout));
        assert_close(&found, &expected, 1.0 / 127.0, &format!("{device:?}"));
    }
}

/// Whatever else is frozen, a gradient is the same; what nobody asks for is not there.
#[rstest]
fn frozen_operands_change_no_other_gradient(
    #[values(Front::Norm, Front::Gate(RELU2), Front::GateNorm(RELU2))] front: Front,
    #[values(0, 1, 2, 3, 4)] only: usize,
) {
    let layout = layout(48, ScaleGranularity::Tensor);
    let case = |trained| Case {
        front,
        tokens: [1, 6],
        k: 48,
        dtype: DType::F32,
        trained,
        with_bias: true,
    };
    let trained: Trained = std::array::from_fn(|i| i == only);
    for device in devices() {
        let run = |case: Case| case.run(&device, &|operands| front.linear(operands, &layout));
        let gate_alone = matches!(front, Front::Gate(_)) && only == 1;
        if gate_alone {
            continue;
        }
        let (all, found) = (run(case(ALL)), run(case(trained)));
        assert_eq!(found.len(), 1 + trained.iter().filter(|&&t| t).count());
        for result in found {
            assert!(all.contains(&result), "{} on {device:?}", result.0);
        }
    }
}

#[rstest]
fn half_precision_input_with_f32_weights(
    #[values(Front::Norm, Front::Gate(RELU2), Front::GateNorm(RELU2))] front: Front,
) {
    let layout = layout(48, ScaleGranularity::Tensor);
    let case = |dtype| Case {
        front,
        tokens: [3, 7],
        k: 48,
        dtype,
        trained: ALL,
        with_bias: true,
    };
    let expected = case(DType::F32);
    let expected = expected.run(&reference(), &|operands| front.linear(operands, &layout));
    for device in devices() {
        for dtype in half_types(&device) {
            let found = case(dtype).run(&device, &|operands| front.linear(operands, &layout));
            assert_close(&found, &expected, 4e-2, &format!("{dtype:?} on {device:?}"));
        }
    }
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    let layout = layout(16, ScaleGranularity::Tensor);
    for device in devices() {
        let (gamma, weight) = (tensor(1, [16], &device), tensor(2, [N, 16], &device));
        let x = |width: usize| tensor::<2>(3, [2, width], &device);
        let run = |x: Tensor<2>, gamma: Tensor<1>, weight: Tensor<2>, bias: Option<Tensor<1>>| {
            norm_bit_linear(x, norm(gamma), weight, bias, &layout)
        };
        assert!(matches!(
            run(x(17), gamma.clone(), weight.clone(), None),
            Err(Error::InputFeatures {
                found: 17,
                expected: 16,
                ..
            })
        ));
        let short = tensor(1, [15], &device);
        assert!(matches!(
            run(x(16), short, weight.clone(), None),
            Err(Error::Shape {
                operand: "norm weight",
                ..
            })
        ));
        assert!(matches!(
            run(x(16), gamma.clone(), weight.clone().transpose(), None),
            Err(Error::Shape {
                operand: "weight",
                ..
            })
        ));
        let bias = tensor(4, [N], &device).cast(DType::F16);
        assert!(matches!(
            run(x(16), gamma.clone(), weight.clone(), Some(bias)),
            Err(Error::DType {
                operand: "bias",
                ..
            })
        ));
        assert!(matches!(
            gated_bit_linear(x(16), SILU, None, weight, None, &layout),
            Err(Error::InputFeatures {
                found: 16,
                expected: 32,
                ..
            })
        ));
    }
}
