//! The parser of requests, given requests with errors. `fuzz/fuzz_targets/api_request.rs` goes on from
//! here.

mod any;

use rand::{RngExt, SeedableRng, rngs::StdRng};

const REQUESTS: [&str; 5] = [
    r#"{"messages": [{"role": "user", "content": [{"type": "text", "text": "a\u0041"}]}, {"role": "assistant",
        "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{\"a\": 1}"}}]}], "n": 2, "stop": ["x"],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}], "tool_choice": "auto",
        "logit_bias": {"5": -1.5}, "stream": true, "stream_options": {"include_usage": true}, "seed": -1}"#,
    r#"{"prompt": [[1, 2], [3]], "max_tokens": 5, "temperature": 0.5, "top_k": -1, "echo": true,
        "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}}"#,
    r#"{"input": ["a", "b"], "encoding_format": "base64", "dimensions": 3}"#,
    r#"{"content": "a", "with_pieces": true}"#,
    r#"{"tokens": [1, 2, 3]}"#,
];

#[test]
fn requests_are_taken_by_their_endpoint_alone() {
    for request in REQUESTS {
        assert_eq!(any::requests(request.as_bytes()), 1, "{request}");
    }
}

#[test]
fn requests_with_errors_never_panic() {
    let mut random = StdRng::seed_from_u64(1);
    let mut taken = 0;
    for _ in 0..20_000 {
        let request = REQUESTS[random.random_range(0..REQUESTS.len())];
        let mut bytes = request.as_bytes().to_vec();
        for _ in 0..random.random_range(1..4) {
            let at = random.random_range(0..bytes.len());
            match random.random_range(0..4) {
                0 => bytes[at] = random.random(),
                1 => bytes.truncate(at + 1),
                2 => {
                    let to = random.random_range(at..bytes.len());
                    bytes.drain(at..to);
                }
                _ => {
                    let piece = bytes[at..].to_vec();
                    bytes.extend(piece);
                }
            }
        }
        taken += any::requests(&bytes);
    }
    assert!(taken > 100, "some errors are none: {taken}");
}
