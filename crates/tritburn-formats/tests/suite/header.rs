//! The header and the layout: words, JSON, and every way to be wrong.

use proptest::prelude::*;
use tritburn_formats::layout::MAX_IN_FEATURES;
use tritburn_formats::{
    HeaderError, LayoutError, PackedHeader, PackedLayout, ScaleGranularity, WeightCode,
};

use crate::common::{CODES, granularities, layout};

const MAGIC: u32 = 0x5449_5254;

#[test]
fn words_and_json_bring_every_header_back() {
    for out in [1, 3, 6912] {
        for code in CODES {
            for scale in granularities(out) {
                let header = PackedHeader::new(layout(out, 2560, code, scale));
                assert_eq!(
                    PackedHeader::from_words(&header.to_words()).as_ref(),
                    Ok(&header)
                );
                let json = serde_json::to_string(&header).expect("serialisable");
                let back: PackedHeader = serde_json::from_str(&json).expect(&json);
                assert_eq!(back, header, "{json}");
            }
        }
    }
}

#[test]
fn the_words_and_the_json_are_the_documented_ones() {
    let scale = ScaleGranularity::Segments {
        rows: vec![4, 1, 1],
    };
    let header = PackedHeader::new(layout(6, 50, WeightCode::Int2, scale));
    assert_eq!(header.to_words(), [MAGIC, 1, 6, 50, 1, 3, 3, 4, 1, 1]);
    assert_eq!(
        serde_json::to_value(&header).expect("serialisable"),
        serde_json::json!({
            "format": "tritburn-packed",
            "version": 1,
            "out_features": 6,
            "in_features": 50,
            "code": "int2",
            "scale": {"kind": "segments", "rows": [4, 1, 1]},
        })
    );
    let group = ScaleGranularity::Group { size: 32 };
    let header = PackedHeader::new(layout(6, 50, WeightCode::Ternary, group));
    assert_eq!(header.to_words(), [MAGIC, 1, 6, 50, 0, 2, 32]);
}

#[test]
fn wrong_words_say_what_is_wrong() {
    use HeaderError::*;
    let length = |found, expected| Length { found, expected };
    let field = |field, value| Field { field, value };
    let cases: [(&[u32], HeaderError); 13] = [
        (&[], length(0, 6)),
        (&[MAGIC, 1, 6, 50, 0], length(5, 6)),
        (
            &[1, 1, 6, 50, 0, 0],
            Magic {
                found: 1,
                expected: MAGIC,
            },
        ),
        (
            &[MAGIC, 2, 6, 50, 0, 0],
            Version {
                found: 2,
                supported: 1,
            },
        ),
        (&[MAGIC, 1, 6, 50, 2, 0], field("code", 2)),
        (&[MAGIC, 1, 6, 50, 0, 4], field("scale", 4)),
        (&[MAGIC, 1, 6, 50, 0, 1, 0], length(7, 6)),
        (&[MAGIC, 1, 6, 50, 0, 2], length(6, 7)),
        (&[MAGIC, 1, 6, 50, 0, 3], length(6, 7)),
        (&[MAGIC, 1, 6, 50, 0, 3, 2, 6], length(8, 9)),
        (
            &[MAGIC, 1, 6, 50, 0, 3, u32::MAX],
            length(7, 7 + u32::MAX as usize),
        ),
        (
            &[MAGIC, 1, 6, 50, 0, 2, 17],
            Layout(LayoutError::GroupSize { size: 17 }),
        ),
        (
            &[MAGIC, 1, 0, 50, 0, 0],
            Layout(LayoutError::Empty {
                out_features: 0,
                in_features: 50,
            }),
        ),
    ];
    for (words, expected) in cases {
        assert_eq!(PackedHeader::from_words(words), Err(expected), "{words:?}");
    }
}

#[test]
fn wrong_json_is_refused() {
    let good = serde_json::json!({
        "format": "tritburn-packed", "version": 1, "out_features": 6, "in_features": 50,
        "code": "ternary", "scale": {"kind": "group", "size": 16},
    });
    let read = |value: serde_json::Value| serde_json::from_value::<PackedHeader>(value);
    assert!(read(good.clone()).is_ok());
    for (field, value, message) in [
        ("format", serde_json::json!("gguf"), "is of format \"gguf\""),
        (
            "version",
            serde_json::json!(2),
            "version 2 is not supported",
        ),
        (
            "out_features",
            serde_json::json!(0),
            "needs rows and columns",
        ),
        ("in_features", serde_json::json!(-1), "expected usize"),
        ("code", serde_json::json!("int4"), "unknown variant `int4`"),
        (
            "scale",
            serde_json::json!({"kind": "group", "size": 8}),
            "group size 8",
        ),
        (
            "scale",
            serde_json::json!({"kind": "column"}),
            "unknown variant `column`",
        ),
    ] {
        let mut bad = good.clone();
        bad[field] = value;
        let error = read(bad).expect_err(message).to_string();
        assert!(error.contains(message), "{error}");
    }
    let mut missing = good.clone();
    missing
        .as_object_mut()
        .expect("an object")
        .remove("version");
    assert!(read(missing).is_err());
}

