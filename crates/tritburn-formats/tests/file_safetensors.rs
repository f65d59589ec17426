//! Safetensors files: ours against the reference crate's, shards, and files that lie.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::SafeTensors;
use tritburn_formats::file::gguf::GgmlType;
use tritburn_formats::file::{
    DType, FileError, Safetensors, SafetensorsWriter, TensorSource, TensorSpec,
};

fn specs() -> Vec<TensorSpec> {
    vec![
        TensorSpec::new("odd", DType::U8, [3, 5]),
        TensorSpec::new("a.weight", DType::F32, [2, 3]),
        TensorSpec::new("scalar", DType::BF16, []),
        TensorSpec::new("empty", DType::I64, [0, 7]),
        TensorSpec::new("é\"\\", DType::Bool, [1]),
    ]
}

/// Bytes that differ from tensor to tensor.
fn bytes(spec: &TensorSpec) -> Vec<u8> {
    let len = spec.dtype.byte_len(&spec.shape).expect("a plain type");
    (0..len)
        .map(|i| (i * 7 + spec.name.len() * 31) as u8)
        .collect()
}

#[test]
fn a_written_file_is_what_the_reference_reads_and_what_we_read() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("x.safetensors");
    let metadata = BTreeMap::from([("format".to_string(), "pt".to_string())]);
    let specs = specs();
    let mut writer = SafetensorsWriter::create(&path, &metadata, &specs).expect("created");
    // Any order, any chunks.
    for spec in specs.iter().rev() {
        for chunk in bytes(spec).chunks(4) {
            writer.write(&spec.name, chunk).expect("written");
        }
    }
    assert!(!path.exists(), "a file appeared before it was complete");
    writer.finish().expect("finished");
    assert_eq!(std::fs::read_dir(dir.path()).expect("a folder").count(), 1);

    let file = std::fs::read(&path).expect("a file");
    let (header_len, reference) = SafeTensors::read_metadata(&file).expect("valid");
    assert!(header_len.is_multiple_of(8));
    assert_eq!(
        reference.metadata().as_ref().expect("metadata")["format"],
        "pt"
    );
    let reference = SafeTensors::deserialize(&file).expect("valid");
    let ours = Safetensors::open(&path).expect("valid");
    assert_eq!(ours.metadata(), &metadata);
    assert_eq!(reference.len(), specs.len());
    for spec in &specs {
        let view = reference.tensor(&spec.name).expect("there");
        assert_eq!(view.data(), bytes(spec), "{}", spec.name);
        assert_eq!(view.shape(), spec.shape);
        assert_eq!(
            Some(view.dtype().to_string().as_str()),
            spec.dtype.safetensors_name()
        );
        let info = ours.info(&spec.name).expect("there");
        assert_eq!((info.dtype, &info.shape), (spec.dtype, &spec.shape));
        assert_eq!(ours.read(&spec.name).expect("read"), bytes(spec));
    }
    assert_eq!(
        ours.read_range("odd", 4..9).expect("read"),
        bytes(&specs[0])[4..9]
    );
}

/// A file of this header and `data` zero bytes.
fn file(header: &str, data: usize) -> Vec<u8> {
    let len = (header.len() as u64).to_le_bytes();
    [&len[..], header.as_bytes(), &vec![0; data]].concat()
}

fn open(bytes: Vec<u8>) -> Result<Safetensors, FileError> {
    Safetensors::from_bytes("x", bytes)
}

