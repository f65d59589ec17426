//! Attention of whole sequences, causal and not, and its gradient against the plain formula in f64.

use crate::common::*;
use tritburn_cpu::internals::*;
use tritburn_cpu::*;

/// Batch, length, query heads, key heads, floats of a head.
const SHAPES: [[usize; 5]; 6] = [
    [1, 1, 1, 1, 2],
    [2, 5, 4, 2, 6],
    [1, 33, 4, 1, 16],
    [2, 64, 2, 2, 64],
    [1, 100, 3, 3, 10],
    [1, 131, 4, 2, 32],
];

fn sequences([batch, length, query, kv, dim]: [usize; 5], causal: bool) -> Sequences {
    Sequences {
        batch,
        length,
        heads: Heads::new(query, kv, dim).unwrap(),
        causal,
    }
}

/// Output, row sums' logarithms `[batch, heads, length]` and the gradient of `qkv`.
fn reference(
    qkv: &[f32],
    d_out: &[f32],
    [batch, length, query, kv, dim]: [usize; 5],
    scale: f64,
    causal: bool,
) -> [Vec<f64>; 3] {
    let (width, group) = ((query + 2 * kv) * dim, query / kv);
    let mut out = vec![0.0; batch * length * query * dim];
    let mut sums = vec![0.0; batch * query * length];
    let mut d_qkv = vec![0.0; qkv.len()];
    for b in 0..batch {
        for h in 0..query {
            for t in 0..length {
                let seen = if causal { t + 1 } else { length };
                let q = (b * length + t) * width + h * dim;
                let k = |s: usize| (b * length + s) * width + (query + h / group) * dim;
                let v = |s: usize| k(s) + kv * dim;
                let o = (b * length + t) * query * dim + h * dim;
                let at = |i: usize| f64::from(qkv[i]);
                let dot = |a: usize, b: usize| (0..dim).map(|i| at(a + i) * at(b + i)).sum::<f64>();
                let scores: Vec<f64> = (0..seen).map(|s| scale * dot(q, k(s))).collect();
                let sum: f64 = scores.iter().map(|s| s.exp()).sum();
                sums[(b * query + h) * length + t] = sum.ln();
                let weights: Vec<f64> = scores.iter().map(|s| s.exp() / sum).collect();
                for i in 0..dim {
                    out[o + i] = (0..seen).map(|s| weights[s] * at(v(s) + i)).sum();
                }
                let d = |i: usize| f64::from(d_out[o + i]);
                let delta: f64 = (0..dim).map(|i| d(i) * out[o + i]).sum();
                for s in 0..seen {
                    let dp: f64 = (0..dim).map(|i| d(i) * at(v(s) + i)).sum();
                    let ds = scale * weights[s] * (dp - delta);
                    for i in 0..dim {
                        d_qkv[v(s) + i] += weights[s] * d(i);
                        d_qkv[k(s) + i] += ds * at(q + i);
                        d_qkv[q + i] += ds * at(k(s) + i);
                    }
                }
            }
        }
    }
    [out, sums, d_qkv]
}

fn assert_close(found: &[f32], expected: &[f64], what: &str) {
    let size = expected.iter().fold(1e-9f64, |m, v| m.max(v.abs()));
    for (i, (&found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(found) - expected).abs() / size;
        assert!(
            error <= 3e-6,
            "{what} at {i}: {found} instead of {expected}"
        );
    }
}

struct Run {
    out: Vec<f32>,
    statistics: Vec<f32>,
    d_qkv: Vec<f32>,
}

fn run(qkv: &[f32], d_out: &[f32], shape: [usize; 5], scale: f32, causal: bool) -> Run {
    let [batch, length, query, ..] = shape;
    let mut out = vec![f32::NAN; d_out.len()];
    let mut statistics = vec![f32::NAN; batch * length * query];
    let mut d_qkv = vec![f32::NAN; qkv.len()];
    let sequences = sequences(shape, causal);
    sequence_attention(qkv, sequences, scale, &mut out, &mut statistics).unwrap();
    sequence_attention_backward(qkv, &out, &statistics, d_out, sequences, scale, &mut d_qkv)
        .unwrap();
    Run {
        out,
        statistics,
        d_qkv,
    }
}

