//! GPTQ checkpoints, as AutoGPTQ and GPTQModel write them: `w = (code - zero) · scale` with codes
//! of 4, 3 or 2 bits and an integer zero point per group of inputs.
//!
//! | tensor | shape | |
//! |---|---|---|
//! | `qweight` | I32 `[in · b / 32, out]` | bit strings along the inputs: code `k` is bits `b·k..` of its column |
//! | `qzeros` | I32 `[groups, out · b / 32]` | bit strings along the outputs |
//! | `scales` | F16 or BF16 `[groups, out]` | |
//! | `g_idx` | I32 `[in]` | the group of each input; absent where it is `input / group_size` |
//!
//! `out · b` and `in · b` are multiples of 32. Checkpoints of the format `gptq` (v1) store a zero
//! point minus one, those of `gptq_v2` store it as it is: [`StoredZeros`]. With `desc_act` inputs
//! are grouped by importance; such a matrix comes out with an
//! [order](crate::affine::AffineMatrix::order) of its columns.
//!
//! # Examples
//!
//! ```
//! use half::f16;
//! use tritburn_formats::affine::{Bits, Floats};
//! use tritburn_formats::codec::gptq::{self, GptqTensors, StoredZeros};
//!
//! // [8, 32] in 4 bits: every code is 9, every zero point 8, every scale 0.5.
//! let tensors = GptqTensors {
//!     qweight: vec![0x9999_9999; 4 * 8],
//!     qzeros: vec![0x7777_7777],
//!     scales: Floats::F16(vec![f16::from_f32(0.5); 8]),
//!     g_idx: None,
//! };
//! let matrix = gptq::decode(&tensors, [8, 32], Bits::Four, Some(32), StoredZeros::MinusOne)?;
//! assert_eq!(matrix.dequantize(), [0.5; 8 * 32]);
//! assert_eq!(gptq::encode(&matrix, StoredZeros::MinusOne)?.qzeros, tensors.qzeros);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use super::grouped::{Grouped, dense, groups_first, whole_zero};
use super::{CodecError, bit_columns, check};
use crate::affine::{AffineLayout, AffineMatrix, Bits, Floats};

const FORMAT: &str = "GPTQ";

/// What `qzeros` holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StoredZeros {
    /// The zero point minus one: checkpoint format `gptq`. Zero points are 1 to `2^b - 1`: writers
    /// wrap 0 around to the field `2^b - 1`, which readers take for different things, so that it is
    /// refused.
    MinusOne,
    /// The zero point, 0 to `2^b - 1`: checkpoint format `gptq_v2`.
    Plain,
}

impl StoredZeros {
    /// What `quantization_config.checkpoint_format` says; absent means `gptq`.
    ///
    /// # Errors
    /// [`CodecError::Config`] for any other value.
    pub fn from_checkpoint_format(format: Option<&str>) -> Result<Self, CodecError> {
        match format {
            None | Some("gptq") => Ok(Self::MinusOne),
            Some("gptq_v2") => Ok(Self::Plain),
            Some(other) => Err(CodecError::Config {
                field: "checkpoint_format",
                value: other.to_owned(),
            }),
        }
    }

    fn offset(self) -> u8 {
        match self {
            Self::MinusOne => 1,
            Self::Plain => 0,
        }
    }
}

/// The tensors of one layer; shapes are in the [module](self) docs.
#[derive(Clone, Debug, PartialEq)]
pub struct GptqTensors {
    /// Codes.
    pub qweight: Vec<u32>,
    /// Zero points.
    pub qzeros: Vec<u32>,
    /// Scales.
    pub scales: Floats,
    /// Group of each input.
    pub g_idx: Option<Vec<i32>>,
}

/// Shapes of the tensors of one layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GptqShapes {
    /// Of the codes.
    pub qweight: [usize; 2],
    /// Of the zero points.
    pub qzeros: [usize; 2],
    /// Of the scales.
    pub scales: [usize; 2],
    /// Of the group of each input.
    pub g_idx: [usize; 1],
}

impl GptqShapes {
    /// The shapes for an `[out, in]` layer.
    ///
    /// # Errors
    /// [`CodecError::Layout`] and [`CodecError::Multiple`] for sizes that do not fit.
    pub fn new(
        shape: [usize; 2],
        bits: Bits,
        group_size: Option<usize>,
    ) -> Result<Self, CodecError> {
        let layout = AffineLayout::new(shape, bits, group_size)?;
        let [rows, columns] = packed_sizes(&layout)?;
        let (out, groups) = (layout.out_features(), layout.groups_per_row());
        Ok(Self {
            qweight: [rows, out],
            qzeros: [groups, columns],
            scales: [groups, out],
            g_idx: [layout.in_features()],
        })
    }
}

