//! What the measurements of this folder share.

#![allow(dead_code, reason = "each example uses its own part")]

use std::hint::black_box;
use std::time::Instant;

use rayon::prelude::*;

/// Bytes of packed weights in rotation when cold.
pub const COLD_BYTES: usize = 800 << 20;
const PASSES: usize = 5;

/// The value behind `name` among the arguments.
pub fn option(name: &str) -> Option<String> {
    let args: Vec<String> = std::env::args().collect();
    let at = args.iter().position(|a| a == name)?;
    args.get(at + 1).cloned()
}

/// Words in which every byte holds valid ternary codes, in pages that can be made huge.
pub struct Buffer {
    pub words: Vec<u32>,
}

impl Buffer {
    pub fn new(len: usize) -> Self {
        let mut words = vec![0u32; len];
        let mut state = 1u32;
        for word in &mut words {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // Clears the upper bit of a code whose lower bit is set: no code 3.
            *word = state & !((state & 0x5555_5555) << 1);
        }
        Self { words }
    }

    /// Moves the words into new memory with huge pages or without.
    pub fn pages(&mut self, huge: bool) {
        let mut words = Vec::with_capacity(self.words.len());
        advise(&mut words, huge);
        words.extend_from_slice(&self.words);
        self.words = words;
    }
}

#[cfg(target_os = "linux")]
fn advise(words: &mut Vec<u32>, huge: bool) {
    use std::ffi::{c_int, c_void};
    unsafe extern "C" {
        fn madvise(address: *mut c_void, len: usize, advice: c_int) -> c_int;
    }
    const HUGE: c_int = 14;
    const SMALL: c_int = 15;
    let start = words.as_mut_ptr().addr().next_multiple_of(4096);
    let end = words.as_mut_ptr().addr() + 4 * words.capacity();
    // SAFETY: advice on pages inside the vector's own, still empty memory.
    unsafe {
        madvise(
            start as *mut c_void,
            end - start,
            if huge { HUGE } else { SMALL },
        );
    }
}

#[cfg(not(target_os = "linux"))]
fn advise(_: &mut Vec<u32>, _: bool) {}

/// The best pass and how far the others were.
pub struct Speed {
    pub best: f64,
    worst: f64,
}

impl std::fmt::Display for Speed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:8.1}   (passes from {:.1})", self.best, self.worst)
    }
}

/// Times passes of `calls` calls each; `work` units a call over nanoseconds is the speed. A pass
/// counts as its median call, or the one at `--quantile`, from 0 for the fastest: on a machine that
/// others use, a thread that waits for its turn is not measured then.
pub fn measure(calls: usize, work: f64, mut call: impl FnMut(usize)) -> Speed {
    let quantile =
        option("--quantile").map_or(0.5, |q| q.parse().expect("--quantile takes a number"));
    let at = (quantile * (calls - 1) as f64).round() as usize;
    let mut speeds: Vec<f64> = (0..PASSES)
        .map(|_| {
            let mut times: Vec<f64> = (0..calls)
                .map(|i| {
                    let start = Instant::now();
                    call(i);
                    start.elapsed().as_nanos() as f64
                })
                .collect();
            times.sort_by(f64::total_cmp);
            work / times[at]
        })
        .collect();
    speeds.sort_by(f64::total_cmp);
    Speed {
        best: speeds[PASSES - 1],
        worst: speeds[0],
    }
}

/// All threads read the next 4 MiB, a contiguous part each, as a product of one token does.
pub fn read_bandwidth(words: &[u32]) -> Speed {
    const CALL: usize = 1 << 20;
    let part = CALL.div_ceil(rayon::current_num_threads());
    let calls = words.len() / CALL;
    measure(calls, 4.0 * CALL as f64, |i| {
        let sum = words[i * CALL..(i + 1) * CALL]
            .par_chunks(part)
            .map(|part| {
                let mut lanes = [0u32; 64];
                for chunk in part.as_chunks::<64>().0 {
                    for (lane, word) in lanes.iter_mut().zip(chunk) {
                        *lane ^= word;
                    }
                }
                lanes.iter().fold(0, |a, b| a ^ b)
            })
            .reduce(|| 0, |a, b| a ^ b);
        black_box(sum);
    })
}

pub fn activations(len: usize) -> Vec<f32> {
    (0..len)
        .map(|i| ((i * 7919 % 1013) as f32 - 506.0) / 300.0)
        .collect()
}
