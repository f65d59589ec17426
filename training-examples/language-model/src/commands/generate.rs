//! `generate`

use std::time::Instant;

use tritburn_models::model::LoadOptions;
use tritburn_models::sample::Sampling;
use tritburn_models::text::{Tokenizer, TokenizerFiles};

use crate::cli::GenerateArgs;
use crate::error::Error;
use crate::generate::generate;
use crate::train::RunFolder;
use tritburn::device;

pub(super) fn run(args: &GenerateArgs) -> Result<(), Error> {
    let device = device::open(&args.device.device)?;
    let run = RunFolder::at(&args.output);
    // Without a training, that is what is missing, and no model.
    run.config()?;
    let folder = if run.packed().exists() {
        run.packed()
    } else {
        run.model()
    };
    let model = super::serve(&folder, &LoadOptions::for_device(&device), &device)?;
    let sampling = match args.greedy {
        true => Sampling::greedy(),
        false => Sampling {
            temperature: args.temperature,
            top_k: Some(args.top_k).filter(|&top_k| top_k > 0),
            seed: args.seed,
            ..Sampling::default()
        },
    };
    let tokenizer = Tokenizer::from_files(&TokenizerFiles::from_folder(&folder)?)?;
    // A model goes on from something.
    let prompt = match args.prompt.as_str() {
        "" => "\n",
        prompt => prompt,
    };
    let mut prompt = tokenizer.encode_rendered(prompt)?;
    // Some tokenizers drop line breaks.
    if prompt.is_empty() {
        prompt.push(0);
    }
    let begun = Instant::now();
    let written = generate(&model, &prompt, args.max_new_tokens, sampling)?;
    let speed = written.len() as f64 / begun.elapsed().as_secs_f64();
    println!("{}{}", args.prompt, tokenizer.decode(&written)?);
    eprintln!(
        "{} tokens at {speed:.0} a second from {}",
        written.len(),
        folder.display()
    );
    Ok(())
}
