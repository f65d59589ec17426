//! Norms, with what stands before and behind them, against sums in f64 and the one quantiser.

use tritburn_cpu::internals::*;
use tritburn_cpu::*;
use tritburn_formats::layout::activation_words_per_row;

use crate::common::*;

const EPS: f32 = 1e-5;

/// `γ · (h · 1/sqrt(mean(h²) + ε))` in f64.
fn reference(h: &[f64], gamma: &[f32]) -> Vec<f64> {
    let k = gamma.len();
    h.chunks_exact(k)
        .flat_map(|h| {
            let squares: f64 = h.iter().map(|h| h.powi(2)).sum();
            let scale = 1.0 / (squares / k as f64 + f64::from(EPS)).sqrt();
            h.iter()
                .zip(gamma)
                .map(move |(h, &gamma)| f64::from(gamma) * h * scale)
        })
        .collect()
}

fn close(y: &[f32], expected: &[f64], what: &str) {
    assert_eq!(y.len(), expected.len(), "{what}");
    for (i, (&y, &expected)) in y.iter().zip(expected).enumerate() {
        assert!(
            (f64::from(y) - expected).abs() <= 2e-6 * expected.abs(),
            "{what} at {i}: {y} instead of {expected}"
        );
    }
}

/// Codes and scales of `y`.
fn quantized(y: &[f32], k: usize) -> (Vec<u32>, Vec<f32>) {
    let rows = y.len() / k;
    let mut codes = vec![0; rows * activation_words_per_row(k)];
    let mut scales = vec![0.0; rows];
    quantize_activations(y, k, &mut codes, &mut scales).unwrap();
    (codes, scales)
}

const SHAPES: [(usize, usize); 9] = [
    (0, 5),
    (1, 1),
    (3, 15),
    (17, 63),
    (2, 64),
    (5, 257),
    (1, 2560),
    (40, 1000),
    (33, 6912),
];

#[test]
fn norms_agree_with_f64_and_their_codes_with_the_quantiser() {
    let mut rng = Random(1);
    for (rows, k) in SHAPES {
        let (x, residual) = (rng.floats(rows * k), rng.floats(rows * k));
        let gamma = rng.floats(k);
        let norm = RmsNorm {
            gamma: &gamma,
            eps: EPS,
        };
        for residual in [None, Some(&residual[..])] {
            let h: Vec<f32> = match residual {
                None => x.clone(),
                Some(residual) => x.iter().zip(residual).map(|(x, r)| x + r).collect(),
            };
            let wide: Vec<f64> = h.iter().map(|&h| f64::from(h)).collect();
            let expected = reference(&wide, &gamma);
            let mut first = None;
            for isa in Isa::available() {
                let what = format!("{isa} [{rows}, {k}]");
                let mut y = vec![f32::NAN; rows * k];
                let mut sum = vec![f32::NAN; rows * k];
                rms_norm_with(isa, &x, residual, norm, Some(&mut sum), &mut y).unwrap();
                assert_eq!(sum, h, "{what}");
                close(&y, &expected, &what);
                assert_eq!(*first.get_or_insert_with(|| bits(&y)), bits(&y), "{what}");
                let mut without = vec![f32::NAN; rows * k];
                rms_norm_with(isa, &x, residual, norm, None, &mut without).unwrap();
                assert_eq!(y, without, "{what}");

                let (codes, scales) = quantized(&y, k);
                for with_sum in [false, true] {
                    let mut found = (vec![u32::MAX; codes.len()], vec![f32::NAN; rows]);
                    let mut sum = vec![f32::NAN; rows * k];
                    rms_norm_quantize_with(
                        isa,
                        &x,
                        residual,
                        norm,
                        with_sum.then_some(&mut sum[..]),
                        &mut found.0,
                        &mut found.1,
                    )
                    .unwrap();
                    assert_eq!(found.0, codes, "{what}");
                    assert_eq!(bits(&found.1), bits(&scales), "{what}");
                    assert!(!with_sum || sum == h, "{what}");
                }
            }
        }
    }
}

