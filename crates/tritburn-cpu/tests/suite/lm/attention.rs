//! Attention, one token at a time and in blocks, against softmax in f64.

use half::{bf16, f16};
use tritburn_cpu::internals::*;
use tritburn_cpu::*;

use crate::common::*;

struct Case<E> {
    heads: Heads,
    batch: usize,
    capacity: usize,
    rows: Vec<u32>,
    positions: Vec<u32>,
    q: Vec<f32>,
    keys: Vec<E>,
    values: Vec<E>,
}

impl<E: Element> Case<E> {
    /// Random operands; what no token sees is NaN.
    fn new(
        heads: (usize, usize, usize),
        batch: usize,
        capacity: usize,
        tokens: &[(u32, u32)],
    ) -> Self {
        let heads = Heads::new(heads.0, heads.1, heads.2).unwrap();
        let mut rng = Random((capacity * heads.dim() + tokens.len()) as u64);
        let mut seen = vec![0; batch];
        for &(row, position) in tokens {
            seen[row as usize] = seen[row as usize].max(position as usize + 1);
        }
        let mut cache = || -> Vec<E> {
            (0..batch * heads.kv() * capacity * heads.dim())
                .map(|i| {
                    let position = i / heads.dim() % capacity;
                    let row = i / heads.dim() / capacity / heads.kv();
                    let visible = position < seen[row];
                    E::from_f32(if visible { rng.float() } else { f32::NAN })
                })
                .collect()
        };
        let (keys, values) = (cache(), cache());
        let q = rng
            .floats(tokens.len() * heads.query() * heads.dim())
            .iter()
            .map(|v| v * 4.0)
            .collect();
        Self {
            heads,
            batch,
            capacity,
            rows: tokens.iter().map(|t| t.0).collect(),
            positions: tokens.iter().map(|t| t.1).collect(),
            q,
            keys,
            values,
        }
    }

    fn scale(&self) -> f32 {
        1.0 / (self.heads.dim() as f32).sqrt()
    }

    fn run(&self, isa: Isa) -> Vec<f32> {
        let mut out = vec![f32::NAN; self.q.len()];
        let tokens = TokenView::new(&self.rows, &self.positions).unwrap();
        let cache = KvView::new(
            &self.keys,
            &self.values,
            self.batch,
            self.capacity,
            self.heads,
        )
        .unwrap();
        attention_with(isa, &self.q, tokens, cache, self.scale(), &mut out).unwrap();
        out
    }

    fn reference(&self) -> Vec<f64> {
        let (hq, hkv, d) = (self.heads.query(), self.heads.kv(), self.heads.dim());
        let mut out = Vec::new();
        for (t, (&row, &position)) in self.rows.iter().zip(&self.positions).enumerate() {
            for h in 0..hq {
                let query = &self.q[(t * hq + h) * d..][..d];
                let plane = (row as usize * hkv + h / (hq / hkv)) * self.capacity;
                let at = |cache: &[E], j: usize, i: usize| {
                    f64::from(cache[(plane + j) * d + i].to_f32())
                };
                let scores: Vec<f64> = (0..=position as usize)
                    .map(|j| {
                        let dot: f64 = (0..d)
                            .map(|i| f64::from(query[i]) * at(&self.keys, j, i))
                            .sum();
                        dot * f64::from(self.scale())
                    })
                    .collect();
                let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let weights: Vec<f64> = scores.iter().map(|s| (s - top).exp()).collect();
                let total: f64 = weights.iter().sum();
                for i in 0..d {
                    let sum: f64 = weights
                        .iter()
                        .enumerate()
                        .map(|(j, w)| w * at(&self.values, j, i))
                        .sum();
                    out.push(sum / total);
                }
            }
        }
        out
    }

    fn check(&self) {
        let expected = self.reference();
        for isa in Isa::available() {
            let [one, many] = on_threads(|| self.run(isa));
            assert_eq!(bits(&one), bits(&many), "{isa}: threads change bits");
            for (i, (y, expected)) in one.iter().zip(&expected).enumerate() {
                assert!(
                    (f64::from(*y) - expected).abs() <= 5e-6,
                    "{isa} {:?}, {} tokens, at {i}: {y} instead of {expected}",
                    self.heads,
                    self.rows.len()
                );
            }
        }
    }
}

fn row(row: u32, positions: std::ops::Range<u32>) -> Vec<(u32, u32)> {
    positions.map(|position| (row, position)).collect()
}

