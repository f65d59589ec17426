//! The tensors of a result, target by target.

use std::ops::Range;

use half::bf16;
use tritburn::InputPrecision;
use tritburn_formats::codec::gguf::{i2_s, q2_0, tq1_0, tq2_0};
use tritburn_formats::codec::{CodecError, Rounding, bitnet_gpu, hf_bitnet};
use tritburn_formats::file::gguf::GgmlType;
use tritburn_formats::file::{DType, FileError, TensorSpec};
use tritburn_formats::file::{GgufWriter, SafetensorsWriter, TorchWriter};
use tritburn_formats::matrix::{concat_rows, reorder_rows, rotary_interleaved};
use tritburn_formats::{MatrixError, PackedMatrix};

use super::affine;
use super::master::master_weights;
use super::table::TableForm;
use super::{ConvertError, Loss, TableType, Target};
use crate::checkpoint::tritburn::PackedNames;
use crate::checkpoint::{Checkpoint, FloatTensorData, FloatType, Norm, Projection, Table, Weight};
use crate::checkpoint::{bitnet_gpu_names, gain_offset, gguf_names, hf_names, one_scale};
use crate::config::{DecoderConfig, Quantization};

/// A part of the model that is written at once.
#[derive(Clone, Copy, Debug)]
pub(super) enum Item {
    Table(Table),
    Norm(Norm),
    Bias(usize, Projection),
    /// Divisors of the rotary frequencies, which GGUF files have as tensors.
    RopeFactors,
    /// Projections of a layer that share a tensor, mostly one.
    Projections(usize, &'static [Projection]),
}

/// A tensor of the result.
pub(super) struct Stored {
    pub spec: TensorSpec,
    pub bytes: Vec<u8>,
}

const EACH: [&[Projection]; 7] = [
    &[Projection::Q],
    &[Projection::K],
    &[Projection::V],
    &[Projection::O],
    &[Projection::Gate],
    &[Projection::Up],
    &[Projection::Down],
];

/// All parts, in the order in which they are written.
pub(super) fn items(target: Target, config: &DecoderConfig) -> Vec<Item> {
    let mut items: Vec<Item> = config.tables().iter().map(|&t| Item::Table(t)).collect();
    let groups: &'static [&'static [Projection]] = match target {
        Target::BitNetGpu => &bitnet_gpu_names::FUSED,
        _ => &EACH,
    };
    if target == Target::BitNetGpu && config.tie_word_embeddings {
        items.push(Item::Table(Table::Head));
    }
    if target.is_file() && config.rope_scaling.has_factors() {
        items.push(Item::RopeFactors);
    }
    for layer in 0..config.num_hidden_layers {
        items.extend(config.norms_of_layer(layer).into_iter().map(Item::Norm));
        let biased = Projection::ALL.into_iter().filter(|&p| config.has_bias(p));
        items.extend(biased.map(|projection| Item::Bias(layer, projection)));
        items.extend(groups.iter().map(|group| Item::Projections(layer, group)));
    }
    items.push(Item::Norm(Norm::Final));
    items
}

/// Makes the tensors of a target.
pub(super) struct Encoder<'a> {
    pub source: &'a dyn Checkpoint,
    pub target: Target,
    embedding: TableForm,
    /// That of the embedding if there is none of its own.
    head: Option<TableForm>,
}

impl<'a> Encoder<'a> {
    /// # Errors
    /// Those of reading the tables.
    pub fn new(
        source: &'a dyn Checkpoint,
        target: Target,
        tables: TableType,
    ) -> Result<Self, ConvertError> {
        let embedding = tables.resolve(source, target, Table::Embedding)?;
        let head = match source.config().tie_word_embeddings {
            true => None,
            false => Some(tables.resolve(source, target, Table::Head)?),
        };
        Ok(Self {
            source,
            target,
            embedding,
            head,
        })
    }
}

