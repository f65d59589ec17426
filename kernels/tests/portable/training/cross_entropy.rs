//! The loss and its gradient.

use rand::RngExt;
use tritburn_kernels::cross_entropy::{self, CrossEntropy};
use tritburn_kernels::{Buffer, FloatMatrix, FloatType, FloatVector};

use super::derivative::{differences, widen};
use crate::device::{client, supported};
use crate::harness::*;

/// Rows, vocabulary, spare columns: one plane a row, several, and passes over memory.
const SHAPES: [(usize, usize, usize); 9] = [
    (0, 4, 0),
    (1, 1, 0),
    (3, 3, 1),
    (17, 256, 0),
    (5, 250, 6),
    (3, 4096, 16),
    (2, 5000, 0),
    (2, 5008, 0),
    (1, 66_000, 0),
];
const IGNORE: u32 = 7;

struct Case {
    logits: Vec<f32>,
    targets: Vec<u32>,
    label_weights: Option<Vec<f32>>,
    ignore: Option<u32>,
    z_loss: f32,
    shape: [usize; 2],
    stride: usize,
    dtype: FloatType,
}

impl Case {
    fn new(i: usize, (m, v, spare): (usize, usize, usize), dtype: FloatType) -> Self {
        let mut rng = rng(i);
        let logits = floats(&mut rng, m * v, dtype);
        let wide = logits.iter().map(|x| round_to(4.0 * x, dtype)).collect();
        let ignore = (i % 2 == 1).then_some(IGNORE);
        let mut targets: Vec<u32> = (0..m).map(|_| rng.random_range(0..v as u32)).collect();
        if let (Some(ignore), true) = (ignore, m > 2) {
            targets[1] = ignore;
        }
        let weights = || floats(&mut rng, v, FloatType::F32);
        Self {
            logits: wide,
            targets,
            label_weights: (!i.is_multiple_of(3)).then(weights),
            ignore,
            z_loss: if i % 2 == 1 { 1e-2 } else { 0.0 },
            shape: [m, v],
            stride: v + spare,
            dtype,
        }
    }

    fn weight(&self, target: u32) -> f64 {
        let weights = self.label_weights.as_ref();
        match Some(target) == self.ignore {
            true => 0.0,
            false => weights.map_or(1.0, |weights| weights[target as usize] as f64),
        }
    }

    /// The loss of a row.
    fn loss(&self, row: &[f64], target: u32) -> f64 {
        let lse = log_sum_exp(row);
        // An ignored target may be no column.
        let picked = row.get(target as usize).copied().unwrap_or_default();
        self.weight(target) * (lse - picked + self.z_loss as f64 * lse * lse)
    }

    fn gradient(&self, row: &[f64], target: u32) -> Vec<f64> {
        let lse = log_sum_exp(row);
        let scale = 1.0 + 2.0 * self.z_loss as f64 * lse;
        let columns = row.iter().enumerate();
        columns
            .map(|(col, x)| {
                let hit = if col == target as usize { 1.0 } else { 0.0 };
                self.weight(target) * (scale * (x - lse).exp() - hit)
            })
            .collect()
    }

    fn rows(&self) -> impl Iterator<Item = (Vec<f64>, u32)> {
        let rows = self.logits.chunks(self.shape[1]).map(widen);
        rows.zip(self.targets.iter().copied())
    }

    /// Losses and weights.
    fn run(&self, logits: &FloatMatrix, gradient: Option<&FloatMatrix>) -> [Vec<f32>; 2] {
        let client = client();
        let rows = self.shape[0];
        let [losses, weights] = [(); 2].map(|()| empty(&client, rows).1);
        let vector = |handle: &cubecl::server::Handle| {
            FloatVector::new(handle.clone(), rows, FloatType::F32).unwrap()
        };
        let label_weights = self.label_weights.as_ref();
        let label_weights = label_weights.map(|w| float_vector(&client, w, FloatType::F32));
        let terms = CrossEntropy {
            ignore: self.ignore,
            z_loss: self.z_loss,
            label_weights: label_weights.as_ref(),
        };
        cross_entropy::launch(
            &client,
            logits,
            &words(&client, &self.targets),
            terms,
            &vector(&losses),
            &vector(&weights),
            gradient,
        )
        .unwrap();
        [losses, weights].map(|handle| read_f32(&client, &handle))
    }

    fn matrix(&self) -> FloatMatrix {
        float_matrix(&client(), &self.logits, self.shape, self.stride, self.dtype)
    }
}

fn log_sum_exp(row: &[f64]) -> f64 {
    let top = row.iter().fold(f64::MIN, |top, x| top.max(*x));
    top + row.iter().map(|x| (x - top).exp()).sum::<f64>().ln()
}

