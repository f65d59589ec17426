//! `load`: users of a server that speaks OpenAI's API, as many as are asked for.
//!
//! A closed loop has so many clients, each of which asks again as soon as it is answered: what the server
//! can give. In an open loop requests arrive at random, by a Poisson process of so many a second, whether
//! others are done or not: what users wait for.

mod arrivals;
mod chart;
mod client;
mod report;
mod work;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::runtime::Builder;

use client::Server;
use report::{Level, Report};
use work::Work;

/// Drives a server that speaks OpenAI's API, and tells what its users wait for.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Address of the API
    #[arg(long, default_value = "http://127.0.0.1:8080/v1")]
    url: String,
    /// Model to ask for; default: the first that the server names
    #[arg(long)]
    model: Option<String>,
    /// API key
    #[arg(long, env = "OPENAI_API_KEY", hide_env_values = true)]
    api_key: Option<String>,
    /// Closed loop: clients that ask again as soon as they are answered
    #[arg(long, value_delimiter = ',', conflicts_with = "rate")]
    clients: Vec<usize>,
    /// Open loop: requests a second, arriving at random
    #[arg(long, value_delimiter = ',')]
    rate: Vec<f64>,
    /// Seconds of each level
    #[arg(long, default_value_t = 20.0)]
    seconds: f64,
    /// Seconds ahead of each level that do not count
    #[arg(long, default_value_t = 3.0)]
    warm_up: f64,
    /// Tokens of a prompt
    #[arg(long, default_value_t = 512)]
    prompt: usize,
    /// Tokens of an answer
    #[arg(long, default_value_t = 128)]
    output_tokens: usize,
    /// Temperature of the answers; 0 takes the most likely tokens
    #[arg(long, default_value_t = 0.0)]
    temperature: f32,
    /// Tokens that prompts share at their beginning
    #[arg(long, default_value_t = 0)]
    shared_prefix: usize,
    /// Share of prompts that begin with them, from 0 to 1
    #[arg(long, default_value_t = 0.9)]
    hit_rate: f64,
    /// Token ids that prompts are made of, from 0 to this
    #[arg(long, default_value_t = 512)]
    vocabulary: u32,
    /// File with a JSON schema that answers have to follow
    #[arg(long)]
    json_schema: Option<PathBuf>,
    /// Start of the random numbers
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Where the JSON goes, a chart beside it; default: only to the screen
    #[arg(long)]
    output: Option<PathBuf>,
}

/// Runs every level, one after another.
pub fn run(args: &Args) -> Result<()> {
    ensure!(
        !(args.clients.is_empty() && args.rate.is_empty()),
        "give --clients or --rate"
    );
    ensure!(
        args.clients.iter().all(|&clients| clients > 0) && args.rate.iter().all(|&rate| rate > 0.0),
        "a level needs clients, or requests a second"
    );
    ensure!(
        args.prompt > args.shared_prefix && args.output_tokens > 0,
        "--prompt has to be larger than --shared-prefix, and --output-tokens over 0"
    );
    let work = Work::new(args)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    // As a server's: more threads would take its time.
    let runtime = Builder::new_multi_thread()
        .worker_threads(cores.min(8))
        .enable_all()
        .build()?;
    runtime.block_on(levels(args, work))
}

async fn levels(args: &Args, work: Work) -> Result<()> {
    let server = Server::connect(args).await?;
    let mut report = Report::new(args, server.model());
    let time = |seconds: f64| Duration::try_from_secs_f64(seconds).context("no time");
    let (warm_up, length) = (time(args.warm_up)?, time(args.seconds)?);
    for &clients in &args.clients {
        let seen = arrivals::closed(&server, &work, clients, warm_up, length).await;
        report.add(Level::closed(clients, seen));
    }
    for &rate in &args.rate {
        let seen = arrivals::open(&server, &work, rate, warm_up, length).await?;
        report.add(Level::open(rate, seen));
    }
    println!("{}", report.table());
    if let Some(path) = &args.output {
        report.save(path)?;
        println!("{}", path.display());
        if let Some(chart) = chart::draw(&report) {
            let path = path.with_extension("svg");
            std::fs::write(&path, chart.svg())
                .with_context(|| format!("cannot write {}", path.display()))?;
            println!("{}", path.display());
        }
    }
    ensure!(report.answered() > 0, "no request was answered");
    Ok(())
}
