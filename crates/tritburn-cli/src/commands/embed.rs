//! `embed`: texts as vectors.

use std::fs::File;
use std::io::{BufRead, BufReader, Write, stdin, stdout};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tritburn_models::generate::Session;
use tritburn_models::text::Tokenizer;

use crate::cli::EmbedArgs;
use crate::model::Source;

pub fn run(args: &EmbedArgs) -> Result<()> {
    ensure!(
        args.batch_size > 0,
        "--batch-size 0: at least one text runs at a time"
    );
    let source = Source::open(&args.model)?;
    let tokenizer = Tokenizer::from_files(&source.checkpoint.tokenizer()?)?;
    let config = source.checkpoint.config();
    let end = match args.no_eos {
        true => None,
        false => config.eos_token_ids.first().copied(),
    };
    let limit = config.longest_sequence();
    let (model, _) = source.load(&source.options)?;
    let mut texts = texts(args)?;
    let mut index = 0;
    loop {
        let mut batch = Vec::new();
        for text in texts.by_ref().take(args.batch_size) {
            let mut ids = tokenizer.encode_text(&text?)?;
            if let Some(end) = end.filter(|&end| ids.last() != Some(&end)) {
                ids.push(end);
            }
            let number = index + batch.len();
            ensure!(!ids.is_empty(), "text {number} is empty");
            ensure!(
                ids.len() <= limit,
                "text {number} has {} tokens, the model {limit} positions",
                ids.len()
            );
            batch.push(ids);
        }
        if batch.is_empty() {
            return Ok(());
        }
        let prompts: Vec<&[u32]> = batch.iter().map(Vec::as_slice).collect();
        let longest = prompts.iter().map(|ids| ids.len()).max().unwrap_or(1);
        let mut session = Session::new(model.clone(), prompts.len(), longest)?;
        let mut out = stdout().lock();
        for (vector, ids) in session.embed(&prompts)?.iter().zip(&batch) {
            let line = json!({ "index": index, "tokens": ids.len(), "embedding": vector });
            writeln!(out, "{line}")?;
            index += 1;
        }
    }
}

/// The texts, one after another.
fn texts(args: &EmbedArgs) -> Result<Box<dyn Iterator<Item = Result<String>>>> {
    let Some(path) = &args.file else {
        return Ok(Box::new(args.text.clone().into_iter().map(Ok)));
    };
    let named = path.clone();
    let lines: Box<dyn BufRead> = match path == Path::new("-") {
        true => Box::new(BufReader::new(stdin())),
        false => {
            let file =
                File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
            Box::new(BufReader::new(file))
        }
    };
    Ok(Box::new(lines.lines().enumerate().map(
        move |(line, text)| {
            text.with_context(|| format!("line {} of {}", line + 1, named.display()))
        },
    )))
}
