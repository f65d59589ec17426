//! Packed weights back to floats.

use tritburn_formats::{ScaleGranularity, WeightCode};
use tritburn_kernels::{FloatType, unpack};

use crate::device::{client, supported};
use crate::harness::*;

#[test]
fn weights_equal_the_codecs_for_every_shape_and_granularity() {
    let client = client();
    for (i, (n, k)) in WEIGHT_SHAPES.into_iter().enumerate() {
        for code in CODES {
            for scale in granularities(n) {
                let matrix = matrix(&mut rng(i), &layout(n, k, code, scale));
                for stride in [k, k + 3] {
                    let out = Out::new(&client, [n, k], stride, FloatType::F32);
                    unpack::launch(&client, &weights(&client, &matrix), &out.matrix).unwrap();
                    let what = format!("{:?}, stride {stride}", matrix.layout());
                    assert_bits(&out.read(&client), &matrix.dequantize(), &what);
                }
            }
        }
    }
}

#[test]
fn half_precision_weights_are_rounded_once() {
    let client = client();
    let matrix = matrix(
        &mut rng(1),
        &layout(9, 100, WeightCode::Int2, ScaleGranularity::Row),
    );
    for dtype in supported([FloatType::F16, FloatType::BF16]) {
        let out = Out::new(&client, [9, 100], 104, dtype);
        unpack::launch(&client, &weights(&client, &matrix), &out.matrix).unwrap();
        let dense = matrix.dequantize();
        let expected: Vec<f32> = dense.iter().map(|&w| round_to(w, dtype)).collect();
        assert_bits(&out.read(&client), &expected, &dtype.to_string());
    }
}
