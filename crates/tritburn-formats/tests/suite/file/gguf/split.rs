//! Models in several GGUF files.

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tritburn_formats::file::gguf::{GgmlType, Metadata, Value};
use tritburn_formats::file::{
    self, DType, FileError, FileKind, Gguf, GgufWriter, TensorSource, TensorSpec,
};

use crate::file::spec_bytes;

/// What a part says of itself.
struct Part<'a> {
    no: u16,
    count: u16,
    total: i32,
    tensors: &'a [TensorSpec],
}

fn write(path: &Path, part: &Part) {
    let mut metadata = Metadata::new();
    // The architecture, like all but the numbers, is in the first part only.
    if part.no == 0 {
        metadata.set("general.architecture", Value::String("bitnet-b1.58".into()));
        metadata.set("general.name", Value::String("toy".into()));
    }
    metadata.set("split.no", Value::U16(part.no));
    metadata.set("split.count", Value::U16(part.count));
    metadata.set("split.tensors.count", Value::I32(part.total));
    let mut writer = GgufWriter::create(path, &metadata, part.tensors).expect("created");
    for tensor in part.tensors {
        writer
            .write(&tensor.name, &spec_bytes(tensor))
            .expect("written");
    }
    writer.finish().expect("finished");
}

fn specs() -> Vec<TensorSpec> {
    vec![
        TensorSpec::new("token_embd.weight", DType::F16, [4, 128]),
        TensorSpec::new("blk.0.attn_q.weight", DType::Ggml(GgmlType::I2S), [2, 128]),
        TensorSpec::new("output_norm.weight", DType::F32, [3]),
    ]
}

fn name(folder: &Path, number: usize) -> PathBuf {
    folder.join(format!("m-{number:05}-of-00003.gguf"))
}

/// A model of three parts.
fn model() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (index, tensor) in specs().iter().enumerate() {
        let part = Part {
            no: index as u16,
            count: 3,
            total: 3,
            tensors: std::slice::from_ref(tensor),
        };
        write(&name(folder.path(), index + 1), &part);
    }
    folder
}

fn refuse(path: &Path) -> FileError {
    match Gguf::open(path) {
        Ok(_) => panic!("accepted"),
        Err(error) => error,
    }
}

#[test]
fn any_part_opens_all_of_them() {
    let folder = model();
    let parts: Vec<PathBuf> = (1..=3).map(|number| name(folder.path(), number)).collect();
    let opened = parts.iter().map(PathBuf::as_path).chain([folder.path()]);
    for path in opened {
        assert_eq!(FileKind::detect(path).expect("known"), FileKind::Gguf);
        let model = Gguf::open(path).expect("complete");
        assert_eq!(model.path(), path);
        assert!(model.files().eq(&parts));
        assert_eq!(
            model.metadata().get("general.name"),
            Some(&Value::String("toy".into()))
        );
        assert_eq!(model.tensors().len(), 3);
        for spec in specs() {
            let info = model.require(&spec.name).expect("listed");
            // 36 is I2_S in the second part because the first one says whose file it is.
            assert_eq!((info.dtype, &info.shape), (spec.dtype, &spec.shape));
            assert_eq!(model.read(&spec.name).expect("read"), spec_bytes(&spec));
        }
        assert_eq!(file::open(path).expect("complete").tensors().len(), 3);
    }
    // In memory a part is a file.
    let bytes = std::fs::read(&parts[2]).expect("read");
    let alone = Gguf::from_bytes("part", bytes).expect("valid");
    assert_eq!(alone.tensors().len(), 1);
}

#[test]
fn parts_that_are_missing_or_disagree_are_refused() {
    let folder = model();
    let part = |number| name(folder.path(), number);
    let split = |error: FileError, wrong: &Path, text: &str| match error {
        FileError::Split { path, reason } => {
            assert_eq!(
                (path.as_path(), reason.contains(text)),
                (wrong, true),
                "{reason}"
            );
        }
        other => panic!("{other}"),
    };
    let norm = || std::slice::from_ref(&specs()[2]).to_vec();
    let third = |no, count, total, tensors: &[TensorSpec]| {
        let part = Part {
            no,
            count,
            total,
            tensors,
        };
        write(&name(folder.path(), 3), &part);
    };
    third(1, 3, 3, &norm());
    split(refuse(&part(1)), &part(3), "split.no is 1, expected 2");
    third(2, 4, 3, &norm());
    split(refuse(&part(1)), &part(3), "split.count is 4, expected 3");
    split(
        refuse(&part(3)),
        &part(3),
        "split.count is 4, the name of the file says 3",
    );
    third(2, 1, 3, &norm());
    split(refuse(&part(1)), &part(3), "split.count is 1, expected 3");
    third(2, 3, 3, &[]);
    split(
        refuse(&part(2)),
        &part(2),
        "split.tensors.count is 3, the parts have 2 tensors",
    );
    third(2, 3, 3, &specs()[..1]);
    assert!(matches!(
        refuse(&part(1)),
        FileError::Duplicate { path, what: "tensor", name } if path == part(3) && name == "token_embd.weight"
    ));

    std::fs::remove_file(part(3)).expect("removed");
    for path in [&part(1), &part(2), folder.path()] {
        let error = refuse(path);
        assert!(
            error.to_string().ends_with("part 3 of 3 is missing"),
            "{error}"
        );
        match error {
            FileError::MissingPart {
                path,
                number: 3,
                count: 3,
            } => assert_eq!(path, part(3)),
            other => panic!("{other}"),
        }
    }
    third(2, 3, 3, &norm());
    assert!(Gguf::open(part(1)).is_ok());

    let odd = folder.path().join("odd.gguf");
    std::fs::copy(part(1), &odd).expect("copied");
    split(
        refuse(&odd),
        &odd,
        "not called like name-00001-of-00003.gguf",
    );
    let many = folder.path().join("m-00001-of-60000.gguf");
    write(
        &many,
        &Part {
            no: 0,
            count: 60000,
            total: 1,
            tensors: &norm(),
        },
    );
    assert!(matches!(
        refuse(&many),
        FileError::Limit { what, found: 60000, max: 512, .. } if what == "split.count"
    ));
}

#[test]
fn a_folder_must_hold_one_model() {
    let folder = model();
    let extra = folder.path().join("other.gguf");
    std::fs::copy(name(folder.path(), 1), &extra).expect("copied");
    match refuse(folder.path()) {
        FileError::Folder { reason, .. } => {
            assert!(reason.starts_with("4 .gguf files"), "{reason}")
        }
        other => panic!("{other}"),
    }
    let single = tempfile::tempdir().expect("a folder");
    match refuse(single.path()) {
        FileError::Folder { reason, .. } => assert_eq!(reason, "no .gguf file"),
        other => panic!("{other}"),
    }
    assert_eq!(
        FileKind::detect(single.path()).expect("known"),
        FileKind::Safetensors
    );
    let path = single.path().join("model.gguf");
    let part = Part {
        no: 0,
        count: 1,
        total: 3,
        tensors: &specs(),
    };
    write(&path, &part);
    let model = Gguf::open(single.path()).expect("the only file");
    assert!(model.files().eq([&path]));
    std::fs::write(single.path().join("x.safetensors"), "").expect("written");
    assert_eq!(
        FileKind::detect(single.path()).expect("known"),
        FileKind::Safetensors
    );
}
