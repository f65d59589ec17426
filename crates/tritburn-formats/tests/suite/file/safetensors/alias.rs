//! Shared tensors, as Python's `save_model` stores them: once, and the other names in the metadata.

use tritburn_formats::file::{FileError, Safetensors, TensorSource};

use super::{file, open};

const SHARED: &str = r#"{"__metadata__":{"format":"pt","embed":"head","head":"embed","gone":"none"},
    "head":{"dtype":"U8","shape":[2,2],"data_offsets":[0,4]},
    "norm":{"dtype":"U8","shape":[1],"data_offsets":[4,5]}}"#;

fn shared() -> Vec<u8> {
    let mut bytes = file(SHARED, 5);
    let data = bytes.len() - 5;
    bytes[data..].copy_from_slice(&[1, 2, 3, 4, 5]);
    bytes
}

#[test]
fn the_other_name_of_a_tensor_is_followed() {
    let model = open(shared()).expect("valid");
    assert_eq!(model.aliases().collect::<Vec<_>>(), [("embed", "head")]);
    let info = model.require("embed").expect("an alias");
    let head = model.require("head").expect("a tensor");
    assert_eq!((info.name.as_str(), head.name.as_str()), ("embed", "head"));
    assert_eq!(
        (info.dtype, &info.shape, info.byte_len),
        (head.dtype, &head.shape, 4)
    );
    assert_eq!(model.read("embed").expect("read"), [1, 2, 3, 4]);
    assert_eq!(model.read_range("embed", 1..3).expect("read"), [2, 3]);
    let mut buffer = [0; 1];
    model.read_into("embed", 3, &mut buffer).expect("read");
    assert_eq!(buffer, [4]);
    assert!(matches!(
        model.read_range("embed", 2..5),
        Err(FileError::Range { tensor, len: 4, .. }) if tensor == "embed"
    ));
    // Listed once; other metadata is no name of anything.
    assert_eq!(model.tensors().len(), 2);
    for name in ["format", "gone", "pt", "none"] {
        assert!(
            matches!(model.read(name), Err(FileError::NotFound { .. })),
            "{name}"
        );
    }
    assert_eq!(model.read("norm").expect("read"), [5]);
}

#[test]
fn a_tensor_of_its_own_is_no_alias() {
    let header = r#"{"__metadata__":{"b":"a"},
        "a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},
        "b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}"#;
    let model = open(file(header, 3)).expect("valid");
    assert_eq!(model.aliases().count(), 0);
    assert_eq!(model.read("b").expect("read"), [0, 0]);
}

#[test]
fn an_index_may_name_an_alias() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, bytes: &[u8]| {
        std::fs::write(folder.path().join(name), bytes).expect("written");
    };
    write("a.safetensors", &shared());
    let index = r#"{"weight_map":{"head":"a.safetensors","embed":"a.safetensors"}}"#;
    write("model.safetensors.index.json", index.as_bytes());
    let model = Safetensors::open(folder.path()).expect("valid");
    assert_eq!(model.read("embed").expect("read"), [1, 2, 3, 4]);
    // `norm` is not in the index, so nothing stands for it either.
    assert!(model.info("norm").is_none());
    let index = r#"{"weight_map":{"head":"a.safetensors","gone":"a.safetensors"}}"#;
    write("model.safetensors.index.json", index.as_bytes());
    assert!(matches!(
        Safetensors::open(folder.path()).map(|_| ()),
        Err(FileError::ShardTensor { tensor, .. }) if tensor == "gone"
    ));
}

#[test]
fn a_file_beside_an_index_is_read_and_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let [single, shard, index] = [
        "model.safetensors",
        "model-00001-of-00001.safetensors",
        "model.safetensors.index.json",
    ]
    .map(|name| folder.path().join(name));
    std::fs::write(&shard, file("{}", 0)).expect("written");
    std::fs::write(&index, r#"{"weight_map":{}}"#).expect("written");
    let sharded = Safetensors::open(folder.path()).expect("valid");
    assert!(sharded.unread().is_none() && sharded.problems().is_empty());

    std::fs::write(&single, shared()).expect("written");
    let model = Safetensors::open(folder.path()).expect("valid");
    assert!(model.files().eq([single.as_path()]));
    assert_eq!(model.unread(), Some(index.as_path()));
    let problems = model.problems();
    assert_eq!(problems.len(), 1);
    assert!(
        problems[0].starts_with("model.safetensors is read, "),
        "{}",
        problems[0]
    );
    assert!(
        problems[0].contains("index.json beside it is not"),
        "{}",
        problems[0]
    );
    // Whoever names one of them knows which.
    for path in [&single, &index] {
        let model = Safetensors::open(path).expect("valid");
        assert!(model.unread().is_none() && model.problems().is_empty());
    }
}
