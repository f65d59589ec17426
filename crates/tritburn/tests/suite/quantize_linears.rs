//! Training with weights of few bits in groups.

use burn::module::Param;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{DType, Device, Tensor};
use rstest::rstest;
use tritburn::formats::affine::Bits;
use tritburn::formats::quantize::affine::AffineQuantizer;
use tritburn::{AffineLinear, Error, quantize_linears, ternarize_linears};

use crate::common::{devices, matrix, relative_error, to_vec};

/// A layer with made-up weights, one row of them zeros in part.
fn linear([d_input, d_output]: [usize; 2], device: &Device) -> Linear {
    let mut linear = LinearConfig::new(d_input, d_output).init(device);
    let weight = matrix(3, d_input, d_output, device);
    let zeros = Tensor::zeros([d_input.min(40), 1], device);
    let zeroed = weight.slice_assign([0..d_input.min(40), 1..2], zeros);
    linear.weight = Param::from_tensor(zeroed);
    linear
}

#[rstest]
fn what_was_trained_is_what_is_packed(
    #[values(Bits::Two, Bits::Three, Bits::Four)] bits: Bits,
    // A last group of 8, whole groups, a group a row.
    #[values(([72, 5], Some(32)), ([64, 7], Some(16)), ([50, 3], None))] case: (
        [usize; 2],
        Option<usize>,
    ),
) {
    let (shape, group) = case;
    for device in devices() {
        let model = quantize_linears(linear(shape, &device), bits, group).unwrap();
        let other = AffineQuantizer::new(Bits::Two, None);
        let (packed, report) = AffineLinear::from_linear(&model, &other).unwrap();
        assert_eq!(packed.layout().bits(), bits);
        assert_eq!(packed.layout().group_size(), group);
        assert_eq!(packed.layout().floats(), {
            let halves = device.supports_dtype(DType::F16);
            if halves {
                Default::default()
            } else {
                tritburn::formats::affine::FloatType::F32
            }
        });
        // The rows of the identity give the weights.
        let identity = Tensor::eye(shape[0], &device);
        let bias = |y: Tensor<2>| match &model.bias {
            Some(bias) => y - bias.val().unsqueeze(),
            None => y,
        };
        let trained = to_vec(model.weight.val());
        let read = to_vec(bias(packed.forward(identity)));
        assert!(
            relative_error(&read, &trained) < 1e-6,
            "{device:?}: {bits:?}, {group:?}"
        );
        let latent = to_vec(linear(shape, &device).weight.val());
        assert!(report.relative_error > 0.01 && relative_error(&trained, &latent) > 0.01);
    }
}

#[test]
fn gradients_pass_straight_through() {
    for device in devices() {
        let device = device.autodiff();
        let model = quantize_linears(linear([48, 6], &device), Bits::Three, Some(16)).unwrap();
        let x = matrix(5, 9, 48, &device);
        let out = matrix(6, 9, 6, &device);
        let gradients = (model.forward(x.clone()) * out.clone()).backward();
        let found = model.weight.base().grad(&gradients).unwrap();
        let expected = x.transpose().matmul(out);
        assert!(
            relative_error(&to_vec(found), &to_vec(expected.inner())) < 1e-5,
            "{device:?}"
        );
    }
}

#[test]
fn linears_that_cannot_be_quantised_are_refused() {
    for device in devices() {
        let layer = || linear([64, 8], &device);
        assert!(matches!(
            quantize_linears(layer(), Bits::Four, Some(24)),
            Err(Error::Layout(_))
        ));
        let ternary = ternarize_linears(layer()).unwrap();
        assert!(matches!(
            quantize_linears(ternary, Bits::Four, None),
            Err(Error::Reparameterized { name }) if name == "ternary"
        ));
    }
}
