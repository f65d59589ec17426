//! Output heads: float sums against f64, integer sums exact.

use half::{bf16, f16};
use tritburn_cpu::internals::*;
use tritburn_cpu::*;
use tritburn_formats::quantize::QuantizedActivations;

use crate::common::*;

fn check_dense<E: Element>(tokens: usize, outputs: usize, k: usize) {
    let mut rng = Random((tokens + 100 * outputs + 10_000 * k) as u64);
    let x = rng.floats(tokens * k);
    let weights: Vec<E> = rng
        .floats(outputs * k)
        .into_iter()
        .map(E::from_f32)
        .collect();
    for isa in Isa::available() {
        let [y, many] = on_threads(|| {
            let mut y = vec![f32::NAN; tokens * outputs];
            dense_head_with(isa, &x, &weights, k, &mut y).unwrap();
            y
        });
        assert_eq!(bits(&y), bits(&many), "{isa}: threads change bits");
        for (i, y) in y.into_iter().enumerate() {
            let x = &x[i / outputs * k..][..k];
            let w = &weights[i % outputs * k..][..k];
            let terms = x
                .iter()
                .zip(w)
                .map(|(x, w)| f64::from(*x) * f64::from(w.to_f32()));
            let (sum, size) = terms.fold((0.0, 0.0), |(sum, size), term| {
                (sum + term, size + term.abs())
            });
            assert!(
                (f64::from(y) - sum).abs() <= 1e-6 * size,
                "{isa} [{tokens}, {k}] x [{outputs}, {k}] at {i}: {y} instead of {sum}"
            );
        }
    }
}

#[test]
fn dense_heads_agree_with_f64() {
    for (tokens, outputs, k) in [(0, 5, 7), (1, 1, 1), (3, 0, 4), (2, 7, 33), (1, 9, 300)] {
        check_dense::<f32>(tokens, outputs, k);
        check_dense::<f16>(tokens, outputs, k);
        check_dense::<bf16>(tokens, outputs, k);
    }
    for tokens in 1..=17 {
        check_dense::<f16>(tokens, 11, 47);
    }
    // Enough for several tasks.
    check_dense::<f16>(1, 1031, 640);
    check_dense::<bf16>(9, 310, 512);
    check_dense::<f32>(17, 203, 320);
}

fn check_int8(tokens: usize, outputs: usize, k: usize) {
    let mut rng = Random((tokens + 100 * outputs + 10_000 * k) as u64);
    let words = random_bytes(&mut rng, tokens, k);
    let padded = k.next_multiple_of(16);
    let scales = rng.floats(tokens);
    let codes: Vec<i8> = (0..outputs * k).map(|_| rng.next() as i8).collect();
    let row_scales = rng.floats(outputs);
    let packed = words_of(&words);
    let x = QuantizedView::new(&packed, &scales, k).unwrap();
    let weights = Int8View::new(&codes, &row_scales, k).unwrap();
    let mut expected = Vec::new();
    for t in 0..tokens {
        for v in 0..outputs {
            let x = &words[t * padded..][..k];
            let w = &codes[v * k..][..k];
            let acc: i32 = x.iter().zip(w).map(|(&x, &w)| x as i32 * w as i32).sum();
            expected.push(acc as f32 * (row_scales[v] * scales[t]));
        }
    }
    for isa in Isa::available() {
        for y in on_threads(|| {
            let mut y = vec![f32::NAN; tokens * outputs];
            int8_head_with(isa, x, weights, &mut y).unwrap();
            y
        }) {
            assert_eq!(
                bits(&y),
                bits(&expected),
                "{isa} [{tokens}, {k}] x [{outputs}, {k}]"
            );
        }
    }
}

#[test]
fn int8_heads_are_exact() {
    for (tokens, outputs, k) in [(0, 5, 7), (1, 1, 1), (3, 0, 4), (2, 7, 33), (1, 9, 300)] {
        check_int8(tokens, outputs, k);
    }
    for k in [63, 64, 65, 127, 128, 129, 2560] {
        check_int8(3, 6, k);
    }
    for tokens in 1..=17 {
        check_int8(tokens, 11, 100);
    }
    check_int8(1, 1031, 2000);
    check_int8(9, 310, 700);
}

#[test]
fn the_most_extreme_sums_do_not_overflow() {
    let k = (1 << 17) - 1;
    for sign in [-128i8, 127] {
        let codes = vec![-128i8; k];
        let bytes = vec![sign; k + 1];
        let packed = words_of(&bytes);
        let x = QuantizedView::new(&packed, &[1.0], k).unwrap();
        let weights = Int8View::new(&codes, &[1.0], k).unwrap();
        for isa in Isa::available() {
            let mut y = [f32::NAN];
            int8_head_with(isa, x, weights, &mut y).unwrap();
            assert_eq!(y[0], (k as i32 * -128 * i32::from(sign)) as f32, "{isa}");
        }
    }
    assert!(matches!(
        Int8View::new(&[], &[], k + 1),
        Err(CpuError::TooLarge { .. })
    ));
}

