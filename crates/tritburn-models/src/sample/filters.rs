//! The filters. What they keep depends on the logits alone: equal ones rank by token id.

use std::cmp::Ordering;

/// A token that may be drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Candidate {
    pub token: u32,
    pub logit: f32,
    /// `exp(logit - largest logit)`, once [`weigh`] has run.
    pub weight: f32,
}

/// Most likely first, ties by id. Logits are not NaN.
pub(super) fn by_rank(a: &Candidate, b: &Candidate) -> Ordering {
    let by_logit = b.logit.partial_cmp(&a.logit).unwrap_or(Ordering::Equal);
    by_logit.then(a.token.cmp(&b.token))
}

/// Keeps the `k` most likely, in order. Does nothing if there are no more than `k`.
pub(super) fn top_k(candidates: &mut Vec<Candidate>, k: usize) {
    if k < candidates.len() {
        sort_front(candidates, k);
        candidates.truncate(k);
    }
}

/// Sets every weight; the most likely token has 1.
pub(super) fn weigh(candidates: &mut [Candidate]) {
    let max = candidates
        .iter()
        .fold(f32::NEG_INFINITY, |m, c| m.max(c.logit));
    for candidate in candidates {
        candidate.weight = (candidate.logit - max).exp();
    }
}

/// Candidates sorted at first; a nucleus is rarely larger, and sorting a vocabulary takes longer
/// than everything else here.
const FIRST_SORT: usize = 256;

/// Keeps the fewest most likely, in order, whose weights reach the share `p` of the sum.
pub(super) fn top_p(candidates: &mut Vec<Candidate>, p: f32) {
    let target = p as f64 * sum(candidates);
    let (mut sorted, mut kept, mut reached) = (0, 0, 0.0);
    while kept < candidates.len() && (kept == 0 || reached < target) {
        if kept == sorted {
            let more = FIRST_SORT.max(7 * sorted);
            sort_front(&mut candidates[sorted..], more);
            sorted = candidates.len().min(sorted + more);
        }
        reached += candidates[kept].weight as f64;
        kept += 1;
    }
    candidates.truncate(kept);
}

/// Keeps those whose weight is at least `p` times the largest, which is 1.
pub(super) fn min_p(candidates: &mut Vec<Candidate>, p: f32) {
    candidates.retain(|c| c.weight >= p);
}

/// In f64: the tail of a large vocabulary is many small terms.
pub(super) fn sum(candidates: &[Candidate]) -> f64 {
    candidates.iter().map(|c| c.weight as f64).sum()
}

/// Brings the `n` most likely to the front, in order.
fn sort_front(candidates: &mut [Candidate], n: usize) {
    let n = n.min(candidates.len());
    if n < candidates.len() {
        candidates.select_nth_unstable_by(n, by_rank);
    }
    candidates[..n].sort_unstable_by(by_rank);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(logits: impl IntoIterator<Item = f32>) -> Vec<Candidate> {
        let of = |(i, logit)| Candidate {
            token: i as u32,
            logit,
            weight: f32::NAN,
        };
        let mut candidates: Vec<_> = logits.into_iter().enumerate().map(of).collect();
        weigh(&mut candidates);
        candidates
    }

    fn weighing(weights: &[f32]) -> Vec<Candidate> {
        let mut candidates = candidates(weights.iter().map(|w| w.ln()));
        let exact = candidates.iter_mut().zip(weights);
        exact.for_each(|(candidate, &weight)| candidate.weight = weight);
        candidates
    }

    fn tokens(candidates: &[Candidate]) -> Vec<u32> {
        candidates.iter().map(|c| c.token).collect()
    }

    /// Many ties among 5000 logits.
    fn vocabulary() -> Vec<Candidate> {
        candidates((0..5000u32).map(|i| (i.wrapping_mul(2654435761) % 97) as f32 / 40.0))
    }

    #[test]
    fn equal_logits_rank_by_id_whatever_is_cut() {
        let logits = [0.0, 3.0, 2.0, 3.0, 2.0, 3.0, -0.0];
        let order = [1, 3, 5, 2, 4, 0, 6];
        for k in 1..7 {
            let mut kept = candidates(logits);
            top_k(&mut kept, k);
            assert_eq!(tokens(&kept), order[..k], "top {k}");
        }
        let mut all = candidates(logits);
        top_k(&mut all, 7);
        assert_eq!(tokens(&all), [0, 1, 2, 3, 4, 5, 6], "nothing to cut");
    }

    #[test]
    fn a_large_vocabulary_keeps_the_same_tokens_as_a_full_sort() {
        let mut all = vocabulary();
        all.sort_by(by_rank);
        for k in [1, 50, 52, 53, 4999] {
            let mut kept = vocabulary();
            top_k(&mut kept, k);
            assert_eq!(kept, all[..k], "top {k}");
        }
        for p in [0.001, 0.1, 0.5, 0.9, 0.999, 1.0] {
            let mut kept = vocabulary();
            top_p(&mut kept, p);
            assert_eq!(kept, all[..kept.len()], "top-p {p}");
            let (target, last) = (p as f64 * sum(&all), kept.len() - 1);
            assert!(sum(&kept[..last]) < target, "top-p {p} keeps too many");
            let all_kept = kept.len() == all.len();
            assert!(all_kept || sum(&kept) >= target, "top-p {p} keeps too few");
        }
    }

    #[test]
    fn top_p_counts_the_token_that_reaches_the_sum() {
        for (p, kept) in [
            (0.01, 1),
            (0.5, 1),
            (0.51, 2),
            (0.75, 2),
            (0.76, 3),
            (0.875, 3),
            (0.9, 4),
            (1.0, 4),
        ] {
            let mut candidates = weighing(&[0.25, 1.0, 0.25, 0.5]);
            top_p(&mut candidates, p);
            assert_eq!(tokens(&candidates), [1, 3, 0, 2][..kept], "top-p {p}");
        }
    }

    #[test]
    fn min_p_compares_with_the_most_likely() {
        for (p, kept) in [(0.0, 5), (0.1, 4), (0.25, 4), (0.26, 2), (0.6, 1), (1.0, 1)] {
            let mut candidates = weighing(&[1.0, 0.5, 0.25, 0.25, 0.0]);
            min_p(&mut candidates, p);
            assert_eq!(candidates.len(), kept, "min-p {p}");
        }
    }

    #[test]
    fn weights_of_far_apart_logits_stay_finite() {
        let weights: Vec<f32> = candidates([-3e38, 3e38, 0.0])
            .iter()
            .map(|c| c.weight)
            .collect();
        assert_eq!(weights, [0.0, 1.0, 0.0]);
    }
}
