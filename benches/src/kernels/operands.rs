//! Operands on the device.

use anyhow::{Result, ensure};
use cubecl::prelude::*;
use cubecl::server::Handle;
use half::bf16;
use tritburn_formats::PackedMatrix;
use tritburn_kernels::product::Weights;
use tritburn_kernels::{
    Buffer, FloatMatrix, FloatType, FragmentOrder, PackedWeights, PrepackedWeights,
    QuantizedActivations, WeightOrder, prepack,
};

use super::Bench;
use crate::data::Activations;

/// Copies of one weight matrix that together do not fit a cache.
pub enum Copies {
    /// As stored.
    Canonical(Vec<PackedWeights>),
    /// In the order of tensor-core kernels.
    Prepacked(Vec<PrepackedWeights>),
}

impl Copies {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Canonical(copies) => copies.len(),
            Self::Prepacked(copies) => copies.len(),
        }
    }

    /// One of them.
    pub fn at(&self, i: usize) -> Weights<'_> {
        match self {
            Self::Canonical(copies) => (&copies[i]).into(),
            Self::Prepacked(copies) => (&copies[i]).into(),
        }
    }
}

impl Bench {
    /// Copies of `matrix` for products of `order`, prepacked where the device reads it so.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn copies(&self, matrix: &PackedMatrix, order: FragmentOrder) -> Result<Copies> {
        let layout = matrix.layout();
        let prepacked = WeightOrder::on(&self.facts, layout, order) != WeightOrder::Canonical;
        let fragments = PrepackedWeights::fragments(layout, order).filter(|_| prepacked);
        let Some(fragments) = fragments else {
            let count = self.count(4 * layout.word_count());
            let copies = (0..count)
                .map(|_| self.packed(matrix))
                .collect::<Result<_>>()?;
            return Ok(Copies::Canonical(copies));
        };
        let canonical = self.packed(matrix)?;
        let words = fragments.word_count();
        let copies = (0..self.count(4 * words)).map(|_| {
            let words = Buffer::new(self.client.empty(4 * words), words);
            let rows = layout.out_features();
            let scales = Buffer::new(self.client.empty(4 * rows), rows);
            let copy = PrepackedWeights::new(layout.clone(), order, words, scales)?;
            prepack::launch(&self.client, &canonical, &copy)?;
            Ok(copy)
        });
        Ok(Copies::Prepacked(copies.collect::<Result<_>>()?))
    }

    fn count(&self, bytes: usize) -> usize {
        self.cold_bytes.div_ceil(bytes).clamp(1, 4096)
    }

    /// One copy in the canonical layout.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn packed(&self, matrix: &PackedMatrix) -> Result<PackedWeights> {
        Ok(PackedWeights::new(
            matrix.layout().clone(),
            self.buffer(u32::as_bytes(matrix.words())),
            self.buffer(f32::as_bytes(matrix.scales())),
        )?)
    }

    /// A buffer of 4-byte elements.
    fn buffer(&self, bytes: &[u8]) -> Buffer {
        Buffer::new(self.client.create_from_slice(bytes), bytes.len() / 4)
    }

    /// Int8 activations from the host's quantiser.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn quantized(&self, tokens: &Activations, cols: usize) -> Result<QuantizedActivations> {
        Ok(QuantizedActivations::new(
            tokens.rows(),
            cols,
            self.buffer(u32::as_bytes(&tokens.words())),
            self.buffer(f32::as_bytes(&tokens.scales())),
        )?)
    }

    /// Activations as floats.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn floats(&self, tokens: &Activations, cols: usize) -> Result<FloatMatrix> {
        let data = tokens.floats();
        let handle = match self.float {
            FloatType::F32 => self.client.create_from_slice(f32::as_bytes(&data)),
            _ => {
                let data: Vec<bf16> = data.iter().map(|&x| bf16::from_f32(x)).collect();
                self.client.create_from_slice(bf16::as_bytes(&data))
            }
        };
        let shape = [tokens.rows(), cols];
        Ok(FloatMatrix::new(handle, shape, [cols, 1], self.float)?)
    }

    /// An output.
    ///
    /// # Errors
    /// If the device refuses.
    pub fn output(&self, shape: [usize; 2]) -> Result<Output> {
        let handle = self.client.empty(shape[0] * shape[1] * self.float.size());
        let matrix = FloatMatrix::new(handle.clone(), shape, [shape[1], 1], self.float)?;
        Ok(Output { matrix, handle })
    }
}

/// A float matrix that can be read back row by row.
pub struct Output {
    /// The matrix.
    pub matrix: FloatMatrix,
    handle: Handle,
}

impl Output {
    /// One row, widened to f32.
    ///
    /// # Errors
    /// If the device fails.
    pub fn row(&self, bench: &Bench, row: usize) -> Result<Vec<f32>> {
        let bytes = self.matrix.cols() * self.matrix.dtype().size();
        let bytes = read(bench, &self.handle, row * bytes, bytes)?;
        Ok(match self.matrix.dtype() {
            FloatType::F32 => words(&bytes).map(f32::from_bits).collect(),
            _ => {
                let halves = bytes.chunks_exact(2);
                let halves = halves.map(|pair| bf16::from_le_bytes([pair[0], pair[1]]));
                halves.map(bf16::to_f32).collect()
            }
        })
    }
}

/// `len` bytes of a buffer from `start` on.
///
/// # Errors
/// If they are not there, or the device fails.
pub fn read(bench: &Bench, handle: &Handle, start: usize, len: usize) -> Result<Vec<u8>> {
    let end = (start + len) as u64;
    ensure!(end <= handle.size(), "{end} bytes of {}", handle.size());
    // Parts of a buffer are read right only from aligned offsets on, and to its end or one.
    let aligned = start as u64 & !(READ_ALIGNMENT - 1);
    let stop = end.next_multiple_of(READ_ALIGNMENT).min(handle.size());
    let part = handle.clone().offset_start(aligned);
    let part = part.offset_end(handle.size() - stop);
    let bytes = bench.client.read_one(part)?;
    let skip = start - aligned as usize;
    ensure!(
        bytes.len() >= skip + len,
        "{} bytes came back of {}",
        bytes.len(),
        skip + len
    );
    Ok(bytes[skip..skip + len].to_vec())
}

/// Bytes at multiples of which a part of a buffer may start.
const READ_ALIGNMENT: u64 = 512;

/// Little-endian words.
pub fn words(bytes: &[u8]) -> impl Iterator<Item = u32> {
    let words = bytes.chunks_exact(4);
    words.map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
}