#[test]
fn layouts_that_cannot_be_are_refused() {
    use ScaleGranularity::{Group, Row, Segments, Tensor};
    let new = |out, k, code, scale| PackedLayout::new(out, k, code, scale);
    let ternary = |out, k, scale| new(out, k, WeightCode::Ternary, scale);
    for (out_features, in_features) in [(0, 16), (16, 0), (0, 0)] {
        let error = LayoutError::Empty {
            out_features,
            in_features,
        };
        assert_eq!(ternary(out_features, in_features, Row), Err(error));
    }
    for (code, max) in [
        (WeightCode::Ternary, MAX_IN_FEATURES),
        (WeightCode::Int2, 5_592_405),
    ] {
        assert!(new(1, max, code, Tensor).is_ok());
        let error = LayoutError::InFeatures {
            in_features: max + 1,
            max,
        };
        assert_eq!(new(1, max + 1, code, Tensor), Err(error));
    }
    let most = u32::MAX as usize;
    assert!(ternary(most, 16, Tensor).is_ok());
    for (out_features, in_features) in [(most + 1, 16), (most, 17), (usize::MAX, 4096)] {
        let error = LayoutError::TooLarge {
            out_features,
            in_features,
        };
        assert_eq!(ternary(out_features, in_features, Tensor), Err(error));
    }
    for size in [0, 8, 17] {
        assert_eq!(
            ternary(4, 64, Group { size }),
            Err(LayoutError::GroupSize { size })
        );
    }
    for rows in [vec![], vec![3], vec![5], vec![4, 0], vec![usize::MAX, 5]] {
        let error = LayoutError::Segments {
            rows: rows.clone(),
            out_features: 4,
        };
        assert_eq!(ternary(4, 64, Segments { rows }), Err(error));
    }
}

#[test]
fn sizes_follow_from_the_layout() {
    let sizes = |scale| {
        let l = layout(6, 50, WeightCode::Ternary, scale);
        (
            l.words_per_row(),
            l.word_count(),
            l.scale_count(),
            l.scale_span(),
            l.byte_count(),
        )
    };
    let (row, group) = (ScaleGranularity::Row, ScaleGranularity::Group { size: 16 });
    assert_eq!(sizes(ScaleGranularity::Tensor), (4, 24, 1, 50, 100));
    assert_eq!(sizes(row), (4, 24, 6, 50, 120));
    assert_eq!(sizes(group.clone()), (4, 24, 24, 16, 192));
    assert_eq!(
        sizes(ScaleGranularity::Group { size: 64 }),
        (4, 24, 6, 50, 120)
    );
    assert_eq!(
        layout(6, 50, WeightCode::Ternary, group).weight_count(),
        300
    );
}

#[test]
fn row_scales_repeat_what_rows_share() {
    use ScaleGranularity::{Group, Row, Segments, Tensor};
    assert_eq!(Tensor.row_scales(&[2.0], 3), Some(vec![2.0; 3]));
    assert_eq!(Row.row_scales(&[1.0, 2.0], 2), Some(vec![1.0, 2.0]));
    assert_eq!(Group { size: 16 }.row_scales(&[1.0; 4], 2), None);
    let segments = Segments { rows: vec![2, 1] };
    assert_eq!(
        segments.row_scales(&[1.0, 3.0], 3),
        Some(vec![1.0, 1.0, 3.0])
    );
}

#[test]
fn code_tables_are_the_documented_ones() {
    let values = |code: WeightCode| {
        (0..code.levels())
            .map(|c| code.value(c))
            .collect::<Vec<_>>()
    };
    assert_eq!(values(WeightCode::Ternary), [-1, 0, 1]);
    assert_eq!(values(WeightCode::Int2), [-3, -1, 1, 3]);
    for code in CODES {
        for c in 0..code.levels() {
            assert_eq!(code.value(c), code.multiplier() * c as i32 - code.offset());
        }
    }
    assert_eq!(
        (WeightCode::Ternary.unit(), WeightCode::Int2.unit()),
        (1.0, 0.5)
    );
    assert_eq!(WeightCode::Ternary.value(WeightCode::PADDING), 0);
}

proptest! {
    #[test]
    fn any_words_give_a_header_or_an_error(
        words in prop::collection::vec(any::<u32>(), 0..12)
    ) {
        prop_assert!(PackedHeader::from_words(&words).is_err() || words[0] == MAGIC);
    }

    #[test]
    fn words_that_nearly_fit_give_the_same_words_back_or_an_error(
        version in 0u32..3,
        code in 0u32..3,
        fields in prop::collection::vec(prop_oneof![0u32..40, any::<u32>()], 2),
        tail in prop::collection::vec(0u32..5, 0..6),
    ) {
        let mut words = vec![MAGIC, version, fields[0], fields[1], code];
        words.extend(&tail);
        if let Ok(header) = PackedHeader::from_words(&words) {
            prop_assert_eq!(header.to_words(), words);
        }
    }
}
