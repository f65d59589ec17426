//! The time that reading alone would take.

use std::hint::black_box;
use std::thread;
use std::time::Instant;

use anyhow::{Result, anyhow};
use burn::tensor::{DType, Device, Tensor};
use tritburn_models::model::CausalLm;

use crate::model::position_bytes;

/// Bytes that are moved to find out how fast memory is: more than caches hold.
const BYTES: usize = 256 << 20;
/// The fastest of so many runs counts.
const RUNS: usize = 5;

/// Bytes a second that `device` moves: a GPU reading and writing in an addition, a CPU reading on all threads.
///
/// # Errors
/// If the device fails.
pub fn bandwidth(device: &Device) -> Result<f64> {
    let best = match tritburn::device::compiles_kernels(device) {
        true => added(device)?,
        false => read_by_threads(),
    };
    Ok(best)
}

fn added(device: &Device) -> Result<f64> {
    let sync = || {
        let result = device.sync();
        result.map_err(|error| anyhow!("the device failed: {error:?}"))
    };
    let x: Tensor<1> = Tensor::zeros([BYTES / 4], (device, DType::F32));
    let mut best = 0.0f64;
    // Kernels are compiled in the first.
    for run in 0..=RUNS {
        sync()?;
        let begun = Instant::now();
        let y = x.clone() + 1.0;
        sync()?;
        let rate = 2.0 * BYTES as f64 / begun.elapsed().as_secs_f64();
        drop(y);
        if run > 0 {
            best = best.max(rate);
        }
    }
    Ok(best)
}

fn read_by_threads() -> f64 {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let words = vec![1u64; BYTES / 8];
    let part = words.len().div_ceil(threads);
    let run = |_| {
        let begun = Instant::now();
        let total: u64 = thread::scope(|scope| {
            let parts = words.chunks(part);
            let running: Vec<_> = parts
                .map(|part| {
                    scope.spawn(move || part.iter().fold(0, |sum: u64, &w| sum.wrapping_add(w)))
                })
                .collect();
            let sums = running.into_iter().map(|thread| thread.join().unwrap_or(0));
            sums.sum()
        });
        black_box(total);
        BYTES as f64 / begun.elapsed().as_secs_f64()
    };
    (0..RUNS).map(run).fold(0.0, f64::max)
}

/// Bytes that a decode step of `batch` sequences behind `context` positions reads at least: the weights once, and
/// keys and values of every sequence.
pub fn bytes_of_step(model: &CausalLm, batch: usize, context: usize) -> Result<usize> {
    Ok(model.bytes_read() + batch * context * position_bytes(model)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_neither_at_rest_nor_instant() {
        let rate = read_by_threads();
        assert!((1e8..1e13).contains(&rate), "{rate}");
    }
}
