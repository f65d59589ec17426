//! Whole training steps and their large parts, each beside PyTorch's in the same run.
//!
//! | file | what |
//! |---|---|
//! | `case` | what is measured: sizes, and how `peers/train.py` is asked for the same |
//! | `step` | forward, backward, clipping and optimiser of a whole model |
//! | `parts` | attention, a linear layer and the loss, forward and backward |
//! | `torch` | PyTorch's times, from `peers/train.py` |
//! | `report` | the JSON and the table |

mod case;
mod parts;
mod report;
mod step;
mod torch;

use anyhow::Result;
use burn::tensor::Device;

use crate::device::Name;
use case::Case;
use torch::Torch;

pub use report::Report;
use report::Row;

/// What to run and on what.
pub struct Options<'a> {
    /// The device, without autodiff.
    pub device: &'a Device,
    /// Its name.
    pub backend: Name,
    /// Whether PyTorch is measured as well.
    pub torch: bool,
    /// Only these cases, as `name` or `name:size`; all if empty.
    pub only: &'a [String],
    /// Few repetitions of small cases.
    pub quick: bool,
}

/// Measures every case.
///
/// # Errors
/// A case that cannot run. PyTorch that cannot is left out with a warning.
pub fn run(options: &Options) -> Result<Report> {
    let mut torch = (options.torch && options.backend == Name::Cuda).then(Torch::default);
    let gpu = options.backend.is_gpu();
    let mut rows = Vec::new();
    let only = options.only;
    let chosen = |case: &Case| only.is_empty() || only.iter().any(|text| case.is_called(text));
    let cases = case::cases(gpu, options.quick);
    for case in cases.into_iter().filter(chosen) {
        let peer = torch.as_mut().and_then(|torch| torch.measure(&case));
        for variant in case.variants() {
            let found = match case {
                Case::Step(model) => step::measure(options, &model, *variant)?,
                Case::Attention(sizes) => parts::attention(options, sizes)?,
                Case::Linear(sizes) => parts::linear(options, sizes)?,
                Case::Loss(sizes) => parts::loss(options, sizes)?,
            };
            let row = Row::new(&case, *variant, found, peer.clone());
            eprintln!("{}", row.line());
            rows.push(row);
            // Pools keep what they have reserved, and the next case counts its own.
            options.device.memory_cleanup();
        }
    }
    Ok(Report::new(options.backend, rows))
}

/// What one case gave.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Measured {
    /// Milliseconds of a repetition, the host's part included.
    ms: f64,
    /// Milliseconds that the host needs to queue a repetition.
    host_ms: f64,
    /// Gigabytes that the device's pools hold behind it.
    memory_gb: Option<f64>,
    /// Seconds from nothing to the end of the first repetition.
    first_s: f64,
}

/// How often a case is repeated.
#[derive(Clone, Copy, Debug)]
struct Repeats {
    warm_up: usize,
    timed: usize,
}

impl Repeats {
    fn of(options: &Options, timed: usize) -> Self {
        match options.quick {
            true => Self {
                warm_up: 1,
                timed: 2,
            },
            false => Self { warm_up: 5, timed },
        }
    }

    /// Times `run` on `device`, whose first call `begun` started before.
    fn measure(
        self,
        device: &Device,
        begun: std::time::Instant,
        mut run: impl FnMut() -> Result<()>,
    ) -> Result<Measured> {
        run()?;
        device.sync()?;
        let first_s = begun.elapsed().as_secs_f64();
        for _ in 0..self.warm_up {
            run()?;
        }
        device.sync()?;
        let begun = std::time::Instant::now();
        for _ in 0..self.timed {
            run()?;
        }
        let queued = begun.elapsed().as_secs_f64();
        device.sync()?;
        let seconds = begun.elapsed().as_secs_f64();
        let per_call = 1e3 / self.timed as f64;
        let usage = device.memory_pool_usage();
        Ok(Measured {
            ms: seconds * per_call,
            host_ms: queued * per_call,
            memory_gb: usage.map(|usage| usage.bytes_reserved as f64 * 1e-9),
            first_s,
        })
    }
}

/// The smallest model that a step is measured of.
#[cfg(test)]
const TINY: case::Model = case::Model {
    d_model: 64,
    d_ff: 96,
    layers: 1,
    heads: 2,
    context: 16,
    batch_size: 2,
    vocabulary: 64,
};

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use case::Variant;

    fn options(device: &Device) -> Options<'_> {
        Options {
            device,
            backend: Name::Flex,
            torch: false,
            only: &[],
            quick: true,
        }
    }

    #[test]
    fn a_step_of_both_forms_takes_time() {
        let device = Device::flex();
        for variant in [Variant::Ternary, Variant::Dense] {
            let found = step::measure(&options(&device), &TINY, variant).unwrap();
            assert!(found.ms > 0.0 && found.first_s > 0.0, "{found:?}");
        }
    }

    #[test]
    fn every_part_of_a_step_takes_time() {
        let device = Device::flex();
        let options = options(&device);
        let attention = case::Attention {
            batch_size: 2,
            heads: 2,
            kv_heads: 1,
            context: 8,
            head_width: 32,
        };
        let linear = case::Linear {
            tokens: 8,
            outputs: 32,
            inputs: 64,
        };
        let loss = case::Loss {
            tokens: 8,
            d_model: 32,
            vocabulary: 64,
        };
        assert!(parts::attention(&options, attention).unwrap().ms > 0.0);
        assert!(parts::linear(&options, linear).unwrap().ms > 0.0);
        assert!(parts::loss(&options, loss).unwrap().ms > 0.0);
    }
}
