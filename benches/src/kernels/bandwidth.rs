//! How fast the device reads memory: the ceiling of every product of few tokens.

use anyhow::Result;
use cubecl::prelude::*;

use super::Bench;

/// Bytes that are read: well past any cache.
const GPU_BYTES: usize = 2 << 30;
const CPU_BYTES: usize = 256 << 20;

/// Each unit folds every `UNITS`-th line of 16 bytes, four loads in flight.
#[cube(launch_unchecked)]
fn read(input: &[Vector<u32, Const<4>>], output: &mut [u32], lines: usize, units: usize) {
    let mut fold = Vector::<u32, Const<4>>::new(0u32);
    let mut line = ABSOLUTE_POS;
    while line + 3 * units < lines {
        let first = input[line];
        let second = input[line + units];
        let third = input[line + 2 * units];
        let fourth = input[line + 3 * units];
        fold = fold ^ first ^ second ^ third ^ fourth;
        line += 4 * units;
    }
    if ABSOLUTE_POS < units {
        let pair = fold.extract(0usize) ^ fold.extract(1usize);
        output[ABSOLUTE_POS] = pair ^ fold.extract(2usize) ^ fold.extract(3usize);
    }
}

/// Bytes a second of a kernel that reads a large buffer once.
///
/// # Errors
/// If the device fails.
pub fn read_bytes_per_s(bench: &Bench) -> Result<f64> {
    let (bytes, cubes, dim) = match bench.facts.lockstep {
        true => {
            let multiprocessors = bench.facts.cuda.map_or(32, |cuda| cuda.multiprocessors);
            (GPU_BYTES, 8 * multiprocessors, 256)
        }
        false => (CPU_BYTES, 1, bench.facts.cube_units),
    };
    let units = (cubes * dim) as usize;
    let input = match bench.facts.lockstep {
        true => bench.client.empty(bytes),
        // Pages of a processor's memory exist once they are written.
        false => bench.client.create_from_slice(&vec![1; bytes]),
    };
    let output = bench.client.empty(4 * units);
    let timing = bench.time(1, |_| {
        // SAFETY: the buffers hold what they are bound with; the kernel stays below `lines` and
        // `units`.
        unsafe {
            read::launch_unchecked(
                &bench.client,
                CubeCount::Static(cubes, 1, 1),
                CubeDim::new_1d(dim),
                BufferArg::from_raw_parts(input.clone(), bytes / 16),
                BufferArg::from_raw_parts(output.clone(), units),
                bytes / 16,
                units,
            );
        }
        Ok(())
    })?;
    let read = bytes / 16 / (4 * units) * (4 * units) * 16;
    Ok(read as f64 / (timing.us * 1e-6))
}
