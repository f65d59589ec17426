//! Torch checkpoints: written and read back, those of another writer, and files that lie.

use std::io::Write;
use std::path::Path;

use tritburn_formats::file::{
    DType, FileError, FileKind, TensorSource, TensorSpec, TorchCheckpoint, TorchWriter, open,
};

use crate::file::spec_bytes;

fn specs() -> Vec<TensorSpec> {
    vec![
        TensorSpec::new("layers.0.wqkv.weight", DType::I8, [6, 4]),
        TensorSpec::new("layers.0.wqkv.weight_scale", DType::BF16, [4]),
        TensorSpec::new("norm.weight", DType::F32, [3]),
        TensorSpec::new("half", DType::F16, [1, 2]),
        TensorSpec::new("scalar", DType::I64, []),
        TensorSpec::new("empty", DType::U8, [0, 5]),
        TensorSpec::new("é", DType::Bool, [2]),
        TensorSpec::new("wide", DType::F64, [2, 3, 5]),
        TensorSpec::new("i32", DType::I32, [1]),
        TensorSpec::new("i16", DType::I16, [1]),
    ]
}

/// Bytes that differ from tensor to tensor. Booleans are 0 or 1.
fn bytes(spec: &TensorSpec) -> Vec<u8> {
    let mut bytes = spec_bytes(spec);
    if spec.dtype == DType::Bool {
        bytes.iter_mut().for_each(|byte| *byte %= 2);
    }
    bytes
}

fn write(path: &Path, specs: &[TensorSpec]) {
    let mut writer = TorchWriter::create(path, specs).expect("created");
    for spec in specs.iter().rev() {
        for chunk in bytes(spec).chunks(5) {
            writer.write(&spec.name, chunk).expect("written");
        }
    }
    writer.finish().expect("finished");
}

#[test]
fn a_written_checkpoint_is_read_back_exactly() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("x.pt");
    let specs = specs();
    write(&path, &specs);
    assert_eq!(FileKind::detect(&path).expect("a file"), FileKind::Torch);
    let file = open(&path).expect("valid");
    assert_eq!(file.tensors().len(), specs.len());
    for spec in &specs {
        let info = file.info(&spec.name).expect("there");
        assert_eq!(
            (info.dtype, &info.shape),
            (spec.dtype, &spec.shape),
            "{}",
            spec.name
        );
        assert_eq!(
            file.read(&spec.name).expect("read"),
            bytes(spec),
            "{}",
            spec.name
        );
    }
    assert_eq!(
        file.read_range("wide", 9..30).expect("read"),
        bytes(&specs[7])[9..30]
    );
    assert!(matches!(
        file.read_range("wide", 9..241),
        Err(FileError::Range { .. })
    ));
    assert!(matches!(file.read("x"), Err(FileError::NotFound { .. })));
}

/// A checkpoint from its pickle and storages.
fn archive(path: &Path, pickle: &[u8], storages: &[&[u8]]) {
    let mut zip = zip::ZipWriter::new(std::fs::File::create(path).expect("created"));
    let stored =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let mut entry = |name: &str, bytes: &[u8]| {
        zip.start_file(name, stored).expect("an entry");
        zip.write_all(bytes).expect("written");
    };
    entry("m/data.pkl", pickle);
    for (i, bytes) in storages.iter().enumerate() {
        entry(&format!("m/data/{i}"), bytes);
    }
    zip.finish().expect("finished");
}

/// The pickle of one f32 tensor `t` of storage 0, with its sizes as protocol-2 opcodes.
fn tensor_pickle(numel: u8, offset: u8, shape: &[u8], stride: &[u8]) -> Vec<u8> {
    let ints = |values: &[u8]| values.iter().flat_map(|&v| [b'K', v]).collect::<Vec<_>>();
    let mut out = b"\x80\x02}(X\x01\0\0\0tctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storage\
        ctorch\nFloatStorage\nX\x01\0\0\0"
        .to_vec();
    out.extend(b"0X\x03\0\0\0cpuK");
    out.extend([numel, b't', b'Q', b'K', offset, b'(']);
    out.extend(ints(shape));
    out.extend(b"t(");
    out.extend(ints(stride));
    out.extend(b"t\x89ccollections\nOrderedDict\n)RtRu.");
    out
}

