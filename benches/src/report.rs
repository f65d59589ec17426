//! The JSON of a run.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::device::Name;
use crate::machine;
use crate::row::Row;

/// A run with the facts of its machine.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    /// What it was measured on.
    #[serde(flatten)]
    pub machine: Machine,
    /// What no kernel can go beyond.
    pub ceilings: Ceilings,
    /// The cases.
    pub rows: Vec<Row>,
}

/// What a run was measured on, when and how.
#[derive(Debug, Serialize, Deserialize)]
pub struct Machine {
    /// Name of the processor or graphics card.
    pub device: String,
    /// Name of the backend.
    pub backend: String,
    /// Version of the driver.
    pub driver: Option<String>,
    /// Clock rates, as the driver gives them.
    pub clocks: Option<String>,
    /// Threads of the processor.
    pub threads: usize,
    /// Versions of what was measured.
    pub versions: Versions,
    /// Day of the run, `YYYY-MM-DD`.
    pub date: String,
    /// How it was started; several runs are joined by `; `.
    pub command: String,
}

/// Versions of what was measured.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Versions {
    tritburn: String,
    burn: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cuda_driver: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cublas: Option<String>,
}

/// What no kernel can go beyond.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ceilings {
    /// Bytes a second of a plain kernel that reads a large buffer, measured.
    pub read_bytes_per_s: Option<f64>,
    /// Dense int8 tensor-core rate in 10¹² operations a second, the vendor's number.
    pub int8_tops: Option<f64>,
    /// The same in bf16.
    pub bf16_tops: Option<f64>,
}

impl Machine {
    /// This machine with its device of `backend`, now.
    pub fn new(backend: Name) -> Self {
        let gpu = |query| match backend {
            Name::Flex | Name::Cpu => None,
            _ => machine::nvidia(query),
        };
        Self {
            device: gpu("name").unwrap_or_else(machine::processor),
            driver: gpu("driver_version"),
            clocks: gpu("clocks.sm,clocks.mem,clocks.max.sm"),
            backend: backend.to_string(),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            versions: Versions {
                tritburn: env!("CARGO_PKG_VERSION").into(),
                burn: "0.22.1".into(),
                cuda_driver: gpu("driver_version"),
                cublas: None,
            },
            date: machine::date(),
            command: machine::command(),
        }
    }

    /// Where JSON goes: `results/DEVICE{suffix}.json` beside the sources. An NVIDIA card gives its own
    /// name (`h200`), everything else that of its backend.
    pub fn path(&self, suffix: &str) -> PathBuf {
        let name = match self.backend.as_str() {
            "cuda" if self.driver.is_some() => slug(&self.device),
            backend => backend.to_string(),
        };
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("results")
            .join(format!("{name}{suffix}.json"))
    }
}

impl Report {
    /// A report of `rows` measured on `backend`, now and here.
    pub fn new(backend: Name, ceilings: Ceilings, cublas: Option<String>, rows: Vec<Row>) -> Self {
        let mut machine = Machine::new(backend);
        machine.versions.cublas = cublas;
        let rates = tritburn::device::tensor_core_rates(&machine.device);
        let (int8_tops, bf16_tops) = rates
            .map(|rates| (rates.int8 * 1e-12, rates.bf16 * 1e-12))
            .unzip();
        Self {
            ceilings: Ceilings {
                int8_tops,
                bf16_tops,
                ..ceilings
            },
            machine,
            rows,
        }
    }

    /// Where the JSON goes: `results/DEVICE.json` beside the sources.
    pub fn default_path(&self) -> PathBuf {
        self.machine.path("")
    }

    /// Takes over what an earlier run of the same device measured and this one did not.
    ///
    /// # Errors
    /// If there is a file that is no report, or one of another device.
    pub fn append_to(&mut self, path: &Path) -> Result<()> {
        if !path.exists() {
            return Ok(());
        }
        let what = || format!("cannot append to {}", path.display());
        let text = std::fs::read_to_string(path).with_context(what)?;
        let earlier: Self = serde_json::from_str(&text).with_context(what)?;
        let (then, now) = (&earlier.machine, &self.machine);
        ensure!(
            then.device == now.device && then.backend == now.backend,
            "{} was measured on {} ({}), this is {} ({})",
            path.display(),
            then.device,
            then.backend,
            now.device,
            now.backend
        );
        self.merge(earlier);
        Ok(())
    }

    fn merge(&mut self, earlier: Self) {
        let mut rows = earlier.rows;
        rows.retain(|old| !self.rows.iter().any(|new| new.same_case(old)));
        rows.append(&mut self.rows);
        self.rows = rows;
        let (then, now) = (earlier.machine, &mut self.machine);
        now.command = format!("{}; {}", then.command, now.command);
        let measured = self.ceilings.read_bytes_per_s;
        self.ceilings.read_bytes_per_s = measured.or(earlier.ceilings.read_bytes_per_s);
        now.versions.cublas = now.versions.cublas.take().or(then.versions.cublas);
    }

    /// Writes the JSON.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let json = serde_json::to_string_pretty(self)? + "\n";
        std::fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))
    }

    /// One line about the machine.
    pub fn machine(&self) -> String {
        let machine = &self.machine;
        let read = self.ceilings.read_bytes_per_s;
        let read = read.map_or(String::new(), |rate| {
            format!(", reads {:.0} GB/s", rate * 1e-9)
        });
        format!(
            "{} ({}, {} threads, {}{read})",
            machine.device, machine.backend, machine.threads, machine.date
        )
    }
}

/// A device's name as a file name, vendor left out.
fn slug(device: &str) -> String {
    let name = device.trim_start_matches("NVIDIA").trim();
    name.to_lowercase()
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::tests::row;

    fn report(rows: Vec<Row>) -> Report {
        Report::new(Name::Flex, Ceilings::default(), None, rows)
    }

    #[test]
    fn names_of_cards_become_file_names() {
        assert_eq!(slug("NVIDIA H200"), "h200");
        assert_eq!(slug("NVIDIA GeForce RTX 4090"), "geforce-rtx-4090");
        assert_eq!(slug("NVIDIA H100 80GB HBM3"), "h100-80gb-hbm3");
    }

    #[test]
    fn a_case_measured_again_replaces_the_earlier_one() {
        let mut now = report(vec![row(2, 64, 5.0)]);
        now.merge(report(vec![row(1, 64, 9.0), row(2, 64, 9.0)]));
        let times: Vec<_> = now.rows.iter().map(|row| (row.m, row.us)).collect();
        assert_eq!(times, [(1, 9.0), (2, 5.0)]);
        assert!(now.machine.command.contains("; "));
    }

    #[test]
    fn the_json_has_the_agreed_keys_and_reads_back() {
        let report = report(vec![row(1, 64, 9.0)]);
        let json = serde_json::to_value(&report).unwrap();
        let has = |value: &serde_json::Value, key: &str| value.get(key).is_some();
        for key in [
            "device", "driver", "clocks", "versions", "date", "command", "rows",
        ] {
            assert!(has(&json, key), "{key}");
        }
        for key in [
            "suite",
            "op",
            "format",
            "activations",
            "m",
            "n",
            "k",
            "kernel",
            "us",
            "spread_us",
            "weight_bytes_per_s",
            "tops",
            "peers_us",
        ] {
            assert!(has(&json["rows"][0], key), "{key}");
        }
        let back: Report = serde_json::from_value(json).unwrap();
        assert_eq!(back.rows, report.rows);
    }
}