#[test]
fn single_tokens_agree_with_the_reference() {
    for heads in [(4, 1, 128), (5, 5, 32), (6, 2, 64), (7, 1, 16), (2, 1, 80)] {
        for position in [0, 1, 3, 4, 63, 64, 65, 255, 256, 257, 700] {
            let capacity = position as usize + 1 + heads.0 % 2;
            Case::<f32>::new(heads, 1, capacity, &[(0, position)]).check();
        }
    }
}

#[test]
fn rows_of_a_batch_see_their_own_cache() {
    let tokens = [(2, 300), (0, 0), (1, 17), (2, 5), (0, 1)];
    Case::<f16>::new((20, 5, 128), 3, 301, &tokens).check();
    Case::<bf16>::new((4, 4, 64), 3, 320, &tokens).check();
}

#[test]
fn prompts_agree_with_the_reference() {
    for heads in [(4, 1, 128), (3, 3, 32), (6, 2, 64)] {
        for len in [3, 4, 5, 17, 32, 33, 64, 131] {
            Case::<f32>::new(heads, 1, len as usize, &row(0, 0..len)).check();
        }
    }
    Case::<f16>::new((20, 5, 128), 1, 200, &row(0, 0..200)).check();
    Case::<bf16>::new((8, 2, 128), 1, 150, &row(0, 0..140)).check();
}

#[test]
fn prompts_that_continue_a_cache_and_ragged_batches_agree_with_the_reference() {
    Case::<f32>::new((4, 1, 64), 1, 400, &row(0, 200..275)).check();
    Case::<f32>::new((2, 1, 128), 1, 70, &row(0, 62..70)).check();
    let mut tokens = row(1, 0..70);
    tokens.extend(row(0, 5..8));
    tokens.extend(row(2, 100..101));
    tokens.extend(row(0, 30..47));
    Case::<f16>::new((8, 2, 64), 3, 128, &tokens).check();
}

#[test]
fn odd_heads_and_large_groups_agree_with_the_reference() {
    for dim in [2, 6, 18, 40, 72] {
        Case::<f16>::new((4, 2, dim), 2, 90, &[row(0, 0..1), row(1, 0..37)].concat()).check();
    }
    Case::<f32>::new((140, 1, 32), 1, 9, &row(0, 0..6)).check();
    Case::<f32>::new((9, 1, 32), 1, 70, &[(0, 69)]).check();
}

#[test]
fn no_tokens_give_nothing_and_large_scores_do_not_overflow() {
    Case::<f32>::new((4, 1, 64), 1, 4, &[]).check();
    for len in [1, 40] {
        let mut case = Case::<f32>::new((2, 1, 32), 1, 40, &row(0, 40 - len..40));
        case.q.iter_mut().for_each(|q| *q *= 300.0);
        let expected = case.reference();
        for isa in Isa::available() {
            for (y, expected) in case.run(isa).iter().zip(&expected) {
                assert!((f64::from(*y) - expected).abs() < 2e-3, "{isa}");
            }
        }
    }
}

#[test]
fn a_nan_query_stays_in_its_head() {
    for len in [1u32, 20] {
        let mut case = Case::<f32>::new((4, 2, 32), 1, 20, &row(0, 20 - len..20));
        let last = case.q.len() - 32;
        case.q[last + 5] = f32::NAN;
        for isa in Isa::available() {
            for (i, y) in case.run(isa).iter().enumerate() {
                assert_eq!(y.is_nan(), i >= last, "{isa} at {i}");
            }
        }
    }
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    let heads = Heads::new(2, 1, 4).unwrap();
    let cache = [0.0f32; 12];
    let cache = KvView::new(&cache, &cache, 1, 3, heads).unwrap();
    let run = |rows: &[u32], positions: &[u32], q: usize, out: usize| {
        let tokens = TokenView::new(rows, positions).unwrap();
        attention(&vec![0.0; q], tokens, cache, 1.0, &mut vec![0.0; out])
    };
    assert_eq!(run(&[0], &[2], 8, 8), Ok(()));
    assert!(matches!(
        run(&[0], &[2], 7, 8),
        Err(CpuError::Length { operand: "q", .. })
    ));
    assert!(matches!(
        run(&[0], &[2], 8, 16),
        Err(CpuError::Length { operand: "out", .. })
    ));
    for (row, position, operand) in [
        (1, 0, "rows"),
        (0, 3, "positions"),
        (0, u32::MAX, "positions"),
    ] {
        assert!(
            matches!(run(&[row], &[position], 8, 8), Err(CpuError::Index { operand: found, .. }) if found == operand)
        );
    }
}