/// Reads the tensors of an `[out, in]` layer. `group_size` is `None` where the configuration says
/// -1: one group.
///
/// # Errors
/// [`CodecError::Layout`] and [`CodecError::Multiple`] for sizes that do not fit,
/// [`CodecError::Length`] for a tensor of another length, [`CodecError::GroupIndex`] and
/// [`CodecError::GroupInputs`] for a `g_idx` that is no assignment of inputs to groups,
/// [`CodecError::ZeroRange`] for a zero point of `2^b`, [`CodecError::Pack`] for a scale that is 0
/// or not finite.
pub fn decode(
    tensors: &GptqTensors,
    [out_features, in_features]: [usize; 2],
    bits: Bits,
    group_size: Option<usize>,
    stored: StoredZeros,
) -> Result<AffineMatrix, CodecError> {
    let layout = AffineLayout::new([out_features, in_features], bits, group_size)?;
    let groups = layout.groups_per_row();
    let [rows, columns] = packed_sizes(&layout)?;
    let GptqTensors {
        qweight,
        qzeros,
        scales,
        g_idx,
    } = tensors;
    check::length(FORMAT, "qweight words", qweight.len(), rows, out_features)?;
    check::length(FORMAT, "qzeros words", qzeros.len(), groups, columns)?;
    check::length(FORMAT, "scales", scales.len(), groups, out_features)?;
    let order = match g_idx {
        None => None,
        Some(g_idx) => {
            check::length(FORMAT, "g_idx entries", g_idx.len(), in_features, 1)?;
            order_of(g_idx, &layout)?
        }
    };
    let zeros = zero_points(qzeros, &layout, stored)?;
    Grouped {
        codes: bit_columns::unpack(bits, qweight, out_features, in_features),
        mask: vec![],
        scales,
        zeros: &Floats::from_f32(&zeros, scales.float_type()),
        order,
        layout,
    }
    .into_matrix()
}

/// The tensors of a matrix. `g_idx` is always written.
///
/// # Errors
/// [`CodecError::NoPlace`] for a sparse matrix, [`CodecError::Multiple`] for sizes that do not
/// fill words, [`CodecError::ZeroRange`] for the first zero point that `qzeros` cannot hold.
pub fn encode(matrix: &AffineMatrix, stored: StoredZeros) -> Result<GptqTensors, CodecError> {
    dense(FORMAT, matrix)?;
    let layout = matrix.layout();
    let (out, k, bits) = (layout.out_features(), layout.in_features(), layout.bits());
    let [_, columns] = packed_sizes(layout)?;
    let (scales, zeros) = groups_first(matrix);
    let mut g_idx = vec![0; k];
    let mut codes = matrix.codes();
    let mut row = vec![0; k];
    let input = |column: usize| {
        matrix
            .order()
            .map_or(column, |order| order[column] as usize)
    };
    for column in 0..k {
        g_idx[input(column)] = (column / layout.span()) as i32;
    }
    if matrix.order().is_some() {
        for codes in codes.chunks_exact_mut(k) {
            row.copy_from_slice(codes);
            for (column, &code) in row.iter().enumerate() {
                codes[input(column)] = code;
            }
        }
    }
    let mut qzeros = Vec::with_capacity(layout.groups_per_row() * columns);
    for (group, zeros) in zeros.chunks_exact(out).enumerate() {
        let range = [stored.offset(), bits.max_code()];
        let whole = |(row, &zero): (usize, &f32)| {
            Ok(whole_zero(FORMAT, [row, group], zero, range)? - stored.offset())
        };
        let fields: Vec<u8> = zeros
            .iter()
            .enumerate()
            .map(whole)
            .collect::<Result<_, CodecError>>()?;
        qzeros.extend(bit_columns::pack(bits, &fields, 1, out));
    }
    Ok(GptqTensors {
        qweight: bit_columns::pack(bits, &codes, out, k),
        qzeros,
        scales,
        g_idx: Some(g_idx),
    })
}

/// Words of a column of `qweight` and of a row of `qzeros`.
fn packed_sizes(layout: &AffineLayout) -> Result<[usize; 2], CodecError> {
    // As many codes as end with a word: 16, 32, 8.
    let whole = match layout.bits() {
        Bits::Two => 16,
        Bits::Three => 32,
        Bits::Four => 8,
    };
    let words = |what, size: usize| -> Result<usize, CodecError> {
        check::multiple(FORMAT, what, size, whole)?;
        Ok(size * layout.bits().count() / 32)
    };
    Ok([
        words("in_features", layout.in_features())?,
        words("out_features", layout.out_features())?,
    ])
}

/// Zero points `[groups, out]`.
fn zero_points(
    qzeros: &[u32],
    layout: &AffineLayout,
    stored: StoredZeros,
) -> Result<Vec<f32>, CodecError> {
    let (out, bits) = (layout.out_features(), layout.bits());
    let mut zeros = Vec::with_capacity(layout.group_count());
    for (group, words) in qzeros.chunks_exact(out * bits.count() / 32).enumerate() {
        let fields = bit_columns::unpack(bits, words, 1, out);
        for (row, field) in fields.into_iter().enumerate() {
            let zero = f32::from(field + stored.offset());
            let range = [stored.offset(), bits.max_code()];
            whole_zero(FORMAT, [row, group], zero, range)?;
            zeros.push(zero);
        }
    }
    Ok(zeros)
}

/// Columns sorted by group, those of a group in the order of their inputs; `None` where they lie
/// so already.
fn order_of(g_idx: &[i32], layout: &AffineLayout) -> Result<Option<Vec<u32>>, CodecError> {
    let (k, span, groups) = (layout.in_features(), layout.span(), layout.groups_per_row());
    let mut inputs = vec![0usize; groups];
    for (input, &group) in g_idx.iter().enumerate() {
        let count = usize::try_from(group).ok().and_then(|g| inputs.get_mut(g));
        match count {
            Some(count) => *count += 1,
            None => {
                return Err(CodecError::GroupIndex {
                    format: FORMAT,
                    input,
                    group,
                    groups,
                });
            }
        }
    }
    for (group, &found) in inputs.iter().enumerate() {
        let expected = span.min(k - group * span);
        if found != expected {
            return Err(CodecError::GroupInputs {
                format: FORMAT,
                group,
                found,
                expected,
            });
        }
    }
    if g_idx.is_sorted() {
        return Ok(None);
    }
    let mut order: Vec<u32> = (0..k as u32).collect();
    order.sort_by_key(|&input| g_idx[input as usize]);
    Ok(Some(order))
}
