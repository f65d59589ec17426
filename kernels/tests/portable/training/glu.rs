//! The gated unit of every activation, with and without its norm, and its gradients.

use tritburn_kernels::decoder::glu::{self, GatedActivation};
use tritburn_kernels::decoder::norm::RowOutput;
use tritburn_kernels::{FloatType, FloatVector};

use super::derivative::*;
use crate::device::{client, supported};
use crate::harness::*;

const EPS: f32 = 1e-5;

/// Rows, columns of gate, spare columns.
const SHAPES: [(usize, usize, usize); 7] = [
    (0, 4, 0),
    (1, 1, 0),
    (3, 21, 2),
    (70, 24, 0),
    (5, 48, 8),
    (9, 768, 0),
    (3, 2048, 16),
];

fn cases() -> impl Iterator<Item = (usize, (usize, usize, usize), FloatType, GatedActivation)> {
    let shapes = SHAPES.into_iter().enumerate();
    let typed = shapes.flat_map(|(i, shape)| supported(FLOATS).map(move |dtype| (i, shape, dtype)));
    typed.flat_map(|(i, shape, dtype)| ACTIVATIONS.map(move |a| (i, shape, dtype, a)))
}

#[test]
fn activations_equal_the_reference_with_and_without_a_norm() {
    let client = client();
    for (i, (m, inner, spare), dtype, activation) in cases() {
        let what = format!("{m}x{inner} + {spare} {dtype} {activation:?}");
        let mut rng = rng(i);
        let x = floats(&mut rng, m * 2 * inner, dtype);
        let gamma = floats(&mut rng, inner, FloatType::F32);
        let rows = x.chunks(2 * inner).map(widen);
        let h: Vec<Vec<f64>> = rows.map(|row| gated_row(activation, &row)).collect();
        let sizes = x.chunks(2 * inner).map(widen);
        let sizes: Vec<Vec<f64>> = sizes.map(|row| gated_row_sizes(activation, &row)).collect();
        let normed = h.iter().flat_map(|h| norm_row(h, &widen(&gamma), EPS));
        let normed: Vec<f64> = normed.collect();
        // Gains are the norm's only factors beside one number a row.
        let normed_sizes = h.iter().zip(&sizes).flat_map(|(h, sizes)| {
            let scale = rms_scale(h, EPS);
            let gains = widen(&gamma);
            let sizes = sizes.iter().zip(gains);
            sizes
                .map(|(size, gain)| size * gain.abs() * scale)
                .collect::<Vec<_>>()
        });
        let normed_sizes: Vec<f64> = normed_sizes.collect();

        let stride = 2 * inner + spare;
        let x = float_matrix(&client, &x, [m, 2 * inner], stride, dtype);
        let gamma = float_vector(&client, &gamma, FloatType::F32);
        for (norm, expected, sizes) in [
            (None, h.concat(), sizes.concat()),
            (Some((&gamma, EPS)), normed, normed_sizes),
        ] {
            let out = Out::new(&client, [m, inner], inner + spare, dtype);
            let to = RowOutput::Float(&out.matrix);
            glu::launch(&client, &x, activation, norm, to).unwrap();
            let found = out.read(&client);
            assert_close(&found, &expected, &sizes, epsilon(dtype), &what);
        }
    }
}

#[test]
fn gradients_equal_the_reference_with_and_without_a_norm() {
    let client = client();
    for (i, (m, inner, spare), dtype, activation) in cases() {
        for normed in [false, true] {
            let what = format!("{m}x{inner} + {spare} {dtype} {activation:?} norm {normed}");
            let mut rng = rng(i);
            let x = floats(&mut rng, m * 2 * inner, dtype);
            let dy = floats(&mut rng, m * inner, dtype);
            let gamma_type = if i % 2 == 0 { FloatType::F32 } else { dtype };
            let gamma = floats(&mut rng, inner, gamma_type);

            let (mut dx, mut sizes) = (vec![], vec![]);
            let [mut dgamma, mut gamma_sizes] = [(); 2].map(|()| vec![0.0; inner]);
            for (x, dy) in x.chunks(2 * inner).zip(dy.chunks(inner)) {
                let (x, mut dh) = (widen(x), widen(dy));
                let mut dh_size = dh.clone();
                if normed {
                    let h = gated_row(activation, &x);
                    let row = norm_gradient(&h, &widen(&gamma), EPS, &dh);
                    add_to(&mut dgamma, &row.dgamma);
                    add_sizes_to(&mut gamma_sizes, &row.dgamma);
                    (dh, dh_size) = (row.dh, row.dh_size);
                }
                dx.extend(gated_gradient(activation, &x, &dh));
                sizes.extend(gated_sizes(activation, &x, &dh_size));
            }

            let shape = [m, 2 * inner];
            let stride = 2 * inner + spare;
            let gamma = float_vector(&client, &gamma, gamma_type);
            let (_, handle) = empty(&client, inner);
            let found_gamma = FloatVector::new(handle.clone(), inner, FloatType::F32).unwrap();
            let norm = glu::NormGradient {
                gamma: &gamma,
                eps: EPS,
                dgamma: &found_gamma,
            };
            let out = Out::new(&client, shape, stride, dtype);
            glu::backward(
                &client,
                &float_matrix(&client, &x, shape, stride, dtype),
                activation,
                normed.then_some(norm),
                &float_matrix(&client, &dy, [m, inner], inner + spare, dtype),
                &out.matrix,
            )
            .unwrap();
            assert_close(&out.read(&client), &dx, &sizes, epsilon(dtype), &what);
            if normed {
                let found = read_f32(&client, &handle);
                assert_close(&found, &dgamma, &gamma_sizes, 0.0, &what);
            }
        }
    }
}

#[test]
fn int8_without_a_norm_is_refused() {
    let client = client();
    let x = float_matrix(&client, &[0.0; 8], [2, 4], 4, FloatType::F32);
    let codes = activations(&client, &tokens(&mut rng(1), 2, 2));
    let out = RowOutput::Int8(&codes);
    let result = glu::launch(&client, &x, GatedActivation::Silu, None, out);
    assert_eq!(
        result.unwrap_err().to_string(),
        "plan refused: a gated unit without a norm writes floats, not int8"
    );
}
