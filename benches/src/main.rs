//! `cargo xtask bench`: packed layers against Burn's own dense ones, in one run on one machine.
//!
//! Every case is checked against a reference before it is timed. Results go to a table and to
//! `benches/results/DEVICE.json`.

mod check;
mod device;
mod layers;
mod machine;
mod report;
mod timing;

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;

#[derive(Parser)]
#[command(about = "Times packed layers against Burn's dense ones")]
struct Args {
    /// Where to run: flex, cpu, cuda, wgpu, vulkan, metal or rocm, if compiled in
    #[arg(long, default_value = "flex")]
    device: device::Name,
    /// Megabytes of weights that rotate when cold
    #[arg(long, default_value_t = 800)]
    cold_mb: usize,
    /// Shorter and fewer measurements, to see that everything runs
    #[arg(long)]
    quick: bool,
    /// Where the JSON goes; default: results/DEVICE.json beside this program's sources
    #[arg(long)]
    output: Option<PathBuf>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let device = args.device.open()?;
    let plan = timing::Plan::new(args.quick);
    let rows = layers::run(&device, args.cold_mb << 20, &plan)?;
    let report = report::Report::new(args.device.to_string(), rows);
    println!("{}", report.table());
    let path = args
        .output
        .unwrap_or_else(|| report::default_path(&args.device.to_string()));
    report.save(&path)?;
    println!("{}", path.display());
    Ok(())
}
