//! Scales of zero, which converters write for weights that are all zero.

use tritburn_formats::ScaleGranularity::Tensor;
use tritburn_formats::codec::gguf::tq2_0;
use tritburn_formats::quantize::quantize_weights;
use tritburn_formats::{MatrixError, PackedMatrix, WeightCode};

use crate::common::{SHAPES, granularities, layout, noise};

#[test]
fn weights_stay_and_no_scale_is_zero() {
    for (out, k) in SHAPES {
        for scale in granularities(out) {
            let plan = layout(out, k, WeightCode::Ternary, scale.clone());
            let random = quantize_weights(&noise(out * k, 7), &plan).expect("of that length");
            let count = random.scales().len();
            for first in 0..count.min(3) {
                let mut scales = random.scales().to_vec();
                let zeros = scales.iter_mut().skip(first).step_by(3);
                zeros
                    .enumerate()
                    .for_each(|(i, scale)| *scale = [0.0, -0.0][i % 2]);
                let matrix = PackedMatrix::new(plan.clone(), random.words().to_vec(), scales)
                    .expect("valid");
                let usable = matrix.clone().without_zero_scales().expect("ternary");
                // -0.0 == 0.0: the sign of a zero weight is not kept.
                assert_eq!(
                    usable.dequantize(),
                    matrix.dequantize(),
                    "[{out}, {k}] {scale:?}"
                );
                for (index, &usable) in usable.scales().iter().enumerate() {
                    let touched = index >= first && (index - first).is_multiple_of(3);
                    let expected = if touched { 1.0 } else { random.scales()[index] };
                    assert_eq!(usable, expected, "[{out}, {k}] {scale:?} {index}");
                }
            }
            assert_eq!(random.clone().without_zero_scales(), Ok(random));
        }
    }
}

#[test]
fn four_levels_without_a_zero_are_refused_and_others_left_alone() {
    let plan = layout(
        3,
        16,
        WeightCode::Int2,
        tritburn_formats::ScaleGranularity::Row,
    );
    let words = vec![0x1b1b_1b1b; 3];
    let matrix = |scales| PackedMatrix::new(plan.clone(), words.clone(), scales).expect("valid");
    let refused = MatrixError::ZeroScale {
        index: 1,
        code: WeightCode::Int2,
    };
    let zero = matrix(vec![1.0, -0.0, 0.0]);
    assert_eq!(zero.without_zero_scales(), Err(refused));
    let odd = matrix(vec![-1.0, f32::INFINITY, 1e-45]);
    assert_eq!(odd.clone().without_zero_scales(), Ok(odd));
}

#[test]
fn a_block_of_zeros_as_llama_cpp_stores_it() {
    // Codes of -1 with d = 0, beside a block of d = 0.5.
    let mut bytes = vec![0; 2 * tq2_0::BLOCK_BYTES];
    bytes[tq2_0::BLOCK_BYTES..].fill(0x55);
    bytes[2 * tq2_0::BLOCK_BYTES - 2..].copy_from_slice(&[0x00, 0x38]);
    let stored = tq2_0::decode_groups(&bytes, 1, 512).expect("valid");
    assert_eq!(stored.scales(), [0.0, 0.5]);
    let usable = stored.without_zero_scales().expect("ternary");
    assert_eq!(usable.scales(), [1.0, 0.5]);
    assert_eq!(usable.words(), [0x5555_5555; 32]);
    let zeros = tq2_0::decode(&[0; 2 * tq2_0::BLOCK_BYTES], 1, 512).expect("valid");
    assert_eq!(
        (zeros.layout().scale(), zeros.scales()),
        (&Tensor, &[0.0][..])
    );
    let usable = zeros.without_zero_scales().expect("ternary");
    assert_eq!(
        (usable.scales(), usable.dequantize()),
        (&[1.0][..], vec![0.0; 512])
    );
}
