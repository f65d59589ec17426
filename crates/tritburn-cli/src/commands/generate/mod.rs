//! `generate`: text, a chat, or ids.

mod chat;
mod history;
mod report;
mod stream;

use std::io::{Read, Write, stdin, stdout};

use anyhow::{Context, Result, ensure};
use tritburn_models::checkpoint::Checkpoint;
use tritburn_models::generate::{GenerationOptions, Session, generate};
use tritburn_models::sample::Sampling;
use tritburn_models::text::{Tokenizer, TokenizerFiles};

use crate::cli::{GenerateArgs, SamplingArgs};
use crate::error::message;
use crate::model::Source;
use crate::say::say;
use report::Report;
use stream::Printer;
use tritburn::device::memory::peak_bytes;

pub fn run(args: &GenerateArgs) -> Result<()> {
    let sampling = sampling(&args.sampling);
    sampling.validate()?;
    let source = Source::open(&args.model)?;
    let Text {
        files,
        tokenizer,
        stop_ids,
    } = text(args, source.checkpoint.as_ref())?;
    let mut options = GenerationOptions {
        max_new_tokens: args.max_new_tokens,
        stop_ids: match args.ignore_eos {
            true => Vec::new(),
            false => stop_ids,
        },
        sampling,
    };
    if args.chat {
        let tokenizer = tokenizer.context("the model brings no tokenizer, which a chat needs")?;
        return chat::run(args, &source, &files, &tokenizer, options);
    }
    let prompt = prompt_ids(args, tokenizer.as_ref())?;
    let limit = limit(&source);
    ensure!(
        prompt.len() <= limit,
        "the prompt has {} tokens, the model {limit} positions",
        prompt.len()
    );
    // The last token needs no position.
    let room = limit + 1 - prompt.len();
    if options.max_new_tokens > room {
        tracing::warn!("the model has room for {room} new tokens behind this prompt, no more");
        options.max_new_tokens = room;
    }
    let capacity = prompt.len() + options.max_new_tokens.saturating_sub(1);
    let (model, _) = source.load(&source.options)?;
    // No tokens at all are for the session to refuse.
    let mut session = Session::new(model, 1, capacity.max(1))?;

    let mut printer = match (&tokenizer, args.json) {
        (_, true) => Printer::silent(),
        (Some(tokenizer), false) => Printer::text(tokenizer),
        (None, false) => Printer::ids(),
    };
    let mut failed = Ok(());
    let generation = generate(&mut session, &[&prompt], &options, |_, id| {
        failed = printer.push(id);
        stream::flow(&failed)
    })?;
    failed?;
    printer.finish()?;

    let report = Report::new(
        &prompt,
        &generation,
        tokenizer.as_ref(),
        peak_bytes(&source.device),
    )?;
    match args.json {
        true => writeln!(stdout(), "{}", serde_json::to_string(&report)?)?,
        false => say!("{report}"),
    }
    Ok(())
}

/// What a model brings for its text.
#[derive(Default)]
struct Text {
    files: TokenizerFiles,
    tokenizer: Option<Tokenizer>,
    stop_ids: Vec<u32>,
}

/// Reads it. Ids need none of it: a tokenizer that cannot be read then makes no difference but that ids
/// come out.
fn text(args: &GenerateArgs, checkpoint: &dyn Checkpoint) -> Result<Text> {
    let read = || -> Result<Text> {
        let files = checkpoint.tokenizer()?;
        let tokenizer = match files.tokenizer {
            Some(_) => Some(Tokenizer::from_files(&files)?),
            None => None,
        };
        Ok(Text {
            stop_ids: files.stop_ids(checkpoint.config())?,
            files,
            tokenizer,
        })
    };
    match read() {
        Err(error) if args.ids.is_some() => {
            let error = message(&error);
            tracing::warn!("the tokenizer cannot be read, ids are printed: {error}");
            Ok(Text {
                stop_ids: checkpoint.config().eos_token_ids.clone(),
                ..Text::default()
            })
        }
        text => text,
    }
}

/// Positions of the model.
fn limit(source: &Source) -> usize {
    source.checkpoint.config().longest_sequence()
}

fn prompt_ids(args: &GenerateArgs, tokenizer: Option<&Tokenizer>) -> Result<Vec<u32>> {
    if let Some(ids) = &args.ids {
        return Ok(ids.clone());
    }
    let mut text = args.prompt.clone().unwrap_or_default();
    if text == "-" {
        text.clear();
        stdin().read_to_string(&mut text)?;
    }
    let tokenizer =
        tokenizer.context("the model brings no tokenizer: give token ids with --ids")?;
    Ok(match args.parse_special {
        true => tokenizer.encode(&text)?,
        false => tokenizer.encode_text(&text)?,
    })
}

/// Greedy unless something asks for chance.
fn sampling(args: &SamplingArgs) -> Sampling {
    let filtered = args.top_k.is_some() || args.top_p.is_some() || args.min_p.is_some();
    let default = if filtered { 1.0 } else { 0.0 };
    Sampling {
        temperature: args.temperature.unwrap_or(default),
        top_k: args.top_k,
        top_p: args.top_p,
        min_p: args.min_p,
        repetition_penalty: args.repetition_penalty,
        seed: args.seed,
        ..Sampling::greedy()
    }
}
