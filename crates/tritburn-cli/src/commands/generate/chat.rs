//! An interactive chat.

use std::io::{BufRead, IsTerminal, Write, stdin, stdout};

use anyhow::{Context, Result, ensure};
use tritburn_models::generate::{GenerationOptions, Session, generate};
use tritburn_models::text::{ChatTemplate, Message, Tokenizer, TokenizerFiles};

use super::history::{History, Prompt};
use super::report::Report;
use super::stream::{Printer, flow};
use crate::cli::GenerateArgs;
use crate::model::Source;
use crate::say::say;
use tritburn::device::memory::peak_bytes;

/// Ends a chat.
const QUIT: &str = "/quit";
/// Forgets what was said.
const CLEAR: &str = "/clear";
/// Positions that a chat sets aside unless told otherwise: many models have far more than a chat
/// fills, and their keys and values take memory from the start.
const CONTEXT: usize = 4096;

pub fn run(
    args: &GenerateArgs,
    source: &Source,
    files: &TokenizerFiles,
    tokenizer: &Tokenizer,
    options: GenerationOptions,
) -> Result<()> {
    let template = template(args, files)?;
    if let Some(system) = &args.system {
        ensure!(
            hears(&template, system)?,
            "the chat template leaves out what the system says: give another with --chat-template, or \
             say it in the first message instead of --system"
        );
    }
    let limit = super::limit(source);
    let context = args.context.unwrap_or(limit.min(CONTEXT));
    ensure!(
        (1..=limit).contains(&context),
        "--context {context}: the model has {limit} positions"
    );
    let (model, _) = source.load(&source.options)?;
    let mut chat = Chat {
        session: Session::new(model, 1, context)?,
        template,
        tokenizer,
        parse_special: args.parse_special,
        options,
        history: History::new(args.system.as_deref()),
        forgot: false,
        known: Vec::new(),
    };
    if stdin().is_terminal() {
        say!("{CLEAR} forgets what was said, {QUIT} ends");
    }
    let mut input = stdin().lock();
    loop {
        if stdin().is_terminal() {
            write!(stdout(), "> ")?;
            stdout().flush()?;
        }
        let mut line = Vec::new();
        if input.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let line = String::from_utf8(line).unwrap_or_else(|error| {
            say!("the line is not UTF-8: bytes that are no characters are read as U+FFFD");
            String::from_utf8_lossy(error.as_bytes()).into_owned()
        });
        match line.trim() {
            "" => {}
            QUIT => return Ok(()),
            CLEAR => chat.clear(),
            text => {
                if let Some(report) = chat.answer(text, source)? {
                    say!("[{report}]");
                }
            }
        }
    }
}

/// The template of the command line, else that of the model.
fn template(args: &GenerateArgs, files: &TokenizerFiles) -> Result<ChatTemplate> {
    let mut files = files.clone();
    if let Some(path) = &args.chat_template {
        files.set_chat_template(path)?;
    }
    ChatTemplate::from_files(&files)?.context(
        "the model brings no chat template: give one with --chat-template, or use --prompt",
    )
}

/// Whether what the system says makes a difference to a prompt.
fn hears(template: &ChatTemplate, system: &str) -> Result<bool> {
    let question = Message::new("user", "?");
    let with = [Message::new("system", system), question.clone()];
    Ok(template.render(&with, true)? != template.render(&[question], true)?)
}

struct Chat<'a> {
    session: Session,
    template: ChatTemplate,
    tokenizer: &'a Tokenizer,
    /// Whether messages may spell special tokens.
    parse_special: bool,
    options: GenerationOptions,
    history: History,
    /// Whether the user knows that turns are forgotten.
    forgot: bool,
    /// The tokens whose keys and values the session holds.
    known: Vec<u32>,
}

impl Chat<'_> {
    fn clear(&mut self) {
        self.history.clear();
        self.forgot = false;
        self.known.clear();
        self.session.clear();
    }

    /// Lets the model answer, and remembers both; `None` for a question that there is no room for.
    fn answer(&mut self, text: &str, source: &Source) -> Result<Option<Report>> {
        let context = self.session.capacity();
        let mut options = self.options.clone();
        // Long answers may be cut short, but must not drive the whole conversation out.
        let room = options.max_new_tokens.min(context / 4);
        self.history.push("user", text);
        let prompt = self.history.prompt(context, room, |messages: &[Message]| {
            let guarded = messages.iter().map(|message| match self.parse_special {
                true => message.clone(),
                false => {
                    let content = self.tokenizer.guard(&message.content);
                    Message::new(message.role.clone(), content)
                }
            });
            let guarded: Vec<Message> = guarded.collect();
            let rendered = self.template.render(&guarded, true)?;
            Ok(self.tokenizer.encode_rendered(&rendered)?)
        });
        let ids = match prompt? {
            Prompt::TooLong { tokens } => {
                self.history.pop();
                say!("the question takes {tokens} tokens, the context has {context}");
                return Ok(None);
            }
            Prompt::Fits { ids, forgot } => {
                if forgot && !self.forgot {
                    say!("the context of {context} tokens is full: forgetting the oldest turns");
                    self.forgot = true;
                }
                ids
            }
        };
        // What the template repeats is in the cache already; at least one token has to run.
        let shared = self.known.iter().zip(&ids).take_while(|(a, b)| a == b);
        let shared = shared.count().min(ids.len() - 1);
        self.session.truncate(0, shared);

        options.max_new_tokens = options.max_new_tokens.min(context + 1 - ids.len());
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
            self.history.pop();
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
        self.history.push("assistant", &answer);
        self.known = [&ids[..], new].concat();
        self.known.truncate(self.session.lengths()[0]);
        Ok(Some(report))
    }
}
