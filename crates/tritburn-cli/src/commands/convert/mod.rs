//! `convert`: a model in another format.

mod vision;

use std::io::{Write, stdout};

use anyhow::{Result, anyhow};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tritburn_models::checkpoint::Projection;
use tritburn_models::convert::{
    self, ConvertError, Loss, Options, Progress, Report, RoundedProjection,
};

use crate::cli::ConvertArgs;
use crate::error::message;
use crate::interrupt;
use crate::model::open;
use crate::say::mib;

pub fn run(args: &ConvertArgs) -> Result<()> {
    if tritburn_models::vision::is_folder(&args.input) {
        return vision::run(args);
    }
    let source = open(&args.input, &args.overrides)?;
    // What is half done is taken away first.
    interrupt::hold()?;
    let options = Options {
        allow_lossy: args.allow_lossy,
        force: args.force,
        table_type: args.embedding.into(),
        weights: args.quantizer(),
        cancelled: Some(interrupt::is_asked),
    };
    // On stderr, and only where that is a terminal.
    let bar = ProgressBar::new(0);
    bar.set_style(ProgressStyle::with_template(
        "{msg:9} [{bar:40}] {pos}/{len} {eta}",
    )?);
    let mut progress = |progress: Progress| {
        bar.set_message(progress.stage);
        bar.set_length(progress.total as u64);
        bar.set_position(progress.done as u64);
    };
    let result = convert::convert(
        source.as_ref(),
        &args.output,
        args.to,
        &options,
        &mut progress,
    );
    bar.finish_and_clear();
    let report = result.map_err(|error| {
        let hint = hint(&error);
        let error = message(&anyhow::Error::new(error));
        anyhow!("cannot convert {}: {error}{hint}", args.input.display())
    })?;
    match args.json {
        true => writeln!(stdout(), "{}", as_json(&report))?,
        false => print(&report)?,
    }
    Ok(())
}

/// The option that goes on all the same.
fn hint(error: &ConvertError) -> &'static str {
    match error {
        ConvertError::Lossy { .. } => "; --allow-lossy goes on",
        ConvertError::Dense => {
            "; --to tritburn --weights int4 rounds it, and --override quantization=online says that \
             its weights are the masters of a BitNet"
        }
        ConvertError::Model { reason, .. } if reason.contains("trained with floats") => {
            "; --override inputs=int8 says that it was not"
        }
        ConvertError::Exists { .. } => "; --force replaces a file, or a folder that convert wrote",
        _ => "",
    }
}

fn as_json(report: &Report) -> serde_json::Value {
    json!({
        "output": report.path.display().to_string(),
        "format": report.target.name(),
        "source_format": report.source_format,
        "projections": report.projections,
        "norms": report.norms,
        "tables": report.tables,
        "source_bytes": report.source_bytes,
        "bytes": report.target_bytes,
        "tokenizer": report.tokenizer,
        "verified": true,
        "lossless": report.losses.is_empty(),
        "losses": report.losses.iter().map(Loss::to_string).collect::<Vec<_>>(),
        "rounded": report.rounded.iter().map(rounded_json).collect::<Vec<_>>(),
    })
}

fn rounded_json(rounded: &RoundedProjection) -> serde_json::Value {
    json!({
        "layer": rounded.layer,
        "projection": rounded.projection.to_string(),
        "relative_error": rounded.weights.relative_error,
        "largest_error": rounded.weights.largest_error,
        "bits_per_weight": rounded.weights.bits_per_weight,
    })
}

/// What rounding did to the weights: a line per kind of projection, over all layers.
fn print_rounded(rounded: &[RoundedProjection]) -> Result<()> {
    let mut out = stdout();
    for projection in Projection::ALL {
        let of_kind = || rounded.iter().filter(|each| each.projection == projection);
        let error = |each: &RoundedProjection| each.weights.relative_error;
        let worst = of_kind().max_by(|a, b| error(a).total_cmp(&error(b)));
        let Some(worst) = worst else { continue };
        let mean = of_kind().map(error).sum::<f64>() / of_kind().count() as f64;
        writeln!(
            out,
            "rounded: {:4} {:.2} bits a weight, relative error {:.2} %, at most {:.2} % (layer {})",
            projection.to_string(),
            worst.weights.bits_per_weight,
            100.0 * mean,
            100.0 * error(worst),
            worst.layer,
        )?;
    }
    Ok(())
}

fn print(report: &Report) -> Result<()> {
    let mut out = stdout();
    writeln!(
        out,
        "{}: {}, {:.1} MiB (from {}, {:.1} MiB)",
        report.path.display(),
        report.target,
        mib(report.target_bytes),
        report.source_format,
        mib(report.source_bytes),
    )?;
    writeln!(
        out,
        "read back and compared: {} projections, {} norms, {} tables",
        report.projections, report.norms, report.tables,
    )?;
    if !report.tokenizer {
        writeln!(out, "without a tokenizer")?;
    }
    for loss in &report.losses {
        writeln!(out, "lost: {loss}")?;
    }
    print_rounded(&report.rounded)
}
