//! Gradients of norms and gates, loss, embedding and optimiser against f64, and central differences.

use crate::common::*;
use tritburn_cpu::*;

const EPS: f32 = 1e-5;

const SHAPES: [(usize, usize); 6] = [(0, 5), (1, 1), (3, 15), (70, 64), (2, 257), (33, 300)];

fn wide(floats: &[f32]) -> Vec<f64> {
    floats.iter().map(|&x| f64::from(x)).collect()
}

/// The largest difference, relative to the largest expected magnitude.
fn assert_close(found: &[f32], expected: &[f64], bound: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let size = expected.iter().fold(0.1f64, |m, v| m.max(v.abs()));
    for (i, (&found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(found) - expected).abs() / size;
        assert!(
            error <= bound,
            "{what} at {i}: {found} instead of {expected}"
        );
    }
}

/// `Σ dy · f(x)` by central differences in each element of `x`.
fn differences(x: &[f64], loss: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let step = 1e-5;
    (0..x.len())
        .map(|i| {
            let mut at = x.to_vec();
            at[i] += step;
            let above = loss(&at);
            at[i] -= 2.0 * step;
            (above - loss(&at)) / (2.0 * step)
        })
        .collect()
}

fn normed(rows: &[f64], gamma: &[f64]) -> Vec<f64> {
    let k = gamma.len();
    rows.chunks_exact(k)
        .flat_map(|row| {
            let mean = row.iter().map(|x| x * x).sum::<f64>() / k as f64;
            let scale = 1.0 / (mean + f64::from(EPS)).sqrt();
            row.iter().zip(gamma).map(move |(x, g)| g * x * scale)
        })
        .collect()
}

fn gated(rows: &[f64], k: usize, activation: GatedActivation) -> Vec<f64> {
    rows.chunks_exact(2 * k)
        .flat_map(|row| {
            (0..k).map(move |i| {
                let (gate, up) = (row[i], row[k + i]);
                self::gate(activation, gate) * up
            })
        })
        .collect()
}

fn weighed(y: &[f64], dy: &[f32]) -> f64 {
    y.iter().zip(dy).map(|(y, &dy)| y * f64::from(dy)).sum()
}

/// One row at a time, since differences are quadratic; gains see all of them.
#[test]
fn norm_gradients_equal_central_differences() {
    let mut rng = Random(1);
    for (rows, k) in SHAPES {
        let (x, dy, gamma) = (rng.floats(rows * k), rng.floats(rows * k), rng.floats(k));
        let norm = RmsNorm {
            gamma: &gamma,
            eps: EPS,
        };
        let (mut dx, mut dgamma) = (vec![f32::NAN; rows * k], vec![f32::NAN; k]);
        rms_norm_backward(&x, norm, &dy, &mut dx, &mut dgamma).unwrap();
        let gains = wide(&gamma);
        for row in [0, rows.saturating_sub(1)].into_iter().filter(|_| rows > 0) {
            let at = row * k..(row + 1) * k;
            let dy = &dy[at.clone()];
            let expected = differences(&wide(&x[at.clone()]), |x| weighed(&normed(x, &gains), dy));
            assert_close(&dx[at], &expected, 3e-6, &format!("dx [{rows}, {k}]"));
        }
        let expected = differences(&gains, |gains| weighed(&normed(&wide(&x), gains), &dy));
        assert_close(&dgamma, &expected, 3e-6, &format!("dgamma [{rows}, {k}]"));
    }
}

#[test]
fn gate_gradients_equal_central_differences() {
    let mut rng = Random(2);
    for (rows, k) in SHAPES {
        let (x, dy, gamma) = (
            rng.floats(rows * 2 * k),
            rng.floats(rows * k),
            rng.floats(k),
        );
        let gains = wide(&gamma);
        for activation in ACTIVATIONS {
            for with_norm in [false, true] {
                let what = format!("[{rows}, {k}] {activation:?} {with_norm}");
                let norm = with_norm.then_some(RmsNorm {
                    gamma: &gamma,
                    eps: EPS,
                });
                let gate = Gate { activation, norm };
                let mut dx = vec![f32::NAN; rows * 2 * k];
                let mut dgamma = vec![f32::NAN; if with_norm { k } else { 0 }];
                gated_backward(&x, k, gate, &dy, &mut dx, &mut dgamma).unwrap();
                let unit = |x: &[f64], gains: &[f64]| match with_norm {
                    true => normed(&gated(x, k, activation), gains),
                    false => gated(x, k, activation),
                };
                if rows > 0 {
                    let (at, out) = ((rows - 1) * 2 * k.., (rows - 1) * k..);
                    let loss = |x: &[f64]| weighed(&unit(x, &gains), &dy[out.clone()]);
                    let expected = differences(&wide(&x[at.clone()]), loss);
                    assert_close(&dx[at], &expected, 1e-5, &what);
                }
                if with_norm {
                    let loss = |gains: &[f64]| weighed(&unit(&wide(&x), gains), &dy);
                    assert_close(&dgamma, &differences(&gains, loss), 1e-5, &what);
                }
            }
        }
    }
}

