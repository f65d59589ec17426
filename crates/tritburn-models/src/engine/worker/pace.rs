//! How many tokens of prompts a step may read.

use std::time::Duration;

use super::super::MIN_PART;

/// Share of a longer time that what is known moves by: a step that waited for something once says little.
const PATIENCE: f64 = 0.1;
/// Sizes of prompt parts, each twice the one before: 2^0 tokens to more than any step reads.
const SIZES: usize = 32;

/// What steps have taken so far.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Seconds of a step without prompts.
    decode: Option<f64>,
    /// Seconds by which prompts of up to 2^i tokens together make a step longer. A part of a few tokens may
    /// take as long as one of hundreds.
    prompts: [Option<f64>; SIZES],
}

impl Pace {
    /// Takes note of a step of `prompt` tokens of prompts beside `decoding` sequences.
    pub fn record(&mut self, prompt: usize, decoding: usize, time: Duration) {
        let time = time.as_secs_f64();
        if prompt == 0 {
            learn(&mut self.decode, time);
            return;
        }
        let beside = match decoding {
            0 => 0.0,
            _ => self.decode.unwrap_or(0.0),
        };
        let size = prompt.next_power_of_two().ilog2() as usize;
        if let Some(known) = self.prompts.get_mut(size) {
            learn(known, (time - beside).max(0.0));
        }
    }

    /// Tokens of prompts, at most `most`, for a step of `decoding` sequences that is to take `time`. Where no
    /// size fits that, it is the smallest that reads at least half as fast as the fastest: prompts go on.
    pub fn room(&self, decoding: usize, time: Duration, most: usize) -> usize {
        let least = 2 * MIN_PART;
        let most = most.max(least);
        // Nobody waits for the step.
        if decoding == 0 {
            return most;
        }
        let left = time.as_secs_f64() - self.decode.unwrap_or(0.0);
        let first = least.next_power_of_two().ilog2() as usize;
        let last = most.next_power_of_two().ilog2() as usize;
        let sizes = || (first..=last.min(SIZES - 1)).map(|size| (1 << size, self.prompts[size]));
        let fits = |time: Option<f64>| time.is_none_or(|time| time <= left);
        let fitting = sizes().take_while(|&(_, time)| fits(time)).last();
        let room = match fitting {
            Some((tokens, _)) => tokens,
            None => {
                let rate = |(tokens, time): (usize, Option<f64>)| Some(tokens as f64 / time?);
                let best = sizes().filter_map(rate).fold(0.0, f64::max);
                let fast = |&size: &(usize, Option<f64>)| {
                    rate(size).is_some_and(|rate| 2.0 * rate >= best)
                };
                sizes().find(fast).map_or(least, |(tokens, _)| tokens)
            }
        };
        room.clamp(least, most)
    }
}

/// Moves to a shorter time at once, to a longer one slowly.
fn learn(known: &mut Option<f64>, new: f64) {
    *known = Some(match *known {
        Some(old) if new > old => old + PATIENCE * (new - old),
        _ => new,
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn prompts_get_the_time_that_decoding_leaves() {
        let mut pace = Pace::default();
        assert_eq!(pace.room(4, ms(50), 2048), 2048, "nothing is known");
        pace.record(0, 4, ms(10));
        pace.record(2048, 4, ms(210));
        pace.record(1000, 4, ms(110));
        pace.record(512, 0, ms(50));
        pace.record(256, 4, ms(35));
        assert_eq!(pace.room(4, ms(50), 2048), 256);
        assert_eq!(pace.room(4, ms(61), 2048), 512);
        assert_eq!(pace.room(4, ms(61), 300), 300);
        assert_eq!(pace.room(0, ms(50), 2048), 2048, "nobody waits");
    }

    #[test]
    fn parts_that_cost_what_larger_ones_cost_are_not_taken() {
        let mut pace = Pace::default();
        // Some 60 ms, whatever is read.
        pace.record(0, 100, ms(20));
        for tokens in [32, 64, 128, 256, 512] {
            pace.record(tokens, 100, ms(80));
        }
        pace.record(1024, 100, ms(90));
        pace.record(2048, 100, ms(160));
        assert_eq!(pace.room(100, ms(50), 2048), 512);
        // A machine on which tokens are all that counts.
        let mut pace = Pace::default();
        for size in 5..12 {
            pace.record(1 << size, 1, ms(4 << size));
        }
        assert_eq!(pace.room(1, ms(50), 2048), 2 * MIN_PART);
    }

    #[test]
    fn one_slow_step_is_forgotten() {
        let mut pace = Pace::default();
        pace.record(0, 4, ms(2));
        pace.record(500, 4, ms(5000));
        pace.record(500, 4, ms(12));
        assert_eq!(pace.room(4, ms(50), 512), 512);
        pace.record(500, 4, ms(300));
        assert_eq!(pace.room(4, ms(50), 512), 512);
    }
}
