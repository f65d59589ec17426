//! Offsets, shapes and types of tensors.

use tritburn_formats::file::gguf::GgmlType;
use tritburn_formats::file::{DType, FileError, TensorSource};

use super::{Raw, open, refuse};

#[test]
fn tensors_that_lie_about_their_place_are_refused() {
    let two = |a: u64, b: u64, data: usize| {
        let mut raw = Raw::new(3, 2, 0);
        raw.tensor("a", &[8], 0, a).tensor("b", &[10], 0, b);
        let start = raw.0.len().next_multiple_of(32) as u64;
        (raw.data(data), start)
    };
    // Gaps are fine, and any order.
    for (a, b) in [(0, 32), (64, 0), (0, 320)] {
        let (file, _) = two(a, b, 400);
        assert_eq!(
            open(&file).expect("valid").read("b").expect("read"),
            [1; 40]
        );
    }
    for (a, b, tensor, at, expected) in [
        (0, 0, "b", 0, 32),
        (32, 0, "a", 32, 64),
        (0, 16, "b", 16, 32),
        (0, 33, "b", 33, 32),
        (1, 64, "a", 1, 0),
    ] {
        let (file, start) = two(a, b, 400);
        match refuse(&file) {
            FileError::Offset {
                tensor: name,
                found,
                expected: wanted,
                ..
            } => {
                assert_eq!(
                    (name.as_str(), found, wanted),
                    (tensor, start + at, start + expected)
                );
            }
            other => panic!("{a} {b}: {other}"),
        }
    }
    for (b, data, left) in [
        (32, 71, 39),
        (64, 32, 0),
        (1 << 63, 400, 0),
        (u64::MAX - 31, 400, 0),
    ] {
        match refuse(&two(0, b, data).0) {
            FileError::Truncated {
                what,
                expected: 40,
                found,
                ..
            } => {
                assert_eq!((what.as_str(), found), ("tensor \"b\"", left));
            }
            other => panic!("{b}: {other}"),
        }
    }
    let mut twice = Raw::new(3, 2, 0);
    twice.tensor("a", &[8], 0, 0).tensor("a", &[8], 0, 32);
    assert!(matches!(
        refuse(&twice.data(64)),
        FileError::Duplicate { what: "tensor", name, .. } if name == "a"
    ));
}

#[test]
fn shapes_without_a_size_are_refused() {
    let one = |dims: &[u64], kind: u32| Raw::new(3, 1, 0).tensor("t", dims, kind, 0).data(64);
    for (dims, kind) in [
        (&[1 << 63, 2][..], 0),
        (&[1 << 63, 2], 24),
        (&[1 << 62, 1 << 2, 3], 24),
        (&[255], 34),
        (&[128, 2], 35),
        (&[], 34),
        (&[31], 2),
    ] {
        match refuse(&one(dims, kind)) {
            FileError::Shape { tensor, shape, .. } => {
                let reversed: Vec<u64> = dims.iter().rev().copied().collect();
                assert_eq!((tensor.as_str(), shape), ("t", reversed));
            }
            other => panic!("{dims:?} {kind}: {other}"),
        }
    }
    assert!(matches!(
        refuse(&one(&[1; 5], 0)),
        FileError::Limit {
            found: 5,
            max: 4,
            ..
        }
    ));
    assert!(matches!(
        refuse(&Raw::new(3, 1, 0).text(b"t").u32(u32::MAX).data(64)),
        FileError::Limit {
            found: 0xffff_ffff,
            max: 4,
            ..
        }
    ));
    assert_eq!(
        open(&one(&[], 0)).expect("a scalar").tensors()[0].byte_len,
        4
    );
    assert_eq!(
        open(&one(&[u64::MAX >> 1, 0, 3], 0))
            .expect("empty")
            .tensors()[0]
            .byte_len,
        0
    );
}

#[test]
fn the_number_36_is_i2_s_and_37_to_39_are_unknown_in_bitnets() {
    let file = |architecture: &str, kind: u32| {
        let mut raw = Raw::new(3, 2, 1);
        raw.architecture(architecture);
        raw.tensor("t", &[128, 3], kind, 0)
            .tensor("next", &[4], 0, 128)
            .data(144)
    };
    let kind = |architecture: &str, id: u32| {
        let file = open(&file(architecture, id)).expect("listed");
        let info = file.info("t").expect("listed");
        assert_eq!((info.byte_len, info.shape.as_slice()), (128, &[3, 128][..]));
        let read = file.read("t");
        let DType::Ggml(kind) = info.dtype else {
            panic!("{}", info.dtype)
        };
        match kind.is_known() {
            true => assert_eq!(read.expect("read").len(), 128),
            false => assert!(matches!(
                read,
                Err(FileError::UnknownType { tensor, .. }) if tensor == "t"
            )),
        }
        kind
    };
    for architecture in ["bitnet-b1.58", "bitnet", "bitnet-25", "qwen3", "llama", ""] {
        assert_eq!(kind(architecture, 36), GgmlType::I2S, "{architecture}");
    }
    for id in [37, 38, 39, 77, u32::MAX] {
        assert_eq!(kind("bitnet-b1.58", id), GgmlType::Unknown(id));
    }
    // Upstream's 39 is MXFP4: 384 weights in 12 blocks of 17 bytes.
    let mut raw = Raw::new(3, 1, 1);
    raw.architecture("gpt-oss").tensor("t", &[128, 3], 39, 0);
    let file = open(&raw.data(204)).expect("valid");
    assert_eq!(file.tensors()[0].dtype, DType::Ggml(GgmlType::Mxfp4));
    assert_eq!(file.tensors()[0].byte_len, 204);
}
