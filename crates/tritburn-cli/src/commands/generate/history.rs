//! What was said in a chat, as far as there is room for it.

use anyhow::{Result, ensure};
use tritburn_models::text::Message;

/// The messages of a chat: at most one of the system, then questions and answers in turn.
pub struct History {
    opening: usize,
    messages: Vec<Message>,
}

/// A conversation as the tokens that the model goes on from.
#[derive(Debug, PartialEq)]
pub enum Prompt {
    /// It fits, maybe because the oldest turns are now forgotten.
    Fits { ids: Vec<u32>, forgot: bool },
    /// The question does not even fit alone, which takes so many tokens. Nothing is forgotten.
    TooLong { tokens: usize },
}

impl History {
    /// A chat that begins with what the system says.
    pub fn new(system: Option<&str>) -> Self {
        let messages: Vec<_> = system
            .map(|text| Message::new("system", text))
            .into_iter()
            .collect();
        Self {
            opening: messages.len(),
            messages,
        }
    }

    pub fn push(&mut self, role: &str, text: &str) {
        self.messages.push(Message::new(role, text));
    }

    /// Takes the last message back.
    pub fn pop(&mut self) {
        self.messages.pop();
    }

    /// Forgets all but what the system said.
    pub fn clear(&mut self) {
        self.messages.truncate(self.opening);
    }

    /// The prompt that ends in the last question, with room for `answer` tokens behind it in
    /// `context`: the oldest question and its answer are forgotten until there is. A question that
    /// stands alone may leave less room.
    pub fn prompt(
        &mut self,
        context: usize,
        answer: usize,
        encode: impl Fn(&[Message]) -> Result<Vec<u32>>,
    ) -> Result<Prompt> {
        let mut rest = self.messages.clone();
        loop {
            let ids = encode(&rest)?;
            ensure!(
                !ids.is_empty(),
                "the chat template renders the conversation to nothing"
            );
            let alone = rest.len() < self.opening + 3;
            // The last token of an answer needs no position.
            let needed = ids.len() + if alone { 0 } else { answer.saturating_sub(1) };
            if needed <= context {
                let forgot = rest.len() < self.messages.len();
                self.messages = rest;
                return Ok(Prompt::Fits { ids, forgot });
            }
            if alone {
                return Ok(Prompt::TooLong { tokens: ids.len() });
            }
            rest.drain(self.opening..self.opening + 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As many tokens as characters, the first one of each message telling who speaks.
    fn encode(messages: &[Message]) -> Result<Vec<u32>> {
        let text = |m: &Message| m.role[..1].to_string() + &m.content;
        let text: String = messages.iter().map(text).collect();
        Ok(text.bytes().map(u32::from).collect())
    }

    fn chat() -> History {
        let mut chat = History::new(Some("sss"));
        for (role, text) in [
            ("user", "one"),
            ("assistant", "first"),
            ("user", "two"),
            ("assistant", "second"),
            ("user", "three"),
        ] {
            chat.push(role, text);
        }
        chat
    }

    fn text(prompt: Prompt) -> (String, bool) {
        let Prompt::Fits { ids, forgot } = prompt else {
            panic!("{prompt:?}");
        };
        let bytes = ids.into_iter().map(|id| id as u8).collect();
        (String::from_utf8(bytes).unwrap(), forgot)
    }

    #[test]
    fn the_oldest_turns_are_forgotten_first_and_the_system_never() {
        let of = |context, answer| {
            let mut chat = chat();
            let prompt = text(chat.prompt(context, answer, encode).unwrap());
            (prompt, text(chat.prompt(99, 1, encode).unwrap()).0)
        };
        let all = "ssssuoneafirstutwoaseconduthree";
        let ((found, forgot), kept) = of(all.len() + 4, 5);
        assert_eq!((found.as_str(), forgot), (all, false));
        assert_eq!(kept, all);
        let ((found, forgot), kept) = of(all.len() + 3, 5);
        assert_eq!((found.as_str(), forgot), ("ssssutwoaseconduthree", true));
        assert_eq!(kept, found, "what is forgotten stays so");
        let ((found, _), _) = of(20, 5);
        assert_eq!(found, "ssssuthree");
        // The question alone may leave less room than an answer wants.
        assert_eq!(of(10, 5).0.0, "ssssuthree");
    }

    #[test]
    fn a_question_that_never_fits_makes_nothing_be_forgotten() {
        let mut chat = chat();
        let prompt = chat.prompt(9, 1, encode).unwrap();
        assert_eq!(prompt, Prompt::TooLong { tokens: 10 });
        chat.pop();
        chat.push("user", "4");
        assert!(text(chat.prompt(99, 1, encode).unwrap()).0.contains("uone"));
        chat.clear();
        chat.push("user", "5");
        assert_eq!(text(chat.prompt(99, 1, encode).unwrap()).0, "ssssu5");
    }

    #[test]
    fn a_template_that_renders_nothing_is_an_error() {
        let error = chat().prompt(99, 1, |_| Ok(Vec::new())).unwrap_err();
        assert!(error.to_string().contains("nothing"), "{error}");
    }
}