#[test]
fn an_embedding_gradient_adds_tokens_of_one_id() {
    let (dy, ids) = ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [2, 0, 2]);
    let mut d_table = [f32::NAN; 6];
    embedding_backward(&dy, 2, &ids, &mut d_table).unwrap();
    assert_eq!(d_table, [3.0, 4.0, 0.0, 0.0, 6.0, 8.0]);
    embedding_backward(&dy, 2, &[9, 0, 9], &mut d_table).unwrap();
    assert_eq!(d_table, [3.0, 4.0, 0.0, 0.0, 0.0, 0.0]);
}

struct Loss {
    losses: Vec<f32>,
    weights: Vec<f32>,
    d_logits: Vec<f32>,
}

fn loss(logits: &[f32], vocabulary: usize, targets: &[u32], config: CrossEntropy<'_>) -> Loss {
    let tokens = targets.len();
    let run = |gradient: bool| {
        let mut d_logits = logits.to_vec();
        let (mut losses, mut weights) = (vec![f32::NAN; tokens], vec![f32::NAN; tokens]);
        let run = if gradient {
            cross_entropy_gradient
        } else {
            cross_entropy
        };
        run(
            &mut d_logits,
            vocabulary,
            targets,
            config,
            &mut losses,
            &mut weights,
        )
        .unwrap();
        Loss {
            losses,
            weights,
            d_logits,
        }
    };
    let (with, without) = (run(true), run(false));
    assert_eq!(bits(&with.losses), bits(&without.losses));
    assert_eq!(bits(&with.weights), bits(&without.weights));
    with
}

#[test]
fn losses_and_their_gradients_equal_f64() {
    let mut rng = Random(3);
    for (tokens, vocabulary) in [(0, 4), (1, 1), (3, 2), (5, 17), (4, 1000)] {
        let logits: Vec<f32> = rng
            .floats(tokens * vocabulary)
            .iter()
            .map(|x| 8.0 * x)
            .collect();
        let labels: Vec<f32> = rng
            .floats(vocabulary)
            .iter()
            .map(|w| w.abs() + 0.1)
            .collect();
        let targets: Vec<u32> = (0..tokens).map(|_| rng.below(vocabulary) as u32).collect();
        for z_loss in [0.0, 1e-2] {
            for label_weights in [None, Some(&labels[..])] {
                let what = format!("[{tokens}, {vocabulary}] z {z_loss}");
                let config = CrossEntropy {
                    ignore: None,
                    z_loss,
                    label_weights,
                };
                let found = loss(&logits, vocabulary, &targets, config);
                let mut expected = (Vec::new(), Vec::new());
                for (row, &target) in logits.chunks_exact(vocabulary).zip(&targets) {
                    let (row, target) = (wide(row), target as usize);
                    let weight = label_weights.map_or(1.0, |w| f64::from(w[target]));
                    let sum: f64 = row.iter().map(|x| x.exp()).sum();
                    let (l, z) = (sum.ln(), f64::from(z_loss));
                    expected.0.push(weight * (l - row[target] + z * l * l));
                    expected.1.extend(row.iter().enumerate().map(|(i, x)| {
                        let hit = if i == target { 1.0 } else { 0.0 };
                        weight * (x.exp() / sum * (1.0 + 2.0 * z * l) - hit)
                    }));
                }
                assert_close(&found.losses, &expected.0, 2e-6, &what);
                assert_close(&found.d_logits, &expected.1, 2e-6, &what);
            }
        }
    }
}

#[test]
fn ignored_targets_count_for_nothing_and_impossible_ones_are_nan() {
    let config = CrossEntropy {
        ignore: Some(7),
        ..Default::default()
    };
    let logits = [1.0, 2.0, f32::NAN, 4.0, 5.0, 6.0];
    let found = loss(&logits, 2, &[1, 7, 3], config);
    assert!((found.losses[0] - (1.0 + (-1.0f32).exp()).ln()).abs() < 1e-6);
    assert_eq!((found.losses[1], found.weights[1]), (0.0, 0.0));
    assert_eq!(found.d_logits[2..4], [0.0, 0.0]);
    assert!(found.losses[2].is_nan() && found.d_logits[4].is_nan() && found.d_logits[5].is_nan());
    assert_eq!(found.weights, [1.0, 0.0, 1.0]);
}

