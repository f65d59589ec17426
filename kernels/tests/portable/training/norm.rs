//! Gradients of the norm.

use tritburn_kernels::decoder::norm;
use tritburn_kernels::{FloatType, FloatVector};

use super::derivative::*;
use crate::device::{client, supported};
use crate::harness::*;

const EPS: f32 = 1e-5;

/// Rows, columns, spare columns: no row, odd ones, several turns of a cube, several planes and
/// lines, several partial sums.
const SHAPES: [(usize, usize, usize); 9] = [
    (0, 5, 0),
    (1, 1, 0),
    (3, 37, 3),
    (130, 21, 0),
    (5, 48, 8),
    (1000, 16, 0),
    (9, 768, 0),
    (3, 2048, 16),
    (2, 9216, 0),
];

#[test]
fn gradients_of_the_norm_equal_the_reference() {
    let client = client();
    for (i, (m, k, spare)) in SHAPES.into_iter().enumerate() {
        for dtype in supported(FLOATS) {
            let what = format!("{m}x{k} + {spare} {dtype}");
            let mut rng = rng(i);
            let x = floats(&mut rng, m * k, dtype);
            let dy = floats(&mut rng, m * k, dtype);
            let add = (i % 2 == 1).then(|| floats(&mut rng, m * k, dtype));
            let gamma_type = if i % 2 == 0 { FloatType::F32 } else { dtype };
            let gamma = floats(&mut rng, k, gamma_type);

            let (mut dx, mut sizes) = (vec![], vec![]);
            let [mut dgamma, mut gamma_sizes] = [(); 2].map(|()| vec![0.0; k]);
            for row in 0..m {
                let at = row * k..(row + 1) * k;
                let (x, dy) = (widen(&x[at.clone()]), widen(&dy[at.clone()]));
                let mut row = norm_gradient(&x, &widen(&gamma), EPS, &dy);
                if let Some(add) = &add {
                    add_to(&mut row.dh, &widen(&add[at.clone()]));
                    add_sizes_to(&mut row.dh_size, &widen(&add[at]));
                }
                dx.extend(row.dh);
                sizes.extend(row.dh_size);
                add_to(&mut dgamma, &row.dgamma);
                add_sizes_to(&mut gamma_sizes, &row.dgamma);
            }

            let matrix = |data: &[f32]| float_matrix(&client, data, [m, k], k + spare, dtype);
            let add = add.map(|add| matrix(&add));
            let out = Out::new(&client, [m, k], k + spare, dtype);
            let (_, handle) = empty(&client, k);
            let found_gamma = FloatVector::new(handle.clone(), k, FloatType::F32).unwrap();
            norm::backward(
                &client,
                &matrix(&x),
                &float_vector(&client, &gamma, gamma_type),
                EPS,
                &matrix(&dy),
                add.as_ref(),
                &out.matrix,
                &found_gamma,
            )
            .unwrap();
            let found = out.read(&client);
            assert_close(&found, &dx, &sizes, epsilon(dtype), &what);
            let found = read_f32(&client, &handle);
            assert_close(&found, &dgamma, &gamma_sizes, 0.0, &what);
        }
    }
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    let client = client();
    let matrix = |cols, dtype| float_matrix(&client, &vec![0.0; 2 * cols], [2, cols], cols, dtype);
    let vector = |len, dtype| float_vector(&client, &vec![0.0; len], dtype);
    let (x, gamma) = (matrix(4, FloatType::F32), vector(4, FloatType::F32));
    let error = |dy, add, dgamma| {
        let result = norm::backward(&client, &x, &gamma, EPS, dy, add, &x, dgamma);
        result.unwrap_err().to_string()
    };
    let (short, half) = (matrix(3, FloatType::F32), matrix(4, FloatType::F16));
    assert_eq!(
        error(&short, None, &gamma),
        "gradient of y has shape [2, 3], expected [2, 4]"
    );
    assert_eq!(
        error(&x, Some(&half), &gamma),
        "joining gradient is f16, expected f32"
    );
    assert_eq!(
        error(&x, None, &vector(4, FloatType::F16)),
        "gradient of gamma is f16, expected f32"
    );
}