#[test]
fn a_strided_view_is_gathered() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("x.pt");
    let floats = |values: &[u8]| {
        values
            .iter()
            .flat_map(|&v| f32::from(v).to_le_bytes())
            .collect::<Vec<_>>()
    };
    archive(
        &path,
        &tensor_pickle(7, 1, &[2, 3], &[1, 2]),
        &[&floats(&[0, 1, 2, 3, 4, 5, 6])],
    );
    let file = TorchCheckpoint::open(&path).expect("valid");
    assert_eq!(file.read("t").expect("read"), floats(&[1, 3, 5, 2, 4, 6]));
    assert_eq!(file.read_range("t", 4..8).expect("read"), floats(&[3]));
}

#[test]
fn tensors_beyond_their_storage_or_the_file_are_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("x.pt");
    let open = || TorchCheckpoint::open(&path);
    for (numel, offset, shape, stride) in [
        (7, 2, &[2, 3][..], &[1, 2][..]),
        (7, 0, &[8], &[1]),
        (7, 0, &[2, 2], &[200, 1]),
        (7, 0, &[2, 2], &[1]),
    ] {
        archive(
            &path,
            &tensor_pickle(numel, offset, shape, stride),
            &[&[0; 28]],
        );
        assert!(matches!(open(), Err(FileError::Torch { .. })), "{shape:?}");
    }
    // An expanded view would take more memory than the file has bytes.
    archive(
        &path,
        &tensor_pickle(1, 0, &[255, 255], &[0, 0]),
        &[&[0; 4]],
    );
    match open().map(|_| ()) {
        Err(FileError::Limit { found, max, .. }) => {
            assert_eq!(found, 255 * 255 * 4);
            assert_eq!(max, std::fs::metadata(&path).expect("a file").len());
        }
        other => panic!("{other:?}"),
    }
    // A storage that is shorter than the pickle says, or missing, shows when it is read.
    for storages in [&[&[0u8; 27][..]][..], &[]] {
        archive(&path, &tensor_pickle(7, 0, &[7], &[1]), storages);
        let file = open().expect("a pickle");
        assert!(matches!(file.read("t"), Err(FileError::Torch { .. })));
    }
}

#[test]
fn a_pickle_is_never_executed() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("x.pt");
    let touched = dir.path().join("touched");
    let command = format!("touch {}", touched.display());
    let mut pickle = b"\x80\x02cos\nsystem\nX".to_vec();
    pickle.extend((command.len() as u32).to_le_bytes());
    pickle.extend(command.bytes());
    pickle.extend(b"\x85R.");
    archive(&path, &pickle, &[]);
    assert!(matches!(
        TorchCheckpoint::open(&path),
        Err(FileError::Torch { .. })
    ));
    assert!(!touched.exists());
}

#[test]
fn a_checkpoint_cut_anywhere_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let (whole, cut) = (dir.path().join("whole.pt"), dir.path().join("cut.pt"));
    write(&whole, &specs()[1..3]);
    let bytes = std::fs::read(&whole).expect("a file");
    for len in 0..bytes.len() {
        std::fs::write(&cut, &bytes[..len]).expect("written");
        match TorchCheckpoint::open(&cut).map(|_| ()) {
            Err(FileError::Truncated {
                expected: 4, found, ..
            }) => assert_eq!(found, len as u64),
            Err(FileError::Torch { .. }) => assert!(len >= 4),
            other => panic!("{len}: {other:?}"),
        }
    }
}

#[test]
fn other_containers_are_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("x.pt");
    // A bare pickle, as torch before 1.6 begins, and an empty archive.
    std::fs::write(&path, b"\x80\x02}.").expect("written");
    match TorchCheckpoint::open(&path).map(|_| ()) {
        Err(FileError::Magic {
            expected: "torch zip",
            found,
            ..
        }) => assert_eq!(found, b"\x80\x02}."),
        other => panic!("{other:?}"),
    }
    archive(&path, b"", &[]);
    assert!(matches!(
        TorchCheckpoint::open(&path),
        Err(FileError::Torch { .. })
    ));
    archive(&path, b"\x80\x02].", &[]);
    assert!(matches!(
        TorchCheckpoint::open(&path),
        Err(FileError::Torch { .. })
    ));
}

