//! Damaged files, and headers whose counts, metadata or alignment are refused.

use tritburn_formats::file::gguf::{Array, GgmlType, Value};
use tritburn_formats::file::{DType, FileError, TensorSource};

use super::{PYTHON, Raw, open, refuse};

#[test]
fn a_file_cut_anywhere_is_refused() {
    // The last tensor ends 28 bytes before the file does.
    let end = PYTHON.len() - 28;
    for len in 0..end {
        match refuse(&PYTHON[..len]) {
            FileError::Truncated {
                offset,
                expected,
                found,
                ..
            } => {
                assert!(found < expected, "{len}");
                assert!(
                    offset + found == len as u64 || found == 0,
                    "{len}: {offset} {found}"
                );
            }
            // The end cuts off what the rest of the file should hold.
            FileError::Limit {
                what, found, max, ..
            } => {
                assert!(
                    found > max && what.starts_with("the number"),
                    "{len}: {what}"
                );
            }
            other => panic!("{len}: {other}"),
        }
    }
    assert!(open(&PYTHON[..end]).is_ok());
}

#[test]
fn a_file_with_one_wrong_byte_is_refused_or_read_whole() {
    let mut bytes = PYTHON.to_vec();
    let mut accepted = 0;
    for at in 0..1060 {
        for value in [0, 1, 0x7f, 0xff, PYTHON[at] ^ 1, PYTHON[at] ^ 0x80] {
            bytes[at] = value;
            let Ok(file) = open(&bytes) else { continue };
            accepted += 1;
            for info in file.tensors() {
                let readable = !matches!(info.dtype, DType::Ggml(GgmlType::Unknown(_)));
                let read = file.read(&info.name);
                assert_eq!(
                    read.is_ok_and(|b| b.len() == info.byte_len),
                    readable,
                    "{at} {value}"
                );
            }
        }
        bytes[at] = PYTHON[at];
    }
    assert!(accepted > 1000, "{accepted}");
}

#[test]
fn other_files_and_versions_are_refused() {
    match refuse(b"GGML aaaaaaaa") {
        FileError::Magic {
            expected: "GGUF",
            found,
            ..
        } => assert_eq!(found, b"GGML"),
        other => panic!("{other}"),
    }
    for version in [0, 1, 4, 3u32.swap_bytes()] {
        match refuse(&Raw::new(version, 0, 0).0) {
            FileError::Version { found, .. } => assert_eq!(found, version),
            other => panic!("{other}"),
        }
    }
    for version in [2, 3] {
        assert!(open(&Raw::new(version, 0, 0).0).is_ok());
    }
}

#[test]
fn counts_beyond_the_file_take_no_memory() {
    let limit = |bytes: &[u8], count: u64| match refuse(bytes) {
        FileError::Limit { found, max, .. } => {
            assert!(found == count && max < 100, "{found} {max}")
        }
        other => panic!("{other}"),
    };
    for count in [1000, 1 << 32, u64::MAX] {
        limit(&Raw::new(3, count, 0).data(64), count);
        limit(&Raw::new(3, 0, count).data(64), count);
        for kind in 0..=12 {
            let mut raw = Raw::new(3, 0, 1);
            raw.text(b"k").u32(9).u32(kind).u64(count);
            limit(&raw.data(0), count);
        }
        let mut raw = Raw::new(3, 0, 1);
        raw.text(b"k").u32(8).u64(count);
        assert!(matches!(
            refuse(&raw.data(0)),
            FileError::Truncated { expected, what, .. } if expected == count && what == "k"
        ));
        assert!(matches!(
            refuse(&Raw::new(3, 0, 1).u64(count).data(32)),
            FileError::Truncated { expected, .. } if expected == count
        ));
    }
}

#[test]
fn metadata_without_a_meaning_is_refused() {
    let entry = |write: &dyn Fn(&mut Raw)| {
        let mut raw = Raw::new(3, 0, 1);
        raw.text(b"k");
        write(&mut raw);
        refuse(&raw.data(32))
    };
    let header = |error: FileError, text: &str| match error {
        FileError::Header { reason, .. } => assert!(reason.contains(text), "{reason}"),
        other => panic!("{other}"),
    };
    header(entry(&|raw| _ = raw.u32(13)), "unknown value type 13");
    header(
        entry(&|raw| _ = raw.u32(9).u32(99).u64(0)),
        "unknown value type 99",
    );
    header(entry(&|raw| raw.u32(7).0.push(2)), "2 for a boolean");
    header(
        entry(&|raw| raw.u32(9).u32(7).u64(1).0.push(255)),
        "255 for a boolean",
    );
    header(entry(&|raw| _ = raw.u32(8).text(&[0xff])), "UTF-8");

    // Arrays in arrays: four levels are read, five are not.
    let nested = |levels: usize| {
        let mut raw = Raw::new(3, 0, 1);
        raw.text(b"k").u32(9);
        for _ in 1..levels {
            raw.u32(9).u64(1);
        }
        raw.u32(4).u64(0).data(0)
    };
    let file = open(&nested(4)).expect("four levels");
    let mut value = file
        .metadata()
        .get("k")
        .and_then(Value::as_array)
        .expect("an array");
    for _ in 0..3 {
        let Array::Array(inner) = value else {
            panic!("{value:?}")
        };
        value = &inner[0];
    }
    assert_eq!(value, &Array::U32(vec![]));
    for levels in [5, 1000] {
        assert!(matches!(
            refuse(&nested(levels)),
            FileError::Limit {
                found: 5,
                max: 4,
                ..
            }
        ));
    }

    let mut twice = Raw::new(3, 0, 2);
    for _ in 0..2 {
        twice.text(b"k").u32(4).u32(1);
    }
    assert!(matches!(
        refuse(&twice.data(0)),
        FileError::Duplicate { what: "metadata key", name, .. } if name == "k"
    ));
}

#[test]
fn an_alignment_that_is_none_is_refused() {
    let with = |kind: u32, value: u64| {
        let mut raw = Raw::new(3, 1, 1);
        raw.text(b"general.alignment").u32(kind).u64(value);
        // A value of four bytes leaves four to the name's length.
        if kind == 4 {
            let len = raw.0.len();
            raw.0.truncate(len - 4);
        }
        raw.tensor("t", &[1], 0, 0).data(4096)
    };
    let file = open(&with(4, 64)).expect("aligned to 64");
    assert_eq!(file.read("t").expect("read"), [1; 4]);
    for (kind, value) in [
        (4, 0),
        (4, 3),
        (4, 33),
        (11, u64::MAX),
        (10, 1 << 32),
        (4, 4 << 20),
        (12, 32),
    ] {
        match refuse(&with(kind, value)) {
            FileError::Header { reason, .. } => {
                assert!(reason.contains("power of two"), "{reason}")
            }
            other => panic!("{kind} {value}: {other}"),
        }
    }
}
