//! Errors of layers, of their operations and of packing.

use burn::tensor::DType;
use thiserror::Error;
use tritburn_formats::codec::gguf::k_quant::KQuant;
use tritburn_formats::{HeaderError, LayoutError, MatrixError, PackedLayout};

/// What can go wrong when a layer is built, run, packed or converted.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// No packed matrix can have this shape or granularity.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A stored header cannot be read.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The last axis of the input is not the layer's input size.
    #[error("input {shape:?} ends in {found}, the layer takes {expected} inputs")]
    InputFeatures {
        /// Shape of the input.
        shape: Vec<usize>,
        /// Its last axis.
        found: usize,
        /// `in_features` of the layer.
        expected: usize,
    },
    /// An operand has the wrong shape.
    #[error("{operand} has shape {found:?}, expected {expected:?}")]
    Shape {
        /// Which operand.
        operand: &'static str,
        /// Shape found.
        found: Vec<usize>,
        /// Shape expected.
        expected: Vec<usize>,
    },
    /// An operand has an element type that the operation does not take.
    #[error("{operand} has dtype {found:?}, expected {expected}")]
    DType {
        /// Which operand.
        operand: &'static str,
        /// Type found.
        found: DType,
        /// Types accepted.
        expected: &'static str,
    },
    /// A device cannot compute with an element type.
    #[error("{device} does not support {dtype:?}")]
    Unsupported {
        /// The device.
        device: String,
        /// The element type.
        dtype: DType,
    },
    /// A weight carries a reparameterization already; they do not nest.
    #[error("a weight carries the reparameterization `{name}`: materialize() the model first")]
    Reparameterized {
        /// Name of the reparameterization.
        name: String,
    },
    /// The packed weight was made for another layout than the layer's.
    #[error("the packed weight is {found:?}, the layer {expected:?}")]
    PackedLayout {
        /// Layout of the packed weight.
        found: Box<PackedLayout>,
        /// Layout of the layer.
        expected: Box<PackedLayout>,
    },
    /// No tensor-core kernel can read these weights, or the device has no kernels to prepack them.
    #[error("weights of layout {layout:?} cannot be prepacked on {device}")]
    NotPrepackable {
        /// The device.
        device: String,
        /// Layout of the weights.
        layout: Box<PackedLayout>,
    },
    /// A key-value cache without room.
    #[error("a cache of {rows} sequences of {capacity} tokens has no room")]
    EmptyCache {
        /// Sequences.
        rows: usize,
        /// Positions of each.
        capacity: usize,
    },
    /// Query heads that key-value heads cannot share, or heads that rotary pairs do not fit.
    #[error(
        "{query} query heads of size {size} cannot share {key_value} key-value heads: a multiple of \
         them and an even size are needed"
    )]
    Heads {
        /// Query heads.
        query: usize,
        /// Key-value heads.
        key_value: usize,
        /// Elements of a head.
        size: usize,
    },
    /// A gate and what it is applied to need as many columns each.
    #[error("gate|up has {found} columns, an even number is needed")]
    OddFeatures {
        /// Columns found.
        found: usize,
    },
    /// A loss in chunks of no tokens.
    #[error("the loss cannot be computed in chunks of 0 tokens")]
    EmptyChunk,
    /// Attention heads of a size that the device has no kernels for.
    #[error(
        "{device} has no kernels for attention heads of size {found}, only for even sizes up to 256"
    )]
    HeadSize {
        /// The device.
        device: String,
        /// Elements of a head.
        found: usize,
    },
    /// A table in blocks of a K type on a device without kernels for them.
    #[error("{device} has no kernels for tables of {kind}, only the CPU (flex) has")]
    KQuant {
        /// The device.
        device: String,
        /// Type of the blocks.
        kind: KQuant,
    },
    /// Quantised input for weights that are kept for float activations.
    #[error("the weight is kept for float activations and takes no quantised input")]
    FloatActivations,
    /// A layer that does not fit the stack it is to be a part of.
    #[error(
        "the layer has other codes than the stack, or no int8 weights in the order of its kernel"
    )]
    Stack,
    /// CUDA is not installed completely.
    #[cfg(feature = "cuda")]
    #[error(transparent)]
    Cuda(#[from] crate::cuda::CudaSetupError),
    /// A layer with a latent weight holds no codes.
    #[error("the layer's weight is latent and has no packed codes: pack() the layer first")]
    NotPacked,
    /// Operands live on different devices.
    #[error("{operand} is on {found}, the input is on {expected}")]
    Device {
        /// Which operand.
        operand: &'static str,
        /// Its device.
        found: String,
        /// Device of the input.
        expected: String,
    },
}

/// Why a model was not packed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PackError {
    /// A latent weight holds a NaN or an infinity.
    #[error("`{tensor}` holds a NaN or infinite weight (scale {scale} of {scales} is {value})")]
    NonFinite {
        /// Path of the weight in the model.
        tensor: String,
        /// Index of the first bad scale.
        scale: usize,
        /// Number of scales.
        scales: usize,
        /// The scale found.
        value: f32,
    },
    /// A header that cannot be read, a weight without the shape that its header describes, or a
    /// device that cannot quantise.
    #[error("`{tensor}` cannot be packed")]
    Tensor {
        /// Path of the tensor in the model.
        tensor: String,
        /// What is wrong.
        source: Error,
    },
    /// Weights that cannot be quantised.
    #[error("`{tensor}` cannot be quantised")]
    Matrix {
        /// Path of the weight.
        tensor: String,
        /// What is wrong with it.
        source: MatrixError,
    },
    /// The weight carries another reparameterization, which packing would lose.
    #[error("`{tensor}` carries the reparameterization `{name}`: materialize() the model first")]
    Reparameterized {
        /// Path of the weight in the model.
        tensor: String,
        /// Name of the other reparameterization.
        name: String,
    },
    /// A scale that no quantiser makes.
    #[error("`{tensor}`: scale {index} is {value}, not a positive number")]
    Scale {
        /// Path of the weight.
        tensor: String,
        /// Index of the scale.
        index: usize,
        /// The scale found.
        value: f32,
    },
    /// A tensor could not be read back from its device.
    #[error("`{tensor}` could not be read from its device: {reason}")]
    Read {
        /// Path of the tensor in the model.
        tensor: String,
        /// What the device said.
        reason: String,
    },
}

/// Refuses scales that are not positive and finite.
pub(crate) fn check_scales(path: &str, scales: &[f32]) -> Result<(), PackError> {
    let good = |scale: &f32| scale.is_finite() && *scale > 0.0;
    match scales.iter().position(|scale| !good(scale)) {
        Some(index) => Err(PackError::Scale {
            tensor: path.to_string(),
            index,
            value: scales[index],
        }),
        None => Ok(()),
    }
}
