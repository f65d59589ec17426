//! Real weights, their product, and what is no matrix.

use tritburn_formats::affine::{
    AffineLayout, AffineMatrix, AffineParts, Bits, FloatType, Floats, pack_affine_codes,
};
use tritburn_formats::{MatrixError, reference};

use super::{SHAPES, layouts, random_matrix};
use crate::common::noise;

/// A weight by its definition, in f64: column, then input.
fn weights(matrix: &AffineMatrix) -> Vec<f64> {
    let layout = matrix.layout();
    let (k, codes) = (layout.in_features(), matrix.codes());
    let mut weights = vec![0.0; codes.len()];
    for (at, &code) in codes.iter().enumerate() {
        let (row, column) = (at / k, at % k);
        let group = layout.group_size().map_or(0, |size| column / size);
        let group = row * layout.groups_per_row() + group;
        let scale = f64::from(matrix.scales().get(group).expect("a scale"));
        let zero = match matrix.zeros() {
            Some(zeros) => f64::from(zeros.get(group).expect("a zero point")),
            None => f64::from(1u32 << (layout.bits().count() - 1)),
        };
        let kept = !layout.is_sparse()
            || matrix.mask()[row * (k / 32) + column / 32] >> (column % 32) & 1 == 1;
        let input = matrix.order().map_or(column, |o| o[column] as usize);
        if kept {
            weights[row * k + input] = (f64::from(code) - zero) * scale;
        }
    }
    weights
}

#[test]
fn weights_and_products_follow_the_definition() {
    for [out, k] in SHAPES {
        for layout in layouts([out, k]) {
            let matrix = random_matrix(layout.clone(), 21);
            let expected = weights(&matrix);
            for (i, (w, expected)) in matrix.dequantize().iter().zip(&expected).enumerate() {
                // Two roundings of f32, the first of a number up to 36.
                let scale = expected.abs().max(1e-3);
                let error = (f64::from(*w) - expected).abs();
                assert!(error <= 36.0 * scale * 2f64.powi(-24), "{layout:?} at {i}");
                assert_eq!(*w == 0.0, *expected == 0.0, "{layout:?} at {i}");
            }
            let (x, bias) = (noise(3 * k, 22), noise(out, 23));
            let y = reference::matmul_affine(&x, &matrix, Some(&bias));
            assert_eq!(y.len(), 3 * out);
            for (i, y) in y.iter().enumerate() {
                let (x, w) = (&x[i / out * k..][..k], &expected[i % out * k..][..k]);
                let sum: f64 = x.iter().zip(w).map(|(&x, w)| f64::from(x) * w).sum();
                assert_eq!(*y, (sum + f64::from(bias[i % out])) as f32, "{layout:?}");
            }
        }
    }
}

#[test]
fn padding_may_hold_anything() {
    let layout = AffineLayout::new([3, 33], Bits::Three, None).expect("valid");
    let matrix = random_matrix(layout, 4);
    let mut parts = matrix.parts().clone();
    for row in parts.words.chunks_mut(6) {
        row[3] |= 0xffff_fff8;
        row[4] = 0xdead_beef;
    }
    let scribbled = AffineMatrix::new(parts).expect("valid");
    assert_eq!(scribbled.codes(), matrix.codes());
    assert_eq!(scribbled.dequantize(), matrix.dequantize());
}

/// [2, 96] of three groups a row, with every part.
fn parts() -> AffineParts {
    let layout = AffineLayout::new([2, 96], Bits::Four, Some(32)).expect("valid");
    let layout = layout
        .with_zeros()
        .with_order()
        .sparse()
        .expect("whole units");
    random_matrix(layout, 9).into_parts()
}

fn error_of(change: impl FnOnce(&mut AffineParts)) -> MatrixError {
    let mut parts = parts();
    change(&mut parts);
    AffineMatrix::new(parts).expect_err("wrong parts")
}

