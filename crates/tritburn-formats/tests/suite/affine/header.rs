//! The header as words and as JSON.

use tritburn_formats::affine::{AffineHeader, AffineLayout, Bits, FloatType, WeightHeader};
use tritburn_formats::{HeaderError, LayoutError, PackedHeader, PackedLayout};

use super::{SHAPES, layouts};

fn example() -> AffineHeader {
    let layout = AffineLayout::new([6, 64], Bits::Four, Some(32)).expect("valid");
    let layout = layout.with_zeros().with_floats(FloatType::Bf16);
    AffineHeader::new(layout.sparse().expect("whole units").with_order())
}

#[test]
fn words_and_json_are_these() {
    let header = example();
    let magic = u32::from_le_bytes(*b"TRIT");
    assert_eq!(header.to_words(), [magic, 1, 6, 64, 4, 32, 1, 2, 1, 1]);
    let json = concat!(
        r#"{"format":"tritburn-packed","version":1,"out_features":6,"in_features":64,"#,
        r#""code":"uint4","group_size":32,"zeros":true,"floats":"bf16","sparsity":"half32","#,
        r#""permuted":true}"#
    );
    assert_eq!(serde_json::to_string(&header).unwrap(), json);
}

#[test]
fn every_layout_comes_back() {
    for layout in SHAPES.into_iter().flat_map(layouts) {
        let header = AffineHeader::new(layout);
        let words = header.to_words();
        assert_eq!(AffineHeader::from_words(&words).as_ref(), Ok(&header));
        assert_eq!(
            WeightHeader::from_words(&words),
            Ok(WeightHeader::Affine(header.clone()))
        );
        let json = serde_json::to_string(&header).unwrap();
        assert_eq!(serde_json::from_str::<AffineHeader>(&json).unwrap(), header);
        // Nobody takes it for 2-bit weights.
        let code = header.layout().bits().count() as u32;
        assert_eq!(
            PackedHeader::from_words(&words),
            Err(HeaderError::Field {
                field: "code",
                value: code
            })
        );
        assert!(serde_json::from_str::<PackedHeader>(&json).is_err());
    }
}

#[test]
fn headers_of_fixed_code_tables_are_told_apart() {
    use tritburn_formats::{ScaleGranularity, WeightCode};
    for code in [WeightCode::Ternary, WeightCode::Int2] {
        let layout = PackedLayout::new(6, 64, code, ScaleGranularity::Row).unwrap();
        let header = PackedHeader::new(layout);
        let words = header.to_words();
        let read = WeightHeader::from_words(&words);
        assert_eq!(read, Ok(WeightHeader::Packed(header)));
        assert!(AffineHeader::from_words(&words).is_err());
    }
    assert!(WeightHeader::from_words(&[]).is_err());
}

#[test]
fn every_wrong_word_is_named() {
    let words = example().to_words();
    let with = |at: usize, value: u32| {
        let mut words = words.clone();
        words[at] = value;
        AffineHeader::from_words(&words).expect_err("a wrong header")
    };
    assert!(matches!(with(0, 1), HeaderError::Magic { found: 1, .. }));
    assert!(matches!(with(1, 2), HeaderError::Version { found: 2, .. }));
    for (at, field, value) in [
        (4, "code", 1),
        (4, "code", 5),
        (6, "zeros", 2),
        (7, "floats", 3),
        (8, "sparsity", 2),
        (9, "order", 9),
    ] {
        assert_eq!(with(at, value), HeaderError::Field { field, value });
    }
    assert!(matches!(
        with(2, 0),
        HeaderError::Layout(LayoutError::Empty { .. })
    ));
    assert!(matches!(
        with(5, 20),
        HeaderError::Layout(LayoutError::GroupSize { size: 20 })
    ));
    assert!(matches!(
        with(5, 16),
        HeaderError::Layout(LayoutError::Sparse { .. })
    ));
    for length in [0, 9, 11] {
        let mut words = words.clone();
        words.resize(length, 0);
        let expected = 10;
        let found = length;
        assert_eq!(
            AffineHeader::from_words(&words),
            Err(HeaderError::Length { found, expected })
        );
    }
}

#[test]
fn json_of_another_version_or_an_impossible_layout_is_refused() {
    let json = serde_json::to_string(&example()).unwrap();
    for (from, to) in [
        ("tritburn-packed", "other"),
        (r#""version":1"#, r#""version":2"#),
        ("uint4", "uint3"),
        (r#""group_size":32"#, r#""group_size":8"#),
        (r#""in_features":64"#, r#""in_features":0"#),
    ] {
        let wrong = json.replace(from, to);
        assert_ne!(wrong, json);
        assert!(
            serde_json::from_str::<AffineHeader>(&wrong).is_err(),
            "{to}"
        );
    }
}
