//! The cache: shared beginnings, and what happens when blocks run out.

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use tritburn_models::engine::{EngineOptions, FinishReason, Generation};

use super::{answer, assert_idle, greedy, prompt, small, start};

#[test]
fn a_shared_beginning_is_read_once_and_changes_nothing() {
    let sharing = start(small());
    let apart = start(EngineOptions {
        prefix_sharing: false,
        ..small()
    });
    let beginning = prompt(1, 70);
    for (i, cached) in [0, 68, 68, 68].into_iter().enumerate() {
        let request = greedy(&[&beginning[..], &prompt(10 + i as u64, 20)].concat(), 16);
        let found = answer(&sharing, request.clone());
        assert_eq!(found.usage.cached_tokens, cached, "request {i}");
        let alone = answer(&apart, request);
        assert_eq!(found.ids, alone.ids, "request {i}");
        assert_eq!(alone.usage.cached_tokens, 0);
    }
    let stats = sharing.stats();
    assert_eq!((stats.prefix_queries, stats.prefix_hits), (4 * 90, 3 * 68));
    assert_eq!(apart.stats().prefix_queries, 0);
    assert_idle(&sharing);
}

#[test]
fn the_end_of_a_prompt_is_always_read() {
    let engine = start(small());
    // The last 16 tokens at least are computed, by the kernels that read prompts.
    for (len, cached) in [(15, 0), (16, 0), (19, 0), (20, 4), (36, 20), (64, 48)] {
        let request = greedy(&prompt(len as u64, len), 8);
        let first = answer(&engine, request.clone());
        let second = answer(&engine, request);
        assert_eq!(
            (first.usage.cached_tokens, second.usage.cached_tokens),
            (0, cached),
            "{len}"
        );
        assert_eq!(first.ids, second.ids, "{len}");
    }
}

#[test]
fn sequences_without_room_start_again_and_answer_the_same() {
    let wide = start(small());
    // Room for one request and a half: of six, some have to give way.
    let tight = start(EngineOptions {
        cache_tokens: Some(160),
        ..small()
    });
    let requests: Vec<_> = (0..6).map(|i| greedy(&prompt(i, 24), 80)).collect();
    let generations: Vec<_> = requests
        .iter()
        .map(|r| tight.submit(r.clone()).unwrap())
        .collect();
    for (generation, request) in generations.into_iter().zip(requests) {
        let found = generation.collect_blocking().remove(0);
        assert_eq!(found.ids, answer(&wide, request).ids);
        assert_eq!(found.reason, FinishReason::Length);
    }
    let stats = tight.stats();
    assert!(stats.preemptions > 0, "{stats:?}");
    assert_eq!(
        stats.generated_tokens,
        6 * 80,
        "what is computed again is not new"
    );
    assert_eq!(stats.blocks, 40);
    assert_eq!(wide.stats().preemptions, 0);
    assert_idle(&tight);
}

#[test]
fn blocks_come_back_through_a_soak_of_arrivals_and_cancellations() {
    let engine = start(EngineOptions {
        cache_tokens: Some(400),
        max_waiting: 1000,
        ..small()
    });
    let mut random = ChaCha8Rng::seed_from_u64(9);
    let mut open: Vec<(Generation, usize)> = Vec::new();
    let (mut whole, mut cut) = (0, 0);
    for i in 0..150 {
        let beginning = prompt(random.random_range(0..3), 40);
        let len = random.random_range(1..40);
        let mut request = greedy(&[&beginning[..], &prompt(100 + i, len)].concat(), 1);
        request.prompt = request.prompt[random.random_range(0..40)..].into();
        let new = random.random_range(1..30);
        request.max_new_tokens = Some(new);
        open.push((engine.submit(request).unwrap(), new));
        match random.random_range(0..5) {
            0 => {
                drop(open.swap_remove(random.random_range(0..open.len())));
                cut += 1;
            }
            1 => {
                let (generation, new) = open.swap_remove(random.random_range(0..open.len()));
                generation.cancel();
                let found = generation.collect_blocking().remove(0);
                assert!(found.ids.len() <= new);
                cut += 1;
            }
            2 => {
                let (generation, new) = open.swap_remove(0);
                let found = generation.collect_blocking().remove(0);
                assert_eq!((found.ids.len(), found.reason), (new, FinishReason::Length));
                whole += 1;
            }
            _ => {}
        }
    }
    for (generation, new) in open {
        assert_eq!(generation.collect_blocking()[0].ids.len(), new);
        whole += 1;
    }
    assert_eq!(whole + cut, 150);
    // Those that were dropped may have a step to go.
    assert_eq!(engine.shutdown(std::time::Duration::from_secs(60)), 0);
    assert_idle(&engine);
    let stats = engine.stats();
    assert!(stats.prefix_hits > 0, "{stats:?}");
    let ended = stats.finished_length + stats.finished_cancelled;
    assert_eq!((ended, stats.finished_failed), (150, 0));
}
