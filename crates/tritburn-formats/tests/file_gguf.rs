//! GGUF files: written and read back, against the Python package's, and files that lie.

use tritburn_formats::file::gguf::{Array, GgmlType, Metadata, Value};
use tritburn_formats::file::{DType, FileError, Gguf, GgufWriter, TensorSource, TensorSpec};

fn metadata() -> Metadata {
    let mut metadata = Metadata::new();
    let mut set = |key: &str, value| metadata.set(key, value);
    set("general.architecture", Value::String("bitnet-b1.58".into()));
    set("u8", Value::U8(200));
    set("i8", Value::I8(-100));
    set("u16", Value::U16(60000));
    set("i16", Value::I16(-30000));
    set("u32", Value::U32(4_000_000_000));
    set("i32", Value::I32(-2_000_000_000));
    set("u64", Value::U64(1 << 63));
    set("i64", Value::I64(i64::MIN));
    set("f32", Value::F32(1e-5));
    set("f64", Value::F64(1e-300));
    set("bool", Value::Bool(true));
    let tokens = ["<s>", "", "Ġé"].map(String::from).to_vec();
    set("tokens", Value::Array(Array::String(tokens)));
    set("floats", Value::Array(Array::F32(vec![0.5; 3])));
    set("none", Value::Array(Array::Bool(vec![])));
    let nested = vec![Array::U8(vec![1, 2]), Array::String(vec!["x".into()])];
    set("nested", Value::Array(Array::Array(nested)));
    metadata
}

fn specs() -> Vec<TensorSpec> {
    let ggml = DType::Ggml;
    vec![
        TensorSpec::new("f32", DType::F32, [3]),
        TensorSpec::new("f16", DType::F16, [2, 3]),
        TensorSpec::new("i2s", ggml(GgmlType::I2S), [3, 128]),
        TensorSpec::new("tq1", ggml(GgmlType::Tq1_0), [2, 512]),
        TensorSpec::new("tq2", ggml(GgmlType::Tq2_0), [1, 2, 256]),
        TensorSpec::new("q6k", ggml(GgmlType::Q6K), [1, 256]),
        TensorSpec::new("empty", DType::BF16, [0]),
    ]
}

/// Bytes that differ from tensor to tensor.
fn bytes(spec: &TensorSpec) -> Vec<u8> {
    let len = spec.dtype.byte_len(&spec.shape).expect("a known type");
    (0..len)
        .map(|i| (i * 7 + spec.name.len() * 31) as u8)
        .collect()
}

#[test]
fn a_written_file_is_read_back_exactly() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("x.gguf");
    let specs = specs();
    let lens: Vec<usize> = specs.iter().map(|spec| bytes(spec).len()).collect();
    assert_eq!(lens, [12, 12, 3 * 32 + 32, 4 * 54, 2 * 66, 210, 0]);
    let mut writer = GgufWriter::create(&path, &metadata(), &specs).expect("created");
    for spec in specs.iter().rev() {
        for chunk in bytes(spec).chunks(5) {
            writer.write(&spec.name, chunk).expect("written");
        }
    }
    writer.finish().expect("finished");

    let file = Gguf::open(&path).expect("valid");
    assert_eq!(file.version(), 3);
    assert_eq!(file.metadata(), &metadata());
    assert_eq!(file.tensors().len(), specs.len());
    for spec in &specs {
        let info = file.info(&spec.name).expect("there");
        assert_eq!((info.dtype, &info.shape), (spec.dtype, &spec.shape));
        assert_eq!(
            file.read(&spec.name).expect("read"),
            bytes(spec),
            "{}",
            spec.name
        );
    }
    assert_eq!(
        file.read_range("tq1", 50..60).expect("read"),
        bytes(&specs[3])[50..60]
    );
}

/// Written by the Python package (`data/README.md`).
const PYTHON: &[u8] = include_bytes!("data/python.gguf");

fn open(bytes: &[u8]) -> Result<Gguf, FileError> {
    Gguf::from_bytes("x", bytes.to_vec())
}

fn refuse(bytes: &[u8]) -> FileError {
    match open(bytes) {
        Ok(_) => panic!("accepted"),
        Err(error) => error,
    }
}

