//! How many tokens of prompts a step may read.

use std::time::Duration;

use super::super::MIN_PART;

/// Weight of the last step in what is known of steps.
const LEARNING: f64 = 0.2;

/// What steps have taken so far.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Seconds of a step without prompts.
    decode: Option<f64>,
    /// Seconds by which a token of a prompt makes a step longer.
    per_token: Option<f64>,
}

impl Pace {
    /// Takes note of a step of `prompt` tokens of prompts beside `decoding` sequences.
    pub fn record(&mut self, prompt: usize, decoding: usize, time: Duration) {
        let time = time.as_secs_f64();
        if prompt == 0 {
            learn(&mut self.decode, time);
        } else if let (Some(decode), true) = (self.decode, decoding > 0) {
            learn(
                &mut self.per_token,
                (time - decode).max(0.0) / prompt as f64,
            );
        }
    }

    /// Tokens of prompts, at most `most`, for a step of `decoding` sequences that is to take `time`.
    pub fn room(&self, decoding: usize, time: Duration, most: usize) -> usize {
        let least = 2 * MIN_PART;
        let most = most.max(least);
        match (decoding, self.per_token) {
            // Nobody waits for the step, or nothing is known yet.
            (0, _) | (_, None) => most,
            (_, Some(per_token)) => {
                let left = time.as_secs_f64() - self.decode.unwrap_or(0.0);
                // Infinite where a token takes no time.
                ((left / per_token) as usize).clamp(least, most)
            }
        }
    }
}

fn learn(known: &mut Option<f64>, new: f64) {
    *known = Some(known.map_or(new, |old| old + LEARNING * (new - old)));
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
        pace.record(100, 0, ms(500));
        assert_eq!(pace.room(4, ms(50), 2048), 2048, "no step had both");
        // 0.1 ms a token.
        pace.record(100, 4, ms(20));
        assert_eq!(pace.room(4, ms(50), 2048), 400);
        assert_eq!(pace.room(4, ms(50), 300), 300);
        assert_eq!(pace.room(0, ms(50), 2048), 2048, "nobody waits");
        assert_eq!(pace.room(4, ms(5), 2048), 2 * MIN_PART, "no time left");
    }

    #[test]
    fn tokens_that_take_no_time_are_bounded_by_their_number() {
        let mut pace = Pace::default();
        pace.record(0, 1, ms(10));
        pace.record(64, 1, ms(10));
        assert_eq!(pace.room(1, ms(50), 512), 512);
        pace.record(64, 1, ms(5));
        assert_eq!(pace.room(1, ms(50), 512), 512);
    }
}
