//! Scales of a few values by least squares, for the quantisers of the K types.

/// Divisors that are tried, as the level that the largest value comes to, below the last level and
/// beyond it.
const TRIED: [f32; 9] = [-1.0, -0.7, -0.4, -0.2, 0.0, 0.2, 0.4, 0.7, 1.0];

/// The scale `s` that makes `Σ (x - s·q)²` small, with `q` the nearest integer to `x / s` from
/// `-levels` to `levels - 1`. The value of largest size comes to about `-levels`, so `s` may be
/// negative. Zero for zeros.
#[inline(always)]
pub(super) fn symmetric<const N: usize>(values: &[f32; N], levels: f32) -> f32 {
    let mut largest = 0.0f32;
    for &x in values {
        largest = if x.abs() > largest.abs() { x } else { largest };
    }
    if largest == 0.0 {
        return 0.0;
    }
    let (mut best, mut scale) = (0.0, largest / -levels);
    for beyond in TRIED {
        let inverse = -(levels + beyond) / largest;
        let (mut products, mut squares) = (0.0f32, 0.0f32);
        for &x in values {
            let q = (x * inverse)
                .round_ties_even()
                .max(-levels)
                .min(levels - 1.0);
            products += x * q;
            squares += q * q;
        }
        // The error is Σ x² less this.
        let explained = products * products / squares;
        if squares > 0.0 && explained > best {
            (best, scale) = (explained, products / squares);
        }
    }
    scale
}

/// The scale `s` and the minimum `m`, neither negative, that make `Σ (x - (s·q - m))²` small, with `q` the
/// nearest integer to `(x + m) / s` from 0 to `top`.
#[inline(always)]
pub(super) fn asymmetric<const N: usize>(values: &[f32; N], top: f32) -> (f32, f32) {
    let (mut low, mut high, mut sum) = (0.0f32, 0.0f32, 0.0f32);
    for &x in values {
        low = low.min(x);
        high = high.max(x);
        sum += x;
    }
    if low == high {
        return (0.0, 0.0);
    }
    let count = N as f32;
    let mut best = ((high - low) / top, -low);
    let mut smallest = f32::INFINITY;
    for beyond in TRIED {
        let inverse = (top + beyond) / (high - low);
        let code = |x: f32| ((x - low) * inverse).round_ties_even().max(0.0).min(top);
        let (mut products, mut codes, mut squares) = (0.0f32, 0.0f32, 0.0f32);
        for &x in values {
            let q = code(x);
            products += x * q;
            codes += q;
            squares += q * q;
        }
        let determinant = count * squares - codes * codes;
        if determinant <= 0.0 {
            continue;
        }
        let mut scale = (count * products - sum * codes) / determinant;
        let mut min = (codes * products - squares * sum) / determinant;
        if min < 0.0 {
            (scale, min) = (products / squares, 0.0);
        }
        let mut error = 0.0f32;
        for &x in values {
            let difference = scale * code(x) - min - x;
            error += difference * difference;
        }
        if scale > 0.0 && error < smallest {
            (smallest, best) = (error, (scale, min));
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A fixed sequence that looks random, from -1 to 1.
    fn values<const N: usize>(seed: u32) -> [f32; N] {
        let mut state = seed;
        std::array::from_fn(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        })
    }

    fn squared(values: &[f32], stored: impl Fn(f32) -> f32) -> f64 {
        values
            .iter()
            .map(|&x| f64::from(x - stored(x)).powi(2))
            .sum()
    }

    #[test]
    fn levels_are_met_exactly() {
        let grid: [f32; 16] = std::array::from_fn(|i| 0.375 * (i as f32 * 4.0 - 32.0));
        assert_eq!(symmetric(&grid, 32.0), 0.375);
        let shifted: [f32; 32] = std::array::from_fn(|i| 0.5 * (i % 16) as f32 - 2.0);
        assert_eq!(asymmetric(&shifted, 15.0), (0.5, 2.0));
        assert_eq!(symmetric(&[0.0; 16], 32.0), 0.0);
        assert_eq!(asymmetric(&[0.0; 32], 15.0), (0.0, 0.0));
    }

    #[test]
    fn the_fit_is_no_worse_than_the_largest_value_alone() {
        for seed in 0..200 {
            let x: [f32; 16] = values(seed);
            let error = |s: f32| squared(&x, |x| s * (x / s).round_ties_even().clamp(-32.0, 31.0));
            let largest = x
                .into_iter()
                .fold(0.0f32, |a, b| if b.abs() > a.abs() { b } else { a });
            assert!(error(symmetric(&x, 32.0)) <= error(largest / -32.0) * 1.001);

            let x: [f32; 32] = values(seed + 1000);
            let error = |s: f32, m: f32| {
                squared(&x, |x| {
                    s * ((x + m) / s).round_ties_even().clamp(0.0, 15.0) - m
                })
            };
            let (scale, min) = asymmetric(&x, 15.0);
            let low = x.into_iter().fold(0.0, f32::min);
            let high = x.into_iter().fold(0.0, f32::max);
            assert!(error(scale, min) <= error((high - low) / 15.0, -low) * 1.001);
        }
    }
}