fn check_rows<E: Element>() {
    let mut rng = Random(5);
    let (rows, k) = (70, 333);
    let weights: Vec<E> = (0..rows * k)
        .map(|i| E::from_f32(rng.float() * 2f32.powi((i / k) as i32 % 9 - 4)))
        .collect();
    let floats: Vec<f32> = weights.iter().map(|w| w.to_f32()).collect();
    let expected = QuantizedActivations::quantize(&floats, k).unwrap();
    let (codes, scales) = quantize_rows_int8(&weights, k).unwrap();
    assert_eq!(bits(&scales), bits(expected.scales()));
    let padded = k.next_multiple_of(16);
    for (codes, expected) in codes.chunks(k).zip(expected.bytes().chunks(padded)) {
        assert_eq!(codes, &expected[..k]);
    }
}

#[test]
fn rows_are_quantised_as_activations_are() {
    check_rows::<f32>();
    check_rows::<f16>();
    check_rows::<bf16>();
    assert_eq!(quantize_rows_int8(&[0.0f32; 3], 0), Err(CpuError::EmptyRow));
    assert!(quantize_rows_int8(&[0.0f32; 5], 3).is_err());
}

#[test]
fn an_int8_head_is_close_to_the_dense_one() {
    let mut rng = Random(6);
    let (tokens, outputs, k) = (2, 500, 2560);
    let x = rng.floats(tokens * k);
    let weights: Vec<f16> = rng
        .floats(outputs * k)
        .into_iter()
        .map(|w| f16::from_f32(w * 0.05))
        .collect();
    let mut dense = vec![0.0; tokens * outputs];
    dense_head(&x, &weights, k, &mut dense).unwrap();
    let (codes, scales) = quantize_rows_int8(&weights, k).unwrap();
    let x = QuantizedActivations::quantize(&x, k).unwrap();
    let mut y = vec![0.0; tokens * outputs];
    let head = Int8View::new(&codes, &scales, k).unwrap();
    int8_head(QuantizedView::of(&x), head, &mut y).unwrap();
    let error: f32 = y.iter().zip(&dense).map(|(a, b)| (a - b).powi(2)).sum();
    let size: f32 = dense.iter().map(|b| b.powi(2)).sum();
    assert!((error / size).sqrt() < 0.01, "{}", (error / size).sqrt());
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    let w = [0.0f32; 6];
    assert!(dense_head(&[0.0; 3], &w, 0, &mut []).is_err());
    assert!(dense_head(&[0.0; 4], &w, 3, &mut [0.0; 2]).is_err());
    assert!(dense_head(&[0.0; 4], &w, 4, &mut [0.0; 1]).is_err());
    assert!(dense_head(&[0.0; 3], &w, 3, &mut [0.0; 3]).is_err());
    assert_eq!(
        Int8View::new(&[0; 3], &[1.0], 0).unwrap_err(),
        CpuError::EmptyRow
    );
    assert!(Int8View::new(&[0; 5], &[1.0, 1.0], 3).is_err());
    let head = Int8View::new(&[0; 6], &[1.0, 1.0], 3).unwrap();
    let x = QuantizedView::new(&[0; 4], &[1.0], 4).unwrap();
    assert_eq!(
        int8_head(x, head, &mut [0.0; 2]),
        Err(CpuError::InFeatures {
            activations: 4,
            weights: 3
        })
    );
    let x = QuantizedView::new(&[0; 4], &[1.0], 3).unwrap();
    assert!(int8_head(x, head, &mut [0.0; 3]).is_err());
    assert_eq!(int8_head(x, head, &mut [0.0; 2]), Ok(()));
}

#[test]
fn the_largest_logit_wins_the_first_of_several() {
    let inf = f32::INFINITY;
    for (row, expected) in [
        (vec![3.0], 0),
        (vec![-1.0, -0.5, -0.5], 1),
        (vec![0.0, -0.0, 0.0], 0),
        (vec![-inf, -inf], 0),
        (vec![-inf, 1.0, inf, inf], 2),
        // No token: NaN anywhere, before or behind the largest.
        (vec![f32::NAN, 1.0], 2),
        (vec![inf, 1.0, f32::NAN], 3),
    ] {
        let mut ids = [7];
        argmax(&row, row.len(), &mut ids).unwrap();
        assert_eq!(ids, [expected], "{row:?}");
    }
}

#[test]
fn rows_are_chosen_from_alike_on_one_thread_and_on_many() {
    let (rows, columns) = (37, 40_000);
    let logits = Random(11).floats(rows * columns);
    let [one, three] = on_threads(|| {
        let mut ids = vec![0; rows];
        argmax(&logits, columns, &mut ids).unwrap();
        ids
    });
    assert_eq!(one, three);
    for (row, &id) in logits.chunks(columns).zip(&one) {
        let largest = row.iter().copied().fold(f32::MIN, f32::max);
        assert_eq!(row[id as usize], largest);
    }
    assert_eq!(argmax(&[], 3, &mut []), Ok(()));
    assert_eq!(argmax(&[], 0, &mut []), Err(CpuError::EmptyRow));
    assert!(matches!(
        argmax(&logits, columns, &mut vec![0; rows + 1]),
        Err(CpuError::Length {
            operand: "logits",
            ..
        })
    ));
}