impl Encoder<'_> {
    /// Name of a table, and how it is written.
    pub fn table(&self, table: Table) -> (&'static str, &TableForm) {
        let name = match self.target {
            Target::Hf | Target::Bf16 | Target::F32 | Target::Tritburn => hf_names::table(table),
            Target::BitNetGpu => bitnet_gpu_names::table(table),
            _ => gguf_names::table(table),
        };
        let form = match (table, &self.head) {
            (Table::Head, Some(head)) => head,
            _ => &self.embedding,
        };
        (name, form)
    }

    /// Rows of a table of the source: a tied head is the embedding.
    fn source_rows(
        &self,
        table: Table,
        rows: Range<usize>,
    ) -> Result<FloatTensorData, ConvertError> {
        let table = match self.source.config().tie_word_embeddings {
            true => Table::Embedding,
            false => table,
        };
        Ok(self.source.table_rows(table, rows)?)
    }

    /// Rows of a table as they are written.
    pub fn table_bytes(&self, table: Table, rows: Range<usize>) -> Result<Vec<u8>, ConvertError> {
        let (name, form) = self.table(table);
        form.bytes(name, rows, |rows| self.source_rows(table, rows))
    }

    /// Rows of a table as they are read back, and how many values change.
    pub fn table_rows(
        &self,
        table: Table,
        rows: Range<usize>,
    ) -> Result<(FloatTensorData, u64), ConvertError> {
        let (name, form) = self.table(table);
        form.read_back(name, self.source_rows(table, rows)?)
    }

    /// A norm: in bf16 where checkpoints have it so and nothing is lost.
    pub fn norm(&self, norm: Norm) -> Result<Stored, ConvertError> {
        let mut values = self.source.norm(norm)?;
        let config = self.source.config();
        if matches!(self.target, Target::Hf | Target::Bf16 | Target::F32) {
            let offset = gain_offset(norm, config);
            values.iter_mut().for_each(|gain| *gain -= offset);
        }
        let exact = values.iter().all(|&v| bf16::from_f32(v).to_f32() == v);
        let (name, short) = match self.target {
            Target::Hf | Target::Bf16 => (hf_names::norm(norm, config), exact),
            Target::BitNetGpu => (bitnet_gpu_names::norm(norm), exact),
            Target::F32 | Target::Tritburn => (hf_names::norm(norm, config), false),
            _ => (gguf_names::norm(norm), false),
        };
        let dtype = if short {
            FloatType::BF16
        } else {
            FloatType::F32
        };
        let data = FloatTensorData::from_f32(dtype, vec![values.len()], &values);
        Ok(floats(name, data))
    }

    /// A bias, in f32.
    pub fn bias(&self, layer: usize, projection: Projection) -> Result<Stored, ConvertError> {
        let mut values = self.source.bias(layer, projection)?.unwrap_or_default();
        let name = match self.target.is_file() {
            true => gguf_names::bias(layer, projection),
            false => hf_names::bias(layer, projection),
        };
        let order = self.interleaved(projection, values.len());
        if let Some(order) = order.map_err(|e| ConvertError::codec(&name)(e.into()))? {
            values = order.into_iter().map(|row| values[row]).collect();
        }
        let data = FloatTensorData::from_f32(FloatType::F32, vec![values.len()], &values);
        Ok(floats(name, data))
    }

    /// The divisors of the rotary frequencies as tensors.
    pub fn rope_factors(&self) -> Vec<Stored> {
        let sets = self.source.config().rope_factors();
        let named = sets.into_iter().map(|(name, factors)| {
            let data = FloatTensorData::from_f32(FloatType::F32, vec![factors.len()], &factors);
            floats(name, data)
        });
        named.collect()
    }

    /// The order of rows in a GGUF file, where that is not the one in memory.
    fn interleaved(
        &self,
        projection: Projection,
        rows: usize,
    ) -> Result<Option<Vec<usize>>, MatrixError> {
        let config = self.source.config();
        let turned = matches!(projection, Projection::Q | Projection::K);
        match turned && self.target.is_file() && config.family.facts().gguf_interleaved {
            false => Ok(None),
            true => rotary_interleaved(rows, config.head_dim).map(Some),
        }
    }

    /// The name of a projection's tensor in the result.
    pub fn projection_name(&self, layer: usize, group: &[Projection]) -> String {
        match self.target {
            Target::BitNetGpu => bitnet_gpu_names::fused(layer, group),
            Target::Hf | Target::Bf16 | Target::F32 | Target::Tritburn => {
                hf_names::projection(layer, group[0])
            }
            _ => gguf_names::projection(layer, group[0]),
        }
    }

    /// The codes of a projection, with one scale where all are the same.
    pub fn packed(
        &self,
        layer: usize,
        projection: Projection,
    ) -> Result<PackedMatrix, ConvertError> {
        let weight = self.source.projection(layer, projection)?;
        let name = hf_names::projection(layer, projection);
        let online = self.source.quantization() == Quantization::Online;
        match weight {
            Weight::Master(_) if !online => Err(ConvertError::Model {
                target: self.target.name(),
                reason: format!("{name} is not ternary"),
            }),
            weight => Ok(one_scale(weight.into_packed(name)?)),
        }
    }

    /// The tensors of one or more projections, and what is lost in them.
    pub fn projections(
        &self,
        layer: usize,
        group: &[Projection],
    ) -> Result<(Vec<Stored>, Vec<Loss>), ConvertError> {
        let name = self.projection_name(layer, group);
        if let Some(dtype) = self.target.float_weights() {
            return self.masters(&name, layer, group[0], dtype);
        }
        if let Quantization::Affine(_) = self.source.quantization() {
            return Ok((self.affine(layer, group[0])?, Vec::new()));
        }
        let parts = group.iter().map(|&p| self.packed(layer, p));
        let parts = parts.collect::<Result<Vec<_>, _>>()?;
        let scales = parts.iter().flat_map(PackedMatrix::scales);
        let losses = scales
            .filter(|&&scale| self.stored_scale(scale) != scale)
            .map(|&scale| self.scale_loss(&name, scale, self.stored_scale(scale)))
            .collect();
        let tensors = match parts.as_slice() {
            [matrix] => {
                let rows = matrix.layout().out_features();
                let order = self.interleaved(group[0], rows);
                let ordered = order.and_then(|order| match order {
                    Some(order) => reorder_rows(matrix, &order),
                    None => Ok(matrix.clone()),
                });
                let matrix = ordered.map_err(CodecError::from);
                matrix.and_then(|matrix| self.single(&name, layer, group[0], &matrix))
            }
            _ => self.fused(&name, group, &parts),
        };
        Ok((tensors.map_err(ConvertError::codec(&name))?, losses))
    }

    /// The tensors of affine weights, which one target holds.
    fn affine(&self, layer: usize, projection: Projection) -> Result<Vec<Stored>, ConvertError> {
        match self.source.projection(layer, projection)? {
            Weight::Affine(matrix) => Ok(affine::tensors(layer, projection, &matrix)),
            _ => Err(ConvertError::Model {
                target: self.target.name(),
                reason: format!("{} has no groups", hf_names::projection(layer, projection)),
            }),
        }
    }

    /// What a scale comes back as.
    pub fn stored_scale(&self, scale: f32) -> f32 {
        match self.target {
            Target::GgufTq1_0 | Target::GgufTq2_0 | Target::GgufQ2_0 => {
                half::f16::from_f32(scale).to_f32()
            }
            Target::BitNetGpu => bf16::from_f32(scale).to_f32(),
            _ => scale,
        }
    }

    fn scale_loss(&self, tensor: &str, found: f32, stored: f32) -> Loss {
        Loss::Scale {
            tensor: tensor.to_string(),
            found,
            stored,
        }
    }

    fn single(
        &self,
        name: &str,
        layer: usize,
        projection: Projection,
        matrix: &PackedMatrix,
    ) -> Result<Vec<Stored>, CodecError> {
        let layout = matrix.layout();
        let (out, input) = (layout.out_features(), layout.in_features());
        let gguf = |kind: GgmlType, bytes: Vec<u8>| {
            let spec = TensorSpec::new(name, DType::Ggml(kind), [out, input]);
            vec![Stored { spec, bytes }]
        };
        Ok(match self.target {
            Target::GgufTq1_0 => gguf(GgmlType::Tq1_0, tq1_0::encode(matrix, Rounding::Nearest)?),
            Target::GgufTq2_0 => gguf(GgmlType::Tq2_0, tq2_0::encode(matrix, Rounding::Nearest)?),
            Target::GgufQ2_0 => {
                let block = q2_0::Block::B64;
                gguf(
                    GgmlType::Q2_0,
                    q2_0::encode(matrix, block, Rounding::Nearest)?,
                )
            }
            Target::GgufI2S => gguf(GgmlType::I2S, i2_s::encode(matrix)?),
            Target::BitNetGpu => {
                return self.fused(name, &[projection], std::slice::from_ref(matrix));
            }
            Target::Tritburn => {
                let names = PackedNames::new(layer, projection);
                let header = matrix.header().to_words();
                vec![
                    words(names.codes, matrix.words(), [out, layout.words_per_row()]),
                    Stored {
                        spec: TensorSpec::new(names.scales, DType::F32, [matrix.scales().len()]),
                        bytes: bytemuck::cast_slice(matrix.scales()).to_vec(),
                    },
                    words(names.header, &header, [header.len()]),
                ]
            }
            Target::Hf | Target::Bf16 | Target::F32 => {
                let encoded = hf_bitnet::encode(matrix)?;
                let exact = bf16::from_f32(encoded.gamma).to_f32() == encoded.gamma;
                let dtype = if exact {
                    FloatType::BF16
                } else {
                    FloatType::F32
                };
                let scale = FloatTensorData::from_f32(dtype, vec![1], &[encoded.gamma]);
                let shape = [out.div_ceil(4), input];
                vec![
                    Stored {
                        spec: TensorSpec::new(format!("{name}.weight"), DType::U8, shape),
                        bytes: encoded.data,
                    },
                    floats(format!("{name}.weight_scale"), scale),
                ]
            }
        })
    }

    fn fused(
        &self,
        name: &str,
        group: &[Projection],
        parts: &[PackedMatrix],
    ) -> Result<Vec<Stored>, CodecError> {
        let head_dim = self.source.config().head_dim;
        let reordered = group.iter().zip(parts).map(|(projection, part)| {
            if !matches!(projection, Projection::Q | Projection::K) {
                return Ok(part.clone());
            }
            reorder_rows(
                part,
                &rotary_interleaved(part.layout().out_features(), head_dim)?,
            )
        });
        let reordered = reordered.collect::<Result<Vec<_>, MatrixError>>()?;
        let matrix = match reordered.as_slice() {
            [single] => single.clone(),
            several => concat_rows(several)?,
        };
        let encoded = bitnet_gpu::encode(&matrix, Rounding::Nearest)?;
        let layout = matrix.layout();
        let shape = [layout.out_features(), layout.in_features() / 4];
        let scales = encoded.weight_scale.map(bf16::to_f32);
        let scales = FloatTensorData::from_f32(FloatType::BF16, vec![scales.len()], &scales);
        Ok(vec![
            Stored {
                spec: TensorSpec::new(format!("{name}.weight"), DType::I8, shape),
                bytes: encoded.data,
            },
            floats(format!("{name}.weight_scale"), scales),
        ])
    }

    fn masters(
        &self,
        name: &str,
        layer: usize,
        projection: Projection,
        dtype: FloatType,
    ) -> Result<(Vec<Stored>, Vec<Loss>), ConvertError> {
        let name = format!("{name}.weight");
        let mut losses = Vec::new();
        let mut rounded = |data: FloatTensorData| {
            let (data, count) = data.convert(dtype);
            if count > 0 {
                let tensor = name.clone();
                losses.push(Loss::Values {
                    tensor,
                    dtype,
                    count,
                });
            }
            data
        };
        let data = match self.source.projection(layer, projection)? {
            Weight::Master(data) => rounded(data),
            affine @ Weight::Affine(_) => rounded(affine.into_float()),
            // The model multiplies floats by the products of codes and scales.
            packed @ Weight::Packed(_) if self.source.config().inputs == InputPrecision::Float => {
                rounded(packed.into_float())
            }
            Weight::Packed(matrix) => {
                let matrix = one_scale(matrix);
                let &[scale] = matrix.scales() else {
                    return Err(several_scales(&name, &matrix));
                };
                let (data, found) = master_weights(&matrix);
                if found != scale {
                    losses.push(self.scale_loss(&name, scale, found));
                }
                data.convert(dtype).0
            }
        };
        Ok((vec![floats(name, data)], losses))
    }
}