#[test]
fn a_bad_scale_or_zero_point_is_named_by_row_and_group() {
    let set = |floats: &mut Floats, at: usize, value: f32| {
        let mut values = floats.to_f32();
        values[at] = value;
        *floats = Floats::from_f32(&values, FloatType::F16);
    };
    for bad in [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY] {
        let (row, group, value) = (1, 2, bad);
        let error = error_of(|parts| set(&mut parts.scales, 5, bad));
        assert_eq!(error, MatrixError::GroupScale { row, group, value });
    }
    let error = error_of(|parts| set(&mut parts.scales, 3, f32::NAN));
    assert!(matches!(error, MatrixError::GroupScale { row: 1, group: 0, value } if value.is_nan()));
    let error = error_of(|parts| set(parts.zeros.as_mut().unwrap(), 1, f32::NAN));
    assert!(matches!(error, MatrixError::GroupZero { row: 0, group: 1, value } if value.is_nan()));
    // A negative scale and a zero point between and beyond the codes are weights like others.
    let mut good = parts();
    set(&mut good.scales, 0, -0.5);
    set(good.zeros.as_mut().unwrap(), 0, -31.5);
    assert!(AffineMatrix::new(good).is_ok());
}

#[test]
fn parts_that_do_not_fit_the_layout_are_refused() {
    let length = |what, found, expected| MatrixError::Length {
        what,
        found,
        expected,
    };
    let error = error_of(|parts| parts.words.truncate(11));
    assert_eq!(error, length("packed words", 11, 12));
    let error = error_of(|parts| parts.mask.push(0xffff));
    assert_eq!(error, length("mask", 7, 6));
    let five = Floats::from_f32(&[1.0; 5], FloatType::F16);
    let error = error_of(|parts| parts.scales = five.clone());
    assert_eq!(error, length("scales", 5, 6));
    let error = error_of(|parts| parts.zeros = Some(five));
    assert_eq!(error, length("zero points", 5, 6));
    let error = error_of(|parts| parts.order = Some(vec![0]));
    assert_eq!(error, length("column order", 1, 96));

    let what = "zero points";
    assert_eq!(
        error_of(|parts| parts.zeros = None),
        MatrixError::Missing { what }
    );
    let what = "column orders";
    assert_eq!(
        error_of(|parts| parts.order = None),
        MatrixError::Missing { what }
    );
    let plain = AffineLayout::new([2, 96], Bits::Four, Some(32)).expect("valid");
    let plain = plain.sparse().expect("whole units");
    let error = error_of(|parts| parts.layout = plain.clone().with_zeros());
    assert_eq!(error, MatrixError::Unexpected { what });
    let what = "zero points";
    let error = error_of(|parts| parts.layout = plain.clone().with_order());
    assert_eq!(error, MatrixError::Unexpected { what });

    let (found, expected) = (FloatType::F32, FloatType::F16);
    let f32s = || Floats::F32(vec![1.0; 6]);
    let what = "scales";
    let error = error_of(|parts| parts.scales = f32s());
    assert_eq!(
        error,
        MatrixError::FloatType {
            what,
            found,
            expected
        }
    );
    let what = "zero points";
    let error = error_of(|parts| parts.zeros = Some(f32s()));
    assert_eq!(
        error,
        MatrixError::FloatType {
            what,
            found,
            expected
        }
    );

    let error = error_of(|parts| parts.mask[4] = 0x7fff);
    let (row, unit, kept) = (1, 1, 15);
    assert_eq!(error, MatrixError::Kept { row, unit, kept });
    let inputs = 96;
    let column = 95;
    let error = error_of(|parts| parts.order.as_mut().unwrap()[95] = 96);
    assert_eq!(error, MatrixError::InputOrder { column, inputs });
    let error = error_of(|parts| {
        let order = parts.order.as_mut().unwrap();
        order[95] = order[3];
    });
    assert_eq!(error, MatrixError::InputOrder { column, inputs });
}

#[test]
fn scales_keep_their_type_and_bytes_are_counted() {
    for float in super::FLOATS {
        let layout = AffineLayout::new([2, 40], Bits::Three, Some(16)).expect("valid");
        let layout = layout.with_zeros().with_floats(float);
        let matrix = random_matrix(layout.clone(), 1);
        assert_eq!(matrix.scales().float_type(), float);
        assert_eq!(matrix.scales().len(), 6);
        assert_eq!(layout.byte_count(), 4 * 2 * 6 + 12 * float.size());
        for (at, value) in matrix.scales().to_f32().into_iter().enumerate() {
            assert_eq!(float.round(value), value);
            assert_eq!(matrix.scales().get(at), Some(value));
        }
    }
    let layout = AffineLayout::new([1, 64], Bits::Four, None).expect("valid");
    let layout = layout.with_order().sparse().expect("whole units");
    assert_eq!(layout.byte_count(), 4 * (4 + 2 + 64) + 2);
    let words = pack_affine_codes(&[0; 64], &[0xffff; 2], &layout).expect("codes that fit");
    assert_eq!(words, [0; 4]);
}
