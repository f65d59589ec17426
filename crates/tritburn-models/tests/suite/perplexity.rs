//! The perplexity of ids, against logits one by one.

use std::sync::Arc;

use burn::tensor::Device;
use tritburn_models::checkpoint::Synthetic;
use tritburn_models::generate::{Perplexity, PerplexityError, Scored, Scorer, Session, Windows};
use tritburn_models::model::LoadOptions;
use tritburn_models::{CausalLm, DecoderConfig};

fn model() -> Arc<CausalLm> {
    let checkpoint = Synthetic::new(DecoderConfig::tiny(), 1).unwrap();
    let model = CausalLm::load(&checkpoint, &LoadOptions::default(), &Device::flex());
    Arc::new(model.unwrap())
}

/// Nats of `tokens[first..]`, each behind all ahead of it.
fn by_hand(model: &Arc<CausalLm>, tokens: &[u32], first: usize) -> Vec<f64> {
    let mut session = Session::new(model.clone(), 1, tokens.len()).unwrap();
    let logits = session.prefill_all(tokens).unwrap();
    let vocabulary = logits.dims()[1];
    let logits: Vec<f32> = logits.try_into_data().unwrap().try_into_vec().unwrap();
    let cost = |i: usize| {
        let row = &logits[(i - 1) * vocabulary..i * vocabulary];
        let row: Vec<f64> = row.iter().map(|&value| f64::from(value)).collect();
        let largest = row.iter().copied().fold(f64::MIN, f64::max);
        let sum: f64 = row.iter().map(|value| (value - largest).exp()).sum();
        largest + sum.ln() - row[tokens[i] as usize]
    };
    (first..tokens.len()).map(cost).collect()
}

fn ids(n: usize) -> Vec<u32> {
    (0..n).map(|i| 3 + (i * i * 7 + i) as u32 % 500).collect()
}

fn scored(
    model: &Arc<CausalLm>,
    windows: Windows,
    ids: &[u32],
    piece: usize,
) -> Result<Perplexity, PerplexityError> {
    let mut scorer = Scorer::new(model.clone(), windows)?;
    for piece in ids.chunks(piece) {
        scorer.push(piece)?;
    }
    scorer.finish()
}

fn check(found: &Perplexity, expected: &[f64]) {
    assert_eq!(found.tokens, expected.len() as u64);
    let sum: f64 = expected.iter().sum();
    assert!(
        (found.nats / sum - 1.0).abs() < 1e-5,
        "{} and {sum}",
        found.nats
    );
    let mean = sum / expected.len() as f64;
    assert!((found.perplexity() / mean.exp() - 1.0).abs() < 1e-3);
}

#[test]
fn every_token_counts_once_behind_what_its_window_shows() {
    let model = model();
    let ids = ids(50);
    for begin in [vec![], vec![1]] {
        let windows = Windows {
            context: 16 + begin.len(),
            scored: Scored::Stride(6),
            begin: begin.clone(),
        };
        let mut expected = Vec::new();
        let (mut start, mut end) = (0, 16);
        expected.extend(by_hand(&model, &[&begin, &ids[..16]].concat(), 1));
        while end < ids.len() {
            start += 6;
            let next = (start + 16).min(ids.len());
            let window = [&begin, &ids[start..next]].concat();
            expected.extend(by_hand(&model, &window, begin.len() + end - start));
            end = next;
        }
        for piece in [1, 7, 50] {
            let found = scored(&model, windows.clone(), &ids, piece).unwrap();
            assert_eq!(found.tokens, 49 + begin.len() as u64);
            check(&found, &expected);
        }
    }
}

#[test]
fn the_second_half_of_windows_counts_as_in_llama_cpp() {
    let model = model();
    let ids = ids(40);
    let windows = Windows {
        context: 16,
        scored: Scored::SecondHalf,
        begin: vec![1],
    };
    let mut expected = Vec::new();
    for window in ids.chunks_exact(16) {
        let window = [&[1], &window[1..]].concat();
        expected.extend(by_hand(&model, &window, 9));
    }
    let found = scored(&model, windows.clone(), &ids, 9).unwrap();
    assert_eq!(found.tokens, 2 * 7);
    check(&found, &expected);
    assert!(found.standard_error().unwrap() > 0.0);

    let error = scored(&model, windows, &ids[..15], 9).unwrap_err();
    assert!(
        matches!(
            error,
            PerplexityError::Short {
                found: 15,
                least: 16
            }
        ),
        "{error}"
    );
}

#[test]
fn a_text_shorter_than_a_window_is_scored_whole_and_none_is_an_error() {
    let model = model();
    let windows = |begin: Vec<u32>| Windows {
        context: 64,
        scored: Scored::Stride(32),
        begin,
    };
    let found = scored(&model, windows(vec![]), &ids(5), 5).unwrap();
    check(&found, &by_hand(&model, &ids(5), 1));
    for (begin, given, least) in [(vec![], 0, 2), (vec![], 1, 2), (vec![1], 0, 1)] {
        let error = scored(&model, windows(begin), &ids(given), 5).unwrap_err();
        let PerplexityError::Short { found, least: l } = error else {
            panic!("{error}");
        };
        assert_eq!((found, l), (given as u64, least));
    }
}

#[test]
fn windows_that_score_nothing_or_leave_out_tokens_are_refused() {
    let model = model();
    for (context, scored, begin) in [
        (16, Scored::Stride(0), vec![]),
        (16, Scored::Stride(17), vec![]),
        (16, Scored::Stride(16), vec![1]),
        (1, Scored::Stride(1), vec![1]),
        (2, Scored::SecondHalf, vec![]),
    ] {
        let windows = Windows {
            context,
            scored,
            begin,
        };
        let error = Scorer::new(model.clone(), windows).err().unwrap();
        assert!(matches!(error, PerplexityError::Windows { .. }), "{error}");
    }
    let long = Windows {
        context: 513,
        scored: Scored::Stride(1),
        begin: vec![],
    };
    let error = Scorer::new(model, long).err().unwrap();
    assert!(matches!(error, PerplexityError::Model(_)), "{error}");
}
