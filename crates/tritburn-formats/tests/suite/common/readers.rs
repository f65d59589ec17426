//! What must hold when a reader meets any bytes at all: the bodies of the targets in `fuzz/`, and of
//! the test that replays their corpora. They panic where it does not hold.

#![allow(dead_code, reason = "each fuzz target uses its own part")]

use std::io::{Seek, Write};
use std::path::Path;

use half::{bf16, f16};
use tempfile::NamedTempFile;
use tritburn_formats::codec::bitmedvit::{self, Tile};
use tritburn_formats::codec::gguf::{blocks, i2_s, q2_0, tq1_0, tq2_0};
use tritburn_formats::codec::int4matmul::{self, Bits, SparseWords};
use tritburn_formats::codec::{
    CodecError, Rounding, bitnet_gpu, bitnet_triton, burn_q2s, hf_bitnet, warp_bitnet,
};
use tritburn_formats::file::gguf::GgmlType;
use tritburn_formats::file::safetensors::ShardIndex;
use tritburn_formats::file::{DType, FileError, Gguf, Safetensors, TensorSource, TorchCheckpoint};
use tritburn_formats::quantize::recognize_ternary;
use tritburn_formats::{PackedHeader, PackedMatrix};

/// A refusal, whose message a terminal can show.
fn refused(error: &FileError) {
    let message = error.to_string();
    assert!(!message.contains(char::is_control), "{message:?}");
}

/// A safetensors file: what an accepted header lists can be read, by other names too.
pub fn safetensors(data: &[u8]) {
    let file = match Safetensors::from_bytes("bytes", data.to_vec()) {
        Ok(file) => file,
        Err(error) => return refused(&error),
    };
    for (alias, name) in file.aliases() {
        assert_eq!(file.read(alias).ok(), file.read(name).ok(), "{alias}");
        assert!(file.tensors().iter().all(|info| info.name != alias));
    }
    for info in file.tensors() {
        let bytes = file.read(&info.name).expect("a tensor of a checked header");
        assert_eq!(bytes.len(), info.byte_len, "{}", info.name);
    }
}

/// The index of a sharded model: an accepted one names files beside it.
pub fn shard_index(data: &[u8]) {
    let index = match ShardIndex::parse("bytes", data) {
        Ok(index) => index,
        Err(error) => return refused(&error),
    };
    for shard in &index.shards {
        let joined = Path::new("folder").join(shard);
        assert_eq!(joined.parent(), Some(Path::new("folder")), "{shard}");
    }
    assert!(
        index
            .tensors
            .values()
            .all(|&shard| shard < index.shards.len())
    );
}

/// A GGUF file: what an accepted header lists can be read, unless its type is unknown.
pub fn gguf(data: &[u8]) {
    match Gguf::from_bytes("bytes", data.to_vec()) {
        Ok(file) => read_gguf(&file),
        Err(error) => refused(&error),
    }
}

/// A GGUF model in two files, which the first two bytes part: as for one file.
pub fn gguf_split(data: &[u8], folder: &Path) {
    let Some((&[a, b], data)) = data.split_first_chunk() else {
        return;
    };
    let (first, second) = data.split_at(data.len().min(u16::from_le_bytes([a, b]).into()));
    for (number, bytes) in [(1, first), (2, second)] {
        let file = folder.join(format!("m-{number:05}-of-00002.gguf"));
        std::fs::write(file, bytes).expect("written");
    }
    match Gguf::open(folder) {
        Ok(file) => read_gguf(&file),
        Err(error) => refused(&error),
    }
}

fn read_gguf(file: &Gguf) {
    for info in file.tensors() {
        let readable = !matches!(info.dtype, DType::Ggml(kind) if !kind.is_known());
        let read = file.read(&info.name);
        assert_eq!(
            read.is_ok_and(|bytes| bytes.len() == info.byte_len),
            readable,
            "{}",
            info.name
        );
    }
    for problem in file.type_problems() {
        let info = file.info(&problem.tensor).expect("a listed tensor");
        let unknown = DType::Ggml(GgmlType::Unknown(problem.kind.id()));
        assert_eq!((info.dtype, info.byte_len as u64), (unknown, problem.found));
        assert!(
            problem
                .expected
                .is_none_or(|expected| expected > problem.found)
        );
    }
}