#[test]
fn losses_weights_and_gradients_equal_the_reference_and_in_place() {
    let client = client();
    for (i, shape) in SHAPES.into_iter().enumerate() {
        for dtype in supported(FLOATS) {
            let case = Case::new(i, shape, dtype);
            let what = format!("{shape:?} {dtype}");
            let out = Out::new(&client, case.shape, case.stride, dtype);
            let [losses, weights] = case.run(&case.matrix(), Some(&out.matrix));

            let expected: Vec<f64> = case.rows().map(|(x, t)| case.loss(&x, t)).collect();
            // Logits and log-sum-exp are around 10, their steps 1e-6; weights are below 3.
            let bounds = vec![3e-5; expected.len()];
            assert_within(&losses, &expected, &bounds, &what);
            let expected = case.targets.iter().map(|&t| case.weight(t));
            let expected: Vec<f32> = expected.map(|weight| weight as f32).collect();
            assert_bits(&weights, &expected, &what);

            let expected = case.rows().flat_map(|(x, t)| case.gradient(&x, t));
            let expected: Vec<f64> = expected.collect();
            let step = epsilon(dtype) + 2e-5;
            // At the target a probability around 1 is taken from 1; f16 has no smaller step.
            let bounds = expected.iter().map(|d| step * d.abs() + 3e-6);
            let bounds: Vec<f64> = bounds.collect();
            let found = out.read(&client);
            assert_within(&found, &expected, &bounds, &what);

            let logits = Out::filled(&client, &case.logits, case.shape, case.stride, dtype);
            let again = case.run(&logits.matrix, Some(&logits.matrix));
            assert_bits(&logits.read(&client), &found, &what);
            assert_bits(&again[0], &losses, &what);
            assert_bits(&case.run(&case.matrix(), None)[0], &losses, &what);
        }
    }
}

#[test]
fn the_formula_equals_differences() {
    let case = Case::new(1, (3, 9, 0), FloatType::F32);
    for (row, target) in case.rows() {
        let gradient = case.gradient(&row, target);
        let found = differences(&row, |row| case.loss(row, target));
        for (a, b) in gradient.iter().zip(found) {
            assert!((a - b).abs() < 1e-7, "{a} {b}");
        }
    }
}

#[test]
fn strange_targets_and_logits_give_nan_and_spoil_no_other_row() {
    let client = client();
    for v in [33, 256, 70_000] {
        let mut case = Case::new(0, (6, v, 0), FloatType::F32);
        let ignored = u32::MAX;
        case.ignore = Some(ignored);
        case.targets = vec![v as u32, 2, 3, ignored, 1, 5];
        case.logits[v + 1] = f32::NAN;
        case.logits[2 * v + 5] = f32::INFINITY;
        case.logits[3 * v] = f32::NAN;
        // Masked logits, a whole line and more of them.
        case.logits[4 * v + 10..5 * v].fill(f32::NEG_INFINITY);
        let out = Out::new(&client, case.shape, v, FloatType::F32);
        let [losses, weights] = case.run(&case.matrix(), Some(&out.matrix));
        assert!(losses[..3].iter().all(|loss| loss.is_nan()), "{losses:?}");
        assert_eq!((losses[3], weights[3]), (0.0, 0.0));
        let found = out.read(&client);
        assert!(found[..3 * v].chunks(v).all(|row| row[2].is_nan()));
        assert!(found[3 * v..4 * v].iter().all(|&d| d == 0.0));
        for (row, (x, target)) in case.rows().enumerate().skip(4) {
            assert!((losses[row] as f64 - case.loss(&x, target)).abs() < 1e-5);
            let gradients = &found[row * v..(row + 1) * v];
            let sum: f64 = gradients.iter().map(|&d| d as f64).sum();
            assert!(sum.abs() < 3e-5, "{v}: gradients add up to {sum}");
        }
        assert!(found[4 * v + 10..5 * v].iter().all(|&d| d == 0.0));
    }
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    let client = client();
    let logits = float_matrix(&client, &[0.0; 8], [2, 4], 4, FloatType::F32);
    let vector = |len| float_vector(&client, &vec![0.0; len], FloatType::F32);
    let error = |targets: &[u32], weights: usize, labels: usize| {
        let labels = vector(labels);
        let terms = CrossEntropy {
            label_weights: Some(&labels),
            ..Default::default()
        };
        let targets = words(&client, targets);
        let (losses, weights) = (vector(2), vector(weights));
        cross_entropy::launch(&client, &logits, &targets, terms, &losses, &weights, None)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        error(&[0], 2, 4),
        "targets needs 2 elements, the buffer was given with 1"
    );
    assert_eq!(
        error(&[0, 1], 3, 4),
        "token weights needs 2 elements, the buffer was given with 3"
    );
    assert_eq!(
        error(&[0, 1], 2, 2),
        "label weights needs 4 elements, the buffer was given with 2"
    );
}

#[test]
fn a_mean_is_that_of_the_tokens_that_count() {
    let client = client();
    for len in [1, 3, 255, 1024, 5001] {
        let mut rng = rng(len);
        let weights: Vec<f32> = (0..len).map(|_| rng.random_range(0..3) as f32).collect();
        // Whole numbers: sums are exact.
        let losses: Vec<f32> = (0..len).map(|_| rng.random_range(0..100) as f32).collect();
        for weights in [vec![0.0; len], weights] {
            let [mean, reciprocal] = [(); 2].map(|()| upload(&client, &[f32::NAN], FloatType::F32));
            let one = |handle: &cubecl::server::Handle| Buffer::new(handle.clone(), 1);
            let found = cross_entropy::mean(
                &client,
                &float_vector(&client, &losses, FloatType::F32),
                &float_vector(&client, &weights, FloatType::F32),
                &one(&mean),
                &one(&reciprocal),
            );
            found.unwrap();
            let sum = |values: &[f32]| values.iter().sum::<f32>();
            let expected = 1.0 / sum(&weights).max(f32::MIN_POSITIVE);
            let read = |handle| download(&client, handle, FloatType::F32)[0];
            let close = |found: f32, expected: f32| (found / expected - 1.0).abs() < 1e-6;
            assert!(close(read(&reciprocal), expected), "{len}");
            if sum(&weights) > 0.0 {
                assert!(close(read(&mean), sum(&losses) * expected), "{len}");
            }
        }
    }
}
