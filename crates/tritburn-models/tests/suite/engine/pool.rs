//! Several engines behind one door.

use std::time::Duration;

use tritburn_models::engine::{EngineError, EngineOptions, EnginePool, FinishReason, SubmitError};

use super::{greedy, prompt, small, start};

fn two(options: EngineOptions) -> EnginePool {
    EnginePool::new(vec![start(options.clone()), start(options)]).unwrap()
}

#[test]
fn requests_go_where_the_least_is_to_do() {
    let pool = two(small());
    let generations: Vec<_> = (0..8)
        .map(|i| pool.submit(greedy(&prompt(i, 20), 200)).unwrap())
        .collect();
    let loads: Vec<_> = pool.stats().iter().map(|s| s.running + s.waiting).collect();
    assert_eq!(loads, [4, 4]);
    let whole = generations
        .into_iter()
        .map(|generation| generation.collect_blocking().remove(0));
    assert!(whole.into_iter().all(|found| found.ids.len() == 200));
}

#[test]
fn prompts_that_begin_alike_go_to_one_engine() {
    let pool = two(small());
    let beginning = prompt(1, 130);
    for i in 0..6 {
        let other = pool.submit(greedy(&prompt(50 + i, 10), 1)).unwrap();
        other.collect_blocking();
        let prompt = [&beginning[..], &prompt(i, 20)].concat();
        let found = pool
            .submit(greedy(&prompt, 4))
            .unwrap()
            .collect_blocking()
            .remove(0);
        assert_eq!(
            found.usage.cached_tokens,
            if i == 0 { 0 } else { 128 },
            "request {i}"
        );
    }
}

#[test]
fn an_engine_that_stopped_is_left_out() {
    let pool = two(small());
    pool.engines()[0].inject_failure("gone");
    while pool.engines()[0].is_alive() {
        std::thread::yield_now();
    }
    assert!(pool.is_alive());
    for i in 0..4 {
        let found = pool
            .submit(greedy(&prompt(i, 20), 5))
            .unwrap()
            .collect_blocking()
            .remove(0);
        assert_eq!(found.reason, FinishReason::Length);
    }
    pool.engines()[1].inject_failure("gone too");
    while pool.is_alive() {
        std::thread::yield_now();
    }
    let refused = pool.submit(greedy(&[1], 1)).err();
    assert!(
        matches!(refused, Some(SubmitError::Stopped { .. })),
        "{refused:?}"
    );
}

#[test]
fn what_one_engine_has_no_room_for_goes_to_the_other() {
    let pool = two(EngineOptions {
        max_sequences: 1,
        max_waiting: 1,
        ..small()
    });
    let mut taken = Vec::new();
    let refused = loop {
        match pool.submit(greedy(&prompt(1, 100), 300)) {
            Ok(generation) => taken.push(generation),
            Err(refused) => break refused,
        }
    };
    assert!(
        matches!(refused, SubmitError::QueueFull { limit: 1, .. }),
        "{refused}"
    );
    assert!(taken.len() >= 2);
    assert!(pool.stats().iter().all(|stats| stats.refused > 0));
    assert!(pool.shutdown(Duration::ZERO) >= 2);
    assert!(!pool.is_alive());
    assert!(matches!(
        EnginePool::new(Vec::new()),
        Err(EngineError::NoEngine)
    ));
}
