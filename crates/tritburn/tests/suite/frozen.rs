//! Weights that are kept for inference only.

use burn::tensor::{DType, Tensor};
use rstest::rstest;
use tritburn::formats::quantize::pack_weights;
use tritburn::ops::internals::prefers_prepacked;
use tritburn::ops::{self, FrozenWeight};
use tritburn::{Error, InputPrecision, PackedLayout, ScaleGranularity, WeightCode};

use crate::common::{devices, matrix, to_vec, values};

fn layout(scale: ScaleGranularity) -> PackedLayout {
    PackedLayout::new(70, 100, WeightCode::Ternary, scale).unwrap()
}

#[rstest]
fn they_give_the_bits_of_packed_weights(
    #[values(
        ScaleGranularity::Tensor,
        ScaleGranularity::Row,
        ScaleGranularity::Segments { rows: vec![50, 20] },
        ScaleGranularity::Group { size: 16 },
    )]
    scale: ScaleGranularity,
    #[values(InputPrecision::Int8, InputPrecision::Float)] precision: InputPrecision,
    #[values(3, 40)] tokens: usize,
) {
    let layout = layout(scale);
    let packed = pack_weights(&values(1, 7000), &layout).unwrap();
    for device in devices() {
        let weight = FrozenWeight::from_matrix(&packed, precision, &device).unwrap();
        let x = matrix(2, tokens, 100, &device);
        let latent = Tensor::from_data(
            burn::tensor::TensorData::new(packed.dequantize(), [70, 100]),
            &device,
        );
        let (codes, _) = ops::quantize_weight(latent, &layout).unwrap();
        let scales = Tensor::from_data(packed.scales(), &device);
        let expected =
            ops::packed_linear(x.clone(), codes, scales, None, &layout, precision).unwrap();
        let found = weight.forward(x.clone()).unwrap();
        assert_eq!(to_vec(found), to_vec(expected.clone()), "{device:?}");
        let (codes, scales) = ops::quantize_activations(x).unwrap();
        let found = weight.forward_quantized(codes, scales, DType::F32);
        match precision {
            InputPrecision::Int8 => assert_eq!(to_vec(found.unwrap()), to_vec(expected)),
            _ => assert!(matches!(found, Err(Error::FloatActivations))),
        }
    }
}

#[test]
fn they_take_two_bits_a_weight() {
    let layout =
        PackedLayout::new(128, 256, WeightCode::Ternary, ScaleGranularity::Tensor).unwrap();
    let packed = pack_weights(&values(3, 128 * 256), &layout).unwrap();
    for device in devices() {
        let weight = FrozenWeight::from_matrix(&packed, InputPrecision::Int8, &device).unwrap();
        let scales = match prefers_prepacked(&device, &layout, InputPrecision::Int8) {
            true => 128,
            false => 1,
        };
        assert_eq!(
            weight.byte_count(),
            128 * 256 / 4 + 4 * scales,
            "{device:?}"
        );
    }
}

#[test]
fn operands_of_other_shapes_are_refused() {
    let packed = pack_weights(&values(4, 7000), &layout(ScaleGranularity::Tensor)).unwrap();
    for device in devices() {
        let weight = FrozenWeight::from_matrix(&packed, InputPrecision::Int8, &device).unwrap();
        let narrow = weight.forward(matrix(5, 2, 99, &device));
        assert!(matches!(
            narrow,
            Err(Error::InputFeatures { found: 99, .. })
        ));
        let (codes, scales) = ops::quantize_activations(matrix(5, 2, 40, &device)).unwrap();
        let narrow = weight.forward_quantized(codes, scales, DType::F32);
        assert!(matches!(narrow, Err(Error::Shape { .. })), "{narrow:?}");
    }
}
