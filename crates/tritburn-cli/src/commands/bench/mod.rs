//! `bench`: prompt and decode speed.

mod chart;
mod floor;
mod measure;
mod report;

use std::fs;
use std::io::{Write, stdout};

use anyhow::{Context, Result, bail, ensure};
use tritburn_models::model::{LoadOptions, Precision};

use crate::cli::BenchArgs;
use crate::model::Source;
use measure::Measure;
use report::{Phase, Report, Row};
use tritburn::device::memory::give_back;

pub fn run(args: &BenchArgs) -> Result<()> {
    let source = Source::open(&args.model)?;
    let lengths = Lengths::new(args, limit(&source));
    ensure!(
        args.steps > 0
            && args.repeats > 0
            && !args.batch.contains(&0)
            && !lengths.prompt.contains(&0),
        "--steps, --repeats, --batch and --prompt start at 1"
    );
    lengths.check(args.steps, limit(&source))?;
    let bandwidth = floor::bandwidth(&source.device)?;
    let mut report = Report::new(&args.model, &source, bandwidth);
    let (precision, rows) = variant(args, &lengths, &source, &source.options)?;
    report.rows.extend(rows);
    if args.dense_twin && precision != Precision::Dense {
        let options = LoadOptions {
            precision: Some(Precision::Dense),
            ..source.options.clone()
        };
        report
            .rows
            .extend(variant(args, &lengths, &source, &options)?.1);
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
    lengths: &Lengths,
    source: &Source,
    options: &LoadOptions,
) -> Result<(Precision, Vec<Row>)> {
    give_back(&source.device);
    let (model, loading) = source.load(options)?;
    let mut rows = Vec::new();
    for &batch in &args.batch {
        for &tokens in &lengths.prompt {
            let measure = Measure::new(&model, batch, tokens)?;
            rows.push(Row::prompt(batch, tokens, measure.prompt(args.repeats)?));
        }
        for &context in &lengths.context {
            let needed = needed(context, args.steps);
            let measure = Measure::new(&model, batch, needed)?;
            rows.push(Row::decode(
                batch,
                context,
                measure.decode(context, args.steps)?,
            ));
        }
    }
    for row in &mut rows {
        if row.phase == Phase::Decode {
            row.read_bytes = Some(floor::bytes_of_step(&model, row.batch, row.context)?);
        }
        row.precision = model.precision();
        row.load_seconds = loading.as_secs_f64();
        row.model_bytes = model.byte_count();
    }
    Ok((model.precision(), rows))
}

/// Lengths to measure.
struct Lengths {
    context: Vec<usize>,
    prompt: Vec<usize>,
}

/// Length unless told otherwise.
const LENGTH: usize = 512;

impl Lengths {
    /// Those asked for, else one that there is room for in `limit` positions.
    fn new(args: &BenchArgs, limit: usize) -> Self {
        let room = limit.saturating_sub(needed(0, args.steps));
        let or = |asked: &Option<Vec<usize>>, most: usize| {
            asked.clone().unwrap_or_else(|| vec![LENGTH.min(most)])
        };
        Self {
            context: or(&args.context, room),
            prompt: or(&args.prompt, limit),
        }
    }

    /// Refuses what the model has no room for, ahead of all measuring.
    fn check(&self, steps: usize, limit: usize) -> Result<()> {
        if let Some(tokens) = self.prompt.iter().find(|&&tokens| tokens > limit) {
            bail!(
                "a prompt of {tokens} tokens, and the model has {limit} positions: choose a shorter \
                 --prompt"
            );
        }
        let long = |&&context: &&usize| needed(context, steps) > limit;
        if let Some(&context) = self.context.iter().find(long) {
            bail!(
                "decoding behind {context} tokens takes {} positions with its steps, and the model \
                 has {limit}: choose a smaller --context or --steps",
                needed(context, steps)
            );
        }
        Ok(())
    }
}

/// Positions that decoding behind a context takes.
fn needed(context: usize, steps: usize) -> usize {
    context
        .saturating_add(steps)
        .saturating_add(measure::WARM_UP)
}

fn limit(source: &Source) -> usize {
    source.checkpoint.config().longest_sequence()
}
