//! GGUF files of llama.cpp and microsoft/BitNet, of every family.
//!
//! Where a file does not say what its ternary weights multiply: int8 activations in BitNet's
//! architectures and for I2_S, as bitnet.cpp does; floats elsewhere, as TriLM was trained.

use std::collections::HashSet;
use std::ops::Range;

use tritburn::InputPrecision;
use tritburn_formats::MatrixError;
use tritburn_formats::codec::gguf::k_quant::{KQuant, KQuantMatrix};
use tritburn_formats::codec::gguf::{blocks, i2_s, q2_0, tq1_0, tq2_0};
use tritburn_formats::file::gguf::{GgmlType, Gguf, Metadata};
use tritburn_formats::file::{DType, TensorSource};
use tritburn_formats::matrix::{reorder_rows, rotary_half_split};

use super::source::{FLOATS, Tensors, check_rows};
use super::stored::{Format, Stored};
use super::{CheckpointError, FloatTensorData, FloatType, Norm, Overrides};
use super::{Projection, Table, Weight, unpacked};
use crate::config::gguf::ROPE_FACTORS;
use crate::config::{
    Biases, ConfigError, DecoderConfig, Family, GgufFacts, LinearClass, Quantization,
};
use crate::text::TokenizerFiles;

/// Names of tensors.
pub(crate) mod names {
    use crate::checkpoint::{Norm, Projection, Table};

    pub fn norm(norm: Norm) -> String {
        match norm {
            Norm::Input(i) => format!("blk.{i}.attn_norm.weight"),
            Norm::Query(i) => format!("blk.{i}.attn_q_norm.weight"),
            Norm::Key(i) => format!("blk.{i}.attn_k_norm.weight"),
            Norm::AttentionSub(i) => format!("blk.{i}.attn_sub_norm.weight"),
            Norm::PostAttention(i) => format!("blk.{i}.ffn_norm.weight"),
            Norm::FfnSub(i) => format!("blk.{i}.ffn_sub_norm.weight"),
            Norm::AttentionResult(i) => format!("blk.{i}.post_attention_norm.weight"),
            Norm::FfnResult(i) => format!("blk.{i}.post_ffw_norm.weight"),
            Norm::Projection(i, p) => format!("blk.{i}.{}_norm_in.weight", part(p)),
            Norm::Final => "output_norm.weight".to_string(),
        }
    }

    pub fn projection(layer: usize, projection: Projection) -> String {
        format!("blk.{layer}.{}.weight", part(projection))
    }

    pub fn bias(layer: usize, projection: Projection) -> String {
        format!("blk.{layer}.{}.bias", part(projection))
    }

    fn part(projection: Projection) -> &'static str {
        match projection {
            Projection::Q => "attn_q",
            Projection::K => "attn_k",
            Projection::V => "attn_v",
            Projection::O => "attn_output",
            Projection::Gate => "ffn_gate",
            Projection::Up => "ffn_up",
            Projection::Down => "ffn_down",
        }
    }

    pub fn table(table: Table) -> &'static str {
        match table {
            Table::Embedding => "token_embd.weight",
            Table::Head => "output.weight",
        }
    }
}

/// Types that are read as floats.
const FLOAT_BLOCKS: [DType; 10] = [
    DType::Ggml(GgmlType::Q8_0),
    DType::Ggml(GgmlType::Q6K),
    DType::Ggml(GgmlType::Q5K),
    DType::Ggml(GgmlType::Q4K),
    DType::Ggml(GgmlType::Q3K),
    DType::Ggml(GgmlType::Q2K),
    DType::Ggml(GgmlType::Q5_1),
    DType::Ggml(GgmlType::Q5_0),
    DType::Ggml(GgmlType::Q4_1),
    DType::Ggml(GgmlType::Q4_0),
];

/// Types of ternary weights, and of the floats that ternary weights may be stored as.
const TERNARY: [DType; 6] = [
    DType::Ggml(GgmlType::Tq1_0),
    DType::Ggml(GgmlType::Tq2_0),
    DType::Ggml(GgmlType::I2S),
    DType::Ggml(GgmlType::Q2_0),
    DType::Ggml(GgmlType::Q2_0G128),
    DType::Ggml(GgmlType::Pq2_0),
];

const fn joined<const N: usize>(parts: [&[DType]; 3]) -> [DType; N] {
    let mut all = [DType::F32; N];
    let (mut part, mut at) = (0, 0);
    while part < parts.len() {
        let mut i = 0;
        while i < parts[part].len() {
            all[at] = parts[part][i];
            (i, at) = (i + 1, at + 1);
        }
        part += 1;
    }
    all
}

