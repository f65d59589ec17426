//! Rows stacked, in another order, multiplied.

use tritburn_formats::MatrixError;
use tritburn_formats::affine::{
    AffineLayout, Bits, FloatType, concat_rows, reorder_rows, scale_rows,
};

use super::{SHAPES, layouts, random_matrix};

#[test]
fn stacked_rows_are_the_rows_of_the_parts() {
    for [out, k] in SHAPES {
        for (a, b) in layouts([out, k]).into_iter().zip(layouts([2, k])) {
            // One seed: the orders of columns are the same.
            let parts = [random_matrix(a, 31), random_matrix(b, 31)];
            let fused = concat_rows(&parts).expect("matrices that are stored alike");
            assert_eq!(fused.layout().out_features(), out + 2);
            let rows = parts.iter().flat_map(|part| part.dequantize());
            assert_eq!(fused.dequantize(), rows.collect::<Vec<_>>());
        }
    }
}

#[test]
fn matrices_that_are_not_stored_alike_are_refused_by_the_difference() {
    let base = AffineLayout::new([2, 64], Bits::Four, Some(32)).expect("a layout");
    let other = |shape, bits, group| AffineLayout::new(shape, bits, group).expect("a layout");
    let permuted = base.clone().with_order();
    for (first, second, what) in [
        (&base, other([2, 32], Bits::Four, Some(32)), "inputs"),
        (&base, other([2, 64], Bits::Three, Some(32)), "bits"),
        (&base, other([2, 64], Bits::Four, Some(16)), "groups"),
        (&base, base.clone().with_zeros(), "zero points"),
        (&base, base.clone().sparse().expect("sparse"), "sparsity"),
        (
            &base,
            base.clone().with_floats(FloatType::Bf16),
            "types of scales",
        ),
        (&base, permuted.clone(), "orders of columns"),
        (&permuted, permuted.clone(), "orders of columns"),
    ] {
        let parts = [
            random_matrix(first.clone(), 1),
            random_matrix(first.clone(), 1),
            random_matrix(second, 2),
        ];
        let refused = MatrixError::ConcatAffine { index: 2, what };
        assert_eq!(concat_rows(&parts), Err(refused));
    }
    let none: [tritburn_formats::AffineMatrix; 0] = [];
    assert_eq!(concat_rows(&none), Err(MatrixError::NothingToConcat));
}

#[test]
fn rows_in_another_order_keep_their_groups() {
    for [out, k] in SHAPES {
        let order: Vec<usize> = (0..out).rev().collect();
        for layout in layouts([out, k]) {
            let matrix = random_matrix(layout, 32);
            let weights = matrix.dequantize();
            let reversed = reorder_rows(&matrix, &order).expect("an order");
            let expected: Vec<f32> = weights.rchunks(k).flatten().copied().collect();
            assert_eq!(reversed.dequantize(), expected);
        }
    }
    let matrix = random_matrix(layouts([3, 7]).remove(0), 1);
    let refused = MatrixError::RowOrder { row: 1, rows: 3 };
    assert_eq!(reorder_rows(&matrix, &[0, 0, 2]), Err(refused));
}

#[test]
fn a_factor_is_in_the_scales() {
    for layout in layouts([5, 33]) {
        let matrix = random_matrix(layout, 33);
        let twice = scale_rows(&matrix, -2.0).expect("finite scales");
        let expected: Vec<f32> = matrix.dequantize().iter().map(|w| w * -2.0).collect();
        assert_eq!(twice.dequantize(), expected);
        let zero = scale_rows(&matrix, 0.0);
        assert!(matches!(
            zero,
            Err(MatrixError::GroupScale {
                row: 0,
                group: 0,
                ..
            })
        ));
    }
}