fn refuse(header: &str, data: usize) -> FileError {
    match open(file(header, data)) {
        Ok(_) => panic!("accepted: {header}"),
        Err(error) => error,
    }
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let whole = include_bytes!("data/bitnet_triton.safetensors");
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

#[test]
fn parts_outside_a_tensor_and_unknown_names_are_refused() {
    let read = open(file(
        r#"{"t":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}"#,
        4,
    ));
    let read = read.expect("valid");
    assert!(read.read_range("t", 4..4).expect("nothing").is_empty());
    for (start, end) in [(0, 5), (4, 5), (5, 5), (3, 2), (0, usize::MAX)] {
        match read.read_range("t", start..end) {
            Err(FileError::Range {
                start: s,
                end: e,
                len: 4,
                ..
            }) => assert_eq!((s, e), (start, end)),
            other => panic!("{other:?}"),
        }
    }
    let mut buffer = [0; 2];
    assert!(matches!(
        read.read_into("t", 3, &mut buffer),
        Err(FileError::Range { end: 5, .. })
    ));
    assert!(read.read_into("t", usize::MAX, &mut buffer).is_err());
    assert!(matches!(read.read("u"), Err(FileError::NotFound { tensor, .. }) if tensor == "u"));
}

#[test]
fn a_file_that_shrinks_while_it_is_open_is_told() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("x.safetensors");
    std::fs::write(
        &path,
        file(
            r#"{"t":{"dtype":"U8","shape":[40],"data_offsets":[0,40]}}"#,
            40,
        ),
    )
    .expect("written");
    let read = Safetensors::open(&path).expect("valid");
    let handle = std::fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .expect("a file");
    handle.set_len(70).expect("cut");
    assert!(matches!(read.read("t"), Err(FileError::Truncated { what, .. }) if what == "t"));
}

/// Writes `specs` into `folder` as shards of at most `max` bytes.
fn write_sharded(folder: &Path, specs: &[TensorSpec], max: u64) {
    let mut writer =
        SafetensorsWriter::create_sharded(folder, &BTreeMap::new(), specs, max).expect("created");
    for spec in specs {
        writer.write(&spec.name, &bytes(spec)).expect("written");
    }
    writer.finish().expect("finished");
}

#[test]
fn shards_are_written_and_read_as_one_model() {
    let dir = tempfile::tempdir().expect("a folder");
    let specs = specs();
    // 15, 24, 2, 0 and 1 bytes.
    write_sharded(dir.path(), &specs, 26);
    let index = std::fs::read(dir.path().join("model.safetensors.index.json")).expect("an index");
    let index: serde_json::Value = serde_json::from_slice(&index).expect("JSON");
    let (first, last) = (
        "model-00001-of-00003.safetensors",
        "model-00003-of-00003.safetensors",
    );
    assert_eq!(index["metadata"]["total_size"], 42);
    assert_eq!(index["weight_map"]["odd"], first);
    assert_eq!(
        index["weight_map"]["empty"],
        "model-00002-of-00003.safetensors"
    );
    assert_eq!(index["weight_map"]["é\"\\"], last);

    for path in [
        dir.path().to_path_buf(),
        dir.path().join("model.safetensors.index.json"),
    ] {
        let model = Safetensors::open(path).expect("valid");
        assert_eq!(model.files().len(), 3);
        assert_eq!(model.tensors().len(), specs.len());
        for spec in &specs {
            assert_eq!(model.read(&spec.name).expect("read"), bytes(spec));
        }
    }
    // One shard alone is a file like any other.
    assert_eq!(
        Safetensors::open(dir.path().join(first))
            .expect("valid")
            .tensors()
            .len(),
        1
    );

    let single = SafetensorsWriter::create_sharded(dir.path(), &BTreeMap::new(), &specs, 1000);
    assert!(
        matches!(single, Err(FileError::Exists { path }) if path.ends_with("model.safetensors.index.json"))
    );
    let single = tempfile::tempdir().expect("a folder");
    write_sharded(single.path(), &specs, 42);
    let model = Safetensors::open(single.path()).expect("valid");
    assert_eq!(
        model.files().collect::<Vec<_>>(),
        [single.path().join("model.safetensors")]
    );
    let several = SafetensorsWriter::create_sharded(single.path(), &BTreeMap::new(), &specs, 41);
    assert!(matches!(several, Err(FileError::Exists { .. })));
}

