//! Reading a result back.

use tritburn::InputPrecision;
use tritburn_formats::PackedMatrix;

use super::ConvertError;
use super::master::master_weights;
use super::output::{Encoder, Item};
use super::table::pieces;
use crate::checkpoint::{Checkpoint, FloatType, Projection, Weight, hf_names, one_scale};
use crate::config::{DecoderConfig, Multipliers, Quantization, RopeScaling};

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
        // They are part of the configuration, which was compared.
        Item::RopeFactors => Ok(()),
        Item::Bias(layer, projection) => {
            let read = found
                .bias(layer, projection)
                .map_err(ConvertError::Verify)?;
            let bits = |values: Option<Vec<f32>>| {
                values.map(|values| values.into_iter().map(f32::to_bits).collect::<Vec<_>>())
            };
            let written = expected.source.bias(layer, projection)?;
            same(bits(read) == bits(written), || {
                format!("bias of {}", hf_names::projection(layer, projection))
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
    let weight = match (float, weight) {
        (Some(_), affine @ Weight::Affine(_)) => Weight::Master(affine.into_float()),
        (None, written @ Weight::Affine(_)) => {
            return same(read == written, || format!("{name}: weights"));
        }
        (_, weight) => weight,
    };
    if let (Some(dtype), Weight::Master(masters)) = (float, &weight) {
        let (written, _) = masters.clone().convert(dtype);
        return same(read == Weight::Master(written), || {
            format!("{name}: weights")
        });
    }
    if let (Some(dtype), InputPrecision::Float) = (float, found.config().inputs) {
        let values = |weight: Weight| weight.into_float().convert(FloatType::F32).0;
        let written = values(weight).convert(dtype).0.convert(FloatType::F32).0;
        return same(values(read) == written, || format!("{name}: weights"));
    }
    let written = one_scale(weight.into_packed(name.as_str())?);
    let read = one_scale(
        read.into_packed(name.as_str())
            .map_err(ConvertError::Verify)?,
    );
    same(same_codes(&written, &read), || format!("{name}: codes"))?;
    if written.layout().scale() != read.layout().scale() {
        // The same scales more often: what comes of them is the same.
        let (layout, words, scales) = written.into_parts();
        let stored = scales.into_iter().map(|s| expected.stored_scale(s));
        let written = PackedMatrix::new(layout, words, stored.collect());
        let written = written.map_err(|e| ConvertError::codec(&name)(e.into()))?;
        return same(written.dequantize() == read.dequantize(), || {
            format!("{name}: weights")
        });
    }
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
        let mut pairs = scales.iter().zip(read.scales()).enumerate();
        let first = pairs.find(|(_, (written, read))| written != read);
        match first {
            Some((index, (written, read))) => {
                format!("{name}: scale {index} is {read}, not {written}")
            }
            None => format!(
                "{name}: {} scales, not {}",
                read.scales().len(),
                scales.len()
            ),
        }
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
    // GGUF has 32 bits for real numbers, and some formats have their inverse.
    let rounded = |value: f64| format!("{value:.5e}").parse().unwrap_or(value);
    let plain = |config: &DecoderConfig| DecoderConfig {
        quantization: Quantization::Dense,
        initializer_range: 0.0,
        rms_norm_eps: rounded(config.rms_norm_eps),
        rope_theta: rounded(config.rope_theta),
        projection_norm_eps: config.projection_norm_eps.map(rounded),
        multipliers: Multipliers {
            embedding: rounded(config.multipliers.embedding),
            residual: rounded(config.multipliers.residual),
            queries: rounded(config.multipliers.queries),
            logits: rounded(config.multipliers.logits),
        },
        partial_rotary_factor: config.rotary_dim() as f64,
        // Several descriptions give the same frequencies.
        rope_scaling: RopeScaling::None,
        ..config.clone()
    };
    let frequencies = |config: &DecoderConfig| {
        let long = config.max_position_embeddings;
        let mut all = config.rotary_frequencies(1);
        all.extend(config.rotary_frequencies(long));
        all.push(config.rope_scaling.attention_factor() as f32);
        all
    };
    let (a, b) = (frequencies(written), frequencies(read));
    let close = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-5 * a.abs();
    let turns_alike = a.len() == b.len() && a.iter().zip(&b).all(close);
    same(plain(written) == plain(read) && turns_alike, || {
        format!("configuration {read:?}, not {written:?}")
    })
}

fn same(equal: bool, what: impl FnOnce() -> String) -> Result<(), ConvertError> {
    match equal {
        true => Ok(()),
        false => Err(ConvertError::Differs { what: what() }),
    }
}