#[test]
fn a_file_of_the_python_package_is_read_and_written_alike() {
    let mut expected = Metadata::new();
    let mut set = |key: &str, value| expected.set(key, value);
    set("general.architecture", Value::String("bitnet-b1.58".into()));
    set("general.name", Value::String("golden".into()));
    set("test.u8", Value::U8(255));
    set("test.i8", Value::I8(-128));
    set("test.u16", Value::U16(65535));
    set("test.i16", Value::I16(-32768));
    set("bitnet-b1.58.block_count", Value::U32(2));
    set("test.i32", Value::I32(i32::MIN));
    set("test.u64", Value::U64(u64::MAX));
    set("test.i64", Value::I64(i64::MIN));
    set("bitnet-b1.58.rope.freq_base", Value::F32(500_000.0));
    set("test.f64", Value::F64(1.0 / 3.0));
    set("tokenizer.ggml.add_bos_token", Value::Bool(true));
    let tokens = ["<s>", "Ġa", "é", ""].map(String::from).to_vec();
    set("tokenizer.ggml.tokens", Value::Array(Array::String(tokens)));
    set(
        "tokenizer.ggml.token_type",
        Value::Array(Array::I32(vec![3, 1, 1, -1])),
    );
    set(
        "tokenizer.ggml.scores",
        Value::Array(Array::F32(vec![0.5, -1.5])),
    );

    let file = open(PYTHON).expect("valid");
    assert_eq!((file.version(), file.metadata()), (3, &expected));
    let ggml = DType::Ggml;
    let specs = [
        TensorSpec::new("f32", DType::F32, [2, 3]),
        TensorSpec::new("f16", DType::F16, [5]),
        TensorSpec::new("i32", DType::I32, [1, 2, 2]),
        TensorSpec::new("bf16", DType::BF16, [2, 256]),
        TensorSpec::new("tq1_0", ggml(GgmlType::Tq1_0), [2, 256]),
        TensorSpec::new("tq2_0", ggml(GgmlType::Tq2_0), [2, 256]),
        TensorSpec::new("q8_0", ggml(GgmlType::Q8_0), [2, 256]),
        TensorSpec::new("q4_0", ggml(GgmlType::Q4_0), [2, 256]),
        TensorSpec::new("q6_k", ggml(GgmlType::Q6K), [2, 256]),
    ];
    assert_eq!(file.tensors().len(), specs.len());
    for (info, spec) in file.tensors().iter().zip(&specs) {
        let found = (&info.name, info.dtype, &info.shape);
        assert_eq!(found, (&spec.name, spec.dtype, &spec.shape));
    }
    let floats: Vec<u8> = (0..6).flat_map(|i| (i as f32).to_le_bytes()).collect();
    assert_eq!(file.read("f32").expect("read"), floats);
    let ints: Vec<u8> = (-2..2i32).flat_map(i32::to_le_bytes).collect();
    assert_eq!(file.read("i32").expect("read"), ints);
    let bytes: Vec<u8> = (0..420).map(|i| i as u8).collect();
    assert_eq!(file.read("q6_k").expect("read"), bytes);
    // A block of -0.5, 0, 0.5, ...: the scale is 0.5 in half precision, at the block's end.
    assert_eq!(file.read("tq1_0").expect("read")[52..54], [0x00, 0x38]);

    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("x.gguf");
    let mut writer = GgufWriter::create(&path, file.metadata(), &specs).expect("created");
    for spec in &specs {
        writer
            .write(&spec.name, &file.read(&spec.name).expect("read"))
            .expect("written");
    }
    writer.finish().expect("finished");
    assert!(
        std::fs::read(&path).expect("a file") == PYTHON,
        "not the bytes that Python wrote"
    );
}

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

/// A file, from its parts.
struct Raw(Vec<u8>);

impl Raw {
    fn new(version: u32, tensors: u64, entries: u64) -> Self {
        let mut raw = Self(b"GGUF".to_vec());
        raw.0.extend(version.to_le_bytes());
        raw.u64(tensors).u64(entries);
        raw
    }

    fn u32(&mut self, value: u32) -> &mut Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn u64(&mut self, value: u64) -> &mut Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn text(&mut self, text: &[u8]) -> &mut Self {
        self.u64(text.len() as u64).0.extend(text);
        self
    }