#[test]
fn an_index_that_leads_astray_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let specs = specs();
    write_sharded(dir.path(), &specs, 26);
    let path = dir.path().join("model.safetensors.index.json");
    let good: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&path).expect("an index")).expect("JSON");
    let open_with = |tensor: &str, shard: &str| {
        let mut index = good.clone();
        index["weight_map"][tensor] = shard.into();
        std::fs::write(&path, index.to_string()).expect("written");
        Safetensors::open(dir.path()).map(|_| ())
    };
    for shard in [
        "../model-00001-of-00003.safetensors",
        "/etc/x.safetensors",
        "folder/x.safetensors",
        "folder\\x.safetensors",
        "C:x.safetensors",
        "..",
        "",
        ".safetensors",
        "x.gguf",
        // An index that names itself, or another one.
        "model.safetensors.index.json",
        "x\0.safetensors",
    ] {
        match open_with("odd", shard) {
            Err(FileError::ShardName { shard: found, .. }) => assert_eq!(found, shard),
            other => panic!("{shard}: {other:?}"),
        }
    }
    match open_with("odd", "missing.safetensors") {
        Err(FileError::Io { path, source }) => {
            assert_eq!(path, dir.path().join("missing.safetensors"));
            assert_eq!(source.kind(), std::io::ErrorKind::NotFound);
        }
        other => panic!("{other:?}"),
    }
    for (tensor, shard) in [
        ("new", "model-00001-of-00003.safetensors"),
        ("odd", "model-00002-of-00003.safetensors"),
    ] {
        match open_with(tensor, shard) {
            Err(FileError::ShardTensor {
                tensor: found,
                shard: within,
                ..
            }) => {
                assert_eq!((found.as_str(), within.as_str()), (tensor, shard));
            }
            other => panic!("{tensor}: {other:?}"),
        }
    }
    // A shard that is an index, whatever its name: no file of tensors.
    std::fs::copy(&path, dir.path().join("loop.safetensors")).expect("copied");
    assert!(matches!(
        open_with("odd", "loop.safetensors"),
        Err(FileError::Limit { .. })
    ));

    let map = |count: usize| {
        let names = (0..count).map(|i| (i.to_string(), format!("{i}.safetensors")));
        serde_json::json!({ "weight_map": names.collect::<BTreeMap<_, _>>() }).to_string()
    };
    std::fs::write(&path, map(513)).expect("written");
    assert!(matches!(
        Safetensors::open(dir.path()),
        Err(FileError::Limit {
            found: 513,
            max: 512,
            ..
        })
    ));
    for text in [
        "",
        "{}",
        "[]",
        r#"{"weight_map":[]}"#,
        r#"{"weight_map":{"a":1}}"#,
    ] {
        std::fs::write(&path, text).expect("written");
        assert!(
            matches!(Safetensors::open(dir.path()), Err(FileError::Header { .. })),
            "{text}"
        );
    }
    let twice = r#"{"weight_map":{"a":"x.safetensors","a":"y.safetensors"}}"#;
    std::fs::write(&path, twice).expect("written");
    assert!(matches!(
        Safetensors::open(dir.path()),
        Err(FileError::Duplicate { .. })
    ));
}

#[test]
fn a_tensor_that_the_index_leaves_out_is_left_out() {
    let dir = tempfile::tempdir().expect("a folder");
    write_sharded(dir.path(), &specs(), 26);
    let path = dir.path().join("model.safetensors.index.json");
    let mut index: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&path).expect("an index")).expect("JSON");
    index["weight_map"]
        .as_object_mut()
        .expect("a map")
        .remove("scalar");
    std::fs::write(&path, index.to_string()).expect("written");
    let model = Safetensors::open(dir.path()).expect("valid");
    assert!(model.info("scalar").is_none());
    assert_eq!(model.tensors().len(), specs().len() - 1);
}