#[test]
fn a_step_of_adamw_follows_the_formula() {
    let mut rng = Random(4);
    let len = 1003;
    let (parameter, gradient) = (rng.floats(len), rng.floats(len));
    let (m, v) = (
        rng.floats(len),
        rng.floats(len).iter().map(|v| v.abs()).collect::<Vec<_>>(),
    );
    let step = AdamWStep {
        beta_1: 0.9,
        beta_2: 0.99,
        epsilon: 1e-5,
        correction_1: 0.271,
        correction_2: 0.03,
        rate: 0.01,
        keep: 0.999,
    };
    let mut found = (parameter.clone(), m.clone(), v.clone());
    adamw(step, &mut found.0, &gradient, &mut found.1, &mut found.2).unwrap();
    for i in 0..len {
        let first = m[i] * 0.9 + gradient[i] * (1.0 - 0.9);
        let second = v[i] * 0.99 + gradient[i] * gradient[i] * (1.0 - 0.99);
        let update = first / 0.271 / ((second / 0.03).sqrt() + 1e-5);
        let expected = (parameter[i] * 0.999 - update * 0.01, first, second);
        assert_eq!((found.0[i], found.1[i], found.2[i]), expected, "{i}");
    }
}

#[test]
fn threads_change_no_bit() {
    let mut rng = Random(5);
    let (rows, k) = (90, 1300);
    let (x, dy, gamma) = (
        rng.floats(rows * 2 * k),
        rng.floats(rows * k),
        rng.floats(k),
    );
    let targets: Vec<u32> = (0..rows).map(|_| rng.below(k) as u32).collect();
    let norm = RmsNorm {
        gamma: &gamma,
        eps: EPS,
    };
    let [one, many] = on_threads(|| {
        let (mut dx, mut dgamma) = (vec![0.0; rows * k], vec![0.0; k]);
        rms_norm_backward(&x[..rows * k], norm, &dy, &mut dx, &mut dgamma).unwrap();
        let gate = Gate {
            activation: GatedActivation::Silu,
            norm: Some(norm),
        };
        let (mut d_gate, mut d_gain) = (vec![0.0; rows * 2 * k], vec![0.0; k]);
        gated_backward(&x, k, gate, &dy, &mut d_gate, &mut d_gain).unwrap();
        let mut d_table = vec![0.0; 7 * k];
        let ids: Vec<u32> = (0..rows as u32).map(|i| i * i % 7).collect();
        embedding_backward(&dy, k, &ids, &mut d_table).unwrap();
        let loss = loss(&x[..rows * k], k, &targets, CrossEntropy::default());
        let all = [
            dx,
            dgamma,
            d_gate,
            d_gain,
            d_table,
            loss.losses,
            loss.d_logits,
            vec![square_sum(&x)],
        ];
        all.map(|floats| bits(&floats))
    });
    assert_eq!(one, many);
    let expected: f64 = x.iter().map(|&x| f64::from(x).powi(2)).sum();
    assert_close(&[square_sum(&x)], &[expected], 1e-6, "sum of squares");
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    let norm = RmsNorm {
        gamma: &[1.0; 4],
        eps: EPS,
    };
    let wrong = |operand, found, expected| {
        Err(CpuError::Length {
            operand,
            found,
            expected,
        })
    };
    let (x, mut dx, mut dgamma) = ([0.0; 8], [0.0; 8], [0.0; 4]);
    assert_eq!(
        rms_norm_backward(&x, norm, &x[..7], &mut dx, &mut dgamma),
        wrong("dy", 7, 8)
    );
    assert_eq!(
        rms_norm_backward(&x, norm, &x, &mut dx[..4], &mut dgamma),
        wrong("dx", 4, 8)
    );
    assert_eq!(
        rms_norm_backward(&x, norm, &x, &mut dx, &mut dgamma[..3]),
        wrong("dgamma", 3, 4)
    );
    let gate = Gate {
        activation: GatedActivation::SquaredRelu,
        norm: None,
    };
    assert_eq!(
        gated_backward(&x, 4, gate, &x[..4], &mut dx, &mut dgamma),
        wrong("dgamma", 4, 0)
    );
    assert_eq!(
        embedding_backward(&x, 0, &[0], &mut dx),
        Err(CpuError::EmptyRow)
    );
    let (mut losses, mut weights) = ([0.0; 2], [0.0; 2]);
    let config = CrossEntropy {
        label_weights: Some(&[1.0; 3]),
        ..Default::default()
    };
    assert_eq!(
        cross_entropy(&mut dx, 4, &[0, 1], config, &mut losses, &mut weights),
        wrong("label_weights", 3, 4)
    );
    assert_eq!(
        cross_entropy(&mut dx, 4, &[0], config, &mut losses, &mut weights),
        wrong("targets", 1, 2)
    );
}
