//! Parts of tensors, files that change, and folders.

use tritburn_formats::file::{FileError, Safetensors, TensorSource};

use super::{file, open};

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
