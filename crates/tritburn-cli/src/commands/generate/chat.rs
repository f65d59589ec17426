//! An interactive chat.

use std::io::{BufRead, IsTerminal, Write, stdin, stdout};

use anyhow::{Context, Result};
use tritburn_models::generate::{GenerationOptions, Session, generate};
use tritburn_models::text::{ChatTemplate, Message, Tokenizer, TokenizerFiles};

use super::report::Report;
use super::stream::{Printer, flow};
use crate::cli::GenerateArgs;
use crate::memory::peak_bytes;
use crate::model::Source;

/// Ends a chat.
const QUIT: &str = "/quit";
/// Forgets what was said.
const CLEAR: &str = "/clear";

pub fn run(
    args: &GenerateArgs,
    source: &Source,
    files: &TokenizerFiles,
    tokenizer: &Tokenizer,
    options: GenerationOptions,
) -> Result<()> {
    let template = ChatTemplate::from_files(files)?
        .context("the model brings no chat template: use --prompt")?;
    let (model, _) = source.load(&source.options)?;
    let capacity = super::limit(source);
    let mut chat = Chat {
        session: Session::new(model, 1, capacity)?,
        template,
        tokenizer,
        options,
        opening: args
            .system
            .iter()
            .map(|text| Message::new("system", text))
            .collect(),
        messages: Vec::new(),
        known: Vec::new(),
    };
    chat.messages = chat.opening.clone();
    if stdin().is_terminal() {
        eprintln!("{CLEAR} forgets what was said, {QUIT} ends");
    }
    let mut lines = stdin().lock().lines();
    loop {
        if stdin().is_terminal() {
            print!("> ");
            stdout().flush()?;
        }
        let Some(line) = lines.next().transpose()? else {
            return Ok(());
        };
        match line.trim() {
            "" => {}
            QUIT => return Ok(()),
            CLEAR => chat.clear(),
            text => {
                let report = chat.answer(text, source)?;
                eprintln!("[{report}]");
            }
        }
    }
}

struct Chat<'a> {
    session: Session,
    template: ChatTemplate,
    tokenizer: &'a Tokenizer,
    options: GenerationOptions,
    opening: Vec<Message>,
    messages: Vec<Message>,
    /// The tokens whose keys and values the session holds.
    known: Vec<u32>,
}

impl Chat<'_> {
    fn clear(&mut self) {
        self.messages = self.opening.clone();
        self.known.clear();
        self.session.clear();
    }

    /// Lets the model answer, and remembers both.
    fn answer(&mut self, text: &str, source: &Source) -> Result<Report> {
        self.messages.push(Message::new("user", text));
        let rendered = self.template.render(&self.messages, true)?;
        let ids = self.tokenizer.encode_rendered(&rendered)?;
        // What the template repeats is in the cache already; at least one token has to run.
        let shared = self.known.iter().zip(&ids).take_while(|(a, b)| a == b);
        let shared = shared.count().min(ids.len() - 1);
        self.session.truncate(0, shared);

        let mut options = self.options.clone();
        let room = (self.session.capacity() + 1).saturating_sub(ids.len());
        options.max_new_tokens = options.max_new_tokens.min(room);
        let mut printer = Printer::text(self.tokenizer);
        let mut printed = Ok(());
        let prompt = &ids[shared..];
        let generation = generate(&mut self.session, &[prompt], &options, |_, id| {
            // The token that ends the answer is no part of it.
            if !options.stop_ids.contains(&id) {
                printed = printer.push(id);
            }
            flow(&printed)
        });
        if generation.is_err() {
            // What the cache holds is not certain now.
            self.known.clear();
            self.session.clear();
            self.messages.pop();
        }
        let generation = generation?;
        printed?;
        printer.finish()?;

        let new = &generation.ids[0];
        let report = Report::new(
            prompt,
            &generation,
            Some(self.tokenizer),
            peak_bytes(&source.device),
        )?;
        let answer = self.tokenizer.decode(new)?;
        self.messages.push(Message::new("assistant", answer));
        self.known = [&ids[..], new].concat();
        self.known.truncate(self.session.lengths()[0]);
        Ok(report)
    }
}
