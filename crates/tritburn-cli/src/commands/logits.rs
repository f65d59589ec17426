//! `logits`: every logit of a prompt, to a file.

use std::io::{Write, stdout};

use anyhow::{Result, anyhow};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::json;
use tritburn_models::generate::Session;
use tritburn_models::text::Tokenizer;

use crate::cli::LogitsArgs;
use crate::model::Source;
use crate::output;
use crate::say::say;

pub fn run(args: &LogitsArgs) -> Result<()> {
    output::check(&args.output, args.force)?;
    let source = Source::open(&args.model)?;
    let ids = match (&args.ids, &args.prompt) {
        (Some(ids), _) => ids.clone(),
        (None, text) => {
            let files = source.checkpoint.tokenizer()?;
            let tokenizer = Tokenizer::from_files(&files)?;
            let text = text.as_deref().unwrap_or_default();
            match args.parse_special {
                true => tokenizer.encode(text)?,
                false => tokenizer.encode_text(text)?,
            }
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

    let values = logits.iter::<f32>();
    let (wrong, count) = (
        values.filter(|v| !v.is_finite()).count(),
        shape.iter().product::<usize>(),
    );
    if wrong > 0 {
        tracing::warn!("{wrong} of {count} logits are no finite numbers");
    }

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
    let bytes = safetensors::serialize(tensors, None)?;
    output::write(&args.output, &bytes, args.force)?;
    let output = args.output.display().to_string();
    match args.json {
        true => {
            let report = json!({ "output": output, "ids": ids, "shape": shape });
            writeln!(stdout(), "{report}")?;
        }
        false => say!("wrote logits {shape:?} to {output}"),
    }
    Ok(())
}
