//! AWQ checkpoints (AutoAWQ's `gemm` version): `w = (code - zero) · scale` with 4-bit codes and an
//! integer zero point per group of inputs.
//!
//! | tensor | shape | |
//! |---|---|---|
//! | `qweight` | I32 `[in, out / 8]` | field `i` of word `j` is output `8j + [0, 2, 4, 6, 1, 3, 5, 7][i]` |
//! | `qzeros` | I32 `[groups, out / 8]` | the same order, zero points as they are |
//! | `scales` | F16 `[groups, out]` | |
//!
//! `out` is a multiple of 8.
//!
//! # Examples
//!
//! ```
//! use half::f16;
//! use tritburn_formats::affine::Floats;
//! use tritburn_formats::codec::awq::{self, AwqTensors};
//!
//! // One input, whose weights are the codes 0 to 7 of eight outputs.
//! let tensors = AwqTensors {
//!     qweight: vec![0x7531_6420],
//!     qzeros: vec![0],
//!     scales: Floats::F16(vec![f16::ONE; 8]),
//! };
//! let matrix = awq::decode(&tensors, [8, 1], None)?;
//! assert_eq!(matrix.dequantize(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
//! assert_eq!(awq::encode(&matrix)?, tensors);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use super::grouped::{Grouped, dense, groups_first, in_order, whole_zero};
use super::{CodecError, check};
use crate::affine::{AffineLayout, AffineMatrix, Bits, Floats};

const FORMAT: &str = "AWQ";

/// Outputs of a word.
const FIELDS: usize = 8;

/// Which of a word's outputs each field holds.
const ORDER: [usize; FIELDS] = [0, 2, 4, 6, 1, 3, 5, 7];

/// The tensors of one layer; shapes are in the [module](self) docs.
#[derive(Clone, Debug, PartialEq)]
pub struct AwqTensors {
    /// Codes.
    pub qweight: Vec<u32>,
    /// Zero points.
    pub qzeros: Vec<u32>,
    /// Scales.
    pub scales: Floats,
}

/// Shapes of the tensors of one layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AwqShapes {
    /// Of the codes.
    pub qweight: [usize; 2],
    /// Of the zero points.
    pub qzeros: [usize; 2],
    /// Of the scales.
    pub scales: [usize; 2],
}

impl AwqShapes {
    /// The shapes for an `[out, in]` layer.
    ///
    /// # Errors
    /// [`CodecError::Layout`] and [`CodecError::Multiple`] for sizes that do not fit.
    pub fn new(
        [out_features, in_features]: [usize; 2],
        group_size: Option<usize>,
    ) -> Result<Self, CodecError> {
        let layout = AffineLayout::new([out_features, in_features], Bits::Four, group_size)?;
        check::multiple(FORMAT, "out_features", out_features, FIELDS)?;
        let (words, groups) = (out_features / FIELDS, layout.groups_per_row());
        Ok(Self {
            qweight: [in_features, words],
            qzeros: [groups, words],
            scales: [groups, out_features],
        })
    }
}

/// Reads the tensors of an `[out, in]` layer. `group_size` is `None` where the configuration says
/// -1: one group.
///
/// # Errors
/// [`CodecError::Layout`] and [`CodecError::Multiple`] for sizes that do not fit,
/// [`CodecError::Length`] for a tensor of another length, [`CodecError::Pack`] for a scale that is 0
/// or not finite.
pub fn decode(
    tensors: &AwqTensors,
    [out_features, in_features]: [usize; 2],
    group_size: Option<usize>,
) -> Result<AffineMatrix, CodecError> {
    let layout = AffineLayout::new([out_features, in_features], Bits::Four, group_size)?;
    check::multiple(FORMAT, "out_features", out_features, FIELDS)?;
    let (words, groups) = (out_features / FIELDS, layout.groups_per_row());
    let AwqTensors {
        qweight,
        qzeros,
        scales,
    } = tensors;
    check::length(FORMAT, "qweight words", qweight.len(), in_features, words)?;
    check::length(FORMAT, "qzeros words", qzeros.len(), groups, words)?;
    check::length(FORMAT, "scales", scales.len(), groups, out_features)?;
    let mut codes = vec![0; layout.weight_count()];
    for (input, words) in qweight.chunks_exact(words).enumerate() {
        for_each_field(words, |output, code| {
            codes[output * in_features + input] = code;
        });
    }
    let mut zeros = vec![0.0; layout.group_count()];
    for (words, zeros) in qzeros
        .chunks_exact(words)
        .zip(zeros.chunks_mut(out_features))
    {
        for_each_field(words, |output, zero| zeros[output] = f32::from(zero));
    }
    Grouped {
        codes,
        mask: vec![],
        scales,
        zeros: &Floats::from_f32(&zeros, scales.float_type()),
        order: None,
        layout,
    }
    .into_matrix()
}

/// The tensors of a matrix.
///
/// # Errors
/// [`CodecError::NoPlace`] for codes of other bits, a sparse matrix and one with an order of its
/// columns, [`CodecError::Multiple`], [`CodecError::ZeroRange`] for the first zero point that is no
/// code.
pub fn encode(matrix: &AffineMatrix) -> Result<AwqTensors, CodecError> {
    dense(FORMAT, matrix)?;
    in_order(FORMAT, matrix)?;
    let layout = matrix.layout();
    if layout.bits() != Bits::Four {
        return Err(CodecError::NoPlace {
            format: FORMAT,
            what: "codes of other than 4 bits",
        });
    }
    let (out, k) = (layout.out_features(), layout.in_features());
    check::multiple(FORMAT, "out_features", out, FIELDS)?;
    let codes = matrix.codes();
    let qweight = (0..k).flat_map(|input| words_of(out, |output| codes[output * k + input]));
    let (scales, zeros) = groups_first(matrix);
    let mut fields = Vec::with_capacity(zeros.len());
    for (i, &zero) in zeros.iter().enumerate() {
        let place = [i % out, i / out];
        fields.push(whole_zero(FORMAT, place, zero, [0, Bits::Four.max_code()])?);
    }
    let qzeros = fields
        .chunks_exact(out)
        .flat_map(|zeros| words_of(out, |output| zeros[output]));
    Ok(AwqTensors {
        qweight: qweight.collect(),
        qzeros: qzeros.collect(),
        scales,
    })
}

fn for_each_field(words: &[u32], mut visit: impl FnMut(usize, u8)) {
    for (j, word) in words.iter().enumerate() {
        for (i, place) in ORDER.into_iter().enumerate() {
            visit(FIELDS * j + place, (word >> (4 * i)) as u8 & 15);
        }
    }
}

fn words_of(out: usize, code: impl Fn(usize) -> u8) -> Vec<u32> {
    (0..out / FIELDS)
        .map(|j| {
            let field = |i: usize| u32::from(code(FIELDS * j + ORDER[i])) << (4 * i);
            (0..FIELDS).map(field).sum()
        })
        .collect()
}