#[test]
fn a_dictionary_under_a_key_can_be_opened_alone() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("x.pt");
    let inner = tensor_pickle(1, 0, &[1], &[1]);
    // {"model": {"t": ...}}
    let mut pickle = b"\x80\x02}(X\x05\0\0\0model".to_vec();
    pickle.extend(&inner[2..inner.len() - 1]);
    pickle.extend(b"u.");
    archive(&path, &pickle, &[&1f32.to_le_bytes()]);
    let whole = TorchCheckpoint::open(&path).expect("valid");
    assert_eq!(whole.tensors()[0].name, "model.t");
    let part = TorchCheckpoint::open_key(&path, Some("model")).expect("valid");
    assert_eq!(part.read("t").expect("read"), 1f32.to_le_bytes());
    assert!(matches!(
        TorchCheckpoint::open_key(&path, Some("none")),
        Err(FileError::Torch { .. })
    ));
}

#[test]
fn a_writer_wants_exactly_what_was_declared() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("x.pt");
    let spec = |name: &str, dtype| TensorSpec::new(name, dtype, [4]);
    assert!(matches!(
        TorchWriter::create(&path, &[spec("a", DType::U32)]).map(|_| ()),
        Err(FileError::UnknownType { found, .. }) if found == "U32"
    ));
    let [a, b] = [spec("a", DType::U8), spec("b", DType::U8)];
    assert!(matches!(
        TorchWriter::create(&path, &[a.clone(), a.clone()]).map(|_| ()),
        Err(FileError::Duplicate { .. })
    ));
    let mut writer = TorchWriter::create(&path, &[a, b]).expect("created");
    writer.write("b", &[1; 3]).expect("written");
    assert!(matches!(
        writer.write("c", &[]),
        Err(FileError::NotFound { .. })
    ));
    for (name, tensor, found) in [("b", "b", 5), ("a", "b", 3)] {
        match writer.write(name, &[1; 2]) {
            Err(FileError::Written {
                tensor: of,
                expected: 4,
                found: bytes,
                ..
            }) => {
                assert_eq!((of.as_str(), bytes), (tensor, found));
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(writer.finish(), Err(FileError::Written { .. })));
    assert_eq!(
        std::fs::read_dir(dir.path()).expect("a folder").count(),
        0,
        "a file is left"
    );
}

#[test]
fn parts_are_those_of_the_whole_whatever_was_read_before() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("x.pt");
    write(&path, &specs());
    let file = TorchCheckpoint::open(&path).expect("valid");
    let part = |name: &str, range: std::ops::Range<usize>| {
        let mut buffer = vec![0; range.len()];
        file.read_into(name, range.start, &mut buffer)
            .expect("read");
        assert_eq!(file.read_range(name, range).expect("read"), buffer);
        buffer
    };
    for step in [1, 7, 64, 240] {
        for spec in specs() {
            let whole = file.read(&spec.name).expect("read");
            assert_eq!(whole, bytes(&spec), "{}", spec.name);
            let starts = (0..whole.len()).step_by(step);
            let parts = starts.flat_map(|start| {
                // Another tensor in between.
                part("norm.weight", 4..8);
                part(&spec.name, start..whole.len().min(start + step))
            });
            assert_eq!(parts.collect::<Vec<u8>>(), whole, "{}", spec.name);
        }
    }
    assert!(matches!(
        file.read_range("wide", 239..241),
        Err(FileError::Range { len: 240, .. })
    ));
}

#[test]
fn parts_of_one_tensor_are_one_read_of_the_file() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("x.pt");
    write(&path, &specs());
    let file = TorchCheckpoint::open(&path).expect("valid");
    let whole = file.read("wide").expect("read");
    assert_eq!(file.read_range("wide", 0..9).expect("read"), whole[..9]);
    // A file that has nothing left.
    std::fs::File::options()
        .write(true)
        .open(&path)
        .and_then(|file| file.set_len(0))
        .expect("cut");
    assert_eq!(file.read_range("wide", 9..240).expect("kept"), whole[9..]);
    assert!(file.read_range("norm.weight", 0..4).is_err());
}
