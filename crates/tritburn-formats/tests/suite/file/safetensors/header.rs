//! Damaged files and headers that lie.

use tritburn_formats::file::{DType, FileError, TensorSource};

use super::{file, open, refuse};

#[test]
fn a_file_cut_anywhere_is_refused() {
    let whole = include_bytes!("../../../data/bitnet_triton.safetensors");
    assert!(open(whole.to_vec()).is_ok());
    let header = u64::from_le_bytes(*whole.first_chunk().expect("long")) as usize + 8;
    // Every byte of the header, and some of the data.
    for len in (0..header + 40).chain((header..whole.len()).step_by(97)) {
        match open(whole[..len].to_vec()) {
            Err(FileError::Truncated {
                offset,
                expected,
                found,
                ..
            }) => {
                assert_eq!(offset + found, len as u64);
                assert!(expected > found);
            }
            other => panic!("{len}: {:?}", other.err()),
        }
    }
    let mut longer = whole.to_vec();
    longer.push(0);
    assert!(matches!(
        open(longer),
        Err(FileError::Trailing { expected, found, .. })
            if found == expected + 1 && expected == whole.len() as u64
    ));
}

#[test]
fn a_header_larger_than_the_file_or_the_limit_takes_no_memory() {
    for len in [3, 100_000_000] {
        let mut bytes = file("{}", 0);
        bytes[..8].copy_from_slice(&u64::to_le_bytes(len));
        assert!(matches!(
            open(bytes),
            Err(FileError::Truncated { offset: 8, expected, found: 2, .. }) if expected == len
        ));
    }
    for len in [100_000_001, u64::MAX] {
        let mut bytes = file("{}", 0);
        bytes[..8].copy_from_slice(&len.to_le_bytes());
        assert!(matches!(
            open(bytes),
            Err(FileError::Limit { found, max: 100_000_000, .. }) if found == len
        ));
    }
}

#[test]
fn offsets_that_lie_are_refused() {
    let two = |a: &str, b: &str| {
        format!(
            r#"{{"a":{{"dtype":"U8","shape":[4],"data_offsets":{a}}},
                "b":{{"dtype":"U8","shape":[4],"data_offsets":{b}}}}}"#
        )
    };
    let good = two("[4,8]", "[0,4]");
    let data = good.len() as u64 + 8;
    let read = open(file(&good, 8)).expect("valid in any order");
    assert_eq!(read.tensors()[0].name, "b");

    for (a, b, bytes, tensor, at, expected) in [
        ("[0,4]", "[3,7]", 7, "b", 3, 4), // overlap
        ("[0,4]", "[0,4]", 4, "b", 0, 4), // the same bytes twice
        ("[0,4]", "[5,9]", 9, "b", 5, 4), // gap
        ("[1,5]", "[5,9]", 9, "a", 1, 0), // gap in front
        ("[0,4]", "[4,0]", 8, "b", 0, 4), // backwards
        ("[0,4]", "[18446744073709551615,3]", 8, "b", 3, 4),
    ] {
        let header = two(a, b);
        let start = header.len() as u64 + 8;
        match refuse(&header, bytes) {
            FileError::Offset {
                tensor: found_in,
                found,
                expected: wanted,
                ..
            } => {
                assert_eq!(
                    (found_in.as_str(), found, wanted),
                    (tensor, start + at, start + expected)
                );
            }
            other => panic!("{a} {b}: {other}"),
        }
    }
    match refuse(&good, 7) {
        FileError::Truncated {
            what,
            offset,
            expected,
            found,
            ..
        } => {
            assert_eq!(
                (what.as_str(), offset, expected, found),
                ("tensor \"a\"", data + 4, 4, 3)
            );
        }
        other => panic!("{other}"),
    }
    let beyond = two("[0,4]", "[4,18446744073709551615]");
    assert!(matches!(
        refuse(&beyond, 8),
        FileError::Truncated { found: 4, .. }
    ));
    assert!(matches!(refuse(&good, 9), FileError::Trailing { .. }));
}

