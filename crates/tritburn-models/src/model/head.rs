//! The projection of the last hidden state to logits.

use burn::tensor::{Bytes, DType, Device, Int, Tensor, TensorData};
use tritburn::InputPrecision;
use tritburn::formats::codec::gguf::k_quant::{KQuant, KQuantMatrix};
use tritburn::formats::matrix::concat_rows;
use tritburn::ops::{FrozenWeight, quantize_activations};
use tritburn::transformer::{self, KQuantTable};

use super::embedding::Embedding;
use super::error::ModelError;
use crate::checkpoint::{CheckpointError, FloatTensorData, FloatType};

/// Rows that are quantised at once.
const ROWS: usize = 8192;

/// A language-model head.
#[derive(Clone, Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "few exist, and none is moved in a loop"
)]
pub(super) enum Head {
    /// A float table `[vocabulary, hidden]`: the embedding's own if they are tied.
    Dense(Tensor<2>),
    /// A table of ternary weights, 2 bits each.
    Ternary(FrozenWeight),
    /// Rows in blocks of a K type.
    KQuant(KQuantTable),
    /// Int8 rows: codes U32, four a word, and scales F32 `[vocabulary]`.
    Int8 {
        codes: Tensor<1, Int>,
        scales: Tensor<1>,
    },
}

impl Head {
    /// A head of int8 rows on `device`, from a float table `[vocabulary, hidden]`.
    pub fn int8(table: &TensorData, device: &Device) -> Result<Self, ModelError> {
        let [vocabulary, hidden] = [table.shape()[0], table.shape()[1]];
        let stored = table.dtype();
        let row = hidden * stored.size();
        let (mut codes, mut scales) = (Vec::new(), Vec::new());
        // In parts: a CPU backend widens what it quantises to f32.
        for (first, bytes) in table.bytes().chunks(ROWS * row).enumerate() {
            let rows = ROWS.min(vocabulary - first * ROWS);
            let bytes = Bytes::from_bytes_vec(bytes.to_vec());
            let part = TensorData::from_bytes(bytes, [rows, hidden], stored);
            let part: Tensor<2> = Tensor::from_data(part, (device, stored));
            let (part_codes, part_scales) = quantize_activations(part)?;
            codes.push(part_codes);
            scales.push(part_scales);
        }
        // In memory of its own: a GPU's pools would grow all of their pages to the size of the codes.
        let whole = (codes, scales);
        let (codes, scales) = device.memory_persistent_allocations(whole, |(codes, scales)| {
            (Tensor::cat(codes, 0), Tensor::cat(scales, 0))
        });
        Ok(Self::Int8 { codes, scales })
    }

    /// A head of 2-bit weights on `device`, if all of a float table `[vocabulary, hidden]` are ternary:
    /// those of models whose embeddings are. `None` for others, found out at the first rows.
    pub fn ternary(table: &TensorData, device: &Device) -> Result<Option<Self>, ModelError> {
        let [vocabulary, hidden] = [table.shape()[0], table.shape()[1]];
        let Some(dtype) = float_type(table.dtype()) else {
            return Ok(None);
        };
        let mut parts = Vec::new();
        for bytes in table.bytes().chunks(ROWS * hidden * dtype.size()) {
            let rows = bytes.len() / (hidden * dtype.size());
            let part = FloatTensorData {
                dtype,
                shape: vec![rows, hidden],
                bytes: bytes.to_vec(),
            };
            match part.ternary() {
                Some(part) => parts.push(part),
                None => return Ok(None),
            }
        }
        debug_assert_eq!(
            parts
                .iter()
                .map(|p| p.layout().out_features())
                .sum::<usize>(),
            vocabulary
        );
        let matrix = concat_rows(&parts)?;
        let weight = FrozenWeight::from_matrix(&matrix, InputPrecision::Float, device)?;
        Ok(Some(Self::Ternary(weight)))
    }

    /// A head of K-quantised rows, from a float table `[vocabulary, hidden]`.
    pub fn k_quant(kind: KQuant, table: &TensorData, device: &Device) -> Result<Self, ModelError> {
        KQuantTable::check(kind, device)?;
        let [vocabulary, hidden] = [table.shape()[0], table.shape()[1]];
        let dtype = float_type(table.dtype()).unwrap_or(FloatType::F32);
        let mut blocks = Vec::with_capacity(vocabulary * kind.row_bytes(hidden));
        for bytes in table.bytes().chunks(ROWS * hidden * dtype.size()) {
            let rows = FloatTensorData {
                dtype,
                shape: vec![bytes.len() / (hidden * dtype.size()), hidden],
                bytes: bytes.to_vec(),
            };
            let rows = kind.quantize_rows(&rows.to_f32(), hidden);
            blocks.extend(rows.map_err(CheckpointError::codec("the output head"))?);
        }
        let matrix = KQuantMatrix::new(kind, [vocabulary, hidden], blocks);
        let matrix = matrix.map_err(CheckpointError::codec("the output head"))?;
        Ok(Self::KQuant(KQuantTable::new(matrix, device)?))
    }

    /// Whether the head is a table that may be the embedding's: of floats or as stored.
    pub fn is(&self, embedding: &Embedding) -> bool {
        match (self, embedding) {
            (Self::Dense(_), Embedding::Dense(_)) => true,
            (Self::KQuant(head), Embedding::KQuant(table)) => head.kind() == table.kind(),
            _ => false,
        }
    }

    /// Logits of `x` `[tokens, hidden]`: F32 `[tokens, vocabulary]`.
    pub fn forward(&self, x: Tensor<2>) -> Result<Tensor<2>, ModelError> {
        Ok(match self {
            Self::Dense(table) => transformer::dense_head(x, table.clone())?,
            // Results have the type of the input, and logits are f32.
            Self::Ternary(weight) => weight.forward(x.cast(DType::F32))?,
            Self::KQuant(table) => table.head(x)?,
            Self::Int8 { codes, scales } => {
                transformer::int8_head(x, codes.clone(), scales.clone())?
            }
        })
    }

    /// Bytes on the device.
    pub fn byte_count(&self) -> usize {
        match self {
            Self::Dense(table) => table.shape().num_elements() * table.dtype().size(),
            Self::Ternary(weight) => weight.byte_count(),
            Self::KQuant(table) => table.byte_count(),
            Self::Int8 { codes, scales } => 4 * (codes.dims()[0] + scales.dims()[0]),
        }
    }
}

impl From<Embedding> for Head {
    /// The head of a table that is kept as the embedding is.
    fn from(table: Embedding) -> Self {
        match table {
            Embedding::Dense(table) => Self::Dense(table),
            Embedding::KQuant(table) => Self::KQuant(table),
        }
    }
}

fn float_type(dtype: DType) -> Option<FloatType> {
    match dtype {
        DType::F32 => Some(FloatType::F32),
        DType::F16 => Some(FloatType::F16),
        DType::BF16 => Some(FloatType::BF16),
        _ => None,
    }
}
