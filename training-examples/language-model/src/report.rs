//! The demo's numbers.

use std::fmt;

use serde::{Deserialize, Serialize};

/// `report.json`: what the demo measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Cost of the held-out bytes to one who knows only byte frequencies, nats a byte.
    pub unigram_nats: f64,
    /// Held-out loss before training, nats a byte.
    pub initial_loss: f64,
    /// Held-out loss after training, nats a byte.
    pub valid_loss: f64,
    /// Optimizer steps.
    pub steps: usize,
    /// Time that training took.
    pub train_seconds: f64,
    /// Parameters of the model.
    pub parameters: usize,
    /// Parameters that packing takes to 2 bits.
    pub ternary_parameters: usize,
    /// Size of the float weights on disk.
    pub float_bytes: u64,
    /// Size of the packed weights on disk.
    pub packed_bytes: u64,
    /// Largest difference of a logit between the trained model and the packed one read from disk.
    pub max_abs_logit_diff_packed_vs_trained: f64,
    /// Whether both write the same 200 bytes when they always take the likeliest.
    pub greedy_tokens_equal: bool,
    /// Speed of the float twin, bytes a second.
    pub float_tokens_per_s: f64,
    /// Speed of the packed model, bytes a second.
    pub packed_tokens_per_s: f64,
    /// Text that the packed model wrote.
    pub sample: String,
}

/// Nats that training must gain over byte frequencies.
const GAIN: f64 = 1.0;

/// Difference that the rescale in another order may make in a logit.
const LOGIT_TOLERANCE: f64 = 1e-3;

impl Report {
    /// What the demo promises and did not keep, one sentence each.
    pub fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        // Comparisons that a NaN fails.
        let learned = self.valid_loss <= self.unigram_nats - GAIN;
        if !learned {
            failures.push(format!(
                "the held-out loss {:.3} is not {GAIN} nat below the unigram cost {:.3}",
                self.valid_loss, self.unigram_nats
            ));
        }
        let difference = self.max_abs_logit_diff_packed_vs_trained;
        let agree = difference <= LOGIT_TOLERANCE;
        if !agree {
            failures.push(format!(
                "packed and trained logits differ by {difference:e}"
            ));
        }
        if !self.greedy_tokens_equal {
            failures.push("the packed model and the trained one wrote different bytes".into());
        }
        failures
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let megabytes = |bytes: u64| bytes as f64 / 1e6;
        let equal = if self.greedy_tokens_equal {
            "equal"
        } else {
            "different"
        };
        let rows = [
            (
                "unigram cost of held-out text",
                format!("{:.3} nats/byte", self.unigram_nats),
            ),
            (
                "held-out loss before training",
                format!("{:.3} nats/byte", self.initial_loss),
            ),
            (
                "held-out loss after training",
                format!("{:.3} nats/byte", self.valid_loss),
            ),
            (
                "training",
                format!("{} steps in {:.0} s", self.steps, self.train_seconds),
            ),
            (
                "parameters",
                format!("{} ({} ternary)", self.parameters, self.ternary_parameters),
            ),
            (
                "float file",
                format!("{:.2} MB", megabytes(self.float_bytes)),
            ),
            (
                "packed file",
                format!("{:.2} MB", megabytes(self.packed_bytes)),
            ),
            (
                "packed against trained logits",
                format!(
                    "at most {:.1e} apart",
                    self.max_abs_logit_diff_packed_vs_trained
                ),
            ),
            ("200 greedy bytes", equal.into()),
            (
                "float twin",
                format!("{:.0} bytes/s", self.float_tokens_per_s),
            ),
            (
                "packed model",
                format!("{:.0} bytes/s", self.packed_tokens_per_s),
            ),
        ];
        for (name, value) in rows {
            writeln!(f, "| {name:<30} | {value:>26} |")?;
        }
        write!(f, "\nThe packed model writes:\n\n{}", self.sample)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report {
            unigram_nats: 3.1,
            initial_loss: 5.5,
            valid_loss: 2.0,
            steps: 600,
            train_seconds: 150.0,
            parameters: 1000,
            ternary_parameters: 900,
            float_bytes: 4000,
            packed_bytes: 700,
            max_abs_logit_diff_packed_vs_trained: 1e-5,
            greedy_tokens_equal: true,
            float_tokens_per_s: 1000.0,
            packed_tokens_per_s: 1500.0,
            sample: "fn main".into(),
        }
    }

    #[test]
    fn each_broken_promise_is_named() {
        assert_eq!(report().failures(), Vec::<String>::new());
        let loss = Report {
            valid_loss: 2.2,
            ..report()
        };
        assert!(loss.failures()[0].contains("2.200"));
        let logits = Report {
            max_abs_logit_diff_packed_vs_trained: 2e-3,
            ..report()
        };
        assert!(logits.failures()[0].contains("2e-3"));
        let greedy = Report {
            greedy_tokens_equal: false,
            ..report()
        };
        assert_eq!(greedy.failures().len(), 1);
        let diverged = Report {
            valid_loss: f64::NAN,
            max_abs_logit_diff_packed_vs_trained: f64::NAN,
            ..report()
        };
        assert_eq!(diverged.failures().len(), 2);
    }

    #[test]
    fn the_json_has_exactly_the_promised_keys() {
        let json = serde_json::to_value(report()).unwrap();
        let mut keys: Vec<_> = json
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        keys.sort_unstable();
        let expected = "float_bytes float_tokens_per_s greedy_tokens_equal initial_loss \
            max_abs_logit_diff_packed_vs_trained packed_bytes packed_tokens_per_s parameters sample \
            steps ternary_parameters train_seconds unigram_nats valid_loss";
        assert_eq!(keys, expected.split_whitespace().collect::<Vec<_>>());
    }
}
