//! Layers: shapes, packing, and equality of trained and packed numbers.

use crate::common::{device, devices, matrix, relative_error, to_vec};
use burn::module::{Lora, Module, Param};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor};
use tritburn::stats::{flip_share, layer_codes, zero_share};
use tritburn::{
    BitLinear, BitLinearConfig, Error, InputPrecision, Pack, PackError, ScaleGranularity,
    WeightCode, ternarize_linears, ternarize_linears_with,
};

#[derive(Module, Debug)]
struct Model {
    qkv: BitLinear,
    out: BitLinear,
    blocks: Vec<BitLinear>,
    head: Linear,
}

impl Model {
    fn new(device: &Device) -> Self {
        Self {
            qkv: BitLinearConfig::fused(64, &[64, 32, 32]).init(device),
            out: BitLinearConfig::new(64, 48).with_bias(true).init(device),
            blocks: vec![
                BitLinearConfig::new(48, 48)
                    .with_scale(ScaleGranularity::Group { size: 16 })
                    .init(device),
                BitLinearConfig::new(48, 48)
                    .with_code(WeightCode::Int2)
                    .with_scale(ScaleGranularity::Row)
                    .with_input_precision(InputPrecision::Float)
                    .init(device),
            ],
            head: LinearConfig::new(48, 10).init(device),
        }
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let qkv = self.qkv.forward_segments(x);
        let mixed = Tensor::cat(vec![qkv[1].clone(), qkv[2].clone()], 2) * qkv[0].clone();
        let y = self
            .blocks
            .iter()
            .fold(self.out.forward(mixed), |y, block| block.forward(y));
        self.head.forward(y)
    }
}

fn input(device: &Device) -> Tensor<3> {
    matrix(11, 6, 64, device).reshape([2, 3, 64])
}

#[test]
fn a_packed_model_gives_the_bits_of_the_trained_one() {
    for device in devices() {
        device.seed(1);
        let model = Model::new(&device);
        let trained = to_vec(model.forward(input(&device)));
        let packed = model.pack().unwrap();
        assert!(packed.qkv.is_packed() && packed.blocks.iter().all(BitLinear::is_packed));
        assert_eq!(
            to_vec(packed.forward(input(&device))),
            trained,
            "{device:?}"
        );
        let twice = packed.pack().unwrap();
        assert_eq!(to_vec(twice.forward(input(&device))), trained, "{device:?}");
    }
}

/// Training quantises activations ahead of the product, because the gradient reads them; a packed layer may
/// quantise inside of it.
#[test]
fn a_layer_that_trains_gives_the_bits_of_the_packed_one_for_any_number_of_tokens() {
    for device in devices() {
        device.seed(4);
        let layer = BitLinearConfig::new(512, 200).with_bias(true).init(&device);
        let packed = layer.pack().unwrap();
        let trained = layer.train();
        for tokens in [1, 9, 40, 300] {
            let x = matrix(13, tokens, 512, &device);
            let y = trained.forward(x.clone().autodiff());
            let found = to_vec(packed.forward(x));
            assert_eq!(found, to_vec(y.clone()), "{tokens} tokens, {device:?}");
            let grads = y.backward();
            assert!(trained.weight.val().grad(&grads).is_some());
        }
    }
}

#[test]
fn a_model_under_autodiff_packs_too() {
    for device in devices() {
        device.seed(1);
        let model = Model::new(&device.clone().autodiff());
        let expected = to_vec(model.valid().forward(input(&device)));
        let packed = model.valid().pack().unwrap();
        assert_eq!(to_vec(packed.forward(input(&device))), expected);
    }
}

#[test]
fn materialized_weights_quantise_to_the_same_codes() {
    for device in devices() {
        device.seed(2);
        let packed = Model::new(&device).pack().unwrap();
        let before = layer_codes(&packed).unwrap();
        let expected = to_vec(packed.forward(input(&device)));
        let latent = packed.materialize();
        assert!(!latent.out.is_packed());
        let after = layer_codes(&latent).unwrap();
        for (before, after) in before.iter().zip(&after).take(3) {
            assert_eq!(before.flips(after), 0, "{}", before.path);
        }
        let error = relative_error(&to_vec(latent.forward(input(&device))), &expected);
        assert!(error < 1e-5, "{error}");
    }
}

#[test]
fn a_packed_layer_unpacks_to_one_that_trains_on() {
    for device in devices() {
        device.seed(3);
        let layer = BitLinearConfig::new(40, 24)
            .with_bias(true)
            .with_norm(true)
            .init(&device);
        let packed = layer.pack().unwrap();
        let x = matrix(12, 5, 40, &device);
        let (found, expected) = (packed.forward(x.clone()), layer.forward(x.clone()));
        assert_eq!(to_vec(found), to_vec(expected), "{device:?}");

        let again = packed.unpack().unwrap();
        assert!(!again.is_packed());
        let error = relative_error(
            &to_vec(again.forward(x.clone())),
            &to_vec(packed.forward(x.clone())),
        );
        assert!(error < 2e-6, "{error}");
        let trained = again.train();
        let grads = trained.forward(x.autodiff()).backward();
        assert!(trained.weight.val().grad(&grads).is_some());
    }
}