#[test]
fn a_folder_must_say_which_file_is_the_model() {
    let dir = tempfile::tempdir().expect("a folder");
    assert!(matches!(
        Safetensors::open(dir.path()),
        Err(FileError::Folder { .. })
    ));
    let one = file(
        r#"{"t":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#,
        1,
    );
    std::fs::write(dir.path().join("one.safetensors"), &one).expect("written");
    assert_eq!(
        Safetensors::open(dir.path())
            .expect("the only one")
            .tensors()
            .len(),
        1
    );
    std::fs::write(dir.path().join("two.safetensors"), &one).expect("written");
    assert!(matches!(
        Safetensors::open(dir.path()),
        Err(FileError::Folder { .. })
    ));
    std::fs::write(dir.path().join("model.safetensors"), file("{}", 0)).expect("written");
    assert_eq!(
        Safetensors::open(dir.path())
            .expect("named so")
            .tensors()
            .len(),
        0
    );
    assert!(matches!(
        Safetensors::open(dir.path().join("none")),
        Err(FileError::Io { .. })
    ));
}

#[test]
fn a_writer_wants_exactly_what_was_declared() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("x.safetensors");
    std::fs::write(&path, "old").expect("written");
    let none = BTreeMap::new();
    let spec = |name: &str, dtype, shape: &[usize]| TensorSpec::new(name, dtype, shape);
    let create = |specs: &[TensorSpec]| SafetensorsWriter::create(&path, &none, specs).map(|_| ());
    let twice = [spec("a", DType::U8, &[1]), spec("a", DType::U8, &[2])];
    assert!(matches!(create(&twice), Err(FileError::Duplicate { .. })));
    let reserved = [spec("__metadata__", DType::U8, &[1])];
    assert!(matches!(
        create(&reserved),
        Err(FileError::Duplicate { .. })
    ));
    let block = [spec("a", DType::Ggml(GgmlType::Q8_0), &[32])];
    assert!(matches!(create(&block), Err(FileError::UnknownType { found, .. }) if found == "Q8_0"));
    let huge = [spec("a", DType::F32, &[usize::MAX, 2])];
    assert!(matches!(create(&huge), Err(FileError::Shape { .. })));

    let specs = [spec("a", DType::U8, &[4]), spec("b", DType::U8, &[4])];
    let mut writer = SafetensorsWriter::create(&path, &none, &specs).expect("created");
    writer.write("a", &[1; 3]).expect("written");
    assert!(matches!(
        writer.write("a", &[1; 2]),
        Err(FileError::Written {
            expected: 4,
            found: 5,
            ..
        })
    ));
    assert!(matches!(
        writer.write("c", &[]),
        Err(FileError::NotFound { .. })
    ));
    writer.write("b", &[2; 4]).expect("written");
    match writer.finish() {
        Err(FileError::Written {
            tensor,
            expected,
            found,
            ..
        }) => {
            assert_eq!((tensor.as_str(), expected, found), ("a", 4, 3));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(std::fs::read(&path).expect("a file"), b"old");
    assert_eq!(
        std::fs::read_dir(dir.path()).expect("a folder").count(),
        1,
        "a file is left"
    );

    let mut writer = SafetensorsWriter::create(&path, &none, &specs).expect("created");
    for (name, byte) in [("b", 2), ("a", 1), ("b", 3), ("a", 4)] {
        writer.write(name, &[byte; 2]).expect("written");
    }
    writer.finish().expect("finished");
    let read = Safetensors::open(&path).expect("valid");
    assert_eq!(read.read("a").expect("read"), [1, 1, 4, 4]);
    assert_eq!(read.read("b").expect("read"), [2, 2, 3, 3]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let other = dir.path().join("other");
        std::fs::write(&other, "").expect("written");
        let mode = |path: &Path| path.metadata().expect("a file").permissions().mode();
        assert_eq!(mode(&path), mode(&other));
    }
}
