//! Fusing matrices by rows, and cutting them again.

use tritburn_formats::ScaleGranularity::{Group, Row, Segments, Tensor};
use tritburn_formats::matrix::{concat_rows, split_rows};
use tritburn_formats::quantize::quantize_weights;
use tritburn_formats::{LayoutError, MatrixError, PackedMatrix, ScaleGranularity, WeightCode};

use crate::common::{CODES, layout, noise};

fn matrix(out: usize, k: usize, code: WeightCode, scale: ScaleGranularity) -> PackedMatrix {
    quantize_weights(&noise(out * k, out as u64), &layout(out, k, code, scale)).unwrap()
}

fn stacked(parts: &[PackedMatrix]) -> Vec<f32> {
    parts.iter().flat_map(|m| m.dequantize()).collect()
}

#[test]
fn fused_weights_are_the_parts_one_under_the_other() {
    for code in CODES {
        for (scales, fused_scale) in [
            (
                [Tensor, Tensor, Tensor],
                Segments {
                    rows: vec![8, 3, 2],
                },
            ),
            (
                [Tensor, Segments { rows: vec![1, 2] }, Tensor],
                Segments {
                    rows: vec![8, 1, 2, 2],
                },
            ),
            ([Row, Row, Row], Row),
            (
                [Group { size: 16 }, Group { size: 16 }, Group { size: 16 }],
                Group { size: 16 },
            ),
        ] {
            let [a, b, c] = scales;
            let parts = [
                matrix(8, 37, code, a),
                matrix(3, 37, code, b),
                matrix(2, 37, code, c),
            ];
            let fused = concat_rows(&parts).expect("parts that fit");
            assert_eq!(fused.layout(), &layout(13, 37, code, fused_scale));
            assert_eq!(fused.dequantize(), stacked(&parts));
            assert_eq!(concat_rows(&parts.each_ref()), Ok(fused));
        }
    }
}

#[test]
fn splitting_undoes_fusing() {
    for scale in [Tensor, Row, Group { size: 32 }] {
        let parts = [8, 2, 3].map(|out| matrix(out, 70, WeightCode::Ternary, scale.clone()));
        let fused = concat_rows(&parts).expect("parts that fit");
        assert_eq!(split_rows(&fused, &[8, 2, 3]), Ok(parts.to_vec()));
    }
}

#[test]
fn a_cut_through_segments_keeps_each_row_its_scale() {
    let segments = Segments {
        rows: vec![4, 2, 5],
    };
    let whole = matrix(11, 20, WeightCode::Int2, segments);
    let parts = split_rows(&whole, &[3, 5, 3]).expect("eleven rows");
    assert_eq!(stacked(&parts), whole.dequantize());
    assert_eq!(parts[0].layout().scale(), &Tensor);
    assert_eq!(
        parts[1].layout().scale(),
        &Segments {
            rows: vec![1, 2, 2]
        }
    );
    assert_eq!(parts[2].layout().scale(), &Tensor);
    assert_eq!(split_rows(&whole, &[11]), Ok(vec![whole.clone()]));
}

#[test]
fn a_part_of_a_matrix_with_one_scale_has_that_scale() {
    let whole = matrix(6, 20, WeightCode::Ternary, Tensor);
    let parts = split_rows(&whole, &[1, 5]).expect("six rows");
    assert!(parts.iter().all(|p| p.scales() == whole.scales()));
    assert_eq!(stacked(&parts), whole.dequantize());
}

#[test]
fn matrices_that_do_not_fit_are_refused() {
    let ternary = |k, scale| matrix(2, k, WeightCode::Ternary, scale);
    assert_eq!(
        concat_rows::<PackedMatrix>(&[]),
        Err(MatrixError::NothingToConcat)
    );
    let narrow = [ternary(40, Row), ternary(40, Row), ternary(39, Row)];
    let int2 = [ternary(40, Row), matrix(2, 40, WeightCode::Int2, Row)];
    for (parts, index, in_features, code) in [
        (narrow.as_slice(), 2, 39, WeightCode::Ternary),
        (int2.as_slice(), 1, 40, WeightCode::Int2),
    ] {
        let expected = MatrixError::ConcatShape {
            index,
            in_features,
            code,
            first_in_features: 40,
            first_code: WeightCode::Ternary,
        };
        assert_eq!(concat_rows(parts), Err(expected));
    }
}

#[test]
fn parts_of_different_granularity_take_the_finest_common_one() {
    let segments = |rows: &[usize]| Segments {
        rows: rows.to_vec(),
    };
    let group = |size| Group { size };
    for code in CODES {
        for (scales, expected) in [
            ([Tensor, Row, Tensor], Row),
            ([Row, segments(&[1, 2]), Row], Row),
            ([Tensor, group(32), segments(&[1, 1])], group(32)),
            ([Row, Row, group(16)], group(16)),
            ([group(48), group(32), Tensor], group(16)),
            ([group(64), group(32), group(64)], group(32)),
            // Groups as long as the row are rows.
            ([group(112), group(32), Tensor], group(32)),
            ([group(112), Tensor, group(128)], Row),
            ([group(112), group(112), group(112)], group(112)),
        ] {
            let [a, b, c] = scales.clone();
            let parts = [
                matrix(8, 100, code, a),
                matrix(3, 100, code, b),
                matrix(2, 100, code, c),
            ];
            let fused = concat_rows(&parts).expect("parts of one shape");
            assert_eq!(
                fused.layout(),
                &layout(13, 100, code, expected),
                "{scales:?}"
            );
            assert_eq!(fused.dequantize(), stacked(&parts), "{scales:?}");
        }
    }
    // One segment more than a layout carries.
    let parts: Vec<_> = (0..65)
        .map(|_| matrix(1, 20, WeightCode::Ternary, Tensor))
        .collect();
    let fused = concat_rows(&parts).expect("rows");
    assert_eq!(fused.layout().scale(), &Row);
    assert_eq!(fused.dequantize(), stacked(&parts));
    let fused = concat_rows(&parts[1..]).expect("as many as a layout carries");
    assert_eq!(fused.layout().scale(), &segments(&[1; 64]));
}

#[test]
fn parts_that_miss_rows_are_refused() {
    let whole = matrix(6, 20, WeightCode::Ternary, Row);
    for rows in [vec![], vec![5], vec![6, 0], vec![6, 1], vec![usize::MAX, 7]] {
        let expected = MatrixError::Layout(LayoutError::Segments {
            rows: rows.clone(),
            out_features: 6,
        });
        assert_eq!(split_rows(&whole, &rows), Err(expected));
    }
}
