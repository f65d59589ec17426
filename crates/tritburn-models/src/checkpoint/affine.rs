//! Projections of GPTQ and AWQ in the folders of Hugging Face.

use std::collections::HashSet;

use tritburn_formats::affine::{AffineMatrix, FloatType as StoredType, Floats};
use tritburn_formats::codec::gptq::{self, GptqShapes, GptqTensors};
use tritburn_formats::codec::{CodecError, awq};
use tritburn_formats::file::{DType, TensorSource};

use super::source::{FLOATS, Tensors};
use super::{CheckpointError, FloatTensorData, FloatType, Projection, hf_names};
use crate::config::{AffineStorage, Biases, DecoderConfig};

/// Types of words: files say I32, and mean bits.
const WORDS: [DType; 2] = [DType::I32, DType::U32];

/// The tensors of a projection.
struct Names {
    qweight: String,
    qzeros: String,
    scales: String,
    g_idx: String,
}

impl Names {
    fn new(layer: usize, projection: Projection) -> Self {
        let name = hf_names::projection(layer, projection);
        let of = |part| format!("{name}.{part}");
        Self {
            qweight: of("qweight"),
            qzeros: of("qzeros"),
            scales: of("scales"),
            g_idx: of("g_idx"),
        }
    }
}

/// Shapes of codes, zero points, scales, and of the groups of inputs where a format has them.
struct Shapes {
    qweight: [usize; 2],
    qzeros: [usize; 2],
    scales: [usize; 2],
    g_idx: Option<[usize; 1]>,
}

impl Shapes {
    fn new(storage: AffineStorage, shape: [usize; 2]) -> Result<Self, CodecError> {
        match storage {
            AffineStorage::Awq { group_size } => {
                let shapes = awq::AwqShapes::new(shape, group_size)?;
                Ok(Self {
                    qweight: shapes.qweight,
                    qzeros: shapes.qzeros,
                    scales: shapes.scales,
                    g_idx: None,
                })
            }
            AffineStorage::Gptq {
                bits, group_size, ..
            } => {
                let shapes = GptqShapes::new(shape, bits, group_size)?;
                Ok(Self {
                    qweight: shapes.qweight,
                    qzeros: shapes.qzeros,
                    scales: shapes.scales,
                    g_idx: Some(shapes.g_idx),
                })
            }
            AffineStorage::Canonical => Err(CodecError::Config {
                field: "quant_method",
                value: "tritburn".to_string(),
            }),
        }
    }
}

/// Checks names, shapes and types of a projection's tensors; their names.
pub(super) fn check<S: TensorSource>(
    tensors: &Tensors<S>,
    config: &DecoderConfig,
    storage: AffineStorage,
) -> Result<HashSet<String>, CheckpointError> {
    let mut known = HashSet::new();
    for (layer, projection) in config.projections() {
        let names = Names::new(layer, projection);
        let shapes = Shapes::new(storage, config.projection_shape(projection))
            .map_err(CheckpointError::codec(&names.qweight))?;
        tensors.expect(&names.qweight, &shapes.qweight, &WORDS)?;
        tensors.expect(&names.qzeros, &shapes.qzeros, &WORDS)?;
        tensors.expect(&names.scales, &shapes.scales, &FLOATS)?;
        known.extend([names.qweight, names.qzeros, names.scales]);
        if let Some(shape) = shapes.g_idx
            && tensors.0.info(&names.g_idx).is_some()
        {
            tensors.expect(&names.g_idx, &shape, &WORDS)?;
            known.insert(names.g_idx);
        }
    }
    Ok(known)
}

/// The weights of a projection. Errors name its codes: what is wrong with a scale or a zero point is told
/// by row and group.
pub(super) fn read<S: TensorSource>(
    tensors: &Tensors<S>,
    config: &DecoderConfig,
    storage: AffineStorage,
    layer: usize,
    projection: Projection,
) -> Result<AffineMatrix, CheckpointError> {
    let names = Names::new(layer, projection);
    let shape = config.projection_shape(projection);
    let shapes = Shapes::new(storage, shape).map_err(CheckpointError::codec(&names.qweight))?;
    let qweight = tensors.words(&names.qweight, &shapes.qweight, &WORDS)?;
    let qzeros = tensors.words(&names.qzeros, &shapes.qzeros, &WORDS)?;
    let scales = floats(&tensors.floats(&names.scales, &shapes.scales)?);
    let g_idx = match shapes.g_idx {
        Some(shape) if tensors.0.info(&names.g_idx).is_some() => {
            let words = tensors.words(&names.g_idx, &shape, &WORDS)?;
            Some(words.into_iter().map(u32::cast_signed).collect())
        }
        _ => None,
    };
    let matrix = match storage {
        AffineStorage::Gptq {
            bits,
            group_size,
            zeros,
        } => {
            let tensors = GptqTensors {
                qweight,
                qzeros,
                scales,
                g_idx,
            };
            gptq::decode(&tensors, shape, bits, group_size, zeros)
        }
        AffineStorage::Awq { group_size } => {
            let tensors = awq::AwqTensors {
                qweight,
                qzeros,
                scales,
            };
            awq::decode(&tensors, shape, group_size)
        }
        AffineStorage::Canonical => unreachable!("such a storage has no shapes"),
    };
    matrix.map_err(CheckpointError::codec(&names.qweight))
}

/// The floats of scales and zero points in the type that they are stored in.
pub(super) fn floats(data: &FloatTensorData) -> Floats {
    let stored = match data.dtype {
        FloatType::F32 => StoredType::F32,
        FloatType::F16 => StoredType::F16,
        FloatType::BF16 => StoredType::Bf16,
    };
    Floats::from_f32(&data.to_f32(), stored)
}

/// The biases that the first layer has: writers add them to projections of families that have none.
pub(super) fn biases<S: TensorSource>(tensors: &Tensors<S>) -> Biases {
    let has = |projection| tensors.0.info(&hf_names::bias(0, projection)).is_some();
    Biases {
        qkv: has(Projection::Q),
        output: has(Projection::O),
        ffn: has(Projection::Down),
    }
}