#[test]
fn a_length_that_contradicts_type_and_shape_is_refused() {
    let one = |dtype: &str, shape: &str, end: usize| {
        format!(r#"{{"t":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[0,{end}]}}}}"#)
    };
    assert!(open(file(&one("F16", "[2,3]", 12), 12)).is_ok());
    assert!(open(file(&one("F16", "[18446744073709551615,0,9]", 0), 0)).is_ok());
    match refuse(&one("F32", "[2,3]", 12), 12) {
        FileError::ByteLen {
            tensor,
            dtype,
            shape,
            expected,
            found,
            ..
        } => {
            assert_eq!(
                (tensor.as_str(), dtype, expected, found),
                ("t", DType::F32, 24, 12)
            );
            assert_eq!(shape, [2, 3]);
        }
        other => panic!("{other}"),
    }
    assert!(matches!(
        refuse(&one("U8", "[]", 0), 0),
        FileError::ByteLen { expected: 1, .. }
    ));
    for shape in ["[18446744073709551615,2]", "[4294967296,4294967296]"] {
        assert!(
            matches!(refuse(&one("U8", shape, 1), 1), FileError::Shape { .. }),
            "{shape}"
        );
    }
    for dtype in ["F31", "f32", "", "Q4_0", "I2_S"] {
        match refuse(&one(dtype, "[1]", 4), 4) {
            FileError::UnknownType { tensor, found, .. } => {
                assert_eq!((tensor.as_str(), found.as_str()), ("t", dtype));
            }
            other => panic!("{other}"),
        }
    }
}

#[test]
fn broken_json_names_the_byte() {
    let tensor = r#"{"dtype":"U8","shape":[1],"data_offsets":[0,1]}"#;
    for (header, at) in [
        (String::new(), 0),
        ("[]".to_string(), 0),
        (r#"{"a":7}"#.to_string(), 5),
        ("{\n\"a\":x}".to_string(), 6),
        (
            r#"{"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}}"#.to_string(),
            28,
        ),
        (r#"{"a":{"dtype":"U8","shape":[1]}}"#.to_string(), 30),
        (
            r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1,2]}}"#.to_string(),
            51,
        ),
        (format!(r#"{{"a":{tensor}}} x"#), 55),
        (r#"{"__metadata__":{"a":1}}"#.to_string(), 21),
        ("[".repeat(1000), 0),
    ] {
        match refuse(&header, 1) {
            FileError::Header { offset, reason, .. } => {
                assert!(offset.abs_diff(8 + at) <= 1, "{header}: {offset} {reason}");
            }
            other => panic!("{header}: {other}"),
        }
    }
    let mut not_utf8 = file(r#"{"aa":1}"#, 0);
    not_utf8[10..12].copy_from_slice(&[0xff, 0xfe]);
    assert!(matches!(open(not_utf8), Err(FileError::Header { .. })));

    for (header, what) in [
        (format!(r#"{{"a":{tensor},"a":{tensor}}}"#), "tensor"),
        (
            r#"{"__metadata__":{"a":"1","a":"2"}}"#.to_string(),
            "metadata key",
        ),
    ] {
        let data = usize::from(what == "tensor");
        match refuse(&header, data) {
            FileError::Duplicate {
                what: found, name, ..
            } => {
                assert_eq!((found, name.as_str()), (what, "a"));
            }
            // The same bytes twice: told either way.
            FileError::Offset { .. } if what == "tensor" => {}
            other => panic!("{other}"),
        }
    }
    let empty = r#"{"dtype":"U8","shape":[0],"data_offsets":[0,0]}"#;
    let twice = format!(r#"{{"a":{empty},"a":{empty}}}"#);
    assert!(matches!(
        refuse(&twice, 0),
        FileError::Duplicate { what: "tensor", .. }
    ));
    let metadata = r#"{"__metadata__":{},"__metadata__":{}}"#;
    assert!(matches!(refuse(metadata, 0), FileError::Header { .. }));
}