/// Blocks of a GGUF type, which the first byte picks: together they have the values that each has
/// alone.
pub fn blocks(data: &[u8]) {
    const KINDS: [GgmlType; 15] = [
        GgmlType::Q4_0,
        GgmlType::Q4_1,
        GgmlType::Q5_0,
        GgmlType::Q5_1,
        GgmlType::Q8_0,
        GgmlType::Q2K,
        GgmlType::Q3K,
        GgmlType::Q4K,
        GgmlType::Q5K,
        GgmlType::Q6K,
        GgmlType::Tq1_0,
        GgmlType::Tq2_0,
        GgmlType::Q2_0,
        GgmlType::Q2_0G128,
        GgmlType::Iq4Nl,
    ];
    let Some((&which, data)) = data.split_first() else {
        return;
    };
    let kind = KINDS[usize::from(which) % KINDS.len()];
    let (values, bytes) = kind.block().expect("a block type");
    let count = data.len() / bytes;
    let mut together = vec![0.0; count * values];
    let result = blocks::dequantize(kind, data, &mut together);
    if !data.len().is_multiple_of(bytes) || !blocks::can_dequantize(kind) {
        assert!(result.is_err());
        return;
    }
    let mut alone = vec![0.0; values];
    let mut all_good = true;
    for (block, expected) in data.chunks(bytes).zip(together.chunks(values)) {
        let good = blocks::dequantize(kind, block, &mut alone).is_ok();
        all_good &= good;
        if result.is_ok() {
            let bits = |v: &[f32]| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&alone), bits(expected));
        }
    }
    // Only the ternary types have bytes that mean nothing.
    assert_eq!(result.is_ok(), all_good);
    let checked = matches!(kind, GgmlType::Tq1_0 | GgmlType::Tq2_0);
    assert!(checked || result.is_ok());
}

/// Float weights of few values, or of any: what is found to be ternary is exactly that.
///
/// Input: rows, columns, whether any floats may occur, the data.
pub fn recognize(data: &[u8]) {
    let Some((&[rows, columns, any], data)) = data.split_first_chunk() else {
        return;
    };
    let (out, k) = (
        usize::from(rows),
        4 * usize::from(columns) + usize::from(any >> 4),
    );
    let few = |byte: u8| {
        let scale = [1.0, 0.5, 0.125, 3.0][usize::from(byte >> 6)];
        scale * [0.0, 1.0, -1.0, -0.0][usize::from(byte & 3)]
    };
    let floats: Vec<f32> = match any % 2 {
        0 => data.iter().map(|&byte| few(byte)).collect(),
        _ => {
            let floats = data.as_chunks().0.iter();
            floats.map(|&bytes| f32::from_le_bytes(bytes)).collect()
        }
    };
    let weights: Vec<f32> = floats.iter().copied().cycle().take(out * k).collect();
    if let Some(found) = recognize_ternary(&weights, out, k) {
        assert_eq!(found.dequantize(), weights);
        let layout = found.layout();
        assert_eq!((layout.out_features(), layout.in_features()), (out, k));
        assert!(found.scales().iter().all(|&s| s.is_finite() && s > 0.0));
        // What was found is found again, in the same form.
        assert_eq!(recognize_ternary(&found.dequantize(), out, k), Some(found));
    } else if !weights.is_empty() && out * k == weights.len() {
        let first = weights.iter().map(|w| w.abs()).find(|&w| w != 0.0);
        let one = |w: &f32| *w == 0.0 || Some(w.abs()) == first;
        assert!(!weights.iter().all(one) || first.is_none_or(f32::is_infinite));
    }
}

/// A torch checkpoint, from `file`, as its reader takes nothing else. An input that is no zip file is
/// taken for the pickle, and put into one.
pub fn torch(data: &[u8], file: &mut NamedTempFile) {
    file.rewind().expect("a seek");
    if data.starts_with(b"PK") {
        file.write_all(data).expect("written");
    } else {
        let options = zip::write::SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Stored);
        let mut archive = zip::ZipWriter::new(file.as_file());
        let storage = &data[..data.len().min(64)];
        for (name, bytes) in [("archive/data.pkl", data), ("archive/data/0", storage)] {
            archive.start_file(name, options).expect("an entry");
            archive.write_all(bytes).expect("written");
        }
        archive.finish().expect("an archive");
    }
    let end = file.stream_position().expect("a position");
    file.as_file().set_len(end).expect("cut");
    let Ok(checkpoint) = TorchCheckpoint::open(file.path()) else {
        return;
    };
    for info in checkpoint.tensors() {
        // A storage may be missing or short, which shows only now.
        if let Ok(bytes) = checkpoint.read(&info.name) {
            assert_eq!(bytes.len(), info.byte_len, "{}", info.name);
        }
    }
}

