//! Results of `bench`.

use std::fmt;

use comfy_table::{Table, presets};
use serde::Serialize;
use tritburn_models::model::{HeadPrecision, Precision};

use super::measure::Measured;
use crate::cli::ModelArgs;
use crate::memory::human;
use crate::model::Source;

/// All results of a run.
#[derive(Debug, Serialize)]
pub struct Report {
    pub device: String,
    pub model: String,
    pub format: String,
    pub dtype: String,
    pub head: HeadPrecision,
    /// Bytes a second that the device moves, measured ahead of the rows.
    pub bandwidth: f64,
    pub version: &'static str,
    pub command: String,
    pub rows: Vec<Row>,
}

/// What was timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    Prompt,
    Decode,
}

/// One measurement.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub phase: Phase,
    pub precision: Precision,
    pub batch: usize,
    /// Tokens of each prompt, or of the context that decoding goes on from.
    pub context: usize,
    /// Of all sequences together.
    pub tokens_per_s: f64,
    /// Median time of a prompt or a step.
    pub ms: f64,
    pub spread_ms: f64,
    /// Bytes that a decode step reads at least: weights, keys and values.
    pub read_bytes: Option<usize>,
    pub load_seconds: f64,
    /// Weights on the device.
    pub model_bytes: usize,
    /// Memory in use behind the last run of this row, its cache included: see `--help`.
    pub memory_bytes: Option<u64>,
    /// Most memory during this row.
    pub peak_bytes: Option<u64>,
}

impl Row {
    pub fn prompt(batch: usize, tokens: usize, measured: Measured) -> Self {
        Self::new(Phase::Prompt, batch, tokens, batch * tokens, measured)
    }

    pub fn decode(batch: usize, context: usize, measured: Measured) -> Self {
        Self::new(Phase::Decode, batch, context, batch, measured)
    }

    fn new(phase: Phase, batch: usize, context: usize, tokens: usize, measured: Measured) -> Self {
        let Measured { times, memory } = measured;
        Self {
            phase,
            precision: Precision::default(),
            batch,
            context,
            tokens_per_s: tokens as f64 / times.median.as_secs_f64(),
            ms: 1e3 * times.median.as_secs_f64(),
            spread_ms: 1e3 * times.spread.as_secs_f64(),
            read_bytes: None,
            load_seconds: 0.0,
            model_bytes: 0,
            memory_bytes: memory.held,
            peak_bytes: memory.peak,
        }
    }

    /// What the row measures, in a few words.
    pub fn label(&self) -> String {
        let precision = match self.precision {
            Precision::W2A8 => "W2A8",
            Precision::W2A16 => "W2A16",
            Precision::Dense => "dense",
            Precision::Affine => "affine",
            _ => "?",
        };
        match self.phase {
            Phase::Prompt => format!("{precision} prompt {} × {}", self.batch, self.context),
            Phase::Decode => format!("{precision} decode {} @ {}", self.batch, self.context),
        }
    }
}

impl Report {
    pub fn new(args: &ModelArgs, source: &Source, bandwidth: f64) -> Self {
        let model = match args.synthetic {
            Some(_) => format!("synthetic {}", source.name),
            None => source.name.clone(),
        };
        Self {
            device: args.device.clone(),
            model,
            format: source.checkpoint.format().to_string(),
            dtype: format!("{:?}", source.options.dtype),
            head: source.options.head,
            bandwidth,
            version: env!("CARGO_PKG_VERSION"),
            command: std::env::args().collect::<Vec<_>>().join(" "),
            rows: Vec::new(),
        }
    }
}

impl Report {
    /// The share of a step's time that reading what it has to read would take.
    fn reading(&self, row: &Row) -> Option<f64> {
        let seconds = row.read_bytes? as f64 / self.bandwidth;
        Some(seconds / (1e-3 * row.ms))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} ({}) on {}, {} hidden states; memory moves {:.0} GB/s",
            self.model,
            self.format,
            self.device,
            self.dtype,
            self.bandwidth / 1e9
        )?;
        let mut table = Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED).set_header([
            "run", "tokens/s", "ms", "± ms", "reading", "load s", "weights", "memory", "peak",
        ]);
        for row in &self.rows {
            table.add_row([
                row.label(),
                format!("{:.1}", row.tokens_per_s),
                format!("{:.3}", row.ms),
                format!("{:.3}", row.spread_ms),
                self.reading(row)
                    .map_or("-".into(), |share| format!("{:.0} %", 100.0 * share)),
                format!("{:.1}", row.load_seconds),
                human(row.model_bytes as u64),
                row.memory_bytes.map_or("-".into(), human),
                row.peak_bytes.map_or("-".into(), human),
            ]);
        }
        write!(f, "{table}")
    }
}
