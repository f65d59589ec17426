//! Layers with a norm or a gate: mixed precision, and the bits of trained and packed ones.

use burn::module::Module;
use burn::tensor::{DType, Tensor};
use rstest::rstest;
use tritburn::training::GatedActivation;
use tritburn::{BitLinear, BitLinearConfig, Error, InputPrecision, Pack, ScaleGranularity};

use super::{half_types, tensor};
use crate::common::{devices, to_vec};

/// What a layer is applied to.
type Forward = fn(&BitLinear, Tensor<2>) -> Tensor<2>;

fn plain(layer: &BitLinear, x: Tensor<2>) -> Tensor<2> {
    layer.forward(x)
}

fn gate(layer: &BitLinear, x: Tensor<2>) -> Tensor<2> {
    layer.forward_gated(x, GatedActivation::SquaredRelu)
}

#[rstest]
#[case::input(plain, 1)]
#[case::gate(gate, 2)]
fn trained_and_packed_layers_agree_bit_for_bit(
    #[case] forward: Forward,
    #[case] factor: usize,
    #[values(false, true)] norm: bool,
    #[values(InputPrecision::Int8, InputPrecision::Float)] precision: InputPrecision,
    #[values(ScaleGranularity::Tensor, ScaleGranularity::Group { size: 16 })]
    scale: ScaleGranularity,
) {
    for device in devices() {
        device.seed(1);
        let layer = BitLinearConfig::new(112, 40)
            .with_bias(true)
            .with_norm(norm)
            .with_scale(scale.clone())
            .with_input_precision(precision)
            .init(&device);
        let packed = layer.pack().unwrap();
        let trained = layer.train();
        let mut dtypes = vec![DType::F32];
        dtypes.extend(half_types(&device));
        for dtype in dtypes {
            for tokens in [1, 9, 40] {
                let x = tensor(2, [tokens, factor * 112], &device).cast(dtype);
                let y = forward(&trained, x.clone().autodiff());
                assert_eq!((y.dtype(), y.dims()), (dtype, [tokens, 40]));
                let found = forward(&packed, x);
                assert_eq!(to_vec(found), to_vec(y.clone()), "{dtype:?} on {device:?}");

                let grads = y.cast(DType::F32).backward();
                let gradients = [
                    trained.weight.val().grad(&grads).map(|g| g.dtype()),
                    trained
                        .bias
                        .as_ref()
                        .unwrap()
                        .val()
                        .grad(&grads)
                        .map(|g| g.dtype()),
                ];
                assert_eq!(gradients, [Some(DType::F32); 2]);
                if let Some(norm) = &trained.norm {
                    let gradient = norm.gamma.val().grad(&grads).unwrap();
                    assert_eq!(gradient.dtype(), DType::F32);
                }
            }
        }
    }
}

/// A packed layer in a graph: its input gets a gradient, its weights are constants.
#[test]
fn a_packed_layer_passes_gradients_through_norm_and_gate() {
    for device in devices() {
        device.seed(2);
        let layer = BitLinearConfig::new(48, 20).with_norm(true).init(&device);
        let packed = layer.pack().unwrap();
        for (forward, width) in [(plain as Forward, 48), (gate, 96)] {
            let x = || tensor(3, [7, width], &device).autodiff().require_grad();
            let gradient = |layer: &BitLinear| {
                let x = x();
                let grads = forward(layer, x.clone()).backward();
                to_vec(x.grad(&grads).unwrap())
            };
            let found = gradient(&packed.clone().train());
            assert_eq!(found, gradient(&layer.clone().train()), "{device:?}");
        }
    }
}

#[test]
fn a_gated_input_of_another_size_is_refused() {
    for device in devices() {
        for precision in [InputPrecision::Int8, InputPrecision::Float] {
            let layer = BitLinearConfig::new(8, 4)
                .with_input_precision(precision)
                .init(&device);
            let x = tensor::<2>(1, [3, 18], &device);
            let error = layer
                .try_forward_gated(x, GatedActivation::Silu)
                .unwrap_err();
            assert!(matches!(error, Error::InputFeatures { .. }), "{error}");
        }
    }
}
