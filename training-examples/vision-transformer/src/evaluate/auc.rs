//! Area under the receiver operating characteristic.

/// The chance that an image of the class has a higher score than one that is not, where equal scores count half
/// (Mann & Whitney's U over the number of pairs). `None` if one of both kinds is missing.
pub fn auc(scores: impl Iterator<Item = (f32, bool)>) -> Option<f64> {
    let mut scores: Vec<(f32, bool)> = scores.collect();
    if scores.iter().any(|(score, _)| score.is_nan()) {
        return None;
    }
    scores.sort_by(|a, b| a.0.total_cmp(&b.0));
    let positives = scores.iter().filter(|(_, is)| *is).count();
    let negatives = scores.len() - positives;
    if positives == 0 || negatives == 0 {
        return None;
    }
    // Pairs that are in order, counted at the score of the positive one.
    let (mut below, mut pairs) = (0usize, 0.0);
    for equal in scores.chunk_by(|a, b| a.0 == b.0) {
        let own = equal.iter().filter(|(_, is)| *is).count();
        let others = equal.len() - own;
        pairs += own as f64 * (below as f64 + others as f64 / 2.0);
        below += others;
    }
    Some(pairs / (positives as f64 * negatives as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(scores: &[(f32, bool)]) -> Option<f64> {
        auc(scores.iter().copied())
    }

    #[test]
    fn it_is_the_share_of_pairs_in_order() {
        assert_eq!(
            of(&[(0.1, false), (0.4, false), (0.35, true), (0.8, true)]),
            Some(0.75)
        );
        assert_eq!(of(&[(0.5, false), (0.5, true)]), Some(0.5));
        assert_eq!(of(&[(0.9, false), (0.1, true), (0.9, true)]), Some(0.25));
        assert_eq!(of(&[(0.9, true)]), None);
        assert_eq!(of(&[(f32::NAN, true), (0.0, false)]), None);
    }
}
