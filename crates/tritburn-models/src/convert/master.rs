//! Float weights that quantise to given codes and to a given γ.

use half::bf16;
use rayon::prelude::*;
use tritburn_formats::PackedMatrix;
use tritburn_formats::quantize::weight::weight_scale_from_mean;
use tritburn_formats::sum::abs_mean;

use crate::checkpoint::{FloatTensorData, FloatType};

/// bf16 master weights `[out, in]` of a ternary matrix with one scale, and the γ that quantising
/// them gives.
///
/// γ is `mean|W|`, and zeros pull it down: weights of ±γ would come back smaller by the share of
/// non-zero codes. So non-zero weights get the magnitude that makes the mean right. A single bf16
/// is too coarse for that: some of them get the next larger one, and what is then left, less than
/// one such step, goes to a few weights of code 0, which stay far below γ / 2. The result has γ, or
/// where no sum rounds to it the f32 next to it; only matrices without zeros, or without anything
/// else, come out further away.
pub(crate) fn master_weights(matrix: &PackedMatrix) -> (FloatTensorData, f32) {
    let layout = matrix.layout();
    let gamma = matrix.scales()[0];
    let scale = |weights: &[f32]| weight_scale_from_mean(abs_mean(weights), layout.code());
    let codes = matrix.codes();
    let used = codes.par_iter().filter(|&&code| code != 1).count();
    let mut weights = vec![0.0f32; codes.len()];
    let target = gamma as f64 * codes.len() as f64;
    if used > 0 {
        let low = floor(target / used as f64);
        let step = (next(low) - low) as f64;
        let larger = ((target - low as f64 * used as f64) / step).max(0.0) as usize;
        let mut left = larger;
        for (weight, &code) in weights.iter_mut().zip(&codes) {
            if code != 1 {
                let magnitude = if left > 0 { next(low) } else { low };
                left = left.saturating_sub(1);
                *weight = if code == 2 { magnitude } else { -magnitude };
            }
        }
        let rest = target - low as f64 * used as f64 - step * larger as f64;
        tune(&mut weights, &codes, rest, gamma, scale);
    }
    let found = scale(&weights);
    let shape = vec![layout.out_features(), layout.in_features()];
    let data = FloatTensorData::from_f32(FloatType::BF16, shape, &weights);
    (data, found)
}

/// Gives `rest` of the sum to weights of code 0, and then what rounding inside the mean still
/// leaves, while that gets γ closer.
fn tune(weights: &mut [f32], codes: &[u8], rest: f64, gamma: f32, scale: impl Fn(&[f32]) -> f32) {
    const PIECES: usize = 8;
    let zeros = codes.iter().enumerate().filter(|(_, code)| **code == 1);
    let mut rest = rest;
    for (at, _) in zeros.take(PIECES) {
        weights[at] = floor(rest.clamp(0.0, gamma as f64 / 4.0));
        let found = scale(weights);
        if found == gamma {
            return;
        }
        rest = (gamma as f64 - found as f64) * weights.len() as f64;
    }
}

/// The largest bf16 up to `value`, which is not negative.
fn floor(value: f64) -> f32 {
    let nearest = bf16::from_f64(value);
    match nearest.to_f64() > value {
        true => bf16::from_bits(nearest.to_bits() - 1).to_f32(),
        false => nearest.to_f32(),
    }
}

/// The bf16 after a positive one.
fn next(value: f32) -> f32 {
    bf16::from_bits(bf16::from_f32(value).to_bits() + 1).to_f32()
}

#[cfg(test)]
mod tests {
    use tritburn_formats::matrix::pack_codes;
    use tritburn_formats::{PackedLayout, ScaleGranularity, WeightCode};

    use super::*;

    fn matrix(codes: &[u8], out: usize, gamma: f32) -> PackedMatrix {
        let scale = ScaleGranularity::Tensor;
        let input = codes.len() / out;
        let layout = PackedLayout::new(out, input, WeightCode::Ternary, scale).unwrap();
        let words = pack_codes(codes, &layout).unwrap();
        PackedMatrix::new(layout, words, vec![gamma]).unwrap()
    }

    #[test]
    fn masters_quantise_to_the_codes_and_the_scale_they_were_made_of() {
        for (size, share_of_zeros) in [(64, 2), (1000, 2), (8192, 5), (70_000, 3)] {
            for gamma in [0.0173f32, 1.0, 0.33333334, 3.7e-4] {
                let codes: Vec<u8> = (0..size as u32)
                    .map(|i| match i.wrapping_mul(2654435761) >> 7 {
                        random if random % share_of_zeros == 0 => 1,
                        random => (random >> 9 & 1) as u8 * 2,
                    })
                    .collect();
                let packed = matrix(&codes, 4, gamma);
                let (masters, found) = master_weights(&packed);
                let steps = found.to_bits().abs_diff(gamma.to_bits());
                assert!(steps <= 1, "{size} weights of scale {gamma}: {found}");
                assert_eq!(masters.dtype, FloatType::BF16);
                let again = masters.pack().unwrap();
                assert_eq!(again.words(), packed.words());
                assert_eq!(again.scales(), [found]);
            }
        }
    }

    #[test]
    fn without_zeros_the_scale_is_as_near_as_bf16_allows() {
        let packed = matrix(&[0, 2, 2, 0, 2, 0, 0, 2], 2, 0.1);
        let (masters, found) = master_weights(&packed);
        assert!((found / 0.1 - 1.0).abs() < 1.0 / 1024.0, "{found}");
        assert_eq!(masters.pack().unwrap().words(), packed.words());
        let (masters, _) = master_weights(&matrix(&[1; 8], 2, 0.1));
        assert!(masters.to_f32().iter().all(|&w| w == 0.0));
    }
}