/// All types of projections and tables.
const WEIGHT_TYPES: [DType; 19] = joined([&TERNARY, &FLOATS, &FLOAT_BLOCKS]);

/// Key of the order of I2_S codes, where it is not that of most files.
const I2_S_ORDER: &str = "tritburn.i2_s_order";

/// All is in the file; its metadata may have been overridden.
pub(super) struct GgufFormat {
    metadata: Metadata,
    i2_s_order: i2_s::Variant,
}

/// The order of I2_S codes that the metadata names, or that of most files.
fn i2_s_order(metadata: &Metadata) -> Result<i2_s::Variant, ConfigError> {
    match metadata.get(I2_S_ORDER).map(|value| value.as_str()) {
        None | Some(Some("block128")) => Ok(i2_s::Variant::Block128),
        Some(Some("neon64")) => Ok(i2_s::Variant::Neon64),
        Some(Some("four_rows")) => Ok(i2_s::Variant::FourRows),
        Some(Some("sequential")) => Ok(i2_s::Variant::Sequential),
        Some(other) => Err(ConfigError::Value {
            field: I2_S_ORDER.to_string(),
            found: other.unwrap_or("no text").to_string(),
            expected: "block128, neon64, four_rows or sequential",
        }),
    }
}

impl Stored<GgufFormat> {
    pub fn open(file: Gguf, overrides: &Overrides) -> Result<Self, CheckpointError> {
        let tensors = Tensors(file);
        let mut metadata = tensors.0.metadata().clone();
        overrides.apply_gguf(&mut metadata)?;
        let config = DecoderConfig::from_gguf(&metadata, facts(&tensors)?);
        let mut config = config.map_err(tensors.config_error())?;
        let name = names::projection(0, Projection::Q);
        if config.quantization == Quantization::Online {
            // A float file has the products of codes and scales, master weights, or neither.
            let shape = config.projection_shape(Projection::Q);
            let first = values(&tensors, &name, &shape);
            let kind = tensors.0.info(&name).map(|info| info.dtype);
            let rounded = kind.is_some_and(|kind| FLOAT_BLOCKS.contains(&kind));
            if first.is_ok_and(|first| first.ternary().is_some()) {
                config.quantization = Quantization::Unpacked;
            } else if config.family != Family::BitNet || rounded {
                if rounded && config.family == Family::BitNet {
                    tracing::warn!(
                        "{} has layers of rounded floats: they run as they are, and are not quantised \
                         again",
                        tensors.path().display()
                    );
                }
                config.quantization = Quantization::Dense;
            }
        }
        match overrides.quantization()? {
            Some(asked) if matches!(config.quantization, Quantization::Packed { .. }) => {
                return Err(CheckpointError::Override {
                    text: format!("quantization={asked:?}"),
                    reason: "the layers of the file are packed",
                });
            }
            Some(asked) => config.quantization = asked,
            None => {}
        }
        let i2_s_order = i2_s_order(&metadata).map_err(tensors.config_error())?;
        let format = GgufFormat {
            metadata,
            i2_s_order,
        };
        Self::new(tensors, config, format)
    }

    /// The order of rows that a projection has in memory, if the file has another.
    fn half_split(&self, projection: Projection) -> Result<Option<Vec<usize>>, MatrixError> {
        let turned = matches!(projection, Projection::Q | Projection::K);
        match turned && self.config.family.facts().gguf_interleaved {
            false => Ok(None),
            true => {
                let [rows, _] = self.config.projection_shape(projection);
                rotary_half_split(rows, self.config.head_dim).map(Some)
            }
        }
    }
}

