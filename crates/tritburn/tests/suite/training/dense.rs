//! The float product.

use burn::tensor::{DType, Device, Tensor};
use rstest::rstest;
use tritburn::Error;
use tritburn::training::linear;

use super::{Results, assert_close, assert_is_slope, half_types, leaf, scalar, tensor, weighed};
use crate::common::{device as reference, devices, to_vec};

/// Batch, length, in, out.
type Sizes = [usize; 4];

fn results(
    device: &Device,
    [batch, length, k, n]: Sizes,
    dtype: DType,
    [x_trained, weight_trained]: [bool; 2],
    function: impl Fn(Tensor<3>, Tensor<2>) -> Tensor<3>,
) -> Results {
    let device = device.clone().autodiff();
    let x = leaf(1, [batch, length, k], (dtype, x_trained), &device);
    let weight = leaf(2, [n, k], (DType::F32, weight_trained), &device);
    let y = function(x.clone(), weight.clone());
    assert_eq!((y.dims(), y.dtype()), ([batch, length, n], dtype));
    let grads = weighed(y.clone(), 3).backward();
    let mut found = vec![("y", to_vec(y))];
    if x_trained {
        let dx = x.grad(&grads).unwrap();
        assert_eq!(dx.dtype(), dtype);
        found.push(("dX", to_vec(dx)));
    }
    if weight_trained {
        let dw = weight.grad(&grads).unwrap();
        assert_eq!(dw.dtype(), DType::F32);
        found.push(("dW", to_vec(dw)));
    }
    found
}

fn plain(x: Tensor<3>, weight: Tensor<2>) -> Tensor<3> {
    x.matmul(weight.transpose().unsqueeze())
}

const WHOLE: Sizes = [2, 8, 64, 32];
const ODD: Sizes = [3, 5, 33, 17];

/// Few sizes, because Burn tunes each product of each on CubeCL's CPU runtime.
#[rstest]
#[case::whole_lines(WHOLE, [true, true])]
#[case::odd_sizes(ODD, [true, true])]
#[case::a_frozen_weight(WHOLE, [true, false])]
#[case::a_frozen_input(WHOLE, [false, true])]
fn it_equals_the_plain_product(#[case] sizes: Sizes, #[case] trained: [bool; 2]) {
    let expected = results(&reference(), sizes, DType::F32, trained, plain);
    for device in devices() {
        let run = |dtype| {
            let ours = |x, weight| linear(x, weight).unwrap();
            results(&device, sizes, dtype, trained, ours)
        };
        let what = format!("{sizes:?} {trained:?} on {device:?}");
        assert_close(&run(DType::F32), &expected, 1e-5, &what);
        if let (Some(&dtype), [true, true]) = (half_types(&device).first(), trained) {
            // Operands, result and its gradient are rounded once each.
            assert_close(&run(dtype), &expected, 3e-2, &format!("{dtype:?} {what}"));
        }
    }
}

#[test]
fn its_gradients_are_the_slopes_of_a_loss() {
    let [batch, length, k, n] = ODD;
    let shapes = ([batch, length, k], [n, k]);
    for device in devices() {
        let device = device.autodiff();
        let loss = |x: Tensor<3>, weight: Tensor<2>| weighed(linear(x, weight).unwrap(), 9);
        let x = leaf(4, shapes.0, super::TRAINED, &device);
        let weight = leaf(5, shapes.1, super::TRAINED, &device);
        let grads = loss(x.clone(), weight.clone()).backward();
        let dw = to_vec(weight.grad(&grads).unwrap());
        let of_weight = |values: Vec<f32>| {
            let moved = Tensor::<1>::from_floats(values.as_slice(), &device).reshape(shapes.1);
            scalar(loss(x.clone(), moved))
        };
        assert_is_slope(dw, to_vec(weight.clone()), of_weight, "dW");
        let dx = to_vec(x.grad(&grads).unwrap());
        let of_x = |values: Vec<f32>| {
            let moved = Tensor::<1>::from_floats(values.as_slice(), &device).reshape(shapes.0);
            scalar(loss(moved, weight.clone()))
        };
        assert_is_slope(dx, to_vec(x.clone()), of_x, "dX");
    }
}

#[test]
fn operands_that_do_not_fit_are_refused_and_no_tokens_are_fine() {
    for device in devices() {
        let x = |shape| tensor::<2>(1, shape, &device);
        let wrong = linear(x([3, 8]), x([4, 9])).unwrap_err();
        assert!(matches!(
            wrong,
            Error::InputFeatures {
                found: 8,
                expected: 9,
                ..
            }
        ));
        assert_eq!(linear(x([0, 8]), x([4, 8])).unwrap().dims(), [0, 4]);
    }
}
