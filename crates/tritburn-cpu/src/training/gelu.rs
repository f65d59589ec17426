//! GELU of every element, and its gradient.

use std::f32::consts::{FRAC_1_SQRT_2, LOG2_E};

use crate::error::{CpuError, expect_len};
use crate::isa::Isa;
use crate::lm::vector::{self, LANES, Lanes, Work};
use crate::parallel::{self, OutPtr};

/// `y = x · Φ(x)` with the normal distribution's Φ (Hendrycks & Gimpel 2016, arXiv 1606.08415).
///
/// Φ comes from the approximation of erf by Abramowitz & Stegun, "Handbook of Mathematical Functions",
/// 7.1.26, which is off by 1.5e-7 at most; with the rounding of f32, Φ is within 3e-7. Instruction sets
/// round it differently. For an x of -∞, y is NaN.
///
/// # Errors
/// [`CpuError::Length`] if `y` is not as long as `x`.
pub fn gelu(x: &[f32], y: &mut [f32]) -> Result<(), CpuError> {
    expect_len("y", y.len(), x.len())?;
    run(x, None, y);
    Ok(())
}

/// The gradient of [`gelu`], `dx = dy · (Φ(x) + x · Φ'(x))`.
///
/// # Errors
/// [`CpuError::Length`] if `dy` or `dx` is not as long as `x`.
pub fn gelu_backward(x: &[f32], dy: &[f32], dx: &mut [f32]) -> Result<(), CpuError> {
    expect_len("dy", dy.len(), x.len())?;
    expect_len("dx", dx.len(), x.len())?;
    run(x, Some(dy), dx);
    Ok(())
}

fn run(x: &[f32], dy: Option<&[f32]>, to: &mut [f32]) {
    let isa = Isa::detect();
    let out = OutPtr::new(to);
    // An element takes about as long as sixteen multiply-adds of a product.
    let parallel = parallel::worth_it(x.len().saturating_mul(16));
    parallel::for_ranges(parallel, x.len(), LANES, usize::MAX, |range| {
        let part = Part {
            x: &x[range.clone()],
            dy: dy.map(|dy| &dy[range.clone()]),
            // SAFETY: ranges are disjoint.
            to: unsafe { out.slice(range.start, range.len()) },
        };
        // SAFETY: a detected set is available.
        unsafe { vector::run(isa, part) };
    });
}

/// Elements in a row; gradients if there is a `dy`.
struct Part<'a> {
    x: &'a [f32],
    dy: Option<&'a [f32]>,
    to: &'a mut [f32],
}

impl Work for Part<'_> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let Self { x, dy, to } = self;
        for (at, to) in to.chunks_mut(LANES).enumerate() {
            let vector = |from: &[f32]| {
                let mut lanes = [0.0; LANES];
                lanes[..to.len()].copy_from_slice(&from[at * LANES..][..to.len()]);
                lanes
            };
            let x = vector(x);
            // SAFETY: the caller's promise.
            let (share, density) = unsafe { normal::<L>(&x) };
            let found: [f32; LANES] = match dy {
                None => std::array::from_fn(|i| x[i] * share[i]),
                Some(dy) => {
                    let dy: [f32; LANES] = vector(dy);
                    std::array::from_fn(|i| dy[i] * (share[i] + x[i] * density[i]))
                }
            };
            to.copy_from_slice(&found[..to.len()]);
        }
    }
}

/// Φ and Φ' of 16 elements.
///
/// # Safety
/// The set is available.
#[inline(always)]
unsafe fn normal<L: Lanes>(x: &[f32; LANES]) -> ([f32; LANES], [f32; LANES]) {
    /// The handbook's p and a_5 to a_1.
    const P: f32 = 0.327_591_1;
    const A: [f32; 5] = [
        1.061_405_4,
        -1.453_152,
        1.421_413_8,
        -0.284_496_72,
        0.254_829_6,
    ];
    const SQRT_1_OVER_2_PI: f32 = 0.398_942_3;
    /// What `exp2` gives for all that is smaller.
    const SMALLEST: f32 = f32::MIN_POSITIVE;
    let mut powers: [f32; LANES] = std::array::from_fn(|i| -0.5 * LOG2_E * x[i] * x[i]);
    // SAFETY: the caller has the set; the array has 16 elements.
    unsafe { L::store(L::exp2(L::load(powers.as_ptr())), powers.as_mut_ptr()) };
    // Far from zero the power stays at its smallest, and times a large x it would count.
    let powers = powers.map(|power| if power <= SMALLEST { 0.0 } else { power });
    let share = std::array::from_fn(|i| {
        let t = 1.0 / (1.0 + P * FRAC_1_SQRT_2 * x[i].abs());
        let sum = A.iter().fold(0.0, |sum, a| (sum + a) * t);
        let outside = 0.5 * sum * powers[i];
        if x[i] < 0.0 { outside } else { 1.0 - outside }
    });
    (share, powers.map(|power| SQRT_1_OVER_2_PI * power))
}
