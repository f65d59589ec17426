//! One measured case.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::suite::Suite;
use crate::timing::Timing;

/// Microseconds a call of other implementations of the same product, by name.
pub type PeerTimes = BTreeMap<String, f64>;

/// One case: what was run, how long it took, and how long the peers took.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Name of the suite.
    pub suite: String,
    /// The operation.
    pub op: String,
    /// Code table of the weights.
    pub format: String,
    /// How the activations reach the operation.
    pub activations: String,
    /// Tokens.
    pub m: usize,
    /// Outputs.
    pub n: usize,
    /// Inputs.
    pub k: usize,
    /// The kernel's plan.
    pub kernel: String,
    /// Microseconds of a call, median.
    pub us: f64,
    /// Half the interquartile range.
    pub spread_us: f64,
    /// Packed weights read per second; 0 where an operation reads none.
    pub weight_bytes_per_s: f64,
    /// 10¹² additions and multiplications a second.
    pub tops: f64,
    /// `graph` or `host`: what the clock was read around.
    pub timing: String,
    /// The peers.
    pub peers_us: PeerTimes,
}

/// What a row is about.
#[derive(Clone, Debug)]
pub struct Case {
    /// The suite it belongs to.
    pub suite: Suite,
    /// The operation.
    pub op: &'static str,
    /// Code table of the weights.
    pub format: &'static str,
    /// How the activations reach the operation.
    pub activations: String,
    /// Tokens, outputs, inputs.
    pub shape: [usize; 3],
    /// Matrix products of that shape in a call.
    pub products: usize,
    /// Whether a call reads packed weights.
    pub reads_weights: bool,
}

impl Case {
    /// The row of this case.
    pub fn row(self, kernel: String, timing: Timing, peers_us: PeerTimes) -> Row {
        let [m, n, k] = self.shape;
        let seconds = timing.us * 1e-6;
        let weight_bytes = if self.reads_weights { n * k / 4 } else { 0 };
        Row {
            suite: self.suite.name().into(),
            op: self.op.into(),
            format: self.format.into(),
            activations: self.activations,
            m,
            n,
            k,
            kernel,
            us: timing.us,
            spread_us: timing.spread_us,
            weight_bytes_per_s: weight_bytes as f64 / seconds,
            tops: (2 * self.products) as f64 * (m as f64 * n as f64 * k as f64) / seconds * 1e-12,
            timing: timing.method.name().into(),
            peers_us,
        }
    }
}

impl Row {
    /// Whether both rows measure the same case.
    pub fn same_case(&self, other: &Self) -> bool {
        self.key() == other.key()
    }

    fn key(&self) -> ([&str; 4], [usize; 3]) {
        let names = [&self.suite, &self.op, &self.format, &self.activations];
        (names.map(String::as_str), [self.m, self.n, self.k])
    }

    /// Time of the dense product: cuBLAS where it was measured, else Burn's.
    pub fn dense_us(&self) -> Option<f64> {
        ["cublas_bf16", "burn_dense_bf16", "burn_dense_f32"]
            .iter()
            .find_map(|name| self.peers_us.get(*name))
            .copied()
    }

    /// The kernel without its plan.
    pub fn kernel_name(&self) -> &str {
        self.kernel.split(['(', ' ']).next().unwrap_or_default()
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::timing::Method;

    pub fn row(m: usize, n: usize, us: f64) -> Row {
        let case = Case {
            suite: Suite::Decode,
            op: "matmul",
            format: "ternary",
            activations: "int8".into(),
            shape: [m, n, 1000],
            products: 1,
            reads_weights: true,
        };
        let timing = Timing {
            us,
            spread_us: 0.1,
            method: Method::Graph,
        };
        let peers = [
            ("burn_dense_bf16".into(), 30.0),
            ("cublas_bf16".into(), 20.0),
        ]
        .into();
        case.row("Skinny(Plan { x: 1 })".into(), timing, peers)
    }

    #[test]
    fn rates_follow_from_shape_and_time() {
        let row = row(3, 4000, 10.0);
        assert!((row.weight_bytes_per_s - 1e6 / 1e-5).abs() < 1.0);
        assert!((row.tops - 2.4e7 / 1e-5 * 1e-12).abs() < 1e-9);
        assert_eq!(row.dense_us(), Some(20.0));
        assert_eq!(row.kernel_name(), "Skinny");
    }

    #[test]
    fn a_case_is_known_again_whatever_it_took() {
        assert!(row(1, 10, 1.0).same_case(&row(1, 10, 2.0)));
        assert!(!row(1, 10, 1.0).same_case(&row(2, 10, 1.0)));
    }
}
