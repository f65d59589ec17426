//! Timed runs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use tritburn_models::generate::Session;
use tritburn_models::model::CausalLm;

use tritburn::device::memory::{Memory, Watch};

/// Decode steps ahead of the timed ones.
pub const WARM_UP: usize = 4;

/// A session to time.
pub struct Measure {
    session: Session,
    watch: Watch,
    batch: usize,
    capacity: usize,
}

/// Median and spread of repeated times.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    pub median: Duration,
    /// Largest minus smallest.
    pub spread: Duration,
}

impl Times {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self {
            median: times[times.len() / 2],
            spread: times[times.len() - 1] - times[0],
        }
    }
}

/// What a row of results is made of.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    pub times: Times,
    /// Of the whole row, read while its session is still there.
    pub memory: Memory,
}

impl Measure {
    pub fn new(model: &Arc<CausalLm>, batch: usize, capacity: usize) -> Result<Self> {
        let watch = Watch::start(model.device());
        Ok(Self {
            session: Session::new(model.clone(), batch, capacity)?,
            watch,
            batch,
            capacity,
        })
    }

    /// Prompts that fill the session, once to warm up and `repeats` times timed.
    pub fn prompt(mut self, repeats: usize) -> Result<Measured> {
        let mut times = Vec::with_capacity(repeats);
        for run in 0..=repeats {
            let started = Instant::now();
            self.session.clear();
            self.prefill(self.capacity)?;
            if run > 0 {
                times.push(started.elapsed());
            }
        }
        Ok(self.measured(times))
    }

    /// Steps behind a context, each timed on its own: the host reads every token, as a generator
    /// does.
    pub fn decode(mut self, context: usize, steps: usize) -> Result<Measured> {
        let mut next = match context {
            0 => vec![0; self.batch],
            _ => self.prefill(context)?,
        };
        let mut times = Vec::with_capacity(steps);
        for step in 0..WARM_UP + steps {
            let started = Instant::now();
            let (_, ids) = match step {
                0 => self.session.decode(&next)?,
                _ => self.session.decode_next()?,
            };
            next = read(ids.try_into_data())?;
            if step >= WARM_UP {
                times.push(started.elapsed());
            }
        }
        Ok(self.measured(times))
    }

    fn measured(&self, times: Vec<Duration>) -> Measured {
        Measured {
            times: Times::of(times),
            memory: self.watch.read(),
        }
    }

    /// Runs a prompt of `tokens` tokens in each sequence; the most likely next tokens.
    fn prefill(&mut self, tokens: usize) -> Result<Vec<u32>> {
        let vocabulary = self.session.model().config().vocab_size;
        let prompts: Vec<Vec<u32>> = (0..self.batch)
            .map(|row| {
                let id = |t: usize| ((row * 7919 + t * 104_729) % vocabulary) as u32;
                (0..tokens).map(id).collect()
            })
            .collect();
        let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
        let logits = self.session.prefill(&prompts)?;
        read(tritburn::transformer::argmax(logits)?.try_into_data())
    }
}

fn read<E: std::fmt::Debug>(data: Result<burn::tensor::TensorData, E>) -> Result<Vec<u32>> {
    let failed = |error: String| anyhow!("reading from the device failed: {error}");
    data.map_err(|error| failed(format!("{error:?}")))?
        .try_into_vec()
        .map_err(|error| failed(format!("{error:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one() {
        let times = Times::of([5, 1, 9].map(Duration::from_secs).to_vec());
        assert_eq!(times.median, Duration::from_secs(5));
        assert_eq!(times.spread, Duration::from_secs(8));
    }
}