/// What the tensors of a file tell about its model.
fn facts(tensors: &Tensors<Gguf>) -> Result<GgufFacts, CheckpointError> {
    let has = |name: String| tensors.0.info(&name).is_some();
    let first = names::projection(0, Projection::Q);
    let kind = tensors.0.info(&first).map(|info| info.dtype);
    let bitnet = tensors.0.metadata().architecture().starts_with("bitnet");
    let i2_s = kind == Some(DType::Ggml(GgmlType::I2S));
    let factors = |name: &str| -> Result<Option<Vec<f64>>, CheckpointError> {
        let Some(info) = tensors.0.info(name) else {
            return Ok(None);
        };
        let values = tensors.floats(name, &info.shape)?.to_f32();
        Ok(Some(values.into_iter().map(f64::from).collect()))
    };
    let [all, short, long] = ROPE_FACTORS;
    let (all, short, long) = (factors(all)?, factors(short)?, factors(long)?);
    let embedding = tensors.0.info(names::table(Table::Embedding));
    Ok(GgufFacts {
        has_output: has(names::table(Table::Head).to_string()),
        quantization: match kind.is_some_and(|kind| !TERNARY.contains(&kind)) {
            true => Quantization::Online,
            false => Quantization::Packed {
                linear_class: LinearClass::AutoBitLinear,
            },
        },
        inputs: match bitnet || i2_s {
            true => InputPrecision::Int8,
            false => InputPrecision::Float,
        },
        sub_norms: has(names::norm(Norm::AttentionSub(0))) || has(names::norm(Norm::FfnSub(0))),
        post_norms: has(names::norm(Norm::AttentionResult(0))),
        projection_norms: has(names::norm(Norm::Projection(0, Projection::Q))),
        head_norms: has(names::norm(Norm::Query(0))),
        biases: Biases {
            qkv: has(names::bias(0, Projection::Q)),
            output: has(names::bias(0, Projection::O)),
            ffn: has(names::bias(0, Projection::Down)),
        },
        vocabulary: embedding.and_then(|info| info.shape.first().copied()),
        rope_factors: match (all, short, long) {
            (Some(all), ..) => Some([all.clone(), all]),
            (None, Some(short), Some(long)) => Some([short, long]),
            _ => None,
        },
    })
}

impl Format for GgufFormat {
    type File = Gguf;

    const REPEATS_TIED_HEAD: bool = false;
    const TABLE_TYPES: &'static [DType] = &WEIGHT_TYPES;

    fn norm(norm: Norm, _: &DecoderConfig) -> Vec<String> {
        vec![names::norm(norm)]
    }

    fn bias(layer: usize, projection: Projection) -> String {
        names::bias(layer, projection)
    }

