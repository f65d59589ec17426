//! The sampler: what is drawn, how often, and what is refused.

use rstest::rstest;
use tritburn_models::sample::{SampleError, Sampler, Sampling};

fn drawn(sampling: Sampling, logits: &[f32], times: usize) -> Vec<u32> {
    let mut sampler = Sampler::new(sampling).unwrap();
    (0..times)
        .map(|_| sampler.sample(logits, &[]).unwrap())
        .collect()
}

fn warm() -> Sampling {
    Sampling {
        temperature: 1.0,
        ..Sampling::default()
    }
}

#[test]
fn greedy_takes_the_largest_logit_and_the_lower_id_of_a_tie() {
    let mut sampler = Sampler::new(Sampling::greedy()).unwrap();
    assert_eq!(sampler.sample(&[0.5, 2.0, -1.0, 2.0], &[]), Ok(1));
    assert_eq!(sampler.sample(&[-0.0, 0.0], &[]), Ok(0));
    assert_eq!(sampler.sample(&[f32::NEG_INFINITY, -3e38], &[]), Ok(1));
}

#[test]
fn tokens_are_drawn_as_often_as_they_are_likely() {
    let shares = [0.5f32, 0.3, 0.15, 0.05];
    let logits = shares.map(f32::ln);
    let n = 40_000;
    for (temperature, power) in [(1.0, 1.0), (0.5, 2.0), (2.0, 0.5)] {
        let sampling = Sampling {
            temperature,
            ..warm()
        };
        let tokens = drawn(sampling, &logits, n);
        let total: f32 = shares.iter().map(|s| s.powf(power)).sum();
        for (token, share) in shares.iter().enumerate() {
            let expected = share.powf(power) / total;
            let found = tokens.iter().filter(|&&t| t == token as u32).count() as f32 / n as f32;
            // Five standard deviations of a share of 40,000 draws are 0.0125 at most.
            assert!(
                (found - expected).abs() < 0.0125,
                "token {token} at temperature {temperature}: {found} of {expected}"
            );
        }
    }
}

#[rstest]
#[case::top_k(Sampling { top_k: Some(2), ..warm() }, &[1, 3])]
#[case::top_p(Sampling { top_p: Some(0.75), ..warm() }, &[1, 3])]
#[case::min_p(Sampling { min_p: Some(0.4), ..warm() }, &[1, 3])]
#[case::top_k_then_top_p(Sampling { top_k: Some(2), top_p: Some(0.6), ..warm() }, &[1])]
#[case::all_open(warm(), &[0, 1, 2, 3])]
fn only_what_the_filters_keep_is_drawn(#[case] sampling: Sampling, #[case] kept: &[u32]) {
    let logits = [0.1f32, 0.5, 0.1, 0.3].map(f32::ln);
    let mut tokens = drawn(sampling, &logits, 2000);
    tokens.sort_unstable();
    tokens.dedup();
    assert_eq!(tokens, kept);
}

#[test]
fn a_forbidden_token_is_never_drawn() {
    let logits = [f32::NEG_INFINITY, 0.0, f32::NEG_INFINITY, 0.0];
    let tokens = drawn(warm(), &logits, 500);
    assert!(tokens.iter().all(|t| t % 2 == 1));
}

#[test]
fn a_repetition_penalty_turns_to_other_tokens() {
    let sampling = Sampling {
        repetition_penalty: 2.0,
        ..Sampling::greedy()
    };
    let mut sampler = Sampler::new(sampling).unwrap();
    let logits = [3.0, 2.0, -1.0];
    assert_eq!(sampler.sample(&logits, &[]), Ok(0));
    assert_eq!(sampler.sample(&logits, &[0, 0]), Ok(1), "3 / 2 < 2");
    assert_eq!(sampler.sample(&logits, &[0, 1]), Ok(0), "3 / 2 > 2 / 2");
    let negative = [-1.0, -1.5];
    assert_eq!(sampler.sample(&negative, &[0]), Ok(1), "-1 · 2 < -1.5");
    assert_eq!(
        sampler.sample(&logits, &[3, u32::MAX]),
        Ok(0),
        "unknown ids"
    );
}

#[test]
fn a_seed_and_a_sequence_number_fix_the_draws() {
    let logits: Vec<f32> = (0..100).map(|i| (i % 7) as f32 * 0.1).collect();
    let of = |seed, number| {
        let sampling = Sampling { seed, ..warm() };
        let mut sampler = Sampler::for_sequence(sampling, number).unwrap();
        (0..16)
            .map(|_| sampler.sample(&logits, &[]).unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(of(1, 0), of(1, 0));
    assert_ne!(of(1, 0), of(2, 0));
    assert_ne!(of(1, 0), of(1, 1));
}

#[test]
fn extreme_temperatures_and_penalties_stay_finite() {
    let sampling = Sampling {
        temperature: 1e-30,
        repetition_penalty: 1e30,
        ..Sampling::default()
    };
    let mut sampler = Sampler::new(sampling).unwrap();
    assert_eq!(sampler.sample(&[5.0, 1e20, -1e20], &[2]), Ok(1));
}

#[test]
fn a_temperature_near_zero_is_greedy() {
    let logits = [2.0, 5.0, 4.999, -7.0, 5.0];
    for temperature in [1e-39, 1e-45, 1e-38] {
        let sampling = Sampling {
            temperature,
            ..Sampling::default()
        };
        let mut sampler = Sampler::new(sampling).unwrap();
        for _ in 0..20 {
            let token = sampler.sample(&logits, &[]).unwrap();
            assert!([1, 4].contains(&token), "{temperature}: {token}");
        }
    }
}

#[rstest]
#[case::nan(&[0.0, f32::NAN], 1)]
#[case::infinity(&[f32::INFINITY, f32::NAN], 0)]
fn logits_that_are_no_numbers_are_refused(#[case] logits: &[f32], #[case] at: usize) {
    let mut sampler = Sampler::new(Sampling::greedy()).unwrap();
    let error = sampler.sample(logits, &[]).unwrap_err();
    assert!(matches!(error, SampleError::NotFinite { token, .. } if token == at));
}

#[test]
fn nothing_to_choose_from_is_an_error() {
    let mut sampler = Sampler::new(warm()).unwrap();
    for logits in [&[][..], &[f32::NEG_INFINITY; 3]] {
        let vocabulary = logits.len();
        let expected = Err(SampleError::Nothing { vocabulary });
        assert_eq!(sampler.sample(logits, &[]), expected);
    }
}

#[rstest]
#[case(Sampling { temperature: -1.0, ..warm() }, "temperature")]
#[case(Sampling { temperature: f32::NAN, ..warm() }, "temperature")]
#[case(Sampling { top_k: Some(0), ..warm() }, "top-k")]
#[case(Sampling { top_p: Some(0.0), ..warm() }, "top-p")]
#[case(Sampling { top_p: Some(1.5), ..warm() }, "top-p")]
#[case(Sampling { min_p: Some(-0.1), ..warm() }, "min-p")]
#[case(Sampling { min_p: Some(f32::NAN), ..warm() }, "min-p")]
#[case(Sampling { repetition_penalty: 0.0, ..warm() }, "repetition penalty")]
#[case(Sampling { repetition_penalty: f32::INFINITY, ..warm() }, "repetition penalty")]
fn parameters_out_of_range_are_refused(#[case] sampling: Sampling, #[case] which: &str) {
    let error = Sampler::new(sampling).unwrap_err();
    assert!(matches!(error, SampleError::Parameter { name, .. } if name == which));
}