/// The header of packed weights, as words and as JSON: an accepted one survives being written.
pub fn packed_header(data: &[u8]) {
    let words: Vec<u32> = data
        .as_chunks()
        .0
        .iter()
        .map(|&b| u32::from_le_bytes(b))
        .collect();
    let headers = [
        PackedHeader::from_words(&words).ok(),
        serde_json::from_slice(data).ok(),
    ];
    for header in headers.into_iter().flatten() {
        assert_eq!(
            PackedHeader::from_words(&header.to_words()).as_ref(),
            Ok(&header)
        );
    }
}

/// Any bytes for every decoder of packed weights: what one accepts, its encoder writes, and reads
/// again as the same matrix.
///
/// Input: which decoder, rows, columns (in units that grow with the first byte), a scale, the data. The
/// data is repeated to the length that the decoder wants, or taken as it is.
pub fn codecs(data: &[u8]) {
    let Some((&[which, rows, columns, fit, a, b, c, d], data)) = data.split_first_chunk() else {
        return;
    };
    let out = usize::from(rows);
    let unit = [1, 8, 16, 32, 64, 128, 256][usize::from(which >> 5) % 7];
    let k = (usize::from(columns) * unit).min(1024);
    let gamma = f32::from_le_bytes([a, b, c, d]);
    let bytes = |wanted: usize| match fit % 4 {
        0 => data.to_vec(),
        _ => data.iter().copied().cycle().take(wanted).collect(),
    };
    let words = |wanted: usize| {
        let bytes = bytes(4 * wanted);
        bytes
            .as_chunks()
            .0
            .iter()
            .map(|&word| u32::from_le_bytes(word))
            .collect::<Vec<_>>()
    };
    let halves = |wanted: usize| {
        let bytes = bytes(2 * wanted);
        bytes
            .as_chunks()
            .0
            .iter()
            .map(|&half| f16::from_le_bytes(half))
            .collect::<Vec<_>>()
    };
    let codes = out * k / 4;
    let group = (fit >= 128).then_some(64 * usize::from(fit % 5));
    match which & 31 {
        0 => again(
            hf_bitnet::decode(&bytes(out.div_ceil(4) * k), out, k, gamma),
            |matrix| {
                let packed = hf_bitnet::encode(matrix).expect("writable");
                hf_bitnet::decode(&packed.data, out, k, packed.gamma)
            },
        ),
        n @ 1..=3 => {
            let tile = [Tile::M16N16K16, Tile::M8N32K16, Tile::M32N8K16][usize::from(n) - 1];
            again(
                bitmedvit::decode(&bytes(codes), out, k, tile, gamma),
                |matrix| {
                    let packed = bitmedvit::encode(matrix, tile).expect("writable");
                    bitmedvit::decode(&packed.data, out, k, tile, packed.gamma)
                },
            );
        }
        4 => {
            let first = usize::from(fit).min(out);
            let (whole, both) = ([out], [first, out - first]);
            let segments = if fit % 8 < 4 { &whole[..] } else { &both[..] };
            let scale = bf16::from_f32(gamma);
            let mut scales = [scale, bf16::ZERO, bf16::ZERO, bf16::ZERO];
            scales[segments.len() - 1] = scale;
            again(
                bitnet_gpu::decode(&bytes(codes), segments, k, scales),
                |matrix| {
                    let packed = bitnet_gpu::encode(matrix, Rounding::Exact).expect("writable");
                    bitnet_gpu::decode(&packed.data, segments, k, packed.weight_scale)
                },
            );
        }
        5 => {
            let scales = vec![gamma; out];
            let words = words(out * k.div_ceil(16));
            again(bitnet_triton::decode(&words, out, k, &scales), |matrix| {
                let packed = bitnet_triton::encode(matrix).expect("writable");
                bitnet_triton::decode(&packed.packed_weight, out, k, &packed.weight_scale)
            });
        }
        6 => again(
            warp_bitnet::decode(&words(out * k / 16), out, k, gamma),
            |matrix| {
                let packed = warp_bitnet::encode(matrix).expect("writable");
                warp_bitnet::decode(&packed.data, out, k, packed.gamma)
            },
        ),
        7 => again(
            warp_bitnet::decode_legacy(&words(out * k / 8), out, k, gamma),
            |matrix| {
                let packed = warp_bitnet::encode_legacy(matrix).expect("writable");
                warp_bitnet::decode_legacy(&packed.data, out, k, packed.gamma)
            },
        ),
        8 => {
            let block = (fit >= 128).then_some(16 * usize::from(fit % 9));
            let scales = block.map_or(1, |size| out * k.div_ceil(size.max(1)));
            again(
                burn_q2s::decode(&bytes(codes + 4 * scales), out, k, block),
                |matrix| {
                    burn_q2s::decode(&burn_q2s::encode(matrix).expect("writable"), out, k, block)
                },
            );
        }
        9 => again(
            tq1_0::decode(&bytes(out * k / 256 * 54), out, k),
            |matrix| {
                tq1_0::decode(
                    &tq1_0::encode(matrix, Rounding::Exact).expect("writable"),
                    out,
                    k,
                )
            },
        ),
        10 => again(
            tq2_0::decode(&bytes(out * k / 256 * 66), out, k),
            |matrix| {
                tq2_0::decode(
                    &tq2_0::encode(matrix, Rounding::Exact).expect("writable"),
                    out,
                    k,
                )
            },
        ),
        n @ 11..=14 => {
            use i2_s::Variant::{Block128, FourRows, Neon64, Sequential};
            let variant = [Block128, Neon64, FourRows, Sequential][usize::from(n) - 11];
            again(
                i2_s::decode_variant(&bytes(codes + 32), out, k, variant),
                |matrix| {
                    let bytes = i2_s::encode_variant(matrix, variant).expect("writable");
                    i2_s::decode_variant(&bytes, out, k, variant)
                },
            );
        }
        n @ 15..=17 => {
            let bits = [Bits::Two, Bits::Three, Bits::Four][usize::from(n) - 15];
            let values = halves(out * group.map_or(1, |size| k.div_ceil(size.max(1))));
            let words = words(k / 32 * (bits as usize) * out);
            let read = |words: &[u32]| {
                int4matmul::decode(words, [out, k], bits, group, values.clone(), values.clone())
            };
            if let Ok(matrix) = read(&words) {
                assert_eq!(
                    read(&int4matmul::encode(&matrix)).map(bits_of),
                    Ok(bits_of(matrix))
                );
            }
        }
        18 => {
            let values = halves(out * group.map_or(1, |size| k.div_ceil(size.max(1))));
            // Half of the inputs of a group are kept: any 16 bits and their complement.
            let mask = words(k / 32 * out)
                .iter()
                .map(|m| (m & 0xffff) | (!m << 16))
                .collect();
            let stored = SparseWords {
                weights: words(k / 16 * out),
                mask,
            };
            let read = |stored: &SparseWords| {
                int4matmul::decode_sparse(stored, [out, k], group, values.clone(), values.clone())
            };
            if let Ok(sparse) = read(&stored) {
                let back = read(&int4matmul::encode_sparse(&sparse)).expect("writable");
                assert_eq!(back.mask(), sparse.mask());
                assert_eq!(back.matrix().codes(), sparse.matrix().codes());
            }
        }
        n @ 19..=20 => {
            let block = [q2_0::Block::B64, q2_0::Block::B128][usize::from(n) - 19];
            let read = |bytes: &[u8]| q2_0::decode_blocks(bytes, out, k, block);
            let stored = bytes(out * k / block.weights() * block.bytes());
            again(read(&stored), |matrix| {
                let bytes = q2_0::encode(matrix, block, Rounding::Exact).expect("writable");
                assert_eq!(q2_0::decode(&bytes, out, k).as_ref(), Ok(matrix));
                read(&bytes)
            });
        }
        _ => {}
    }
}

/// Codes only: scales and zeros were given, and may be NaN.
fn bits_of(matrix: int4matmul::IntMatrix) -> Vec<u8> {
    matrix.codes().to_vec()
}

/// Whatever was decoded must come back from `write` unchanged.
fn again(
    read: Result<PackedMatrix, CodecError>,
    write: impl Fn(&PackedMatrix) -> Result<PackedMatrix, CodecError>,
) {
    if let Ok(matrix) = read {
        assert_eq!(write(&matrix).as_ref(), Ok(&matrix));
    }
}
