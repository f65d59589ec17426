//! What a load came to.

use std::path::Path;

use anyhow::{Context, Result};
use comfy_table::{Table, presets};
use serde::{Deserialize, Serialize};

use super::Args;
use super::arrivals::Observed;
use crate::machine;

/// All levels of a load, and what they asked for.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    /// The model, as the server calls it.
    pub model: String,
    /// Tokens of a prompt.
    pub prompt_tokens: usize,
    /// Tokens of an answer at most.
    pub output_tokens: usize,
    /// Temperature of the answers, 0 for the most likely tokens.
    pub temperature: f32,
    /// Tokens that prompts share, and how many of them do.
    pub shared_prefix: (usize, f64),
    /// Whether answers follow a JSON schema.
    pub json_schema: bool,
    /// Day of the run, `YYYY-MM-DD`.
    pub date: String,
    /// How it was started.
    pub command: String,
    /// The levels.
    pub levels: Vec<Level>,
}

/// One number of clients, or requests a second.
#[derive(Debug, Serialize, Deserialize)]
pub struct Level {
    /// Clients of a closed loop.
    pub clients: Option<usize>,
    /// Requests a second of an open one.
    pub rate: Option<f64>,
    /// Requests that were answered.
    pub answered: usize,
    /// Requests that were not.
    pub failed: usize,
    /// Why the first of those was not.
    pub error: Option<String>,
    /// Requests a second.
    pub requests_per_s: f64,
    /// Tokens a second of all answers.
    pub output_tokens_per_s: f64,
    /// From a request to its first token.
    pub first_token_ms: Quantiles,
    /// From a token to the next.
    pub between_tokens_ms: Quantiles,
    /// From a request to its end.
    pub whole_ms: Quantiles,
}

/// The spread of a time, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// Half of all are shorter.
    pub p50: f64,
    /// Nine of ten are shorter.
    pub p90: f64,
    /// 99 of a hundred are shorter.
    pub p99: f64,
}

impl Quantiles {
    fn of(mut seconds: Vec<f64>) -> Self {
        seconds.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let index = (share * seconds.len() as f64).ceil() as usize;
            let value = seconds.get(index.saturating_sub(1)).copied();
            value.unwrap_or_default() * 1e3
        };
        Self {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
        }
    }
}

impl Level {
    /// Of a closed loop.
    pub fn closed(clients: usize, seen: Observed) -> Self {
        Self::new(Some(clients), None, seen)
    }

    /// Of an open one.
    pub fn open(rate: f64, seen: Observed) -> Self {
        Self::new(None, Some(rate), seen)
    }

    fn new(clients: Option<usize>, rate: Option<f64>, seen: Observed) -> Self {
        let (answered, failed): (Vec<_>, Vec<_>) = seen
            .requests
            .into_iter()
            .partition(|seen| seen.error.is_none());
        let seconds = seen.time.as_secs_f64();
        let first = answered.iter().filter_map(|seen| seen.parts.first());
        let first = first.map(|time| time.as_secs_f64()).collect();
        let between = answered.iter().flat_map(|seen| seen.parts.windows(2));
        let between = between
            .map(|pair| (pair[1] - pair[0]).as_secs_f64())
            .collect();
        let whole = answered
            .iter()
            .map(|seen| seen.total.as_secs_f64())
            .collect();
        Self {
            clients,
            rate,
            answered: answered.len(),
            failed: failed.len() + seen.lost,
            error: failed.into_iter().find_map(|seen| seen.error),
            requests_per_s: answered.len() as f64 / seconds,
            output_tokens_per_s: seen.tokens as f64 / seconds,
            first_token_ms: Quantiles::of(first),
            between_tokens_ms: Quantiles::of(between),
            whole_ms: Quantiles::of(whole),
        }
    }

    /// Where it stands on a chart.
    pub fn load(&self) -> f64 {
        self.rate.unwrap_or(self.clients.unwrap_or(0) as f64)
    }
}

impl Report {
    pub fn new(args: &Args, model: &str) -> Self {
        Self {
            model: model.into(),
            prompt_tokens: args.prompt,
            output_tokens: args.output_tokens,
            temperature: args.temperature,
            shared_prefix: (args.shared_prefix, args.hit_rate),
            json_schema: args.json_schema.is_some(),
            date: machine::date(),
            command: machine::command(),
            levels: Vec::new(),
        }
    }

    pub fn add(&mut self, level: Level) {
        self.levels.push(level);
    }

    /// Requests of all levels that were answered.
    pub fn answered(&self) -> usize {
        self.levels.iter().map(|level| level.answered).sum()
    }

    /// A row a level.
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN).set_header([
            "load",
            "answered",
            "failed",
            "requests/s",
            "tokens/s",
            "first token p50 / p99 ms",
            "between tokens p50 / p99 ms",
            "whole p50 ms",
        ]);
        for level in &self.levels {
            let load = match (level.clients, level.rate) {
                (Some(clients), _) => format!("{clients} clients"),
                (_, rate) => format!("{} requests/s", rate.unwrap_or_default()),
            };
            let pair = |times: &Quantiles| format!("{:.1} / {:.1}", times.p50, times.p99);
            table.add_row([
                load,
                level.answered.to_string(),
                level.failed.to_string(),
                format!("{:.2}", level.requests_per_s),
                format!("{:.1}", level.output_tokens_per_s),
                pair(&level.first_token_ms),
                pair(&level.between_tokens_ms),
                format!("{:.0}", level.whole_ms.p50),
            ]);
        }
        let errors = self
            .levels
            .iter()
            .filter_map(|level| level.error.as_deref());
        let errors: String = errors.map(|error| format!("\nfailed: {error}")).collect();
        format!("{table}{errors}")
    }

    /// Writes the JSON.
    pub fn save(&self, path: &Path) -> Result<()> {
        let json = serde_json::to_string_pretty(self)? + "\n";
        std::fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_seen() {
        let hundred = (1..=100).rev().map(f64::from).collect();
        let found = Quantiles::of(hundred);
        assert_eq!((found.p50, found.p90, found.p99), (50e3, 90e3, 99e3));
        assert_eq!(Quantiles::of(vec![2.0]).p99, 2e3);
        assert_eq!(Quantiles::of(Vec::new()), Quantiles::default());
    }
}
