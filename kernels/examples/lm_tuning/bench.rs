//! A launch that is checked and timed.

use std::panic::{AssertUnwindSafe, catch_unwind};

use cubecl::client::Client;
use cubecl::server::Handle;
use tritburn_kernels::{FloatMatrix, FloatType, QuantizedActivations};

use crate::harness::*;
use crate::reference;
use crate::replay::{self, sync};

pub const HIDDEN: usize = 2560;
pub const INNER: usize = 6912;
pub const HEADS: usize = 20;
pub const KV_HEADS: usize = 5;
pub const DIM: usize = 128;
pub const POSITIONS: usize = 4096;
pub const EPS: f32 = 1e-5;
pub const TYPE: FloatType = FloatType::BF16;

/// A device, and what to do on it.
pub struct Bench {
    pub client: Client,
    pub names: Vec<String>,
    pub check: bool,
    pub vocabulary: usize,
    /// Caches of layers.
    pub layers: usize,
    pub failures: usize,
}

impl Bench {
    pub fn wanted(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|n| n == name)
    }

    /// Median microseconds of `call(i)` for `i` in `0..calls`, one after another.
    pub fn time(&self, calls: usize, call: impl Fn(usize)) -> f64 {
        call(0);
        let run = || (0..calls).for_each(&call);
        // SAFETY: every buffer of the recorded calls outlives this function.
        unsafe { replay::time(&self.client, [15, 1], run) / calls as f64 }
    }

    /// One line: `call(0)`, checked, then timed. `bytes` is what a call has to move.
    pub fn case(
        &mut self,
        what: &str,
        calls: usize,
        bytes: usize,
        call: impl Fn(usize),
        check: impl Fn(),
    ) {
        call(0);
        sync(&self.client);
        let result = match self.check {
            true => match catch_unwind(AssertUnwindSafe(check)) {
                Ok(()) => "ok",
                Err(_) => {
                    self.failures += 1;
                    "WRONG"
                }
            },
            false => "unchecked",
        };
        let time = self.time(calls, call);
        let rate = bytes as f64 / time * 1e-6;
        println!("{what:<44} {result:<9} {time:>9.2} us  {rate:>6.2} TB/s");
    }

    pub fn floats(&self, seed: usize, shape: [usize; 2]) -> (Vec<f32>, FloatMatrix) {
        let host = floats(&mut rng(seed), shape[0] * shape[1], TYPE);
        let matrix = float_matrix(&self.client, &host, shape, shape[1], TYPE);
        (host, matrix)
    }

    pub fn codes(&self, rows: usize, cols: usize) -> (QuantizedActivations, [Handle; 2]) {
        let words = rows * QuantizedActivations::words_per_row(cols);
        let (codes, codes_handle) = empty(&self.client, words);
        let (scales, scales_handle) = empty(&self.client, rows);
        let out = QuantizedActivations::new(rows, cols, codes, scales);
        (out.expect("activations"), [codes_handle, scales_handle])
    }

    pub fn assert_codes(&self, handles: &[Handle; 2], y: &[f64], k: usize) {
        let codes = read_u32(&self.client, &handles[0]);
        let scales = read_f32(&self.client, &handles[1]);
        reference::assert_quantised(&codes, &scales, y, k, "codes");
    }
}
