//! The JSON and the table.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use comfy_table::{Table, presets};
use serde::{Deserialize, Serialize};

use super::Measured;
use super::case::{Case, Variant};
use super::torch::Peer;
use crate::device::Name;
use crate::report::Machine;

/// A run with the facts of its machine.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    #[serde(flatten)]
    machine: Machine,
    rows: Vec<Row>,
}

/// One case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// `step`, `attention`, `linear` or `loss`.
    case: String,
    /// `ternary` or `dense`.
    variant: String,
    /// The sizes, as options of `peers/train.py`.
    sizes: String,
    /// Milliseconds of a repetition.
    ms: f64,
    /// Milliseconds that the host needs to queue a repetition.
    host_ms: f64,
    tokens_per_s: f64,
    /// Gigabytes that the device's pools hold behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_gb: Option<f64>,
    /// Seconds from nothing to the end of the first repetition.
    first_s: f64,
    /// PyTorch's dense bf16 twin.
    #[serde(skip_serializing_if = "Option::is_none")]
    torch: Option<Peer>,
}

impl Row {
    pub(super) fn new(case: &Case, variant: Variant, found: Measured, torch: Option<Peer>) -> Self {
        Self {
            case: case.name().into(),
            variant: variant.name().into(),
            sizes: case.arguments()[1..].join(" "),
            ms: found.ms,
            host_ms: found.host_ms,
            tokens_per_s: case.tokens() as f64 / found.ms * 1e3,
            memory_gb: found.memory_gb,
            first_s: found.first_s,
            torch,
        }
    }

    /// PyTorch's time over ours.
    fn speed_up(&self) -> Option<f64> {
        self.torch.as_ref().map(|torch| torch.ms / self.ms)
    }

    /// The row in words.
    pub fn line(&self) -> String {
        let speed_up = self.speed_up();
        let beside = speed_up.map_or(String::new(), |ratio| format!(", {ratio:.2} x PyTorch"));
        let (case, variant, sizes, ms) = (&self.case, &self.variant, &self.sizes, self.ms);
        format!("training {case} {variant} {sizes}: {ms:.3} ms{beside}")
    }
}

impl Report {
    pub(super) fn new(backend: Name, rows: Vec<Row>) -> Self {
        let machine = Machine::new(backend);
        Self { machine, rows }
    }

    /// Where the JSON goes: `results/DEVICE-training.json` beside the sources.
    pub fn default_path(&self) -> PathBuf {
        self.machine.path("-training")
    }

    /// Writes the JSON.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let json = serde_json::to_string_pretty(self)? + "\n";
        std::fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))
    }

    /// A Markdown table.
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        table.set_header([
            "case", "weights", "sizes", "ms", "host ms", "tokens/s", "GB", "first s", "torch ms",
            "torch GB", "speed-up",
        ]);
        let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".into());
        for row in &self.rows {
            let torch = row.torch.as_ref();
            let peak = torch.and_then(|torch| torch.peak_gb);
            table.add_row([
                row.case.clone(),
                row.variant.clone(),
                row.sizes.clone(),
                format!("{:.3}", row.ms),
                format!("{:.3}", row.host_ms),
                format!("{:.0}", row.tokens_per_s),
                or_dash(row.memory_gb.map(|gb| format!("{gb:.2}"))),
                format!("{:.1}", row.first_s),
                or_dash(torch.map(|torch| format!("{:.3}", torch.ms))),
                or_dash(peak.map(|gb| format!("{gb:.2}"))),
                or_dash(row.speed_up().map(|ratio| format!("{ratio:.2}"))),
            ]);
        }
        table.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::super::TINY;
    use super::*;

    #[test]
    fn rates_and_ratios_follow_from_the_times() {
        let found = Measured {
            ms: 2.0,
            host_ms: 1.0,
            memory_gb: None,
            first_s: 3.0,
        };
        let peer = Peer {
            ms: 1.0,
            peak_gb: Some(0.5),
            first_step_s: None,
            torch: "2.11".into(),
        };
        let row = Row::new(&Case::Step(TINY), Variant::Ternary, found, Some(peer));
        assert_eq!(row.tokens_per_s, 16_000.0);
        assert!(
            row.line().ends_with("2.000 ms, 0.50 x PyTorch"),
            "{}",
            row.line()
        );
        let report = Report::new(Name::Flex, vec![row]);
        assert!(report.table().contains("| 0.50"), "{}", report.table());
        let json = serde_json::to_value(&report).unwrap();
        assert!(json["device"].is_string() && json["rows"][0]["torch"]["ms"] == 1.0);
    }
}
