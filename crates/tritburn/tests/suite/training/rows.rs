//! Norms and gated units.

use burn::tensor::{DType, Device, Tensor, TensorData, activation};
use rstest::rstest;
use tritburn::Error;
use tritburn::training::{GatedActivation, Norm, gated, gelu, rms_norm};

use super::{
    Results, TRAINED, assert_close, assert_is_slope, half_types, leaf, scalar, tensor, weighed,
};
use crate::common::{device as reference, devices, to_vec};

const EPSILON: f32 = 1e-5;

fn plain_norm<const D: usize>(x: Tensor<D>, gamma: Tensor<1>) -> Tensor<D> {
    plain_norm_with(x, gamma, EPSILON)
}

fn plain_norm_with<const D: usize>(x: Tensor<D>, gamma: Tensor<1>, epsilon: f32) -> Tensor<D> {
    let rms = (x.clone().square().mean_dim(D - 1) + epsilon).sqrt();
    x / rms * gamma.unsqueeze()
}

fn plain_gate<const D: usize>(gate_up: Tensor<D>, activation: GatedActivation) -> Tensor<D> {
    let [gate, up]: [Tensor<D>; 2] = gate_up.chunk(2, D - 1).try_into().unwrap();
    match activation {
        GatedActivation::SquaredRelu => activation::relu(gate).square() * up,
        GatedActivation::Silu => activation::silu(gate) * up,
        GatedActivation::Gelu => activation::gelu(gate) * up,
        GatedActivation::GeluTanh => activation::gelu_approximate(gate) * up,
    }
}

/// An operation on `x` with gains, which a gate may ignore.
type Op<'a> = &'a dyn Fn(Tensor<3>, Tensor<1>) -> Tensor<3>;

/// Result and gradients of what is trained.
fn run(
    device: &Device,
    shape: [usize; 3],
    k: usize,
    (dtype, trained): (DType, [bool; 2]),
    op: Op<'_>,
) -> Results {
    let device = device.clone().autodiff();
    let x = leaf(1, shape, (dtype, trained[0]), &device);
    let gamma = leaf(2, [k], (DType::F32, trained[1]), &device);
    let y = op(x.clone(), gamma.clone());
    assert_eq!(y.dtype(), dtype);
    let mut results = vec![("y", to_vec(y.clone()))];
    if trained == [false, false] {
        return results;
    }
    let grads = weighed(y, 3).backward();
    if trained[0] {
        let dx = x.grad(&grads).expect("asked for");
        assert_eq!((dx.dtype(), dx.dims()), (dtype, shape));
        results.push(("dx", to_vec(dx)));
    }
    // A gate without a norm has no use for gains.
    if let Some(dgamma) = gamma.grad(&grads).filter(|_| trained[1]) {
        assert_eq!(dgamma.dtype(), DType::F32);
        results.push(("dgamma", to_vec(dgamma)));
    }
    results
}

const BOTH: [bool; 2] = [true, true];

fn check_norm(shape: [usize; 3], trained: [bool; 2]) {
    let k = shape[2];
    // The gradient of a single feature is what epsilon leaves of 1 - 1.
    let epsilon = if k == 1 { 0.5 } else { EPSILON };
    let fused = |x, gamma| rms_norm(x, Norm { gamma, epsilon }).unwrap();
    let plain = |x, gamma| plain_norm_with(x, gamma, epsilon);
    let expected = run(&reference(), shape, k, (DType::F32, trained), &plain);
    for device in devices() {
        let found = run(&device, shape, k, (DType::F32, trained), &fused);
        assert_close(&found, &expected, 5e-6, &format!("{shape:?} on {device:?}"));
        let again = run(&device, shape, k, (DType::F32, trained), &fused);
        assert_eq!(found, again, "{device:?}");
    }
}

fn check_gate(shape: [usize; 3], activation: GatedActivation, with_norm: bool, trained: [bool; 2]) {
    // Without a norm there are no gains to train.
    let trained = [trained[0], trained[1] && with_norm];
    let fused = |x, gamma| {
        let epsilon = EPSILON;
        gated(x, activation, with_norm.then_some(Norm { gamma, epsilon })).unwrap()
    };
    let plain = |x, gamma| match with_norm {
        true => plain_norm(plain_gate(x, activation), gamma),
        false => plain_gate(x, activation),
    };
    let k = shape[2] / 2;
    let expected = run(&reference(), shape, k, (DType::F32, trained), &plain);
    for device in devices() {
        let found = run(&device, shape, k, (DType::F32, trained), &fused);
        assert_close(&found, &expected, 1e-5, &format!("{shape:?} on {device:?}"));
        let again = run(&device, shape, k, (DType::F32, trained), &fused);
        assert_eq!(found, again, "{device:?}");
    }
}

#[rstest]
fn a_norm_equals_the_composition(
    #[values([1, 1, 16], [2, 3, 100], [3, 30, 257], [1, 1, 1])] shape: [usize; 3],
) {
    check_norm(shape, BOTH);
}

#[rstest]
fn a_gate_equals_the_composition(
    #[values([1, 1, 32], [3, 30, 514])] shape: [usize; 3],
    #[values(
        GatedActivation::SquaredRelu,
        GatedActivation::Silu,
        GatedActivation::Gelu,
        GatedActivation::GeluTanh
    )]
    activation: GatedActivation,
    #[values(false, true)] with_norm: bool,
) {
    check_gate(shape, activation, with_norm, BOTH);
}

#[rstest]
fn only_what_is_trained_gets_a_gradient(
    #[values([true, false], [false, true], [false, false])] trained: [bool; 2],
) {
    check_norm([3, 30, 257], trained);
    check_gate([3, 30, 514], GatedActivation::SquaredRelu, true, trained);
    check_gate([3, 30, 514], GatedActivation::Silu, false, trained);
}

