//! Activation quantisation, unpacking, and what the functions refuse.

use tritburn_cpu::internals::*;
use tritburn_cpu::*;
use tritburn_formats::quantize::QuantizedActivations;
use tritburn_formats::{PackedLayout, ScaleGranularity, WeightCode};

use crate::common::*;

#[test]
fn quantised_activations_equal_those_of_formats_on_one_thread_and_on_many() {
    let mut rng = Random(1);
    for (m, k) in [
        (0, 5),
        (1, 1),
        (3, 15),
        (2, 64),
        (5, 257),
        (1, 6912),
        (200, 1000),
    ] {
        let x: Vec<f32> = (0..m * k)
            .map(|_| rng.float() * 10f32.powi(rng.below(30) as i32 - 15))
            .collect();
        let expected = QuantizedActivations::quantize(&x, k).unwrap();
        let mut codes = vec![u32::MAX; expected.words().len()];
        let mut scales = vec![f32::NAN; m];
        quantize_activations(&x, k, &mut codes, &mut scales).unwrap();
        assert_eq!(codes, expected.words(), "[{m}, {k}]");
        assert_eq!(scales, expected.scales(), "[{m}, {k}]");
    }
}

#[test]
fn halves_round_to_even() {
    let mut x = vec![127.0, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 126.5];
    x.resize(16, 0.0);
    let (mut codes, mut scales) = ([0; 4], [0.0]);
    quantize_activations(&x, 16, &mut codes, &mut scales).unwrap();
    let bytes: Vec<i8> = codes
        .iter()
        .flat_map(|c| c.to_le_bytes())
        .map(|b| b as i8)
        .collect();
    assert_eq!(bytes[..8], [127, 0, 2, 2, 0, -2, -2, 126]);
    assert_eq!(scales, [1.0]);
}

#[test]
fn unpacked_weights_equal_those_of_formats() {
    let mut rng = Random(2);
    for (n, k) in [(1, 1), (3, 47), (5, 256), (300, 4000)] {
        for code in CODES {
            for scale in granularities(n) {
                let layout = PackedLayout::new(n, k, code, scale).unwrap();
                let matrix = random_matrix(&mut rng, layout);
                let mut out = vec![f32::NAN; n * k];
                dequantize(WeightView::of(&matrix), &mut out).unwrap();
                assert!(out == matrix.dequantize(), "{:?}", matrix.layout());
            }
        }
    }
}

#[test]
fn operands_that_do_not_fit_are_refused_with_their_sizes() {
    let length = |operand, found, expected| CpuError::Length {
        operand,
        found,
        expected,
    };
    let layout = PackedLayout::new(3, 40, WeightCode::Ternary, ScaleGranularity::Row).unwrap();
    let (words, scales) = ([0; 9], [1.0; 3]);
    let view = |words, scales| WeightView::new(&layout, words, scales).map(|_| ());
    assert_eq!(view(&words[1..], &scales), Err(length("words", 8, 9)));
    assert_eq!(view(&words, &scales[1..]), Err(length("scales", 2, 3)));
    let w = WeightView::new(&layout, &words, &scales).unwrap();

    let codes = [0; 24];
    let quantized = |codes, k| QuantizedView::new(codes, &[1.0, 1.0], k).map(|_| ());
    assert_eq!(quantized(&codes[1..], 40), Err(length("codes", 23, 24)));
    assert_eq!(quantized(&codes, 0), Err(CpuError::EmptyRow));
    let x = QuantizedView::new(&codes, &[1.0, 1.0], 40).unwrap();

    let (mut y, mut acc) = ([0.0; 7], [0; 5]);
    assert_eq!(matmul_w2a8(x, w, None, &mut y), Err(length("y", 7, 6)));
    assert_eq!(
        matmul_w2a8(x, w, Some(&[0.0]), &mut y[..6]),
        Err(length("bias", 1, 3))
    );
    assert_eq!(matmul_w2a8_i32(x, w, &mut acc), Err(length("acc", 5, 6)));
    let other = QuantizedView::new(&codes, &[1.0, 1.0], 41).unwrap();
    let disagree = CpuError::InFeatures {
        activations: 41,
        weights: 40,
    };
    assert_eq!(matmul_w2a8(other, w, None, &mut y[..6]), Err(disagree));

    assert_eq!(
        matmul_w2a16(&[0.0; 81], w, None, &mut y[..6]),
        Err(length("x", 81, 80))
    );
    assert_eq!(
        matmul_w2a16(&[0.0; 80], w, None, &mut y),
        Err(length("y", 7, 6))
    );
    assert_eq!(
        matmul_w2a16(&[0.0; 80], w, Some(&[0.0; 4]), &mut y[..6]),
        Err(length("bias", 4, 3))
    );
    assert_eq!(dequantize(w, &mut y), Err(length("out", 7, 120)));

    let (mut codes, mut scales) = ([0; 24], [0.0; 2]);
    let mut quantize = |x: &[f32], k| quantize_activations(x, k, &mut codes, &mut scales);
    assert_eq!(quantize(&[0.0; 79], 40), Err(length("x", 79, 80)));
    assert_eq!(quantize(&[0.0; 100], 50), Err(length("codes", 24, 32)));
    assert_eq!(quantize(&[], 0), Err(CpuError::EmptyRow));
}

#[test]
fn integer_products_of_grouped_rows_are_refused() {
    let scale = ScaleGranularity::Group { size: 16 };
    let layout = PackedLayout::new(2, 32, WeightCode::Int2, scale).unwrap();
    let w = WeightView::new(&layout, &[0; 4], &[1.0; 4]).unwrap();
    let x = QuantizedView::new(&[0; 8], &[1.0], 32).unwrap();
    assert_eq!(
        matmul_w2a8_i32(x, w, &mut [0; 2]),
        Err(CpuError::GroupScales { group: 16 })
    );
}

#[test]
fn an_instruction_set_of_another_machine_is_refused() {
    let layout = PackedLayout::new(1, 16, WeightCode::Ternary, ScaleGranularity::Row).unwrap();
    let w = WeightView::new(&layout, &[0], &[1.0]).unwrap();
    let x = QuantizedView::new(&[0; 4], &[1.0], 16).unwrap();
    let available = Isa::available();
    let foreign: Vec<Isa> = Isa::ALL
        .into_iter()
        .filter(|isa| !available.contains(isa))
        .collect();
    assert!(!foreign.is_empty(), "no machine has both NEON and AVX");
    for isa in foreign {
        let refused = Err(CpuError::Unavailable { isa });
        assert_eq!(matmul_w2a8_with(isa, x, w, None, &mut [0.0]), refused);
        assert_eq!(matmul_w2a8_i32_with(isa, x, w, &mut [0]), refused);
        assert_eq!(
            matmul_w2a16_with(isa, &[0.0; 16], w, None, &mut [0.0]),
            refused
        );
    }
}
