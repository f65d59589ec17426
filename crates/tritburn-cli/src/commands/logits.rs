//! `logits`: every logit of a prompt, to a file.

use std::io::{Write, stdout};

use anyhow::{Context, Result, anyhow};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::json;
use tritburn_models::generate::Session;
use tritburn_models::text::Tokenizer;

use crate::cli::LogitsArgs;
use crate::model::Source;

pub fn run(args: &LogitsArgs) -> Result<()> {
    let source = Source::open(&args.model)?;
    let ids = match (&args.ids, &args.prompt) {
        (Some(ids), _) => ids.clone(),
        (None, text) => {
            let files = source.checkpoint.tokenizer()?;
            Tokenizer::from_files(&files)?.encode(text.as_deref().unwrap_or_default())?
        }
    };
    let (model, _) = source.load(&source.options)?;
    // No tokens at all are for the session to refuse.
    let mut session = Session::new(model, 1, ids.len().max(1))?;
    let logits = session.prefill_all(&ids)?;
    let shape = logits.dims().to_vec();
    let logits = logits
        .try_into_data()
        .map_err(|error| anyhow!("reading the logits failed: {error:?}"))?;

    let id_bytes: Vec<u8> = ids
        .iter()
        .flat_map(|&id| i64::from(id).to_le_bytes())
        .collect();
    let tensors = [
        (
            "ids",
            TensorView::new(Dtype::I64, vec![ids.len()], &id_bytes)?,
        ),
        (
            "logits",
            TensorView::new(Dtype::F32, shape.clone(), logits.as_bytes())?,
        ),
    ];
    safetensors::serialize_to_file(tensors, None, &args.output)
        .with_context(|| format!("cannot write {}", args.output.display()))?;
    let output = args.output.display().to_string();
    match args.json {
        true => {
            let report = json!({ "output": output, "ids": ids, "shape": shape });
            writeln!(stdout(), "{report}")?;
        }
        false => eprintln!("wrote logits {shape:?} to {output}"),
    }
    Ok(())
}