fn relu2(norm: Option<RmsNorm<'_>>) -> Gate<'_> {
    Gate {
        activation: GatedActivation::SquaredRelu,
        norm,
    }
}

/// `f(gate) · up` in f64.
fn gated_rows(gate_up: &[f32], k: usize, activation: GatedActivation) -> Vec<f64> {
    gate_up
        .chunks_exact(2 * k)
        .flat_map(|row| {
            (0..k).map(move |i| {
                let (gate, up) = (f64::from(row[i]), f64::from(row[k + i]));
                self::gate(activation, gate) * up
            })
        })
        .collect()
}

#[test]
fn gated_units_agree_with_f64_and_their_codes_with_the_quantiser() {
    let mut rng = Random(2);
    for (rows, k) in SHAPES {
        let gate_up = rng.floats(rows * 2 * k);
        let gamma = rng.floats(k);
        let norm = RmsNorm {
            gamma: &gamma,
            eps: EPS,
        };
        for activation in ACTIVATIONS {
            for norm in [None, Some(norm)] {
                let gate = Gate { activation, norm };
                let h = gated_rows(&gate_up, k, activation);
                let expected = match norm {
                    Some(_) => reference(&h, &gamma),
                    None => h,
                };
                let mut first = None;
                for isa in Isa::available() {
                    let what = format!("{isa} [{rows}, 2·{k}] {activation:?}");
                    let mut y = vec![f32::NAN; rows * k];
                    gated_with(isa, &gate_up, k, gate, &mut y).unwrap();
                    close(&y, &expected, &what);
                    assert_eq!(*first.get_or_insert_with(|| bits(&y)), bits(&y), "{what}");
                    let (codes, scales) = quantized(&y, k);
                    let (mut found, mut sizes) = (vec![u32::MAX; codes.len()], vec![0.0; rows]);
                    gated_quantize_with(isa, &gate_up, k, gate, &mut found, &mut sizes).unwrap();
                    assert_eq!(found, codes, "{what}");
                    assert_eq!(bits(&sizes), bits(&scales), "{what}");
                }
            }
        }
    }
}

#[test]
fn threads_change_no_bit() {
    let mut rng = Random(3);
    let (rows, k) = (70, 1300);
    let (x, residual, gamma) = (
        rng.floats(rows * 2 * k),
        rng.floats(rows * k),
        rng.floats(k),
    );
    let norm = RmsNorm {
        gamma: &gamma,
        eps: EPS,
    };
    let [one, many] = on_threads(|| {
        let mut y = vec![f32::NAN; rows * k];
        let mut sum = vec![f32::NAN; rows * k];
        let x_rows = &x[..rows * k];
        rms_norm(x_rows, Some(&residual), norm, Some(&mut sum), &mut y).unwrap();
        let mut codes = vec![0; rows * activation_words_per_row(k)];
        let mut scales = vec![0.0; rows];
        gated_quantize(&x, k, relu2(Some(norm)), &mut codes, &mut scales).unwrap();
        (bits(&y), bits(&sum), codes, bits(&scales))
    });
    assert_eq!(one, many);
}

#[test]
fn a_nan_stays_in_its_row() {
    let k = 20;
    let mut x = vec![1.0; 3 * 2 * k];
    x[2 * k + 3] = f32::NAN;
    let gamma = vec![1.0; k];
    let norm = RmsNorm {
        gamma: &gamma,
        eps: EPS,
    };
    for isa in Isa::available() {
        let mut codes = vec![0; 6 * activation_words_per_row(k)];
        let mut scales = vec![0.0; 6];
        rms_norm_quantize_with(isa, &x, None, norm, None, &mut codes, &mut scales).unwrap();
        let nan: Vec<bool> = scales.iter().map(|s| s.is_nan()).collect();
        assert_eq!(nan, [false, false, true, false, false, false]);
        let mut y = vec![0.0; 3 * k];
        gated_with(isa, &x, k, relu2(Some(norm)), &mut y).unwrap();
        for (row, y) in y.chunks(k).enumerate() {
            assert!(y.iter().all(|y| y.is_nan() == (row == 1)), "{isa}");
        }
    }
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    let gamma = [1.0; 4];
    let norm = RmsNorm {
        gamma: &gamma,
        eps: EPS,
    };
    let empty = RmsNorm {
        gamma: &[],
        eps: EPS,
    };
    let wrong = |operand, found, expected| {
        Err(CpuError::Length {
            operand,
            found,
            expected,
        })
    };
    let x = [0.0; 8];
    let mut y = [0.0; 8];
    assert_eq!(
        rms_norm(&x[..7], None, norm, None, &mut y),
        wrong("x", 7, 4)
    );
    assert_eq!(
        rms_norm(&x, Some(&x[..4]), norm, None, &mut y),
        wrong("residual", 4, 8)
    );
    assert_eq!(
        rms_norm(&x, None, norm, Some(&mut [0.0; 9]), &mut y),
        wrong("sum", 9, 8)
    );
    assert_eq!(
        rms_norm(&x, None, norm, None, &mut y[..4]),
        wrong("y", 4, 8)
    );
    assert_eq!(
        rms_norm(&x, None, empty, None, &mut y),
        Err(CpuError::EmptyRow)
    );
    assert_eq!(
        rms_norm_quantize(&x, None, norm, None, &mut [0; 8], &mut [0.0; 3]),
        wrong("scales", 3, 2)
    );
    assert_eq!(
        rms_norm_quantize(&x, None, norm, None, &mut [0; 7], &mut [0.0; 2]),
        wrong("codes", 7, 8)
    );
    let gate = relu2(Some(norm));
    assert_eq!(gated(&x[..6], 4, gate, &mut y[..3]), wrong("gate_up", 6, 0));
    assert_eq!(gated(&x, 4, gate, &mut y), wrong("y", 8, 4));
    assert_eq!(gated(&x, 0, gate, &mut y), Err(CpuError::EmptyRow));
    assert_eq!(gated(&x, 2, gate, &mut y[..4]), wrong("gamma", 4, 2));
    assert_eq!(
        gated_quantize(&x, 4, gate, &mut [0; 4], &mut [0.0; 2]),
        wrong("scales", 2, 1)
    );
}
