//! Reading a result back.

use tritburn_formats::PackedMatrix;

use super::ConvertError;
use super::master::master_weights;
use super::output::{Encoder, Item, one_scale};
use super::table::pieces;
use crate::checkpoint::{Checkpoint, Projection, Weight, hf_names};
use crate::config::{DecoderConfig, Quantization};

/// Compares a part of the result with what was to be written.
pub(super) fn item(
    expected: &Encoder,
    found: &dyn Checkpoint,
    item: Item,
) -> Result<(), ConvertError> {
    match item {
        Item::Norm(norm) => {
            let values = found.norm(norm).map_err(ConvertError::Verify)?;
            let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<_>>();
            same(bits(values) == bits(expected.source.norm(norm)?), || {
                format!("norm {norm:?}")
            })
        }
        Item::Table(table) if found.config().tables().contains(&table) => {
            for rows in pieces(found.config().vocab_size) {
                let start = rows.start;
                let written = expected.table_rows(table, rows.clone())?.0;
                let read = found.table_rows(table, rows);
                same(read.map_err(ConvertError::Verify)? == written, || {
                    format!("{table:?}, rows from {start}")
                })?;
            }
            Ok(())
        }
        // A second copy of the embedding.
        Item::Table(_) => Ok(()),
        Item::Projections(layer, group) => {
            for &projection in group {
                compare_projection(expected, found, layer, projection)?;
            }
            Ok(())
        }
    }
}

fn compare_projection(
    expected: &Encoder,
    found: &dyn Checkpoint,
    layer: usize,
    projection: Projection,
) -> Result<(), ConvertError> {
    let name = hf_names::projection(layer, projection);
    let read = found.projection(layer, projection);
    let read = read.map_err(ConvertError::Verify)?;
    let weight = expected.source.projection(layer, projection)?;
    let float = expected.target.float_weights();
    if let (Some(dtype), Weight::Master(masters)) = (float, &weight) {
        let (written, _) = masters.clone().convert(dtype);
        return same(read == Weight::Master(written), || {
            format!("{name}: weights")
        });
    }
    let written = one_scale(weight.into_packed(name.as_str())?);
    let read = one_scale(
        read.into_packed(name.as_str())
            .map_err(ConvertError::Verify)?,
    );
    same(same_codes(&written, &read), || format!("{name}: codes"))?;
    let scales: Vec<f32> = match float {
        Some(_) => vec![master_weights(&written).1],
        None => written
            .scales()
            .iter()
            .map(|&s| expected.stored_scale(s))
            .collect(),
    };
    // A scale of zeros only means nothing, and GGUF does not keep it.
    let zero = |m: &PackedMatrix| m.dequantize().iter().all(|&w| w == 0.0);
    same(scales == read.scales() || zero(&written), || {
        format!("{name}: scales {:?}, not {scales:?}", read.scales())
    })
}

/// Whether both have the same codes; padding does not count.
fn same_codes(a: &PackedMatrix, b: &PackedMatrix) -> bool {
    let layout = a.layout();
    let shape = |m: &PackedMatrix| (m.layout().out_features(), m.layout().in_features());
    if shape(a) != shape(b) || layout.code() != b.layout().code() {
        return false;
    }
    let width = layout.words_per_row();
    let in_last = layout.in_features() - (width - 1) * 16;
    let mask = u32::MAX >> (32 - 2 * in_last);
    let rows = a.words().chunks(width).zip(b.words().chunks(width));
    rows.into_iter()
        .all(|(a, b)| a[..width - 1] == b[..width - 1] && (a[width - 1] ^ b[width - 1]) & mask == 0)
}

/// Compares what the model is: all but how it is stored, and what formats have no place for.
/// `written` is what the format was given, special tokens included.
pub(super) fn config(written: &DecoderConfig, read: &DecoderConfig) -> Result<(), ConvertError> {
    let plain = |config: &DecoderConfig| DecoderConfig {
        quantization: Quantization::Dense,
        initializer_range: 0.0,
        // GGUF has 32 bits for these, and they are used as 32 bits.
        rms_norm_eps: (config.rms_norm_eps as f32).into(),
        rope_theta: (config.rope_theta as f32).into(),
        ..config.clone()
    };
    same(plain(written) == plain(read), || {
        format!("configuration {read:?}, not {written:?}")
    })
}

fn same(equal: bool, what: impl FnOnce() -> String) -> Result<(), ConvertError> {
    match equal {
        true => Ok(()),
        false => Err(ConvertError::Differs { what: what() }),
    }
}
