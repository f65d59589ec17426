//! The end of an engine, in peace or not.

use std::time::Duration;

use tritburn_models::engine::{EngineOptions, Event, Failure, FinishReason, Request, SubmitError};

use super::{assert_idle, greedy, prompt, small, start};

#[test]
fn a_failure_of_the_device_ends_all_streams_and_the_engine() {
    let engine = start(EngineOptions {
        max_sequences: 2,
        ..small()
    });
    let mut running = engine.submit(greedy(&prompt(1, 20), 450)).unwrap();
    assert!(matches!(running.recv_blocking(), Some(Event::Token(_))));
    let two = Request {
        choices: 2,
        ..greedy(&prompt(2, 20), 450)
    };
    let waiting: Vec<_> = (0..3)
        .map(|_| engine.submit(two.clone()).unwrap())
        .collect();
    engine.inject_failure("a cable was pulled");
    let failure = Failure::Device {
        reason: "a cable was pulled".into(),
    };
    let running = running.collect_blocking();
    assert_eq!(running[0].reason, FinishReason::Failed(failure.clone()));
    for generation in waiting {
        let choices = generation.collect_blocking();
        assert_eq!(choices.len(), 2);
        for choice in choices {
            assert_eq!(choice.reason, FinishReason::Failed(failure.clone()));
        }
    }
    assert!(!engine.is_alive());
    let refused = engine.submit(greedy(&[1], 1)).err().unwrap();
    let SubmitError::Stopped { reason } = &refused else {
        panic!("{refused}");
    };
    assert!(reason.contains("a cable was pulled"), "{reason}");
    assert_eq!(engine.stats().finished_failed, 7);
    assert_idle(&engine);
}

#[test]
fn a_shutdown_lets_requests_finish_and_takes_no_more() {
    let engine = start(EngineOptions {
        max_sequences: 2,
        ..small()
    });
    let generations: Vec<_> = (0..5)
        .map(|i| engine.submit(greedy(&prompt(i, 20), 30)).unwrap())
        .collect();
    let other = engine.clone();
    let shutdown = std::thread::spawn(move || other.shutdown(Duration::MAX));
    for generation in generations {
        let found = generation.collect_blocking().remove(0);
        assert_eq!((found.ids.len(), found.reason), (30, FinishReason::Length));
    }
    assert_eq!(shutdown.join().unwrap(), 0);
    assert!(!engine.is_alive());
    let refused = engine.submit(greedy(&[1], 1)).err().unwrap();
    assert_eq!(refused, SubmitError::ShuttingDown);
    assert_eq!(
        engine.shutdown(Duration::ZERO),
        0,
        "once more changes nothing"
    );
}

#[test]
fn a_shutdown_without_grace_ends_what_is_not_done_with_its_tokens() {
    let engine = start(EngineOptions {
        max_sequences: 1,
        ..small()
    });
    let mut running = engine.submit(greedy(&prompt(1, 20), 450)).unwrap();
    let waiting = engine.submit(greedy(&prompt(2, 20), 450)).unwrap();
    assert!(matches!(running.recv_blocking(), Some(Event::Token(_))));
    assert_eq!(engine.shutdown(Duration::ZERO), 2);
    for (generation, some) in [(running, true), (waiting, false)] {
        let found = generation.collect_blocking().remove(0);
        assert_eq!(found.reason, FinishReason::Failed(Failure::Shutdown));
        assert_eq!(found.usage.generated_tokens > 0, some);
        assert!(found.ids.len() < 450);
    }
    assert_idle(&engine);
}

#[test]
fn streams_end_when_the_last_handle_is_dropped() {
    let engine = start(small());
    let generation = engine.submit(greedy(&prompt(1, 20), 450)).unwrap();
    drop(engine);
    let found = generation.collect_blocking().remove(0);
    assert_eq!(found.reason, FinishReason::Failed(Failure::Shutdown));
}
