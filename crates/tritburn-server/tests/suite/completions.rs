//! `/v1/completions`

use serde_json::json;

use crate::common::*;

const PATH: &str = "/v1/completions";

#[tokio::test(flavor = "multi_thread")]
async fn greedy_tokens_are_those_of_generate() {
    let server = Server::bitnet().await;
    let prompt = [1, 20, 300, 4];
    let body = json!({ "prompt": prompt, "max_tokens": 12, "temperature": 0, "ignore_eos": true, "logprobs": 0 });
    let answer = server.ask(PATH, body).await;
    let options = tritburn_models::generate::GenerationOptions {
        max_new_tokens: 12,
        stop_ids: Vec::new(),
        sampling: tritburn_models::sample::Sampling::greedy(),
    };
    let mut session = tritburn_models::generate::Session::new(BITNET.model.clone(), 1, 16).unwrap();
    let expected =
        tritburn_models::generate::generate(&mut session, &[&prompt], &options, |_, _| {
            std::ops::ControlFlow::Continue(())
        });
    let expected = BITNET
        .text
        .tokenizer
        .decode(&expected.unwrap().ids[0])
        .unwrap();
    assert_eq!(answer["choices"][0]["text"], expected);
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    assert_eq!(answer["object"], "text_completion");
    assert_eq!(answer["model"], "toy");
    let usage = &answer["usage"];
    assert_eq!(
        (&usage["prompt_tokens"], &usage["completion_tokens"]),
        (&json!(4), &json!(12))
    );
    assert_eq!(usage["total_tokens"], 16);
    let logprobs = &answer["choices"][0]["logprobs"];
    assert_eq!(logprobs["tokens"].as_array().unwrap().len(), 12);
    assert!(logprobs["token_logprobs"][0].as_f64().unwrap() <= 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_has_the_text_of_the_whole_answer() {
    let server = Server::bitnet().await;
    let body =
        json!({ "prompt": "the weights", "max_tokens": 40, "seed": 3, "ignore_eos": true, "n": 2 });
    let whole = server.ask(PATH, body.clone()).await;
    let mut streamed = body;
    streamed["stream_options"] = json!({ "include_usage": true });
    let chunks = server.stream(PATH, streamed).await;
    let (usage, chunks) = chunks.split_last().unwrap();
    assert_eq!(usage["choices"], json!([]));
    assert_eq!(usage["usage"]["completion_tokens"], 80);
    assert_eq!(
        usage["usage"]["prompt_tokens"],
        whole["usage"]["prompt_tokens"]
    );
    for index in 0..2 {
        let of = chunks
            .iter()
            .map(|chunk| &chunk["choices"][0])
            .filter(|c| c["index"] == index);
        let text: String = of
            .clone()
            .map(|choice| choice["text"].as_str().unwrap())
            .collect();
        assert_eq!(text, whole["choices"][index]["text"]);
        let reasons: Vec<_> = of.filter(|c| !c["finish_reason"].is_null()).collect();
        assert_eq!(reasons.len(), 1);
        assert_eq!(reasons[0]["finish_reason"], "length");
    }
    assert_ne!(
        whole["choices"][0]["text"], whole["choices"][1]["text"],
        "choices draw independently"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn several_prompts_are_answered_in_their_order() {
    let server = Server::bitnet().await;
    let options = json!({ "max_tokens": 6, "temperature": 0, "n": 2, "ignore_eos": true });
    let with = |prompt| {
        let mut body = options.clone();
        body["prompt"] = prompt;
        body
    };
    let both = server.ask(PATH, with(json!(["one", "two"]))).await;
    let one = server.ask(PATH, with(json!("one"))).await;
    let two = server.ask(PATH, with(json!("two"))).await;
    let texts = |answer: &serde_json::Value| -> Vec<serde_json::Value> {
        let choices = answer["choices"].as_array().unwrap().iter();
        choices.map(|choice| choice["text"].clone()).collect()
    };
    assert_eq!(texts(&both), [texts(&one), texts(&two)].concat());
    let tokens = |answer: &serde_json::Value| answer["usage"]["prompt_tokens"].as_u64().unwrap();
    assert_eq!(tokens(&both), tokens(&one) + tokens(&two));
    let indices: Vec<_> = both["choices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["index"].as_u64().unwrap())
        .collect();
    assert_eq!(indices, [0, 1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn echo_puts_the_prompt_in_front() {
    let server = Server::bitnet().await;
    let body = json!({ "prompt": "hello", "max_tokens": 4, "temperature": 0, "ignore_eos": true });
    let plain = server.ask(PATH, body.clone()).await;
    let mut echo = body;
    echo["echo"] = json!(true);
    let plain = plain["choices"][0]["text"].as_str().unwrap();
    let answer = server.ask(PATH, echo.clone()).await;
    assert_eq!(answer["choices"][0]["text"], format!("hello{plain}"));
    let chunks = server.stream(PATH, echo).await;
    let text: String = chunks
        .iter()
        .map(|c| c["choices"][0]["text"].as_str().unwrap())
        .collect();
    assert_eq!(text, format!("hello{plain}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_text_ends_the_answer_and_is_no_part_of_it() {
    let server = Server::bitnet().await;
    let body = json!({ "prompt": "a", "max_tokens": 30, "temperature": 0, "ignore_eos": true });
    let whole = server.ask(PATH, body.clone()).await;
    let text = whole["choices"][0]["text"].as_str().unwrap();
    let letters: Vec<char> = text.chars().collect();
    let middle: String = letters[letters.len() / 2..][..2].iter().collect();
    let mut stopped = body;
    stopped["stop"] = json!([middle]);
    let answer = server.ask(PATH, stopped).await;
    let before = text.split(&middle).next().unwrap();
    assert_eq!(answer["choices"][0]["text"], before);
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn structure_holds_even_for_random_weights() {
    let server = Server::synthetic().await;
    let regex = json!({ "prompt": "a", "max_tokens": 60, "guided_regex": "[ab]{5}-(yes|no)" });
    let answer = server.ask(PATH, regex).await;
    let text = answer["choices"][0]["text"].as_str().unwrap();
    let (letters, word) = text.split_once('-').unwrap();
    assert!(
        letters.len() == 5 && letters.chars().all(|c| "ab".contains(c)),
        "{text}"
    );
    assert!(["yes", "no"].contains(&word), "{text}");
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");

    let (status, param, message) = server
        .refusal(PATH, &json!({ "prompt": "a", "guided_regex": "(" }))
        .await;
    assert_eq!(
        (status.as_u16(), param.as_deref()),
        (400, Some("guided_regex")),
        "{message}"
    );
}
