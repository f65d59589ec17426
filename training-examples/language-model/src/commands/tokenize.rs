//! `tokenize`

use std::time::Instant;

use crate::cli::TokenizeArgs;
use crate::data::{Corpus, Vocabulary, tokenize};
use crate::error::Error;

pub(super) fn run(args: &TokenizeArgs) -> Result<(), Error> {
    let vocabulary = match (&args.tokenizer, args.bpe) {
        (Some(path), _) => Vocabulary::load(path)?,
        (None, Some(size)) => {
            println!("training a tokenizer of {size} tokens");
            Vocabulary::from_files(Corpus::train_tokenizer(&args.data, size)?)?
        }
        (None, None) => Vocabulary::bytes()?,
    };
    let begun = Instant::now();
    let facts = tokenize(&args.data, &vocabulary, &args.output)?;
    let bytes = (facts.train_bytes + facts.valid_bytes) as f64;
    let tokens = facts.train_tokens + facts.valid_tokens;
    println!(
        "{:.1} MB are {tokens} tokens of {:.2} bytes, {} of them held out; {:.1} MB/s",
        bytes * 1e-6,
        bytes / tokens as f64,
        facts.valid_tokens,
        bytes * 1e-6 / begun.elapsed().as_secs_f64()
    );
    println!("`train --data {}` trains on them", args.output.display());
    Ok(())
}
