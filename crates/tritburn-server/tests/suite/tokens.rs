//! `/tokenize` and `/detokenize`

use serde_json::json;

use crate::common::*;

#[tokio::test(flavor = "multi_thread")]
async fn text_becomes_ids_and_text_again() {
    let server = Server::bitnet().await;
    let text = "weights are 2 bits, naïve 🦀";
    let tokens = server
        .ask("/tokenize", json!({ "content": text, "with_pieces": true }))
        .await;
    let expected = BITNET.text.tokenizer.encode(text).unwrap();
    assert_eq!(tokens["tokens"], json!(expected));
    assert_eq!(tokens["count"], expected.len());
    assert_eq!(tokens["max_model_len"], 512);
    assert_eq!(tokens["pieces"].as_array().unwrap().len(), expected.len());
    assert_eq!(tokens["pieces"][1]["id"], expected[1]);
    let again = server
        .ask("/detokenize", json!({ "tokens": tokens["tokens"] }))
        .await;
    assert_eq!(again["content"], text);

    let bare = server
        .ask(
            "/tokenize",
            json!({ "prompt": text, "add_special_tokens": false }),
        )
        .await;
    let bare = bare["tokens"].as_array().unwrap();
    assert_eq!(
        bare.len() + 1,
        expected.len(),
        "the token that begins a text is left out"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_has_to_be_given_once() {
    let server = Server::bitnet().await;
    for body in [json!({}), json!({ "content": "a", "prompt": "b" })] {
        let (status, param, _) = server.refusal("/tokenize", &body).await;
        assert_eq!((status.as_u16(), param.as_deref()), (400, Some("content")));
    }
    let (status, param, _) = server
        .refusal("/detokenize", &json!({ "tokens": [-1] }))
        .await;
    assert_eq!(
        (status.as_u16(), param.as_deref()),
        (400, Some("tokens[0]"))
    );
}
