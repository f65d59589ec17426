//! What the writer refuses.

use tritburn_formats::file::gguf::{GgmlType, Metadata, Value};
use tritburn_formats::file::{DType, FileError, Gguf, GgufWriter, TensorSource, TensorSpec};

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
