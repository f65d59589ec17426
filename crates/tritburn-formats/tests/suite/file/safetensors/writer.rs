//! What is written is what the reference crate reads, and what the writer refuses.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::SafeTensors;
use tritburn_formats::file::gguf::GgmlType;
use tritburn_formats::file::{
    DType, FileError, Safetensors, SafetensorsWriter, TensorSource, TensorSpec,
};

use super::specs;
use crate::file::spec_bytes;

#[test]
fn a_written_file_is_what_the_reference_reads_and_what_we_read() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("x.safetensors");
    let metadata = BTreeMap::from([("format".to_string(), "pt".to_string())]);
    let specs = specs();
    let mut writer = SafetensorsWriter::create(&path, &metadata, &specs).expect("created");
    // Any order, any chunks.
    for spec in specs.iter().rev() {
        for chunk in spec_bytes(spec).chunks(4) {
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
        assert_eq!(view.data(), spec_bytes(spec), "{}", spec.name);
        assert_eq!(view.shape(), spec.shape);
        assert_eq!(
            Some(view.dtype().to_string().as_str()),
            spec.dtype.safetensors_name()
        );
        let info = ours.info(&spec.name).expect("there");
        assert_eq!((info.dtype, &info.shape), (spec.dtype, &spec.shape));
        assert_eq!(ours.read(&spec.name).expect("read"), spec_bytes(spec));
    }
    assert_eq!(
        ours.read_range("odd", 4..9).expect("read"),
        spec_bytes(&specs[0])[4..9]
    );
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
