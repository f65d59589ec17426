//! The two products of a layer's backward pass: float outputs from f32 sums.
//!
//! - [`input`]: `dX = dY · Ŵ`, `[M, K]`, from packed weights of any code and granularity.
//! - [`weight`]: `dW = dYᵀ · X̂`, `[N, K]`, from int8 activations; no weight scale enters.
//!
//! Gradients pass the quantisers straight through. M = 0 gives an empty dX and a zero dW.

mod input;
mod weight;

pub use input::launch as input;
pub use weight::launch as weight;

use crate::device::DeviceFacts;

/// Rows (tokens, or weight rows) that one unit of the portable kernels computes, of a matrix of
/// `rows`: fewer where units would be idle otherwise.
fn rows_of_a_unit(rows: usize, device: &DeviceFacts) -> usize {
    let most = if device.lockstep { 4 } else { 8 };
    let sizes = [most, most / 2, 1];
    sizes.into_iter().find(|size| rows >= *size).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_never_holds_more_rows_than_there_are() {
        for lockstep in [false, true] {
            let device = DeviceFacts {
                lockstep,
                cube_units: 8,
                max_units: 8,
                shared_bytes: 0,
                vector: 4,
                cuda: None,
            };
            for rows in 1..20 {
                let held = rows_of_a_unit(rows, &device);
                assert!((1..=rows).contains(&held), "{rows} rows, {held} a unit");
            }
            let most = if lockstep { 4 } else { 8 };
            assert_eq!(rows_of_a_unit(1000, &device), most);
        }
    }
}
