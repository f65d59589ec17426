//! `cargo xtask bench`: packed products, gradients and layers against dense ones, in one run on
//! one machine.
//!
//! Every case is checked against a reference before it is timed. Results go to a table, to
//! `benches/results/DEVICE.json` and to charts beside it.

#![cfg_attr(not(feature = "cube"), allow(dead_code))]

mod burn_matmul;
mod chart;
mod check;
mod data;
mod device;
#[cfg(feature = "cube")]
mod kernels;
mod layers;
mod load;
mod machine;
mod peers;
mod report;
mod row;
mod run;
mod shapes;
mod suite;
mod table;
mod timing;
mod train;
mod training;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

use peers::Selection;
use shapes::Set;
use suite::{Input, Suite};

/// The command line.
#[derive(Parser)]
#[command(
    name = "cargo xtask bench",
    about = "Times packed products and layers against dense ones",
    args_conflicts_with_subcommands = true
)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Where to run: flex, cpu, cuda, wgpu, vulkan, metal or rocm, if compiled in
    #[arg(long, default_value = "flex")]
    device: device::Name,
    /// What to run; default: layers on CPUs, everything on graphics cards
    #[arg(long, value_delimiter = ',')]
    suite: Vec<Suite>,
    /// Families of shapes for decode and prefill; default: all of them
    #[arg(long, value_delimiter = ',')]
    shapes: Vec<Set>,
    /// Only these weight matrices, `OUTxIN`
    #[arg(long, value_delimiter = ',', value_parser = matrix)]
    only: Vec<(usize, usize)>,
    /// Only these numbers of tokens
    #[arg(long, value_delimiter = ',')]
    tokens: Vec<usize>,
    /// Only these kinds of activations
    #[arg(long, value_delimiter = ',')]
    inputs: Vec<Input>,
    /// Only these cases of the training suite: step, attention, linear, loss; each may name a width or a
    /// vocabulary, `step:768`
    #[arg(long, value_delimiter = ',')]
    cases: Vec<String>,
    /// Other implementations to measure: all, none, or of cublas, burn, q2s, torch
    #[arg(long, default_value = "all", value_parser = Selection::parse)]
    peers: Selection,
    /// Megabytes of weights that rotate when cold; default: 800 on CPUs, 256 on graphics cards
    #[arg(long)]
    cold_mb: Option<usize>,
    /// Shorter and fewer measurements, to see that everything runs
    #[arg(long)]
    quick: bool,
    /// Keep what an earlier run wrote to the same file and this one does not measure
    #[arg(long)]
    append: bool,
    /// Skip the comparison with the reference
    #[arg(long, hide = true)]
    no_check: bool,
    /// Time products through cuBLAS as stdin asks
    #[cfg(feature = "cuda")]
    #[arg(long, hide = true)]
    cublas_process: bool,
    /// Where the JSON goes, charts beside it; default: results/DEVICE.json beside this program's
    /// sources
    #[arg(long)]
    output: Option<PathBuf>,
}

/// What is measured besides products.
#[derive(Subcommand)]
enum Command {
    Load(load::Args),
}

/// Reads `OUTxIN`.
fn matrix(text: &str) -> Result<(usize, usize), String> {
    let sizes = text.split_once('x').map(|(n, k)| (n.parse(), k.parse()));
    match sizes {
        Some((Ok(n), Ok(k))) => Ok((n, k)),
        _ => Err("expected two sizes, as 4096x4096".into()),
    }
}

fn main() -> Result<()> {
    let args = Args::parse();
    if let Some(Command::Load(args)) = &args.command {
        return load::run(args);
    }
    #[cfg(feature = "cuda")]
    if args.cublas_process {
        return peers::cublas::serve(timing::Plan::gpu(args.quick), run::cold_bytes(&args, true));
    }
    if let Some(folder) = args.output.as_deref().and_then(Path::parent) {
        // Now, and not after minutes of measuring.
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    }
    let suites = run::suites(&args);
    if suites.contains(&Suite::Training) {
        measure_training(&args, suites.len() == 1)?;
    }
    if suites.iter().any(|suite| *suite != Suite::Training) {
        measure_products(&args)?;
    }
    Ok(())
}

/// Steps and their parts; `alone` if `--output` means their JSON.
fn measure_training(args: &Args, alone: bool) -> Result<()> {
    let device = args.device.open()?;
    let report = training::run(&training::Options {
        device: &device,
        backend: args.device,
        torch: args.peers.torch,
        only: &args.cases,
        quick: args.quick,
    })?;
    println!("{}", report.table());
    let output = args.output.clone().filter(|_| alone);
    let path = output.unwrap_or_else(|| report.default_path());
    report.save(&path)?;
    println!("{}", path.display());
    Ok(())
}

/// Products, gradients and layers.
fn measure_products(args: &Args) -> Result<()> {
    let mut report = run::run(args)?;
    println!("{}\n{}", report.machine(), table::table(&report.rows));
    let output = args.output.clone();
    let path = output.unwrap_or_else(|| report.default_path());
    if args.append {
        report.append_to(&path)?;
    }
    report.save(&path)?;
    println!("{}", path.display());
    for chart in chart::save_all(&report, &path)? {
        println!("{}", chart.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_load_has_arguments_of_its_own() {
        let line = "bench load --clients 1,32 --prompt 64";
        let args = Args::try_parse_from(line.split_whitespace()).unwrap();
        assert!(matches!(args.command, Some(Command::Load(_))));
        assert!(Args::try_parse_from("bench --quick load".split_whitespace()).is_err());
        assert!(
            Args::try_parse_from("bench load --clients 1 --rate 2".split_whitespace()).is_err()
        );
    }

    #[test]
    fn lists_are_read() {
        let line = "bench --device flex --suite decode,train --inputs int8+quant,float \
                    --only 4096x4096,8x16 --tokens 1,3 --shapes 2b4t,peers --peers cublas";
        let args = Args::try_parse_from(line.split_whitespace()).unwrap();
        assert_eq!(args.suite, [Suite::Decode, Suite::Train]);
        assert_eq!(args.inputs, [Input::Quantised, Input::Float]);
        assert_eq!(args.only, [(4096, 4096), (8, 16)]);
        assert_eq!(args.tokens, [1, 3]);
        assert_eq!(args.shapes, [Set::Bitnet2b4t, Set::Peers]);
        assert!(args.peers.cublas && !args.peers.burn);
        assert!(Args::try_parse_from(["bench", "--only", "4096"]).is_err());
    }
}
