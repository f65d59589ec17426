//! Layers of reduced-kobold checkpoints, whose weights are int4matmul's.

use burn::module::Param;
use burn::tensor::{DType as BurnType, Device, Tensor, TensorData};
use thiserror::Error;
use tritburn_formats::CodecError;
use tritburn_formats::affine::{AffineMatrix, Bits, Floats};
use tritburn_formats::codec::int4matmul::{self, SparseWords};
use tritburn_formats::file::{DType, FileError, TensorInfo, TensorSource};

use super::affine_linear::AffineLinear;
use crate::error::PackError;

/// Names of the codes: the second with `qwopqwop_mode`.
const CODES: [&str; 2] = ["quantized_weights", "qweight"];
/// Inputs of a mask word.
const UNIT: usize = 32;

/// Why a layer was not imported.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ImportError {
    /// A tensor that is missing or cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A tensor of another type.
    #[error("{tensor} is of type {found}, expected {expected}")]
    Type {
        /// Name of the tensor.
        tensor: String,
        /// Type found.
        found: DType,
        /// Type expected.
        expected: DType,
    },
    /// A tensor of a shape that fits no layer, or not the codes.
    #[error("{tensor} has shape {found:?}, expected {expected}")]
    Shape {
        /// Name of the tensor.
        tensor: String,
        /// Shape found.
        found: Vec<usize>,
        /// Shapes that would do.
        expected: String,
    },
    /// Tensors that make no matrix.
    #[error("{tensor}")]
    Codec {
        /// Name of the codes.
        tensor: String,
        /// What is wrong.
        source: CodecError,
    },
    /// The device cannot hold the layer.
    #[error(transparent)]
    Pack(#[from] PackError),
}

impl AffineLinear {
    /// Reads a layer that reduced-kobold stored: `{name}.quantized_weights` (or `{name}.qweight`) I32,
    /// `scales`, `zeros` and, if there is one, `bias` F16, and of 16:32 sparse 4-bit weights
    /// `quantized_mask` I32; words as [int4matmul](int4matmul) has them. `bits` and `group_size` are
    /// those of the configuration (`quantization_bits`, `quantization_group_size`; `None` for -1).
    ///
    /// # Errors
    /// [`ImportError`]; weights in exponent mode are not affine and refused.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use burn::tensor::Device;
    /// use tritburn::AffineLinear;
    /// use tritburn::formats::{affine::Bits, file};
    ///
    /// let model = file::open("reduced-llama")?;
    /// let name = "model.layers.0.self_attn.q_proj";
    /// let layer = AffineLinear::from_reduced_kobold(
    ///     model.as_ref(), name, Bits::Four, Some(128), &Device::default(),
    /// )?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_reduced_kobold(
        source: &dyn TensorSource,
        name: &str,
        bits: Bits,
        group_size: Option<usize>,
        device: &Device,
    ) -> Result<Self, ImportError> {
        let file = Layer { source, name };
        let matrix = file.matrix(bits, group_size)?;
        let layer = Self::from_matrix(&matrix, device)?;
        let out = matrix.layout().out_features();
        let bias = format!("{name}.bias");
        if source.info(&bias).is_none() {
            return Ok(layer);
        }
        let values = file.floats(&bias, &[&[out]])?;
        let values = Floats::F16(values).to_f32();
        let bias: Tensor<1> =
            Tensor::from_data(TensorData::new(values, [out]), (device, BurnType::F32));
        Ok(layer.with_bias(Some(Param::from_tensor(bias))))
    }
}

/// The tensors whose names begin with that of a layer.
struct Layer<'a> {
    source: &'a dyn TensorSource,
    name: &'a str,
}

impl Layer<'_> {
    fn matrix(&self, bits: Bits, group_size: Option<usize>) -> Result<AffineMatrix, ImportError> {
        let [usual, other] = CODES.map(|part| format!("{}.{part}", self.name));
        let codes = match self.source.info(&usual) {
            None if self.source.info(&other).is_some() => other,
            _ => usual,
        };
        let info = self.typed(&codes, DType::I32)?;
        let &[rows, out] = info.shape.as_slice() else {
            return Err(shape(info, "[words, out]"));
        };
        let mask = format!("{}.quantized_mask", self.name);
        let sparse = self.source.info(&mask).is_some();
        let input = match sparse {
            true => rows.saturating_mul(UNIT / 2),
            false => rows.saturating_mul(UNIT) / bits.count(),
        };
        let groups = group_size.map_or(1, |size| input.div_ceil(size.max(1)));
        let flat: &[usize] = &[out];
        let shapes: &[&[usize]] = match groups {
            1 => &[&[1, out], flat],
            _ => &[&[groups, out]],
        };
        let [scales, zeros] = ["scales", "zeros"].map(|part| format!("{}.{part}", self.name));
        let scales = self.floats(&scales, shapes)?;
        let zeros = self.floats(&zeros, shapes)?;
        let words = self.words(&codes)?;
        let matrix = match sparse {
            true if bits != Bits::Four => Err(CodecError::Config {
                field: "quantization_bits",
                value: format!("{} with a mask", bits.count()),
            }),
            true => {
                let mask = self.words(&mask)?;
                let weights = words;
                let words = SparseWords { weights, mask };
                int4matmul::decode_sparse(&words, [out, input], group_size, scales, zeros)
                    .and_then(|matrix| matrix.to_affine())
            }
            false => int4matmul::decode(&words, [out, input], bits, group_size, scales, zeros)
                .and_then(|matrix| matrix.to_affine()),
        };
        matrix.map_err(|source| ImportError::Codec {
            tensor: codes,
            source,
        })
    }

    fn typed(&self, tensor: &str, expected: DType) -> Result<&TensorInfo, ImportError> {
        let info = self.source.require(tensor)?;
        match info.dtype == expected {
            true => Ok(info),
            false => Err(ImportError::Type {
                tensor: tensor.to_string(),
                found: info.dtype,
                expected,
            }),
        }
    }

    fn words(&self, tensor: &str) -> Result<Vec<u32>, ImportError> {
        self.typed(tensor, DType::I32)?;
        let bytes = self.source.read(tensor)?;
        let (words, _) = bytes.as_chunks::<4>();
        Ok(words.iter().map(|&word| u32::from_le_bytes(word)).collect())
    }

    /// F16 values of one of the shapes.
    fn floats(&self, tensor: &str, shapes: &[&[usize]]) -> Result<Vec<half::f16>, ImportError> {
        let info = self.typed(tensor, DType::F16)?;
        if !shapes.contains(&info.shape.as_slice()) {
            let shapes: Vec<String> = shapes.iter().map(|shape| format!("{shape:?}")).collect();
            return Err(shape(info, &shapes.join(" or ")));
        }
        let bytes = self.source.read(tensor)?;
        let (values, _) = bytes.as_chunks::<2>();
        Ok(values
            .iter()
            .map(|&v| half::f16::from_le_bytes(v))
            .collect())
    }
}

fn shape(info: &TensorInfo, expected: &str) -> ImportError {
    ImportError::Shape {
        tensor: info.name.clone(),
        found: info.shape.clone(),
        expected: expected.to_string(),
    }
}
