//! Type numbers that have meant several things.

use rstest::rstest;
use tritburn_formats::file::gguf::{GgmlType, TypeProblem};
use tritburn_formats::file::{DType, FileError, TensorSource};

use super::{Raw, open, refuse};

/// `a` of number `kind` and 4 rows of `k`, then a norm at `next`.
fn two(kind: u32, k: u64, next: u64) -> Vec<u8> {
    let mut raw = Raw::new(3, 2, 1);
    raw.architecture("qwen3")
        .tensor("a", &[k, 4], kind, 0)
        .tensor("norm", &[8], 0, next);
    raw.data(next as usize + 32)
}

#[rstest]
#[case(39, GgmlType::Mxfp4, 256, 4 * 8 * 17)]
#[case(40, GgmlType::Nvfp4, 256, 4 * 4 * 36)]
#[case(41, GgmlType::Q1_0, 256, 4 * 2 * 18)]
#[case(42, GgmlType::Q2_0, 4096, 4 * 64 * 18)]
#[case(42, GgmlType::Q2_0G128, 4096, 4 * 32 * 34)]
#[case(142, GgmlType::Pq2_0, 4096, 4 * 32 * 34)]
#[case(143, GgmlType::Ptq1_0, 4096, 4 * 32 * 28)]
fn a_number_is_the_type_that_has_room(
    #[case] id: u32,
    #[case] kind: GgmlType,
    #[case] k: u64,
    #[case] bytes: usize,
) {
    let next = bytes.next_multiple_of(32) as u64;
    let file = open(&two(id, k, next)).expect("listed");
    let info = file.info("a").expect("listed");
    assert_eq!((info.dtype, info.byte_len), (DType::Ggml(kind), bytes));
    assert_eq!(
        (kind.id(), file.read("a").expect("read").len()),
        (id, bytes)
    );
    assert!(file.type_problems().is_empty() && file.problems().is_empty());
}

#[test]
fn a_tensor_without_room_is_listed_and_not_read() {
    // Six bytes for 32 weights, where NVFP4 has 18.
    let file = open(&two(40, 256, 192)).expect("listed");
    assert_eq!(file.tensors().len(), 2);
    let info = file.info("a").expect("listed");
    assert_eq!((info.shape.as_slice(), info.byte_len), (&[4, 256][..], 192));
    assert_eq!(info.dtype, DType::Ggml(GgmlType::Unknown(40)));
    let problem = TypeProblem {
        tensor: "a".to_string(),
        shape: vec![4, 256],
        kind: GgmlType::Nvfp4,
        expected: Some(576),
        found: 192,
    };
    assert_eq!(file.type_problems(), [problem]);
    assert_eq!(
        file.problems(),
        [
            "tensor \"a\" [4, 256] has 192 bytes, but NVFP4 takes 576: type 40 means something \
             else in this file, or the file is cut off"
        ]
    );
    assert!(matches!(file.read("a"), Err(FileError::UnknownType { tensor, .. }) if tensor == "a"));
    assert_eq!(file.read("norm").expect("read"), [1; 32]);

    // Rows that are not whole blocks.
    let file = open(&two(41, 96, 96)).expect("listed");
    let problem = &file.type_problems()[0];
    assert_eq!((problem.expected, problem.found), (None, 96));
    assert!(
        problem.to_string().contains("not whole blocks of Q1_0"),
        "{problem}"
    );
    // The numbers that never changed stay with their errors.
    assert!(matches!(
        refuse(&two(35, 256, 192)),
        FileError::Truncated { .. }
    ));
}

#[test]
fn one_tensor_without_room_decides_for_all_of_its_number() {
    let three = |first: u64, second: u64, rest: usize| {
        let mut raw = Raw::new(3, 2, 0);
        raw.tensor("a", &[4096], 42, 0)
            .tensor("b", &[4096], 42, first);
        raw.data((first + second) as usize + rest)
    };
    let kinds = |bytes: &[u8]| {
        let file = open(bytes).expect("listed");
        let kinds = file.tensors().iter().map(|t| t.dtype.to_string());
        (kinds.collect::<Vec<_>>(), file.type_problems().len())
    };
    // 4096 weights: 1152 bytes in groups of 64, 1088 in groups of 128.
    let found = |kind: &str, problems| (vec![kind.to_string(), kind.to_string()], problems);
    assert_eq!(kinds(&three(1152, 1152, 0)), found("Q2_0", 0));
    assert_eq!(kinds(&three(1088, 1088, 0)), found("Q2_0 (128)", 0));
    assert_eq!(kinds(&three(1088, 1152, 0)), found("Q2_0 (128)", 0));
    assert_eq!(kinds(&three(1152, 1087, 0)), found("ggml type 42", 1));
    assert_eq!(kinds(&three(1024, 1024, 0)), found("ggml type 42", 2));
}

#[test]
fn every_named_type_keeps_its_number() {
    for (id, name) in [
        (36, "I2_S"),
        (41, "Q1_0"),
        (42, "Q2_0"),
        (142, "PQ2_0"),
        (143, "PTQ1_0"),
    ] {
        let mut raw = Raw::new(3, 1, 1);
        raw.architecture("bitnet").tensor("t", &[256, 4], id, 0);
        let file = open(&raw.data(1024)).expect("listed");
        assert_eq!(file.tensors()[0].dtype.to_string(), name);
    }
    assert_eq!(GgmlType::I2S.name(), "I2_S");
    assert_eq!(
        (GgmlType::Q6K.block_len(), GgmlType::Q6K.block_bytes()),
        (Some(256), Some(210))
    );
    assert_eq!(
        (
            GgmlType::I2S.block_len(),
            GgmlType::Unknown(9).block_bytes()
        ),
        (None, None)
    );
}
