//! `generate`

use std::time::Instant;

use crate::cli::GenerateArgs;
use crate::error::Error;
use crate::generate::{Sampling, generate};
use crate::train::RunFolder;
use tritburn::device;

pub(super) fn run(args: &GenerateArgs) -> Result<(), Error> {
    let device = device::open(&args.device.device)?;
    let run = RunFolder::at(&args.output);
    let path = if run.packed().exists() {
        run.packed()
    } else {
        run.model()
    };
    let (_, model) = super::load(&run, &path, &device)?;
    let (temperature, top_k, seed) = (args.temperature, args.top_k, args.seed);
    let sampling = match args.greedy {
        true => Sampling::Greedy,
        false => Sampling::Random {
            temperature,
            top_k,
            seed,
        },
    };
    let begun = Instant::now();
    let text = generate(
        &model,
        args.prompt.as_bytes(),
        args.max_new_tokens,
        sampling,
    )?;
    let speed = text.len() as f64 / begun.elapsed().as_secs_f64();
    println!("{}{}", args.prompt, String::from_utf8_lossy(&text));
    eprintln!(
        "{} bytes at {speed:.0} a second from {}",
        text.len(),
        path.display()
    );
    Ok(())
}
