//! Conversion to and from Burn's own 2-bit quantisation, `QuantScheme` with `Q2S` values.
//!
//! Burn stores the same words with another code table: two's complement (`-1` is 3) where the
//! canonical layout has `w + 1`. Writing is [`burn_q2s`], the codec of these bytes; reading leaves the
//! unpacking to Burn, which knows the other ways that a tensor may be stored in.

use burn::tensor::quantization::{
    QuantScheme, QuantStore, QuantValue, QuantizedBytes, ScaleDtype, params_shape,
};
use burn::tensor::{DType, Device, TensorData};
use thiserror::Error;
use tritburn_formats::codec::{CodecError, burn_q2s};
use tritburn_formats::matrix::pack_codes;
use tritburn_formats::{MatrixError, PackedLayout, PackedMatrix};
use tritburn_formats::{ScaleGranularity, WeightCode};

use crate::error::PackError;
use crate::nn::BitLinear;
use crate::pack::read_vec;
use crate::precision::InputPrecision;

/// Why a weight cannot be expressed in the other form.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Q2sError {
    /// Q2S holds -1, 0 and 1 only.
    #[error("Q2S holds ternary weights, the layer has {0:?} codes")]
    Code(WeightCode),
    /// Burn packs whole words of 16 inputs.
    #[error("Q2S packs rows of a multiple of 16 inputs, the layer has {0}")]
    InFeatures(usize),
    /// Burn has scales per tensor and per block of up to 255 inputs that divides a row.
    #[error("Q2S cannot hold {scale:?} scales of {in_features} inputs")]
    Scale {
        /// Granularity of the layer.
        scale: ScaleGranularity,
        /// Inputs of the layer.
        in_features: usize,
    },
    /// The tensor is not two-dimensional Q2S data with f32 scales per tensor or per block of a row.
    #[error("expected [out, in] Q2S data with f32 scales, got {dtype:?} of shape {shape:?}")]
    Scheme {
        /// Element type found.
        dtype: DType,
        /// Shape found.
        shape: Vec<usize>,
    },
    /// The data has another size than its shape and scheme say.
    #[error("Q2S data of {found} bytes, expected {expected}")]
    Length {
        /// Bytes found.
        found: usize,
        /// Bytes expected.
        expected: usize,
    },
    /// A value outside -1..=1.
    #[error("Q2S value {value} at row {row}, column {col}")]
    Value {
        /// Row of the value.
        row: usize,
        /// Column of the value.
        col: usize,
        /// The value.
        value: i8,
    },
    /// The described matrix is not a valid packed matrix.
    #[error(transparent)]
    Matrix(#[from] MatrixError),
    /// A scale that is not finite.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The layer is not packed.
    #[error(transparent)]
    Layer(#[from] crate::error::Error),
    /// The layer could not be read from its device, or a scale is not a positive number.
    #[error(transparent)]
    Read(#[from] PackError),
}

impl BitLinear {
    /// The weight as Burn's quantised data, `[d_output, d_input]`, Q2S in u32 words: make a tensor of
    /// it with `Tensor::from_data`.
    ///
    /// # Errors
    /// [`Q2sError::Layer`] if the layer is not packed; other [`Q2sError`]s if Burn's scheme cannot
    /// hold the codes or the scale granularity.
    ///
    /// # Examples
    ///
    /// ```
    /// use burn::tensor::{Device, Tensor};
    /// use tritburn::{BitLinear, BitLinearConfig, InputPrecision, Pack};
    ///
    /// let device = Device::default();
    /// let layer = BitLinearConfig::new(64, 32).init(&device).pack()?;
    /// let data = layer.to_q2s()?;
    /// // A quantised tensor of Burn's own, with the same values.
    /// let weight = Tensor::<2>::from_data(data.clone(), &device).dequantize();
    /// assert_eq!(weight.into_data(), layer.dense_weight()?.into_data());
    ///
    /// let back = BitLinear::from_q2s(data, InputPrecision::Int8, &device)?;
    /// assert_eq!(back.codes()?.into_data(), layer.codes()?.into_data());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn to_q2s(&self) -> Result<TensorData, Q2sError> {
        let layout = self.layout();
        let in_features = layout.in_features();
        if layout.code() != WeightCode::Ternary {
            return Err(Q2sError::Code(layout.code()));
        }
        if !in_features.is_multiple_of(16) {
            return Err(Q2sError::InFeatures(in_features));
        }
        let scheme = QuantScheme::default()
            .with_value(QuantValue::Q2S)
            .with_store(QuantStore::PackedU32(0));
        let scheme = match layout.scale() {
            ScaleGranularity::Tensor => scheme.per_tensor(ScaleDtype::F32),
            ScaleGranularity::Group { size }
                if *size <= u8::MAX as usize && in_features.is_multiple_of(*size) =>
            {
                scheme.per_block([*size as u8], ScaleDtype::F32)
            }
            scale => {
                return Err(Q2sError::Scale {
                    scale: scale.clone(),
                    in_features,
                });
            }
        };
        let words = read_vec::<u32>("codes", self.codes()?.try_into_data())?;
        let scales = read_vec::<f32>("scales", self.scales()?.try_into_data())?;
        let bytes = burn_q2s::encode(&PackedMatrix::new(layout.clone(), words, scales)?)?;
        let shape = [layout.out_features(), in_features];
        Ok(TensorData::from_bytes_vec(
            bytes,
            shape,
            DType::QFloat(scheme),
        ))
    }

    /// A packed layer from Burn's quantised data.
    ///
    /// # Arguments
    /// - `data`: `[d_output, d_input]`, Q2S with f32 scales per tensor or per block of a row, stored
    ///   natively or in words
    /// - `precision`: precision of the layer's input
    ///
    /// # Errors
    /// [`Q2sError`] for any other data.
    pub fn from_q2s(
        data: TensorData,
        precision: InputPrecision,
        device: &Device,
    ) -> Result<Self, Q2sError> {
        let (shape, dtype) = (data.shape().clone(), data.dtype());
        let unsupported = || Q2sError::Scheme {
            dtype,
            shape: shape.to_vec(),
        };
        let (DType::QFloat(scheme), [out_features, in_features]) = (dtype, shape.as_slice()) else {
            return Err(unsupported());
        };
        let (out_features, in_features) = (*out_features, *in_features);
        let scale = granularity(&scheme, in_features).ok_or_else(unsupported)?;
        let layout = PackedLayout::new(out_features, in_features, WeightCode::Ternary, scale)
            .map_err(MatrixError::from)?;

        let scale_bytes = 4 * params_shape(&shape, &scheme).num_elements();
        let value_bytes = match scheme.store {
            QuantStore::PackedU32(_) if in_features.is_multiple_of(16) => 4 * layout.word_count(),
            QuantStore::Native => out_features * in_features,
            _ => return Err(unsupported()),
        };
        let (found, expected) = (data.as_bytes().len(), value_bytes + scale_bytes);
        if found != expected {
            return Err(Q2sError::Length { found, expected });
        }

        let (values, scales) = QuantizedBytes {
            bytes: data.into_bytes(),
            scheme,
            shape,
        }
        .into_vec_i8();
        let wrong = values.iter().position(|value| !(-1..=1).contains(value));
        if let Some(i) = wrong {
            let (row, col) = (i / in_features, i % in_features);
            return Err(Q2sError::Value {
                row,
                col,
                value: values[i],
            });
        }
        let codes: Vec<u8> = values.iter().map(|value| (value + 1) as u8).collect();
        let words = pack_codes(&codes, &layout)?;
        let matrix = PackedMatrix::new(layout, words, scales.block)?;
        Ok(Self::from_matrix(&matrix, precision, device)?)
    }
}

fn granularity(scheme: &QuantScheme, in_features: usize) -> Option<ScaleGranularity> {
    if scheme.value != QuantValue::Q2S || scheme.scale_dtype() != ScaleDtype::F32 {
        return None;
    }
    match (scheme.tensor_scale(), scheme.block_size()) {
        (Some(_), None) => Some(ScaleGranularity::Tensor),
        (None, Some(block)) => match block.to_dim_vec(2).as_slice() {
            [1, size] if in_features.is_multiple_of(*size as usize) => {
                Some(ScaleGranularity::Group {
                    size: *size as usize,
                })
            }
            _ => None,
        },
        _ => None,
    }
}
