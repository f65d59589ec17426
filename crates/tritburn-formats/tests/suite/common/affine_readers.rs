//! As [`readers`](super::readers), of weights with scales and zero points per group.

#![allow(dead_code, reason = "each fuzz target uses its own part")]

use half::{bf16, f16};
use tritburn_formats::affine::{AffineHeader, AffineMatrix, Bits, Floats, WeightHeader};
use tritburn_formats::codec::CodecError;
use tritburn_formats::codec::awq::{self, AwqTensors};
use tritburn_formats::codec::gptq::{self, GptqTensors, StoredZeros};

/// The header of affine weights, as words and as JSON: an accepted one survives being written.
pub fn affine_header(data: &[u8]) {
    let words: Vec<u32> = words(data, data.len() / 4, false);
    let read = AffineHeader::from_words(&words).ok();
    if let Some(header) = &read {
        let either = WeightHeader::from_words(&words);
        assert_eq!(either, Ok(WeightHeader::Affine(header.clone())));
    }
    let headers = [read, serde_json::from_slice(data).ok()];
    for header in headers.into_iter().flatten() {
        let words = header.to_words();
        assert_eq!(AffineHeader::from_words(&words).as_ref(), Ok(&header));
        let json = serde_json::to_vec(&header).expect("plain data");
        assert_eq!(
            serde_json::from_slice::<AffineHeader>(&json).ok(),
            Some(header)
        );
    }
}

/// What the first four bytes say of a layer, and the tensors in the rest.
struct Layer<'a> {
    kind: u8,
    shape: [usize; 2],
    group: Option<usize>,
    data: &'a [u8],
}

impl<'a> Layer<'a> {
    fn of(data: &'a [u8]) -> Option<Self> {
        let (&[kind, rows, columns, group], data) = data.split_first_chunk()?;
        let unit = [1, 8, 16, 32][usize::from(kind >> 6)];
        Some(Self {
            kind,
            shape: [usize::from(rows) % 64 * unit, usize::from(columns) * unit],
            group: (group > 0).then_some(8 * usize::from(group)),
            data,
        })
    }

    /// Groups, if the group size makes sense at all.
    fn groups(&self) -> usize {
        self.group.map_or(1, |size| self.shape[1].div_ceil(size))
    }

    /// Words from the data on; as many as a valid layer has unless a bit of `kind` says otherwise.
    fn words(&self, skip: usize, wanted: usize) -> Vec<u32> {
        let data = &self.data[skip.min(self.data.len())..];
        words(data, wanted, self.kind & 0x20 == 0)
    }

    fn scales(&self, count: usize) -> Floats {
        let halves = self.words(8, count);
        match self.kind & 0x10 {
            0 => Floats::F16(halves.iter().map(|&w| f16::from_bits(w as u16)).collect()),
            _ => Floats::Bf16(halves.iter().map(|&w| bf16::from_bits(w as u16)).collect()),
        }
    }
}

/// `wanted` words of the bytes, again and again if they may repeat.
fn words(data: &[u8], wanted: usize, repeat: bool) -> Vec<u32> {
    let words = data.as_chunks().0.iter().map(|&b| u32::from_le_bytes(b));
    match repeat {
        true => words.cycle().take(wanted).collect(),
        false => words.take(wanted).collect(),
    }
}

/// The tensors of a GPTQ layer: what is accepted is written, and read again as the same matrix.
pub fn gptq(data: &[u8]) {
    let Some(layer) = Layer::of(data) else {
        return;
    };
    let ([out, k], groups) = (layer.shape, layer.groups());
    let bits = Bits::ALL[usize::from(layer.kind & 3) % 3];
    let stored = match layer.kind & 4 {
        0 => StoredZeros::MinusOne,
        _ => StoredZeros::Plain,
    };
    let g_idx = |kind: u8| match kind & 8 {
        0 => None,
        _ => Some((0..k).map(|i| g_idx_of(layer.data, i, groups)).collect()),
    };
    let tensors = GptqTensors {
        qweight: layer.words(0, k * bits.count() / 32 * out),
        qzeros: layer.words(4, out * bits.count() / 32 * groups),
        scales: layer.scales(groups * out),
        g_idx: g_idx(layer.kind),
    };
    let read = |tensors: &GptqTensors| gptq::decode(tensors, [out, k], bits, layer.group, stored);
    if let Ok(matrix) = read(&tensors) {
        let again = gptq::encode(&matrix, stored).expect("what was read can be written");
        assert_eq!(again.qweight, tensors.qweight);
        assert_eq!(read(&again), Ok(matrix));
    }
}

/// The group of an input: those of the data, or in turn, so that some orders are accepted.
fn g_idx_of(data: &[u8], input: usize, groups: usize) -> i32 {
    match data.get(input) {
        Some(&byte) if data[0] & 1 == 1 => i32::from(byte as i8),
        _ => (input % groups) as i32,
    }
}

/// The tensors of an AWQ layer, likewise.
pub fn awq(data: &[u8]) {
    let Some(layer) = Layer::of(data) else {
        return;
    };
    let ([out, k], groups) = (layer.shape, layer.groups());
    let tensors = AwqTensors {
        qweight: layer.words(0, k * (out / 8)),
        qzeros: layer.words(4, groups * (out / 8)),
        scales: layer.scales(groups * out),
    };
    let read = awq::decode(&tensors, [out, k], layer.group);
    let finite = |matrix: &AffineMatrix| matrix.dequantize().iter().all(|w| !w.is_nan());
    match read {
        Ok(matrix) => {
            assert!(finite(&matrix));
            assert_eq!(awq::encode(&matrix), Ok(tensors));
        }
        Err(error) => assert!(!matches!(error, CodecError::ZeroRange { .. })),
    }
}
