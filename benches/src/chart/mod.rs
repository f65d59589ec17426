//! SVG charts of a report: speed-up over dense by tokens, bytes a second against the memory
//! roofline, operations a second against the peak.

mod axis;
mod bandwidth;
mod plot;
mod speedup;
mod svg;
mod tops;

pub use axis::{Axis, powers_of_two};
pub use plot::{COLOURS, Plot, Point, Series};

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::report::Report;

/// Writes the charts beside `json` as `NAME-speedup.svg`, `NAME-bandwidth.svg` and
/// `NAME-tops.svg`; those without data are left out.
///
/// # Errors
/// If a file cannot be written.
pub fn save_all(report: &Report, json: &Path) -> Result<Vec<PathBuf>> {
    let charts = [
        ("speedup", speedup::draw(report)),
        ("bandwidth", bandwidth::draw(report)),
        ("tops", tops::draw(report)),
    ];
    let stem = json.file_stem().unwrap_or_default().to_string_lossy();
    let mut paths = Vec::new();
    for (name, chart) in charts {
        let Some(chart) = chart else { continue };
        let path = json.with_file_name(format!("{stem}-{name}.svg"));
        let text = chart.svg();
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        paths.push(path);
    }
    Ok(paths)
}
