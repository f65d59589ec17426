//! The same matrix with finer scales.

use tritburn_formats::ScaleGranularity::{Group, Row, Segments, Tensor};
use tritburn_formats::quantize::quantize_weights;
use tritburn_formats::{LayoutError, MatrixError, PackedMatrix, ScaleGranularity};

use crate::common::{CODES, SHAPES, granularities, layout, noise};

/// Whether two weights that share a scale under `fine` always share one under `coarse`.
fn is_finer(coarse: &ScaleGranularity, fine: &ScaleGranularity, out: usize, k: usize) -> bool {
    let mut seen = vec![None; fine.count(out, k)];
    (0..out).all(|row| {
        (0..k).all(|col| {
            let index = coarse.index(row, col, k);
            *seen[fine.index(row, col, k)].get_or_insert(index) == index
        })
    })
}

#[test]
fn finer_scales_are_copies_and_coarser_ones_are_refused() {
    let mut counts = [0, 0];
    for code in CODES {
        for (out, k) in SHAPES.into_iter().filter(|&(out, _)| out < 100) {
            for coarse in granularities(out) {
                let matrix: PackedMatrix =
                    quantize_weights(&noise(out * k, 3), &layout(out, k, code, coarse.clone()))
                        .expect("of that length");
                for fine in granularities(out) {
                    let refined = matrix.refine(&fine);
                    if !is_finer(&coarse, &fine, out, k) {
                        let expected = MatrixError::Refine {
                            found: coarse.clone(),
                            wanted: fine,
                        };
                        assert_eq!(refined, Err(expected), "[{out}, {k}]");
                        counts[0] += 1;
                        continue;
                    }
                    let refined = refined.expect("finer");
                    assert_eq!(refined.layout(), &layout(out, k, code, fine.clone()));
                    assert_eq!(refined.words(), matrix.words());
                    assert_eq!(
                        refined.dequantize(),
                        matrix.dequantize(),
                        "[{out}, {k}] {coarse:?} {fine:?}"
                    );
                    counts[1] += 1;
                }
            }
        }
    }
    assert!(counts.iter().all(|&n| n > 150), "{counts:?}");
}

#[test]
fn scales_by_hand() {
    let whole = layout(4, 40, CODES[0], Segments { rows: vec![1, 3] });
    let words = vec![0x5555_5555; whole.word_count()];
    let matrix = PackedMatrix::new(whole, words, vec![0.5, 2.0]).expect("valid");
    let scales = |scale| matrix.refine(&scale).map(|m| m.scales().to_vec());
    assert_eq!(scales(Row), Ok(vec![0.5, 2.0, 2.0, 2.0]));
    let rows = vec![1, 2, 1];
    assert_eq!(scales(Segments { rows }), Ok(vec![0.5, 2.0, 2.0]));
    let expected = [[0.5; 3], [2.0; 3], [2.0; 3], [2.0; 3]].concat();
    assert_eq!(scales(Group { size: 16 }), Ok(expected));
    let halves = matrix.refine(&Group { size: 32 }).expect("finer");
    let quarter = halves.refine(&Group { size: 16 }).expect("finer");
    assert_eq!(Ok(quarter), matrix.refine(&Group { size: 16 }));
    assert!(scales(Tensor).is_err());
    let bad = MatrixError::Layout(LayoutError::GroupSize { size: 24 });
    assert_eq!(scales(Group { size: 24 }), Err(bad));
}

#[test]
fn a_smaller_group_that_does_not_divide_is_no_finer_one() {
    let matrix = |size| {
        let plan = layout(2, 200, CODES[0], Group { size });
        quantize_weights(&noise(400, 3), &plan).expect("of that length")
    };
    for (size, smaller) in [(48, 32), (96, 64), (112, 96)] {
        let refused = MatrixError::Refine {
            found: Group { size },
            wanted: Group { size: smaller },
        };
        assert_eq!(matrix(size).refine(&Group { size: smaller }), Err(refused));
    }
    let (coarse, fine) = (matrix(96), Group { size: 48 });
    let refined = coarse.refine(&fine).expect("finer");
    assert_eq!(refined.dequantize(), coarse.dequantize());
    assert_eq!(refined.scales().len(), 10);
}

#[test]
fn scales_that_are_no_numbers_are_copied_too() {
    let matrix = quantize_weights(&[f32::NAN; 32], &layout(1, 32, CODES[0], Tensor));
    let fine = matrix.expect("a NaN scale").refine(&Group { size: 16 });
    let fine = fine.expect("finer");
    assert!(fine.scales().len() == 2 && fine.scales().iter().all(|s| s.is_nan()));
}
