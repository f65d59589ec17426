//! Models in several files.

use std::collections::BTreeMap;
use std::path::Path;

use tritburn_formats::file::{FileError, Safetensors, SafetensorsWriter, TensorSource, TensorSpec};

use super::specs;
use crate::file::spec_bytes;

/// Writes `specs` into `folder` as shards of at most `max` bytes.
fn write_sharded(folder: &Path, specs: &[TensorSpec], max: u64) {
    let mut writer =
        SafetensorsWriter::create_sharded(folder, &BTreeMap::new(), specs, max).expect("created");
    for spec in specs {
        writer
            .write(&spec.name, &spec_bytes(spec))
            .expect("written");
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
            assert_eq!(model.read(&spec.name).expect("read"), spec_bytes(spec));
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
