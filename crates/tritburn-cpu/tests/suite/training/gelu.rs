//! GELU and its gradient against the formula in f64.

use crate::common::*;
use tritburn_cpu::*;

fn share(x: f64) -> f64 {
    0.5 * libm::erfc(-x / std::f64::consts::SQRT_2)
}

fn density(x: f64) -> f64 {
    (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

fn run(x: &[f32], dy: &[f32]) -> [Vec<f32>; 2] {
    let (mut y, mut dx) = (vec![f32::NAN; x.len()], vec![f32::NAN; x.len()]);
    gelu(x, &mut y).unwrap();
    gelu_backward(x, dy, &mut dx).unwrap();
    [y, dx]
}

#[test]
fn values_and_slopes_equal_f64_from_far_below_to_far_above_zero() {
    // 4,003 elements: whole vectors and three more.
    let x: Vec<f32> = (-2001..=2001).map(|i| i as f32 * 0.01).collect();
    let dy: Vec<f32> = x.iter().map(|x| 0.5 + x.cos()).collect();
    let [y, dx] = run(&x, &dy);
    for (i, &at) in x.iter().enumerate() {
        let (exact, dy) = (f64::from(at), f64::from(dy[i]));
        let value = exact * share(exact);
        let slope = dy * (share(exact) + exact * density(exact));
        let bound = 3e-7 * exact.abs().max(1.0);
        assert!((f64::from(y[i]) - value).abs() <= bound, "{at}: {}", y[i]);
        assert!((f64::from(dx[i]) - slope).abs() <= 1e-6, "{at}: {}", dx[i]);
    }
    assert_eq!(y[2001], 0.0);
}

#[test]
fn no_element_and_nan_and_infinity() {
    assert!(run(&[], &[]).iter().all(Vec::is_empty));
    let [y, dx] = run(&[f32::NAN, f32::INFINITY, 1.0], &[1.0; 3]);
    assert!(y[0].is_nan() && dx[0].is_nan());
    assert_eq!(y[1], f32::INFINITY);
    let far = [3e38, 1e20, -1e20, -3e38];
    assert_eq!(
        run(&far, &[2.0; 4]),
        [vec![3e38, 1e20, 0.0, 0.0], vec![2.0, 2.0, 0.0, 0.0]]
    );
    assert!((y[2] - 0.841_344_7).abs() < 1e-6);
}

#[test]
fn threads_change_no_bit() {
    let mut rng = Random(4);
    let (x, dy) = (rng.floats(100_003), rng.floats(100_003));
    let [one, many] = on_threads(|| run(&x, &dy).map(|floats| bits(&floats)));
    assert_eq!(one, many);
}

#[test]
fn slices_that_do_not_fit_are_refused() {
    let wrong = |operand| {
        Err(CpuError::Length {
            operand,
            found: 2,
            expected: 3,
        })
    };
    assert_eq!(gelu(&[0.0; 3], &mut [0.0; 2]), wrong("y"));
    assert_eq!(
        gelu_backward(&[0.0; 3], &[0.0; 2], &mut [0.0; 3]),
        wrong("dy")
    );
    assert_eq!(
        gelu_backward(&[0.0; 3], &[0.0; 3], &mut [0.0; 2]),
        wrong("dx")
    );
}
