//! What is written is read back, and is what the Python package writes.

use tritburn_formats::file::gguf::{Array, GgmlType, Metadata, Value};
use tritburn_formats::file::{DType, Gguf, GgufWriter, TensorSource, TensorSpec};

use super::{PYTHON, open};
use crate::file::spec_bytes;

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

#[test]
fn a_written_file_is_read_back_exactly() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("x.gguf");
    let specs = specs();
    let lens: Vec<usize> = specs.iter().map(|spec| spec_bytes(spec).len()).collect();
    assert_eq!(lens, [12, 12, 3 * 32 + 32, 4 * 54, 2 * 66, 210, 0]);
    let mut writer = GgufWriter::create(&path, &metadata(), &specs).expect("created");
    for spec in specs.iter().rev() {
        for chunk in spec_bytes(spec).chunks(5) {
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
            spec_bytes(spec),
            "{}",
            spec.name
        );
    }
    assert_eq!(
        file.read_range("tq1", 50..60).expect("read"),
        spec_bytes(&specs[3])[50..60]
    );
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
