//! Other implementations of the same products, measured in the same run.
//!
//! A peer that cannot run is left out with a warning: the run goes on.

pub mod burn;
#[cfg(feature = "cuda")]
pub mod cublas;

use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::{Result, bail};

use crate::row::PeerTimes;
use crate::timing::Timing;

/// Which peers to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Selection {
    /// cuBLAS bf16 and cuBLASLt int8, on CUDA.
    pub cublas: bool,
    /// Burn's dense product.
    pub burn: bool,
    /// Burn's own 2-bit quantised product.
    pub q2s: bool,
    /// PyTorch's training step, on CUDA.
    pub torch: bool,
}

impl Selection {
    /// Reads `all`, `none`, or names separated by commas.
    ///
    /// # Errors
    /// The first unknown name.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut chosen = Self {
            cublas: false,
            burn: false,
            q2s: false,
            torch: false,
        };
        for name in text.split(',').map(str::trim) {
            match name {
                "all" => {
                    chosen = Self {
                        cublas: true,
                        burn: true,
                        q2s: true,
                        torch: true,
                    }
                }
                "none" => {}
                "cublas" => chosen.cublas = true,
                "burn" => chosen.burn = true,
                "q2s" => chosen.q2s = true,
                "torch" => chosen.torch = true,
                other => {
                    let known = "all, none, cublas, burn, q2s, torch";
                    return Err(format!("no peer `{other}`: {known}"));
                }
            }
        }
        Ok(chosen)
    }
}

/// Adds a peer's time to `times`, or says on stderr why it has none.
pub fn add(times: &mut PeerTimes, name: &str, measure: impl FnOnce() -> Result<Timing>) {
    // Burn and CUDA report a refusal by panicking in places.
    let result = catch_unwind(AssertUnwindSafe(measure)).unwrap_or_else(|_| bail!("it panicked"));
    match result {
        Ok(timing) => {
            times.insert(name.into(), timing.us);
        }
        Err(error) => eprintln!("warning: {name} left out: {error:#}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timing::Method;

    #[test]
    fn peers_are_chosen_by_name() {
        let chosen = Selection::parse("cublas, burn").unwrap();
        assert!(chosen.cublas && chosen.burn && !chosen.q2s);
        let none = Selection::parse("none").unwrap();
        assert!(!none.cublas && !none.burn && !none.q2s && !none.torch);
        let all = Selection::parse("all").unwrap();
        assert!(all.q2s && all.torch);
        assert!(Selection::parse("mkl").is_err());
    }

    #[test]
    fn a_peer_that_fails_is_left_out() {
        let mut times = PeerTimes::new();
        let timing = Timing {
            us: 2.0,
            spread_us: 0.0,
            method: Method::Host,
        };
        add(&mut times, "good", || Ok(timing));
        add(&mut times, "bad", || bail!("library missing"));
        assert_eq!(
            times.into_iter().collect::<Vec<_>>(),
            [("good".into(), 2.0)]
        );
    }
}
