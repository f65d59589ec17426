//! A Git LFS pointer in the place of a model's file, read as each kind of file.

use std::path::Path;

use rstest::rstest;
use tritburn_formats::file::{FileError, Gguf, Safetensors, TorchCheckpoint, open};

#[rstest]
#[case("x.gguf", |path: &Path| Gguf::open(path).err())]
#[case("model.safetensors", |path: &Path| Safetensors::open(path).err())]
#[case("x.pt", |path: &Path| TorchCheckpoint::open(path).err())]
fn a_git_lfs_pointer_is_no_damaged_file(
    #[case] name: &str,
    #[case] read: fn(&Path) -> Option<FileError>,
) {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join(name);
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1179648\n";
    std::fs::write(&path, pointer).expect("written");
    let mut errors = vec![read(&path), open(&path).err()];
    if name == "model.safetensors" {
        errors.push(Safetensors::open(dir.path()).err());
    }
    for error in errors {
        let error = error.expect("a pointer holds no tensors");
        assert!(matches!(&error, FileError::LfsPointer { path: p } if *p == path));
        let message = error.to_string();
        assert!(message.contains("git lfs pull"), "{message}");
    }
}