#[test]
fn a_model_that_was_packed_trains_every_layer_again() {
    for device in devices() {
        device.seed(8);
        let packed = Model::new(&device).pack().unwrap();
        // A packed weight is a constant, and `materialize` alone leaves it one.
        let frozen = packed.clone().materialize().train();
        let model = packed.unpack().unwrap().train();
        let run = |model: &Model| {
            let grads = model.forward(input(&device).autodiff()).backward();
            [&model.qkv, &model.out, &model.blocks[0], &model.blocks[1]]
                .map(|layer| layer.weight.val().grad(&grads).is_some())
        };
        assert_eq!(run(&frozen), [false; 4]);
        assert_eq!(run(&model), [true; 4]);
    }
}

#[test]
fn dense_weights_are_the_same_before_and_after_packing() {
    for device in devices() {
        device.seed(9);
        let model = Model::new(&device);
        let packed = model.pack().unwrap();
        for (latent, packed) in [
            (&model.qkv, &packed.qkv),
            (&model.blocks[1], &packed.blocks[1]),
        ] {
            assert_eq!(
                to_vec(latent.dense_weight().unwrap()),
                to_vec(packed.dense_weight().unwrap())
            );
        }
    }
}

#[test]
fn codes_of_a_layer_are_counted_and_compared() {
    for device in devices() {
        let mut layer = BitLinearConfig::new(20, 2).init(&device);
        let mut weights = vec![0.0f32; 40];
        weights[..6].copy_from_slice(&[1.0, 1.0, -1.0, 1.0, -1.0, -1.0]);
        let set = |weights: &[f32]| {
            Param::from_tensor(Tensor::<1>::from_floats(weights, &device).reshape([2, 20]))
        };
        layer.weight = set(&weights);
        let before = layer_codes(&layer).unwrap();
        assert_eq!(before[0].path, "weight");
        assert_eq!(before[0].histogram(), [3, 34, 3, 0]);
        assert_eq!(zero_share(&before), 34.0 / 40.0);

        weights[0] = -1.0;
        weights[39] = 1.0;
        layer.weight = set(&weights);
        let after = layer_codes(&layer).unwrap();
        assert_eq!(before[0].flips(&after[0]), 2);
        assert_eq!(flip_share(&before, &after), 2.0 / 40.0);
    }
}

#[test]
fn a_linear_trains_ternary_and_hands_its_latent_weight_over() {
    for device in devices() {
        device.seed(4);
        let linear = LinearConfig::new(48, 30).init(&device.clone().autodiff());
        let ternary = ternarize_linears(linear).unwrap();
        let x = matrix(13, 5, 48, &device);
        let y = ternary.forward(x.clone().autodiff());
        let grads = y.clone().backward();
        let grad = ternary
            .weight
            .base()
            .grad(&grads)
            .expect("gradients reach the latent weight");
        // d(sum y)/dW[k, n] is the column sum of x, whatever the codes.
        let expected = to_vec(x.clone().sum_dim(0).transpose().repeat_dim(1, 30));
        // Burn's own product: TF32 on CUDA.
        assert!(relative_error(&to_vec(grad), &expected) < 1e-3);

        let config = BitLinearConfig::new(0, 0).with_input_precision(InputPrecision::Float);
        let layer = BitLinear::from_linear(&ternary.valid(), &config).unwrap();
        assert_eq!(layer.layout().out_features(), 30);
        let packed = layer.pack().unwrap();
        let error = relative_error(&to_vec(packed.forward(x)), &to_vec(y));
        assert!(error < 1e-3, "{error}");
    }
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    for device in devices() {
        let layer = BitLinearConfig::new(8, 4).with_norm(true).init(&device);
        let error = layer
            .try_forward(Tensor::<2>::zeros([3, 9], &device))
            .unwrap_err();
        assert!(
            matches!(
                error,
                Error::InputFeatures {
                    found: 9,
                    expected: 8,
                    ..
                }
            ),
            "{error}"
        );

        for config in [
            BitLinearConfig::new(0, 4),
            BitLinearConfig::new(4, 0),
            BitLinearConfig::new(1 << 23, 1),
            BitLinearConfig::new(64, 4).with_scale(ScaleGranularity::Group { size: 24 }),
            BitLinearConfig::new(64, 4).with_scale(ScaleGranularity::Segments { rows: vec![3] }),
        ] {
            let error = config.try_init(&device).unwrap_err();
            assert!(matches!(error, Error::Layout(_)), "{error}");
        }
    }
}

#[test]
fn no_tokens_give_no_outputs() {
    for device in devices() {
        let layer = BitLinearConfig::new(8, 4).init(&device);
        let y = layer.forward(Tensor::<3>::zeros([2, 0, 8], &device));
        assert_eq!(y.dims(), [2, 0, 4]);
    }
}