fn several_scales(name: &str, matrix: &PackedMatrix) -> ConvertError {
    ConvertError::codec(name)(CodecError::Granularity {
        format: "master weights",
        scale: matrix.layout().scale().clone(),
    })
}

fn floats(name: impl Into<String>, data: FloatTensorData) -> Stored {
    Stored {
        spec: TensorSpec::new(name, data.dtype.dtype(), data.shape),
        bytes: data.bytes,
    }
}

fn words(name: String, words: &[u32], shape: impl Into<Vec<usize>>) -> Stored {
    Stored {
        spec: TensorSpec::new(name, DType::U32, shape),
        bytes: bytemuck::cast_slice(words).to_vec(),
    }
}

/// The writer of a target's file.
#[allow(
    clippy::large_enum_variant,
    reason = "few exist, and none is moved in a loop"
)]
pub(super) enum Writer {
    Safetensors(SafetensorsWriter),
    Gguf(GgufWriter),
    Torch(TorchWriter),
}

impl Writer {
    pub fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), FileError> {
        match self {
            Self::Safetensors(writer) => writer.write(name, bytes),
            Self::Gguf(writer) => writer.write(name, bytes),
            Self::Torch(writer) => writer.write(name, bytes),
        }
    }

    pub fn finish(self) -> Result<(), FileError> {
        match self {
            Self::Safetensors(writer) => writer.finish(),
            Self::Gguf(writer) => writer.finish(),
            Self::Torch(writer) => writer.finish(),
        }
    }
}
