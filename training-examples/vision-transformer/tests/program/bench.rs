//! The built program on small images, in a folder of its own.

use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use image::{ExtendedColorType, ImageFormat};
use npyz::WriterBuilder;
use tempfile::TempDir;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

pub use crate::process::{fail, succeed};

/// A model small enough for a training to take a second.
pub const TINY: [&str; 14] = [
    "--patch",
    "4",
    "--width",
    "16",
    "--layers",
    "1",
    "--heads",
    "2",
    "--inner",
    "32",
    "--batch-size",
    "8",
    "--warmup-steps",
    "2",
];

/// Height and width of the images.
pub const SIZE: usize = 8;

pub struct Bench {
    folder: TempDir,
}

impl Bench {
    /// A folder with idx files: three classes, of which 96 images train and 30 test.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bench = Self { folder };
        bench.write_idx("idx", 96, 30);
        bench
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    pub fn write_idx(&self, name: &str, train: usize, test: usize) {
        for (split, count) in [("train", train), ("t10k", test)] {
            let mut images = vec![0, 0, 8, 3];
            for number in [count, SIZE, SIZE] {
                images.extend((number as u32).to_be_bytes());
            }
            images.extend((0..count).flat_map(|index| pixels(index, 1)));
            let mut labels = vec![0, 0, 8, 1];
            labels.extend((count as u32).to_be_bytes());
            labels.extend((0..count).map(|index| (index % 3) as u8));
            self.write(&format!("{name}/{split}-images-idx3-ubyte"), &images);
            self.write(&format!("{name}/{split}-labels-idx1-ubyte"), &labels);
        }
    }

    /// `train` of the tiny model on `data`, with `more` arguments.
    pub fn train_on(&self, data: &str, run: &str, more: &[&str]) -> Command {
        let mut command = program("train");
        command.arg("--output").arg(self.path(run));
        command.arg("--data").arg(self.path(data));
        command.args(TINY).args(more);
        command
    }

    pub fn train(&self, run: &str, more: &[&str]) -> Command {
        self.train_on("idx", run, more)
    }

    pub fn losses(&self, run: &str) -> String {
        fs::read_to_string(self.path(run).join("losses.jsonl")).unwrap_or_default()
    }
}

/// An image of class `index % 3`, which has a bright third.
pub fn pixels(index: usize, channels: usize) -> Vec<u8> {
    let bright = index % 3;
    let values = (0..SIZE * SIZE * channels).map(|at| {
        let row = at / channels / SIZE;
        let noise = (at * 31 + index * 17) % 60;
        let light = if row * 3 / SIZE == bright { 180 } else { 20 };
        (light + noise) as u8
    });
    values.collect()
}

/// An array as NumPy writes it.
pub fn npy<T: npyz::AutoSerialize>(shape: &[u64], values: impl IntoIterator<Item = T>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let writer = npyz::WriteOptions::new().default_dtype().shape(shape);
    let mut writer = writer.writer(&mut bytes).begin_nd().unwrap();
    writer.extend(values).unwrap();
    writer.finish().unwrap();
    bytes
}

/// The arrays of a MedMNIST archive: images of `channels`, labels that `label` gives for 48, 12 and 15 images.
pub fn arrays(channels: usize, labels: impl Fn(usize) -> Vec<u8>) -> Vec<(String, Vec<u8>)> {
    let mut arrays = Vec::new();
    for (split, count) in [("train", 48), ("val", 12), ("test", 15)] {
        let side = SIZE as u64;
        let mut shape = vec![count as u64, side, side];
        if channels > 1 {
            shape.push(channels as u64);
        }
        let images = (0..count).flat_map(|index| pixels(index, channels));
        arrays.push((format!("{split}_images"), npy(&shape, images)));
        let columns = labels(0).len() as u64;
        let labels = (0..count).flat_map(&labels);
        arrays.push((
            format!("{split}_labels"),
            npy(&[count as u64, columns], labels),
        ));
    }
    arrays
}

/// A compressed archive, as `numpy.savez_compressed` writes it.
pub fn npz(arrays: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    for (name, bytes) in arrays {
        zip.start_file(format!("{name}.npy"), options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// An image as a PNG file.
pub fn png(pixels: &[u8], channels: usize) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let colour = match channels {
        1 => ExtendedColorType::L8,
        _ => ExtendedColorType::Rgb8,
    };
    let side = SIZE as u32;
    image::write_buffer_with_format(&mut bytes, pixels, side, side, colour, ImageFormat::Png)
        .unwrap();
    bytes.into_inner()
}

/// The program with a sub-command.
pub fn program(command: &str) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_vision-transformer"));
    program.arg(command);
    program
}

pub fn eval(run: &Path) -> Command {
    let mut program = program("eval");
    program.arg("--output").arg(run);
    program
}