    fn table(table: Table) -> &'static str {
        names::table(table)
    }

    fn name(file: &Stored<Self>) -> &'static str {
        let name = names::projection(0, Projection::Q);
        match file.tensors.0.info(&name).map(|info| info.dtype) {
            Some(DType::Ggml(GgmlType::Tq1_0)) => "GGUF, TQ1_0",
            Some(DType::Ggml(GgmlType::Tq2_0)) => "GGUF, TQ2_0",
            Some(DType::Ggml(GgmlType::I2S)) => "GGUF, I2_S",
            Some(DType::Ggml(GgmlType::Q2_0 | GgmlType::Q2_0G128 | GgmlType::Pq2_0)) => {
                "GGUF, Q2_0"
            }
            Some(dtype) if FLOAT_BLOCKS.contains(&dtype) => "GGUF, quantised floats",
            _ => "GGUF, float",
        }
    }

    fn check(file: &Stored<Self>) -> Result<HashSet<String>, CheckpointError> {
        let mut known = HashSet::from(ROPE_FACTORS.map(str::to_string));
        for (layer, projection) in file.config.projections() {
            let name = names::projection(layer, projection);
            let shape = file.config.projection_shape(projection);
            file.tensors.expect(&name, &shape, &WEIGHT_TYPES)?;
            known.insert(name);
        }
        Ok(known)
    }

    fn projection(
        file: &Stored<Self>,
        layer: usize,
        projection: Projection,
    ) -> Result<Weight, CheckpointError> {
        let name = names::projection(layer, projection);
        let shape @ [out, input] = file.config.projection_shape(projection);
        let info = file.tensors.expect(&name, &shape, &WEIGHT_TYPES)?;
        let dtype = info.dtype;
        if !TERNARY.contains(&dtype) {
            return file.float_projection(&name, projection);
        }
        let bytes = file.tensors.0.read(&name)?;
        let matrix = match dtype {
            DType::Ggml(GgmlType::Tq1_0) => tq1_0::decode(&bytes, out, input),
            DType::Ggml(GgmlType::Tq2_0) => tq2_0::decode(&bytes, out, input),
            DType::Ggml(GgmlType::I2S) => {
                i2_s::decode_variant(&bytes, out, input, file.format.i2_s_order)
            }
            _ => q2_0::decode(&bytes, out, input),
        };
        let matrix = matrix.map_err(CheckpointError::codec(&name))?;
        let order = file.half_split(projection);
        let matrix = order.and_then(|order| match order {
            Some(order) => reorder_rows(&matrix, &order),
            None => Ok(matrix),
        });
        Ok(Weight::Packed(
            matrix.map_err(CheckpointError::pack(&name))?,
        ))
    }

    fn bias_values(
        file: &Stored<Self>,
        layer: usize,
        projection: Projection,
    ) -> Result<Vec<f32>, CheckpointError> {
        let name = names::bias(layer, projection);
        let [rows, _] = file.config.projection_shape(projection);
        let bias = file.tensors.floats(&name, &[rows])?.to_f32();
        let order = file.half_split(projection);
        Ok(match order.map_err(CheckpointError::pack(&name))? {
            Some(order) => order.into_iter().map(|row| bias[row]).collect(),
            None => bias,
        })
    }

    fn table_rows(
        file: &Stored<Self>,
        table: Table,
        rows: Range<usize>,
    ) -> Result<FloatTensorData, CheckpointError> {
        let (name, shape) = (names::table(table), file.table_shape());
        let info = file.tensors.expect(name, &shape, &WEIGHT_TYPES)?;
        let DType::Ggml(kind) = info.dtype else {
            return file.tensors.rows(name, shape, rows);
        };
        check_rows(&rows, shape[0])?;
        if kind == GgmlType::I2S {
            // Blocks run over the ends of rows: the whole tensor at once.
            let bytes = file.tensors.0.read(name)?;
            let matrix = i2_s::decode_variant(&bytes, shape[0], shape[1], file.format.i2_s_order);
            let all = matrix.map_err(CheckpointError::codec(name))?.dequantize();
            let some = &all[rows.start * shape[1]..rows.end * shape[1]];
            let shape = vec![rows.len(), shape[1]];
            return Ok(FloatTensorData::from_f32(FloatType::F32, shape, some));
        }
        let row = kind.byte_len(&[1, shape[1]]).unwrap_or(0);
        let bytes = file
            .tensors
            .0
            .read_range(name, rows.start * row..rows.end * row)?;
        dequantized(name, kind, &bytes, [rows.len(), shape[1]])
    }

    fn table_blocks(
        file: &Stored<Self>,
        table: Table,
    ) -> Result<Option<KQuantMatrix>, CheckpointError> {
        let (name, shape) = (names::table(table), file.table_shape());
        let info = file.tensors.expect(name, &shape, &WEIGHT_TYPES)?;
        let DType::Ggml(kind) = info.dtype else {
            return Ok(None);
        };
        let Some(kind) = KQuant::from_ggml(kind) else {
            return Ok(None);
        };
        let bytes = file.tensors.0.read(name)?;
        let matrix = KQuantMatrix::new(kind, shape, bytes);
        matrix.map(Some).map_err(CheckpointError::codec(name))
    }

    fn tokenizer(file: &Stored<Self>) -> Result<TokenizerFiles, CheckpointError> {
        Ok(TokenizerFiles::from_gguf(&file.format.metadata)?)
    }
}

impl Stored<GgufFormat> {
    /// A projection that is stored as floats.
    fn float_projection(
        &self,
        name: &str,
        projection: Projection,
    ) -> Result<Weight, CheckpointError> {
        let shape = self.config.projection_shape(projection);
        let mut data = values(&self.tensors, name, &shape)?;
        let order = self.half_split(projection);
        if let Some(order) = order.map_err(CheckpointError::pack(name))? {
            data = data.with_rows(&order);
        }
        // Writers leave single matrices in float, ternary or not, where rows are not whole blocks.
        Ok(match self.config.quantization {
            Quantization::Unpacked | Quantization::Packed { .. } => unpacked(data),
            _ => Weight::Master(data),
        })
    }
}

/// A whole tensor of floats or of blocks that become floats.
fn values(
    tensors: &Tensors<Gguf>,
    name: &str,
    shape: &[usize; 2],
) -> Result<FloatTensorData, CheckpointError> {
    match tensors.expect(name, shape, &WEIGHT_TYPES)?.dtype {
        DType::Ggml(kind) => dequantized(name, kind, &tensors.0.read(name)?, *shape),
        _ => tensors.floats(name, shape),
    }
}

/// Whole rows of blocks as F32.
fn dequantized(
    name: &str,
    kind: GgmlType,
    bytes: &[u8],
    shape: [usize; 2],
) -> Result<FloatTensorData, CheckpointError> {
    let mut values = vec![0.0; shape[0] * shape[1]];
    blocks::dequantize(kind, bytes, &mut values).map_err(CheckpointError::codec(name))?;
    Ok(FloatTensorData::from_f32(
        FloatType::F32,
        shape.to_vec(),
        &values,
    ))
}
