//! `bench`: prompt and decode speed.

mod chart;
mod measure;
mod report;

use std::fs;
use std::io::{Write, stdout};

use anyhow::{Context, Result, ensure};
use tritburn_models::model::{LoadOptions, Precision};

use crate::cli::BenchArgs;
use crate::memory::give_back;
use crate::model::Source;
use measure::Measure;
use report::{Report, Row};

pub fn run(args: &BenchArgs) -> Result<()> {
    ensure!(
        args.steps > 0 && args.repeats > 0 && !args.batch.contains(&0) && !args.prompt.contains(&0),
        "--steps, --repeats, --batch and --prompt start at 1"
    );
    let source = Source::open(&args.model)?;
    let mut report = Report::new(&args.model, &source);
    let (precision, rows) = variant(args, &source, &source.options)?;
    report.rows.extend(rows);
    if args.dense_twin && precision != Precision::Dense {
        let options = LoadOptions {
            precision: Some(Precision::Dense),
            ..source.options.clone()
        };
        report.rows.extend(variant(args, &source, &options)?.1);
    }
    let json = serde_json::to_string_pretty(&report)?;
    match args.json {
        true => writeln!(stdout(), "{json}")?,
        false => writeln!(stdout(), "{report}")?,
    }
    if let Some(path) = &args.output {
        fs::write(path, json + "\n").with_context(|| format!("cannot write {}", path.display()))?;
    }
    if let Some(path) = &args.svg {
        fs::write(path, chart::svg(&report))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// All rows of the model loaded with `options`, which is gone at the end: what comes next has the
/// memory to itself. Beside them the precision that it runs in.
fn variant(
    args: &BenchArgs,
    source: &Source,
    options: &LoadOptions,
) -> Result<(Precision, Vec<Row>)> {
    give_back(&source.device);
    let (model, loading) = source.load(options)?;
    let mut rows = Vec::new();
    for &batch in &args.batch {
        let limit = limit(source);
        for &tokens in &args.prompt {
            ensure!(
                tokens <= limit,
                "a prompt of {tokens} tokens, and the model has {limit} positions: choose a shorter \
                 --prompt"
            );
            let measure = Measure::new(&model, batch, tokens)?;
            rows.push(Row::prompt(batch, tokens, measure.prompt(args.repeats)?));
        }
        for &context in &args.context {
            let needed = context + args.steps + measure::WARM_UP;
            ensure!(
                needed <= limit,
                "decoding behind {context} tokens takes {needed} positions with its steps, and the \
                 model has {limit}: choose a smaller --context or --steps"
            );
            let measure = Measure::new(&model, batch, needed)?;
            rows.push(Row::decode(
                batch,
                context,
                measure.decode(context, args.steps)?,
            ));
        }
    }
    for row in &mut rows {
        row.precision = model.precision();
        row.load_seconds = loading.as_secs_f64();
        row.model_bytes = model.byte_count();
    }
    Ok((model.precision(), rows))
}

fn limit(source: &Source) -> usize {
    source.checkpoint.config().max_position_embeddings
}