    fn architecture(&mut self, name: &str) -> &mut Self {
        self.text(b"general.architecture")
            .u32(8)
            .text(name.as_bytes())
    }

    fn tensor(&mut self, name: &str, dims: &[u64], kind: u32, offset: u64) -> &mut Self {
        self.text(name.as_bytes()).u32(dims.len() as u32);
        for &dim in dims {
            self.u64(dim);
        }
        self.u32(kind).u64(offset)
    }

    /// The file, with `len` bytes of data.
    fn data(&mut self, len: usize) -> Vec<u8> {
        let start = self.0.len().next_multiple_of(32);
        self.0.resize(start + len, 1);
        self.0.clone()
    }
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
fn the_number_36_is_i2_s_only_where_the_architecture_says_so() {
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
    for architecture in ["bitnet-b1.58", "bitnet", "bitnet-25", "qwen3", "gemma3"] {
        assert_eq!(kind(architecture, 36), GgmlType::I2S, "{architecture}");
    }
    for architecture in ["llama", "qwen2", ""] {
        assert_eq!(
            kind(architecture, 36),
            GgmlType::Unknown(36),
            "{architecture}"
        );
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

#[test]
fn a_writer_wants_what_gguf_can_hold() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("x.gguf");
    let create = |metadata: &Metadata, spec: TensorSpec| {
        GgufWriter::create(&path, metadata, &[spec]).map(|_| ())
    };
    let none = Metadata::new();
    for dtype in [
        DType::U8,
        DType::U32,
        DType::Bool,
        DType::Ggml(GgmlType::Unknown(99)),
    ] {
        let spec = TensorSpec::new("t", dtype, [256]);
        assert!(
            matches!(create(&none, spec), Err(FileError::UnknownType { .. })),
            "{dtype}"
        );
    }
    for (dtype, shape) in [
        (DType::Ggml(GgmlType::Tq2_0), vec![2, 128]),
        (DType::Ggml(GgmlType::I2S), vec![3]),
        (DType::F32, vec![1; 5]),
        (DType::F32, vec![usize::MAX]),
    ] {
        let spec = TensorSpec::new("t", dtype, shape);
        assert!(
            matches!(create(&none, spec), Err(FileError::Shape { .. })),
            "{dtype}"
        );
    }
    let long = TensorSpec::new("t".repeat(64), DType::F32, [1]);
    assert!(matches!(
        create(&none, long),
        Err(FileError::Limit {
            found: 64,
            max: 63,
            ..
        })
    ));
    let t = || TensorSpec::new("t", DType::F32, [1]);
    assert!(matches!(
        GgufWriter::create(&path, &none, &[t(), t()]).map(|_| ()),
        Err(FileError::Duplicate { .. })
    ));
    for alignment in [
        Value::U32(0),
        Value::U32(48),
        Value::U32(4 << 20),
        Value::U64(32),
    ] {
        let mut metadata = Metadata::new();
        metadata.set("general.alignment", alignment);
        assert!(matches!(
            create(&metadata, t()),
            Err(FileError::Header { .. })
        ));
    }
    assert_eq!(
        std::fs::read_dir(dir.path()).expect("a folder").count(),
        0,
        "a file is left"
    );

    let mut metadata = Metadata::new();
    metadata.set("general.alignment", Value::U32(128));
    let mut writer = GgufWriter::create(&path, &metadata, &[t()]).expect("created");
    writer.write("t", &[1, 2]).expect("written");
    assert!(matches!(
        writer.write("t", &[1; 3]),
        Err(FileError::Written {
            expected: 4,
            found: 5,
            ..
        })
    ));
    writer.write("t", &[3, 4]).expect("written");
    writer.finish().expect("finished");
    assert!(
        std::fs::metadata(&path)
            .expect("a file")
            .len()
            .is_multiple_of(128)
    );
    assert_eq!(
        Gguf::open(&path).expect("valid").read("t").expect("read"),
        [1, 2, 3, 4]
    );

    let writer = GgufWriter::create(&path, &none, &[t()]).expect("created");
    assert!(matches!(
        writer.finish(),
        Err(FileError::Written { found: 0, .. })
    ));
    assert!(Gguf::open(&path).is_ok(), "the old file is gone");
}
