//! `perplexity`: how well a model foretells a text.

mod pieces;

use std::fs::File;
use std::io::{Read, Write, stdin, stdout};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tritburn_models::generate::{Scored, Scorer, Windows};
use tritburn_models::text::Tokenizer;

use crate::cli::PerplexityArgs;
use crate::model::Source;
use crate::say::say;
use pieces::Pieces;

/// Tokens of a window unless told otherwise.
const CONTEXT: usize = 2048;
/// The same for llama-perplexity.
const LLAMA_CPP_CONTEXT: usize = 512;

pub fn run(args: &PerplexityArgs) -> Result<()> {
    let (input, bytes) = open(&args.text)?;
    let source = Source::open(&args.model)?;
    let tokenizer = Tokenizer::from_files(&source.checkpoint.tokenizer()?)?;
    let begin = begin(&tokenizer)?;
    let limit = source.checkpoint.config().longest_sequence();
    let default = match args.llama_cpp {
        true => LLAMA_CPP_CONTEXT,
        false => CONTEXT,
    };
    let context = args.context.unwrap_or(default.min(limit));
    ensure!(
        (1..=limit).contains(&context),
        "--context {context}: the model has {limit} positions"
    );
    let scored = match args.llama_cpp {
        true => Scored::SecondHalf,
        false => Scored::Stride(args.stride.unwrap_or((context / 2).max(1))),
    };
    let windows = Windows {
        context,
        scored,
        begin: begin.clone(),
    };
    let (model, _) = source.load(&source.options)?;
    let mut scorer = Scorer::new(model, windows)?;
    // llama.cpp has the token that begins a sequence in front of the text, as part of it.
    if args.llama_cpp {
        scorer.push(&begin)?;
    }

    let started = Instant::now();
    let bar = bar(bytes)?;
    let (mut read, mut tokens) = (0u64, 0u64);
    for piece in Pieces::new(input) {
        let text = piece.with_context(|| format!("cannot read {}", args.text.display()))?;
        let ids = tokenizer.encode_rendered(&tokenizer.guard(&text))?;
        // In parts, for the sake of who watches.
        for part in ids.chunks(context) {
            scorer.push(part)?;
            tokens += part.len() as u64;
            let share = text.len() as f64 * part.len() as f64 / ids.len() as f64;
            bar.inc(share as u64);
            let rate = tokens as f64 / started.elapsed().as_secs_f64();
            let now = scorer.so_far();
            bar.set_message(match now.tokens {
                0 => format!("{rate:.0} tokens/s"),
                _ => format!("{rate:.0} tokens/s, perplexity {:.4}", now.perplexity()),
            });
        }
        read += text.len() as u64;
    }
    bar.finish_and_clear();
    ensure!(read > 0, "{} is empty", args.text.display());
    let found = scorer.finish()?;
    let seconds = started.elapsed().as_secs_f64();
    // Without a token to begin with the first one counts for its bytes, but not for its cost.
    let whole = !args.llama_cpp;
    let per_byte = whole.then(|| found.nats / read as f64);
    let error = found.standard_error();
    if args.json {
        let report = json!({
            "perplexity": found.perplexity(),
            "nats_per_token": found.nats_per_token(),
            "nats_per_token_standard_error": error,
            "nats_per_byte": per_byte,
            "bits_per_byte": per_byte.map(|nats| nats / std::f64::consts::LN_2),
            "scored_tokens": found.tokens,
            "tokens": tokens,
            "bytes": read,
            "context": context,
            "stride": match scored { Scored::Stride(stride) => Some(stride), _ => None },
            "llama_cpp": args.llama_cpp,
            "seconds": seconds,
            "tokens_per_s": tokens as f64 / seconds,
        });
        writeln!(stdout(), "{report}")?;
        return Ok(());
    }
    let spread = error.map_or(String::new(), |error| {
        format!(" ± {:.4}", error * found.perplexity())
    });
    let bytes = per_byte.map_or(String::new(), |nats| {
        let bits = nats / std::f64::consts::LN_2;
        format!(", {nats:.4} nats ({bits:.4} bits) per byte")
    });
    writeln!(
        stdout(),
        "perplexity {:.4}{spread}: {:.4} nats per token{bytes}",
        found.perplexity(),
        found.nats_per_token(),
    )?;
    say!(
        "{} of {tokens} tokens scored in {seconds:.1} s, {:.1} tokens/s",
        found.tokens,
        tokens as f64 / seconds
    );
    Ok(())
}

/// The text, and its size if that is known.
fn open(path: &Path) -> Result<(Box<dyn Read>, Option<u64>)> {
    if path == Path::new("-") {
        return Ok((Box::new(stdin()), None));
    }
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let about = file.metadata();
    let size = about
        .ok()
        .filter(|about| about.is_file())
        .map(|about| about.len());
    Ok((Box::new(file), size))
}

/// What the tokenizer puts in front of a text.
fn begin(tokenizer: &Tokenizer) -> Result<Vec<u32>> {
    const TEXT: &str = "a";
    let (with, without) = (tokenizer.encode(TEXT)?, tokenizer.encode_rendered(TEXT)?);
    let place = with
        .windows(without.len().max(1))
        .position(|ids| ids == without);
    Ok(with[..place.unwrap_or(0)].to_vec())
}

/// On the standard error, and only where that is a terminal.
fn bar(bytes: Option<u64>) -> Result<ProgressBar> {
    let (bar, template) = match bytes {
        Some(bytes) => (
            ProgressBar::new(bytes),
            "[{bar:40}] {bytes}/{total_bytes}, {msg}, {eta} left",
        ),
        None => (ProgressBar::new_spinner(), "{spinner} {bytes}, {msg}"),
    };
    bar.set_style(ProgressStyle::with_template(template)?);
    bar.enable_steady_tick(Duration::from_millis(120));
    Ok(bar)
}