#[test]
fn a_weight_that_is_not_finite_is_named_and_not_packed() {
    for device in devices() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut model = Model::new(&device);
            let mut weights = vec![0.1f32; 48 * 48];
            weights[1000] = bad;
            model.blocks[1].weight = Param::from_tensor(
                Tensor::<1>::from_floats(weights.as_slice(), &device).reshape([48, 48]),
            );
            let error = model.pack().unwrap_err();
            let text = error.to_string();
            // Row 20 holds element 1000.
            assert!(
                matches!(
                    error,
                    PackError::NonFinite {
                        scale: 20,
                        scales: 48,
                        ..
                    }
                ),
                "{text}"
            );
            assert!(text.contains("`blocks.1.weight`"), "{text}");
        }
    }
}

#[test]
fn a_row_that_is_not_finite_gives_nan_and_spares_the_others() {
    for device in devices() {
        let layer = BitLinearConfig::new(16, 4).init(&device);
        for bad in [f32::NAN, f32::INFINITY] {
            let mut x = crate::common::values(14, 3 * 16);
            x[16 + 5] = bad;
            let x = Tensor::<1>::from_floats(x.as_slice(), &device).reshape([3, 16]);
            let y = to_vec(layer.forward(x));
            assert!(y[..4].iter().chain(&y[8..]).all(|v| v.is_finite()), "{y:?}");
            assert!(y[4..8].iter().all(|v| v.is_nan()), "{y:?}");
        }
    }
}

#[test]
fn clones_that_went_their_own_way_are_packed_each_with_its_own_weight() {
    #[derive(Module, Debug)]
    struct Pair {
        student: BitLinear,
        teacher: BitLinear,
    }
    for device in devices() {
        device.seed(6);
        let teacher = BitLinearConfig::new(32, 8).init(&device);
        let mut student = teacher.clone();
        student.weight = student.weight.map(|weight| weight.neg());
        assert_eq!(student.weight.id, teacher.weight.id);
        let x = matrix(15, 3, 32, &device);
        let expected = [&student, &teacher].map(|layer| to_vec(layer.forward(x.clone())));
        let packed = Pair { student, teacher }.pack().unwrap();
        let found =
            [&packed.student, &packed.teacher].map(|layer| to_vec(layer.forward(x.clone())));
        assert_eq!(found, expected);
    }
}

#[test]
fn a_weight_with_another_reparameterization_is_refused_by_name() {
    let device = device();
    let adapted = BitLinearConfig::new(32, 8)
        .init(&device)
        .apply_lora(Lora::new(2, 4.0));
    let error = adapted.pack().unwrap_err();
    assert!(
        matches!(&error, PackError::Reparameterized { tensor, .. } if tensor == "weight"),
        "{error}"
    );
    assert!(adapted.materialize().pack().is_ok());

    let linear = LinearConfig::new(32, 8).init(&device);
    let twice = ternarize_linears(ternarize_linears(linear).unwrap()).unwrap_err();
    assert!(matches!(twice, Error::Reparameterized { .. }), "{twice}");
}

#[test]
fn a_ternarized_linear_hands_its_granularity_over() {
    for device in devices() {
        device.seed(7);
        let linear = LinearConfig::new(64, 6).with_bias(false).init(&device);
        let scale = ScaleGranularity::Group { size: 32 };
        let ternary = ternarize_linears_with(linear, WeightCode::Int2, &scale).unwrap();
        let config = BitLinearConfig::new(0, 0).with_input_precision(InputPrecision::Float);
        let layer = BitLinear::from_linear(&ternary, &config).unwrap();
        assert_eq!(layer.layout().code(), WeightCode::Int2);
        assert_eq!(layer.layout().scale(), &scale);
        let packed = layer.pack().unwrap();
        assert_eq!(
            to_vec(packed.dense_weight().unwrap()),
            to_vec(ternary.weight.val().transpose())
        );
    }
}

#[test]
fn a_latent_layer_has_no_codes_and_says_so() {
    let device = device();
    let layer = BitLinearConfig::new(32, 8).init(&device).pack().unwrap();
    let latent = layer.unpack().unwrap();
    assert!(matches!(latent.codes(), Err(Error::NotPacked)));
    assert!(matches!(latent.scales(), Err(Error::NotPacked)));
    let x = matrix(16, 2, 32, &device);
    let error = relative_error(
        &to_vec(latent.forward(x.clone())),
        &to_vec(layer.forward(x)),
    );
    assert!(error < 1e-5, "{error}");
}

#[test]
fn padding_is_not_counted_whatever_it_holds() {
    let device = device();
    let layer = BitLinearConfig::new(20, 3).init(&device).pack().unwrap();
    let mut codes = layer_codes(&layer).unwrap().remove(0);
    let before = codes.clone();
    let expected = codes.histogram();
    assert_eq!(expected.iter().sum::<u64>(), 60);
    for row in 0..3 {
        codes.words[2 * row + 1] &= 0xff;
    }
    assert_eq!(codes.histogram(), expected);
    assert_eq!(codes.flips(&before), 0);
}