/// Half precision rounds inputs and results, not what is between; gains and their gradient are f32.
#[test]
fn half_precision_input_with_f32_gains() {
    let shape = [2, 9, 96];
    for device in devices() {
        for dtype in half_types(&device) {
            let norm = |gamma| Norm {
                gamma,
                epsilon: EPSILON,
            };
            let relu2 = GatedActivation::SquaredRelu;
            let pairs: [(usize, Op<'_>, Op<'_>); 2] = [
                (
                    96,
                    &|x, gamma| rms_norm(x, norm(gamma)).unwrap(),
                    &plain_norm,
                ),
                (
                    48,
                    &|x, gamma| gated(x, relu2, Some(norm(gamma))).unwrap(),
                    &|x, gamma| plain_norm(plain_gate(x, relu2), gamma),
                ),
            ];
            for (k, fused, plain) in pairs {
                let found = run(&device, shape, k, (dtype, BOTH), fused);
                let expected = run(&reference(), shape, k, (DType::F32, BOTH), plain);
                let what = format!("{dtype:?} {k} on {device:?}");
                assert_close(&found, &expected, 2e-2, &what);
            }
        }
    }
}

#[test]
fn gradients_are_slopes() {
    let shape = [1, 3, 20];
    for device in devices() {
        let ad = device.clone().autodiff();
        let loss = |x: Tensor<3>, gamma: Tensor<1>| {
            let norm = Norm {
                gamma,
                epsilon: EPSILON,
            };
            weighed(gated(x, GatedActivation::Silu, Some(norm)).unwrap(), 3)
        };
        let (x, gamma) = (leaf(1, shape, TRAINED, &ad), leaf(2, [10], TRAINED, &ad));
        let grads = loss(x.clone(), gamma.clone()).backward();
        assert_is_slope(
            to_vec(x.grad(&grads).unwrap()),
            to_vec(x),
            |x| {
                let x = Tensor::from_data(TensorData::new(x, shape), &device);
                scalar(loss(x, tensor(2, [10], &device)))
            },
            "dx",
        );
        assert_is_slope(
            to_vec(gamma.grad(&grads).unwrap()),
            to_vec(gamma),
            |gamma| {
                let gamma = Tensor::from_data(TensorData::new(gamma, [10]), &device);
                scalar(loss(tensor(1, shape, &device), gamma))
            },
            "dgamma",
        );
    }
}

#[test]
fn no_rows_give_no_rows() {
    for device in devices() {
        let norm = Norm {
            gamma: tensor(1, [8], &device),
            epsilon: EPSILON,
        };
        let y = rms_norm(Tensor::<3>::zeros([2, 0, 8], &device), norm.clone()).unwrap();
        assert_eq!(y.dims(), [2, 0, 8]);
        let x = Tensor::<2>::zeros([0, 16], &device);
        let y = gated(x, GatedActivation::Silu, Some(norm)).unwrap();
        assert_eq!(y.dims(), [0, 8]);
    }
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    for device in devices() {
        let norm = |len: usize| Norm {
            gamma: tensor(1, [len], &device),
            epsilon: EPSILON,
        };
        let x = || tensor(2, [3, 8], &device);
        assert!(matches!(
            rms_norm(x(), norm(7)),
            Err(Error::InputFeatures {
                found: 8,
                expected: 7,
                ..
            })
        ));
        assert!(matches!(
            rms_norm(x().cast(DType::F64), norm(8)),
            Err(Error::DType {
                operand: "input",
                ..
            })
        ));
        let silu = GatedActivation::Silu;
        assert!(matches!(
            gated(x(), silu, Some(norm(8))),
            Err(Error::Shape {
                operand: "norm weight",
                ..
            })
        ));
        assert!(matches!(
            gated(tensor(2, [3, 7], &device), silu, None),
            Err(Error::OddFeatures { found: 7 })
        ));
    }
    #[cfg(all(feature = "flex", feature = "cpu"))]
    {
        let norm = Norm {
            gamma: tensor(1, [8], &Device::cpu()),
            epsilon: EPSILON,
        };
        let x = tensor(2, [3, 8], &Device::flex());
        assert!(matches!(rms_norm(x, norm), Err(Error::Device { .. })));
    }
}

#[test]
fn gelu_and_its_gradient_equal_burns() {
    let run = |device: &Device, dtype, op: &dyn Fn(Tensor<3>) -> Tensor<3>| {
        let x = leaf(5, [3, 7, 41], (dtype, true), &device.clone().autodiff());
        let y = op(x.clone() * 3.0);
        assert_eq!(y.dtype(), dtype);
        let grads = weighed(y.clone(), 6).backward();
        let dx = x.grad(&grads).unwrap();
        assert_eq!(dx.dtype(), dtype);
        vec![("y", to_vec(y)), ("dx", to_vec(dx))]
    };
    let expected = run(&reference(), DType::F32, &activation::gelu);
    for device in devices() {
        let found = run(&device, DType::F32, &gelu);
        // Elsewhere it is Burn's, whose gradient is that of the approximation by tanh.
        let bound = if device == reference() { 1e-6 } else { 1e-3 };
        assert_close(&found, &expected, bound, &format!("{device:?}"));
        // What is not trained takes the same path without keeping anything.
        let bare = gelu(tensor(5, [3, 7, 41], &device) * 3.0);
        assert_eq!(to_vec(bare), found[0].1, "{device:?}");
        for dtype in half_types(&device) {
            let found = run(&device, dtype, &gelu);
            assert_close(&found, &expected, 2e-2, &format!("{dtype:?} on {device:?}"));
        }
    }
}
