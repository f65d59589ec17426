//! How answers end: stop tokens, stop texts, deadlines, cancellations.

use std::time::{Duration, Instant};

use burn::tensor::Device;
use tritburn_models::engine::{Engine, EngineOptions, Event, FinishReason, Request, Stop};

use super::{answer, assert_idle, greedy, prompt, small, start, toy};

#[test]
fn a_stop_token_ends_an_answer_and_is_not_part_of_its_text() {
    let (model, tokenizer) = toy(&Device::flex());
    let engine = Engine::start(model, Some(tokenizer.clone()), small()).unwrap();
    let whole = answer(&engine, greedy(&prompt(1, 20), 40));
    assert_eq!(whole.text, tokenizer.decode(&whole.ids).unwrap());
    let stop = whole.ids[9];
    let at = whole.ids.iter().position(|&id| id == stop).unwrap();
    let request = Request {
        stop_ids: vec![2, stop],
        ..greedy(&prompt(1, 20), 40)
    };
    let found = answer(&engine, request.clone());
    assert_eq!(found.reason, FinishReason::Stop(Stop::Id(stop)));
    assert_eq!(found.ids, whole.ids[..=at]);
    assert_eq!(found.text, tokenizer.decode(&whole.ids[..at]).unwrap());
    let ignoring = Request {
        ignore_stop_ids: true,
        ..request
    };
    assert_eq!(answer(&engine, ignoring).ids, whole.ids);
    assert_eq!(engine.stats().finished_stop, 1);
}

#[test]
fn a_stop_text_is_found_across_the_borders_of_tokens() {
    let engine = start(small());
    let whole = answer(&engine, greedy(&prompt(1, 20), 60));
    let text: Vec<char> = whole.text.chars().collect();
    // Every stretch of four characters: most lie across a border.
    for first in (0..text.len().min(60) - 4).step_by(3) {
        let stop: String = text[first..first + 4].iter().collect();
        let at = whole.text.find(&stop).unwrap();
        let request = Request {
            stop: vec!["never to be seen".into(), stop.clone()],
            ..greedy(&prompt(1, 20), 60)
        };
        let mut generation = engine.submit(request).unwrap();
        let (mut streamed, mut ids) = (String::new(), 0);
        while let Some(event) = generation.recv_blocking() {
            match event {
                Event::Token(token) => {
                    streamed.push_str(&token.text);
                    ids += 1;
                    assert!(
                        whole.text[..at].starts_with(&streamed),
                        "{stop:?}: {streamed:?}"
                    );
                }
                Event::Finished(finished) => {
                    streamed.push_str(&finished.text);
                    assert_eq!(
                        finished.reason,
                        FinishReason::Stop(Stop::Text(stop.clone()))
                    );
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(streamed, whole.text[..at], "{stop:?}");
        assert!(ids < whole.ids.len());
    }
}

#[test]
fn text_that_is_held_back_comes_with_the_end() {
    let engine = start(small());
    let whole = answer(&engine, greedy(&prompt(1, 20), 30));
    // Everything might be the beginning of this stop text.
    let request = Request {
        stop: vec![whole.text.clone() + "!"],
        ..greedy(&prompt(1, 20), 30)
    };
    let mut generation = engine.submit(request).unwrap();
    let mut last = None;
    while let Some(event) = generation.recv_blocking() {
        match event {
            Event::Token(token) => assert_eq!(token.text, ""),
            Event::Finished(finished) => last = Some(finished),
            other => panic!("{other:?}"),
        }
    }
    let last = last.unwrap();
    assert_eq!((last.reason, last.text), (FinishReason::Length, whole.text));
}

#[test]
fn an_answer_ends_with_its_context_if_nothing_else_ends_it() {
    let engine = start(EngineOptions {
        context: Some(50),
        ..small()
    });
    let found = answer(&engine, Request::new(prompt(1, 30)));
    assert_eq!((found.ids.len(), found.reason), (20, FinishReason::Length));
}

#[test]
fn a_deadline_ends_requests_that_run_and_those_that_wait() {
    let engine = start(EngineOptions {
        max_sequences: 1,
        ..small()
    });
    let endless = |deadline: Duration| Request {
        deadline: Some(Instant::now() + deadline),
        ..Request::new(prompt(1, 20))
    };
    let long = engine.submit(greedy(&prompt(2, 20), 400)).unwrap();
    let waiting = engine.submit(endless(Duration::ZERO)).unwrap();
    let found = waiting.collect_blocking().remove(0);
    assert_eq!((found.reason, found.ids.len()), (FinishReason::Deadline, 0));
    drop(long);
    let mut running = engine.submit(endless(Duration::from_millis(20))).unwrap();
    let mut last = None;
    while let Some(event) = running.recv_blocking() {
        last = Some(event);
    }
    let Some(Event::Finished(finished)) = last else {
        panic!("{last:?}");
    };
    assert_eq!(finished.reason, FinishReason::Deadline);
    assert!(finished.usage.generated_tokens < 492);
    assert_idle(&engine);
}

#[test]
fn cancelling_one_request_leaves_the_others_as_they_were() {
    let engine = start(small());
    let expected = answer(&engine, greedy(&prompt(1, 30), 60)).ids;
    let kept = engine.submit(greedy(&prompt(1, 30), 60)).unwrap();
    let mut cancelled = engine.submit(greedy(&prompt(2, 30), 400)).unwrap();
    let dropped = engine.submit(greedy(&prompt(3, 30), 400)).unwrap();
    for _ in 0..3 {
        assert!(matches!(cancelled.recv_blocking(), Some(Event::Token(_))));
    }
    drop(dropped);
    cancelled.cancel();
    let found = cancelled.collect_blocking().remove(0);
    assert_eq!(found.reason, FinishReason::Cancelled);
    assert!(found.ids.len() < 400);
    assert_eq!(kept.collect_blocking()[0].ids, expected);
    assert_eq!(engine.shutdown(Duration::from_secs(60)), 0);
    assert_eq!(engine.stats().finished_cancelled, 2);
    assert_idle(&engine);
}
