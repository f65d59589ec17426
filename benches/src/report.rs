//! The table and the JSON of a run.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use comfy_table::{Table, presets};
use serde::Serialize;

use crate::machine;
use crate::timing::Timing;

/// One case, ours and Burn's.
#[derive(Serialize)]
pub struct Row {
    suite: &'static str,
    op: &'static str,
    format: &'static str,
    activations: &'static str,
    m: usize,
    n: usize,
    k: usize,
    weights: &'static str,
    us: f64,
    spread_us: f64,
    weight_bytes_per_s: f64,
    tops: f64,
    peers_us: Peers,
}

#[derive(Serialize)]
struct Peers {
    burn_dense_f32: f64,
    burn_dense_f32_spread: f64,
}

impl Row {
    /// Shape `[m, n, k]`, with `ours` and `burns` time.
    pub fn new([m, n, k]: [usize; 3], cold: bool, ours: Timing, burns: Timing) -> Self {
        let seconds = ours.us * 1e-6;
        Self {
            suite: "layers",
            op: "packed_linear",
            format: "ternary",
            activations: "int8, quantised in the call",
            m,
            n,
            k,
            weights: if cold { "cold" } else { "hot" },
            us: ours.us,
            spread_us: ours.spread_us,
            weight_bytes_per_s: (n * k) as f64 / 4.0 / seconds,
            tops: 2.0 * (m * n * k) as f64 / seconds * 1e-12,
            peers_us: Peers {
                burn_dense_f32: burns.us,
                burn_dense_f32_spread: burns.spread_us,
            },
        }
    }
}

/// A run with the facts of its machine.
#[derive(Serialize)]
pub struct Report {
    device: String,
    backend: String,
    driver: Option<String>,
    clocks: Option<String>,
    threads: usize,
    versions: Versions,
    date: String,
    command: String,
    rows: Vec<Row>,
}

#[derive(Serialize)]
struct Versions {
    tritburn: &'static str,
    burn: &'static str,
}

impl Report {
    /// A report of `rows` measured on `backend`, now and here.
    pub fn new(backend: String, rows: Vec<Row>) -> Self {
        let on_cpu = matches!(backend.as_str(), "flex" | "cpu");
        let gpu = |query| if on_cpu { None } else { machine::nvidia(query) };
        Self {
            device: gpu("name").unwrap_or_else(machine::processor),
            backend,
            driver: gpu("driver_version"),
            clocks: gpu("clocks.sm"),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            versions: Versions {
                tritburn: env!("CARGO_PKG_VERSION"),
                burn: "0.22.1",
            },
            date: machine::date(),
            command: std::env::args().collect::<Vec<_>>().join(" "),
            rows,
        }
    }

    /// The rows for people.
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        table.set_header([
            "tokens",
            "out x in",
            "weights",
            "packed us",
            "+-",
            "GB/s",
            "TOPS",
            "dense us",
            "speed-up",
        ]);
        for row in &self.rows {
            let dense = row.peers_us.burn_dense_f32;
            table.add_row([
                row.m.to_string(),
                format!("{} x {}", row.n, row.k),
                row.weights.to_string(),
                format!("{:.1}", row.us),
                format!("{:.1}", row.spread_us),
                format!("{:.1}", row.weight_bytes_per_s * 1e-9),
                format!("{:.3}", row.tops),
                format!("{dense:.1}"),
                format!("{:.1}", dense / row.us),
            ]);
        }
        format!(
            "{} ({} threads, {})\n{table}",
            self.device, self.threads, self.date
        )
    }

    /// Writes the JSON.
    pub fn save(&self, path: &Path) -> Result<()> {
        let json = serde_json::to_string_pretty(self)? + "\n";
        std::fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// `results/<backend>.json` beside the sources.
pub fn default_path(backend: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("results")
        .join(format!("{backend}.json"))
}
