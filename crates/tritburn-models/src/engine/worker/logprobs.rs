//! Log probabilities of tokens.

use super::super::Logprobs;

/// Those of token `id` and of the `top` most likely ones, ties by id.
pub(super) fn of(logits: &[f32], id: u32, top: usize) -> Logprobs {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&l| ((l - largest) as f64).exp()).sum();
    let logprob = |token: u32| {
        let logit = logits[token as usize];
        ((logit - largest) as f64 - sum.ln()) as f32
    };
    let by_rank = |&a: &u32, &b: &u32| {
        let (x, y) = (logits[a as usize], logits[b as usize]);
        y.total_cmp(&x).then(a.cmp(&b))
    };
    let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
    let top = top.min(ids.len());
    if top < ids.len() {
        ids.select_nth_unstable_by(top, by_rank);
        ids.truncate(top);
    }
    ids.sort_unstable_by(by_rank);
    Logprobs {
        chosen: logprob(id),
        top: ids.into_iter().map(|id| (id, logprob(id))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_sum_to_one_and_ties_rank_by_id() {
        let logits = [1.0, 3.0, f32::NEG_INFINITY, 3.0, -80.0];
        let found = of(&logits, 0, 5);
        let ids: Vec<u32> = found.top.iter().map(|&(id, _)| id).collect();
        assert_eq!(ids, [1, 3, 0, 4, 2]);
        let sum: f64 = found.top.iter().map(|&(_, l)| (l as f64).exp()).sum();
        assert!((sum - 1.0).abs() < 1e-6, "{sum}");
        assert_eq!(found.chosen, found.top[2].1);
        assert_eq!(of(&logits, 1, 2).top.len(), 2);
        assert_eq!(of(&logits, 1, 0).top.len(), 0);
    }
}