fn operands(rng: &mut Random, [batch, length, query, kv, dim]: [usize; 5]) -> [Vec<f32>; 2] {
    let tokens = batch * length;
    let mut floats = |width: usize| {
        rng.floats(tokens * width * dim)
            .iter()
            .map(|x| 2.0 * x)
            .collect()
    };
    [floats(query + 2 * kv), floats(query)]
}

#[test]
fn outputs_and_gradients_equal_f64() {
    let mut rng = Random(1);
    for (shape, causal) in SHAPES.into_iter().flat_map(|s| [(s, true), (s, false)]) {
        let [qkv, d_out] = operands(&mut rng, shape);
        let scale = 1.0 / (shape[4] as f32).sqrt();
        let found = run(&qkv, &d_out, shape, scale, causal);
        let [out, sums, d_qkv] = reference(&qkv, &d_out, shape, f64::from(scale), causal);
        let what = format!("{shape:?}, causal {causal}");
        assert_close(&found.out, &out, &format!("out {what}"));
        assert_close(&found.statistics, &sums, &format!("statistics {what}"));
        assert_close(&found.d_qkv, &d_qkv, &format!("d_qkv {what}"));
    }
}

#[test]
fn threads_change_no_bit() {
    let mut rng = Random(2);
    // More planes than threads, and one plane whose query heads are shared out.
    for (shape, causal) in [([3, 90, 4, 2, 32], true), ([1, 90, 7, 1, 32], false)] {
        let [qkv, d_out] = operands(&mut rng, shape);
        let [one, many] = on_threads(|| {
            let found = run(&qkv, &d_out, shape, 0.2, causal);
            [found.out, found.statistics, found.d_qkv].map(|floats| bits(&floats))
        });
        assert_eq!(one, many, "{shape:?}");
    }
}

#[test]
fn the_inverse_rotation_undoes_a_rotation_and_values_stay() {
    let mut rng = Random(3);
    let (length, heads) = (7, Heads::new(4, 2, 6).unwrap());
    let table = rotary_table(10_000.0, 6, 9).unwrap();
    let width = 8 * 6;
    let qkv = rng.floats(2 * length * width);
    let mut rotated = qkv.clone();
    rotate(&mut rotated, length, heads, &table, false).unwrap();
    for token in 0..2 * length {
        let (row, before) = (&rotated[token * width..], &qkv[token * width..]);
        assert_eq!(row[36..48], before[36..48], "values of token {token}");
        let (cos, sin) = table[token % length * 6..][..6].split_at(3);
        let (a, b) = (before[6], before[9]);
        assert_eq!(row[6], a * cos[0] - b * sin[0]);
        assert_eq!(row[9], b * cos[0] + a * sin[0]);
    }
    rotate(&mut rotated, length, heads, &table, true).unwrap();
    for (found, expected) in rotated.iter().zip(&qkv) {
        assert!((found - expected).abs() < 1e-6);
    }
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    let shape = [1, 2, 2, 1, 2];
    let qkv = [0.0; 16];
    let (mut out, mut statistics) = ([0.0; 8], [0.0; 4]);
    let wrong = |operand, found, expected| {
        Err(CpuError::Length {
            operand,
            found,
            expected,
        })
    };
    let s = sequences(shape, true);
    assert_eq!(
        sequence_attention(&qkv[..15], s, 1.0, &mut out, &mut statistics),
        wrong("qkv", 15, 16)
    );
    assert_eq!(
        sequence_attention(&qkv, s, 1.0, &mut out[..7], &mut statistics),
        wrong("out", 7, 8)
    );
    assert_eq!(
        sequence_attention(&qkv, s, 1.0, &mut out, &mut statistics[..3]),
        wrong("statistics", 3, 4)
    );
    let mut rotated = qkv;
    assert_eq!(
        rotate(&mut rotated, 2, s.heads, &[1.0; 2], false),
        wrong("table", 2, 4)
    );
    assert_eq!(
        rotate(&mut rotated, 0, s.heads, &[1.0; 4], false),
        Err(CpuError::EmptyRow)
    );
}
