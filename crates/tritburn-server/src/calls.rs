//! Calls of functions in what a model wrote.
//!
//! | models | a call |
//! |---|---|
//! | Qwen and others trained on the Hermes format | `<tool_call>{"name": .., "arguments": {..}}</tool_call>` |
//! | Llama 3 | `{"name": .., "parameters": {..}}` as the whole answer, `<\|python_tag\|>` before it or not |

use serde_json::Value;

/// Begins a call among other text.
const OPEN: &str = "<tool_call>";
/// Ends it.
const CLOSE: &str = "</tool_call>";
/// What Llama 3 may begin a call with.
const PYTHON_TAG: &str = "<|python_tag|>";

/// A call of a function.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The function's name.
    pub name: String,
    /// Its arguments, a JSON object.
    pub arguments: Value,
}

/// Splits an answer into text and calls while it grows. Text is given out as soon as it is certain to be
/// none of a call; calls are known at the end.
#[derive(Debug, Default)]
pub struct CallReader {
    /// Text that may be part of a call.
    held: String,
    /// Whether text was given out that is more than space.
    spoke: bool,
}

impl CallReader {
    /// Takes more text, and returns what is certain to be text.
    pub fn push(&mut self, text: &str) -> String {
        self.held += text;
        let certain = match self.may_be_bare_call() {
            true => 0,
            false => certain_text(&self.held),
        };
        let rest = self.held.split_off(certain);
        let text = std::mem::replace(&mut self.held, rest);
        self.spoke |= !text.trim().is_empty();
        text
    }

    /// What is left at the end: text, then calls. What looked like a call and is none is text.
    pub fn finish(self) -> (String, Vec<Call>) {
        if self.may_be_bare_call() {
            let bare = self.held.trim();
            let bare = bare.strip_prefix(PYTHON_TAG).unwrap_or(bare);
            return match call(bare) {
                Some(call) => (String::new(), vec![call]),
                None => (self.held, Vec::new()),
            };
        }
        marked_calls(self.held)
    }

    /// Whether the whole answer may be a call without marks.
    fn may_be_bare_call(&self) -> bool {
        let held = self.held.trim_start();
        let tag = held.starts_with(PYTHON_TAG) || PYTHON_TAG.starts_with(held);
        !self.spoke && (held.starts_with('{') || tag)
    }
}

/// Bytes in front of a mark, or of what may become one.
fn certain_text(text: &str) -> usize {
    if let Some(at) = text.find(OPEN) {
        return at;
    }
    let longest = OPEN.len().min(text.len());
    let tail = (1..=longest)
        .rev()
        .find(|&len| text.ends_with(&OPEN[..len]));
    text.len() - tail.unwrap_or(0)
}

fn marked_calls(text: String) -> (String, Vec<Call>) {
    let mut calls = Vec::new();
    let mut outside = String::new();
    let mut rest = text.as_str();
    while let Some((before, inside)) = rest.split_once(OPEN) {
        let (inside, after) = inside.split_once(CLOSE).unwrap_or((inside, ""));
        let Some(call) = call(inside.trim()) else {
            // The model wrote something else: it is for the reader to see.
            return (text, Vec::new());
        };
        outside += before;
        calls.push(call);
        rest = after;
    }
    outside += rest;
    match calls.is_empty() {
        true => (text, calls),
        false => (outside.trim_end().to_string(), calls),
    }
}

/// A call that is all of `text`.
pub fn call(text: &str) -> Option<Call> {
    let mut call: Value = serde_json::from_str(text).ok()?;
    let name = call["name"].as_str()?.to_string();
    let arguments = ["arguments", "parameters"];
    let arguments = arguments.into_iter().map(|key| call[key].take());
    // Some models write the object as a text.
    let object = |value: Value| match value {
        Value::String(text) => serde_json::from_str(&text).ok(),
        value => Some(value),
    };
    let arguments = arguments.filter_map(object).find(Value::is_object)?;
    Some(Call { name, arguments })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// What comes out, text in pieces and at once, if the answer comes letter by letter.
    fn read(answer: &str) -> (String, String, Vec<Call>) {
        let mut reader = CallReader::default();
        let early: String = answer
            .chars()
            .map(|letter| reader.push(letter.encode_utf8(&mut [0; 4])))
            .collect();
        let (late, calls) = reader.finish();
        (early, late, calls)
    }

    fn add() -> Call {
        Call {
            name: "add".into(),
            arguments: json!({ "a": 1 }),
        }
    }

    #[test]
    fn text_without_a_call_streams() {
        let text = "a < b and a <tool b";
        assert_eq!(read(text), (text.into(), String::new(), vec![]));
        assert_eq!(read("a <tool"), ("a ".into(), "<tool".into(), vec![]));
    }

    #[test]
    fn marked_calls_are_taken_out_of_the_text() {
        let call = r#"<tool_call>
{"name": "add", "arguments": {"a": 1}}
</tool_call>"#;
        let (early, late, calls) = read(&format!("Let me see.\n{call}\n{call}"));
        assert_eq!((early.as_str(), late.trim()), ("Let me see.\n", ""));
        assert_eq!(calls, [add(), add()]);
    }

    #[test]
    fn an_answer_may_be_a_bare_call() {
        for answer in [
            r#" {"name": "add", "parameters": {"a": 1}}"#,
            r#"<|python_tag|>{"name": "add", "arguments": "{\"a\": 1}"}"#,
        ] {
            assert_eq!(read(answer), (String::new(), String::new(), vec![add()]));
        }
    }

    #[test]
    fn what_only_looks_like_a_call_is_text() {
        for answer in [
            r#"{"answer": 1}"#,
            "{",
            "<|python",
            r#"{"name": "add", "arguments": 1}"#,
            "<tool_call>add(1)</tool_call>",
        ] {
            let (early, late, calls) = read(answer);
            assert_eq!((early + &late, calls), (answer.to_string(), vec![]));
        }
    }

    #[test]
    fn a_brace_within_text_is_text() {
        let text = r#"So {"name": "add", "arguments": {"a": 1}}"#;
        assert_eq!(read(text), (text.into(), String::new(), vec![]));
    }
}
