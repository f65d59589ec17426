//! From a checkpoint to a device, one tensor at a time.

use std::borrow::Cow;

use burn::tensor::{Bytes, DType, Device, Tensor, TensorData};
use tritburn::InputPrecision;
use tritburn::formats::matrix::{concat_rows, reorder_rows};
use tritburn::formats::{PackedMatrix, affine};
use tritburn::ops::keeps_dtype;
use tritburn::transformer::{KQuantTable, keeps_k_quants};

use super::causal_lm::CausalLm;
use super::embedding::Embedding;
use super::error::ModelError;
use super::head::Head;
use super::layer::{DecoderLayer, HeadNorms};
use super::linear::{Linear, Weight};
use super::norm::Norm;
use super::options::{HeadPrecision, LoadOptions, Precision};
use super::projections::Projections;
use super::rotary::{RotaryTables, head_order};
use crate::checkpoint::{
    self, Checkpoint, CheckpointError, FloatTensorData, FloatType, Projection, Table,
    Weight as Stored, hf_names,
};
use crate::config::{DecoderConfig, Quantization};

impl CausalLm {
    /// Loads a model: reads every tensor of `checkpoint` once, quantises master weights where
    /// products are ternary, fuses q|k|v and gate|up.
    ///
    /// A plain float model stays one unless another precision is asked for. What was chosen is in
    /// [`precision`](Self::precision) and [`options`](Self::options). Embedding and head keep the type that
    /// they are stored in, or become f32 on a device that lacks it.
    ///
    /// # Errors
    /// [`ModelError::Checkpoint`], [`ModelError::Pack`]; [`ModelError::Precision`] for one that the model
    /// has no form for; [`ModelError::Operation`] for a dtype of hidden states that the device does not
    /// compute with.
    ///
    /// # Examples
    ///
    /// ```
    /// use burn::tensor::Device;
    /// use tritburn_models::checkpoint::Synthetic;
    /// use tritburn_models::model::{LoadOptions, Precision};
    /// use tritburn_models::{DecoderConfig, CausalLm};
    ///
    /// let checkpoint = Synthetic::new(DecoderConfig::tiny(), 1)?; // or `checkpoint::open(path)?`
    /// let device = Device::flex();
    /// let options = LoadOptions { precision: Some(Precision::W2A16), ..LoadOptions::for_device(&device) };
    /// let model = CausalLm::load(&checkpoint, &options, &device)?;
    /// assert_eq!(model.precision(), Precision::W2A16);
    /// assert!(model.byte_count() < 1 << 18); // 2 bits a weight, and a bf16 embedding
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn load(
        checkpoint: &dyn Checkpoint,
        options: &LoadOptions,
        device: &Device,
    ) -> Result<Self, ModelError> {
        if !device.supports_dtype(options.dtype) {
            return Err(ModelError::Operation(tritburn::Error::Unsupported {
                device: format!("{device:?}"),
                dtype: options.dtype,
            }));
        }
        let config = checkpoint.config().clone();
        let asked_for = options.precision;
        let precision = asked_for.unwrap_or_else(|| Precision::of(&config));
        precision.check(checkpoint.quantization())?;
        let loader = Loader {
            checkpoint,
            config: &config,
            options,
            precision,
            device,
            head_order: head_order(&config),
        };
        let table = loader.table(Table::Embedding)?;
        let head = loader.head(&table)?;
        let embedding = table.embedding(device)?;
        let head = head.unwrap_or_else(|| embedding.clone().into());
        let layers = (0..config.num_hidden_layers)
            .map(|layer| loader.layer(layer))
            .collect::<Result<_, _>>()?;
        let mut norm = loader.norm(checkpoint::Norm::Final, false)?;
        if config.multipliers.logits != 1.0 {
            norm.gamma = norm.gamma * config.multipliers.logits as f32;
        }
        let rotary = RotaryTables::new(&config, device);
        Ok(Self {
            options: LoadOptions {
                precision: Some(precision),
                ..options.clone()
            },
            config,
            precision,
            device: device.clone(),
            embedding,
            head,
            layers,
            norm,
            rotary,
        })
    }
}

struct Loader<'a> {
    checkpoint: &'a dyn Checkpoint,
    config: &'a DecoderConfig,
    options: &'a LoadOptions,
    precision: Precision,
    device: &'a Device,
    /// The order of the elements of query and key heads, if it is not that of the checkpoint.
    head_order: Option<Vec<usize>>,
}

impl Loader<'_> {
    fn layer(&self, index: usize) -> Result<DecoderLayer, ModelError> {
        use Projection::{Down, Gate, K, O, Q, Up, V};
        let qkv = self.projections(index, &[Q, K, V])?;
        let output = self.projections(index, &[O])?;
        let gate_up = self.projections(index, &[Gate, Up])?;
        let down = self.projections(index, &[Down])?;
        let norm = |norm, of: &Projections| self.norm(norm, of.takes_int8());
        let sub_norm = |kind, of| self.config.sub_norms.then(|| norm(kind, of)).transpose();
        let result_norm = |kind| {
            self.config
                .post_norms
                .then(|| self.result_norm(kind))
                .transpose()
        };
        Ok(DecoderLayer {
            input_norm: norm(checkpoint::Norm::Input(index), &qkv)?,
            head_norms: self.head_norms(index)?,
            attention_sub_norm: sub_norm(checkpoint::Norm::AttentionSub(index), &output)?,
            attention_result_norm: result_norm(checkpoint::Norm::AttentionResult(index))?,
            post_attention_norm: norm(checkpoint::Norm::PostAttention(index), &gate_up)?,
            activation: self.config.hidden_act,
            ffn_sub_norm: sub_norm(checkpoint::Norm::FfnSub(index), &down)?,
            ffn_result_norm: result_norm(checkpoint::Norm::FfnResult(index))?,
            qkv,
            output,
            gate_up,
            down,
        })
    }

    fn norm(&self, norm: checkpoint::Norm, quantize: bool) -> Result<Norm, ModelError> {
        let epsilon = match (norm, self.config.projection_norm_eps) {
            (checkpoint::Norm::Projection(..), Some(epsilon)) => epsilon,
            _ => self.config.rms_norm_eps,
        };
        Ok(Norm {
            gamma: self.vector(self.checkpoint.norm(norm)?),
            epsilon: epsilon as f32,
            quantize,
        })
    }

    /// The norm of what a block adds to the residual stream, and so the place for its factor.
    fn result_norm(&self, norm: checkpoint::Norm) -> Result<Norm, ModelError> {
        let mut norm = self.norm(norm, false)?;
        if self.config.multipliers.residual != 1.0 {
            norm.gamma = norm.gamma * self.config.multipliers.residual as f32;
        }
        Ok(norm)
    }

    fn head_norms(&self, layer: usize) -> Result<Option<HeadNorms>, ModelError> {
        if !self.config.head_norms {
            return Ok(None);
        }
        let mut gains = Vec::with_capacity(2 * self.config.head_dim);
        for (norm, factor) in [
            (
                checkpoint::Norm::Query(layer),
                self.config.multipliers.queries as f32,
            ),
            (checkpoint::Norm::Key(layer), 1.0),
        ] {
            let values = self.checkpoint.norm(norm)?;
            let values = values.into_iter().map(|gain| gain * factor);
            match &self.head_order {
                None => gains.extend(values),
                Some(order) => {
                    let values: Vec<f32> = values.collect();
                    gains.extend(order.iter().map(|&i| values[i]));
                }
            }
        }
        Ok(Some(HeadNorms {
            gains: self.vector(gains),
            epsilon: self.config.rms_norm_eps as f32,
        }))
    }

    fn vector(&self, values: Vec<f32>) -> Tensor<1> {
        let len = values.len();
        let values = TensorData::new(values, [len]);
        Tensor::from_data(values, (self.device, DType::F32))
    }

    /// The given projections of a layer, as one map where they multiply the same.
    fn projections(&self, layer: usize, parts: &[Projection]) -> Result<Projections, ModelError> {
        if self.config.projection_norm_eps.is_none() {
            return self.linear(layer, parts).map(Projections::Fused);
        }
        let each = parts.iter().map(|&part| {
            let linear = self.linear(layer, &[part])?;
            let norm = checkpoint::Norm::Projection(layer, part);
            Ok((self.norm(norm, linear.takes_int8())?, linear))
        });
        Ok(Projections::Each(each.collect::<Result<_, ModelError>>()?))
    }

    /// The given projections of a layer as one map, rows stacked in order.
    fn linear(&self, layer: usize, parts: &[Projection]) -> Result<Linear, ModelError> {
        let mut weights = Vec::with_capacity(parts.len());
        let mut biases = Vec::new();
        for &part in parts {
            weights.push(self.weight(layer, part)?);
            biases.extend(self.bias(layer, part)?.unwrap_or_default());
        }
        let bias = (!biases.is_empty()).then(|| {
            let dtype = self.options.dtype;
            self.vector(biases).cast(dtype).unsqueeze()
        });
        let weight = self.stacked(layer, parts, weights)?;
        Ok(Linear { weight, bias })
    }

    /// The weights of projections as one matrix, in the form that the model runs in.
    fn stacked(
        &self,
        layer: usize,
        parts: &[Projection],
        weights: Vec<Stored>,
    ) -> Result<Weight, ModelError> {
        let ternary = weights.iter().all(|w| matches!(w, Stored::Packed(_)));
        let affine = weights.iter().all(|w| matches!(w, Stored::Affine(_)));
        if let Some(precision) = self.precision.input_precision().filter(|_| ternary) {
            let packed = weights.into_iter().filter_map(|weight| match weight {
                Stored::Packed(matrix) => Some(matrix),
                _ => None,
            });
            let matrix = match <[_; 1]>::try_from(packed.collect::<Vec<_>>()) {
                Ok([matrix]) => matrix,
                Err(matrices) => concat_rows(&matrices)?,
            };
            return Weight::ternary(&matrix, precision, self.device);
        }
        if self.precision == Precision::Affine && affine {
            let matrices = weights.into_iter().filter_map(|weight| match weight {
                Stored::Affine(matrix) => Some(matrix),
                _ => None,
            });
            return Weight::affine(matrices.collect(), self.device);
        }
        if self.precision != Precision::Dense {
            let float = parts.iter().zip(&weights);
            let float = float.filter(|(_, weight)| matches!(weight, Stored::Master(_)));
            let names = float.map(|(&part, _)| hf_names::projection(layer, part));
            let names = names.collect::<Vec<_>>().join(", ");
            tracing::warn!("not ternary, and so kept float: {names}");
        }
        let parts = weights.into_iter().map(|weight| self.dense(weight));
        Ok(Weight::Dense(Tensor::cat(parts.collect(), 0)))
    }

    /// The weights of a projection, packed where the model runs packed: rows of heads in the order of
    /// this model, and the factor of residuals in what adds to them.
    fn weight(&self, layer: usize, part: Projection) -> Result<Stored, ModelError> {
        let stored = self.checkpoint.projection(layer, part)?;
        // Master weights are quantised, and plain floats where the user asks for it. Floats beside
        // ternary weights are what they are.
        let quantized = matches!(
            self.checkpoint.quantization(),
            Quantization::Online | Quantization::Dense
        );
        let packs = self.precision.input_precision().is_some() && quantized;
        let name = || hf_names::projection(layer, part);
        let stored = match packs {
            true => Stored::Packed(stored.into_packed(name())?),
            false => stored,
        };
        let order = self.row_order(part);
        let factor = self.factor(part);
        let pack = |source| CheckpointError::pack(&name())(source);
        Ok(match stored {
            Stored::Packed(mut matrix) => {
                if let Some(order) = order {
                    matrix = reorder_rows(&matrix, &order).map_err(pack)?;
                }
                if factor != 1.0 {
                    let (layout, words, mut scales) = matrix.into_parts();
                    scales.iter_mut().for_each(|scale| *scale *= factor);
                    matrix = PackedMatrix::new(layout, words, scales).map_err(pack)?;
                }
                Stored::Packed(matrix)
            }
            Stored::Affine(mut matrix) => {
                if let Some(order) = order {
                    matrix = affine::reorder_rows(&matrix, &order).map_err(pack)?;
                }
                if factor != 1.0 {
                    matrix = affine::scale_rows(&matrix, factor).map_err(pack)?;
                }
                Stored::Affine(matrix)
            }
            Stored::Master(mut data) => {
                if let Some(order) = order {
                    data = data.with_rows(&order);
                }
                if factor != 1.0 {
                    let mut values = data.to_f32();
                    values.iter_mut().for_each(|value| *value *= factor);
                    data = FloatTensorData::from_f32(FloatType::F32, data.shape, &values);
                }
                Stored::Master(data)
            }
        })
    }

    fn bias(&self, layer: usize, part: Projection) -> Result<Option<Vec<f32>>, ModelError> {
        let Some(bias) = self.checkpoint.bias(layer, part)? else {
            return Ok(None);
        };
        let factor = self.factor(part);
        let bias = match self.row_order(part) {
            Some(order) => order.into_iter().map(|row| bias[row]).collect(),
            None => bias,
        };
        Ok(Some(bias.into_iter().map(|value| value * factor).collect()))
    }

    /// The order of a projection's rows, if it is not that of the checkpoint.
    fn row_order(&self, part: Projection) -> Option<Vec<usize>> {
        let order = self.head_order.as_ref()?;
        if !matches!(part, Projection::Q | Projection::K) {
            return None;
        }
        let rows = self.config.projection_shape(part)[0];
        let heads = (0..rows).step_by(order.len());
        Some(
            heads
                .flat_map(|first| order.iter().map(move |i| first + i))
                .collect(),
        )
    }

    /// What a projection's results are multiplied by, unless a norm comes between, which then is.
    fn factor(&self, part: Projection) -> f32 {
        let multipliers = &self.config.multipliers;
        let factor = match part {
            Projection::O | Projection::Down if !self.config.post_norms => multipliers.residual,
            Projection::Q if !self.config.head_norms => multipliers.queries,
            _ => 1.0,
        };
        factor as f32
    }

    fn dense(&self, weight: Stored) -> Tensor<2> {
        let data = tensor_data(weight.into_float()).convert_dtype(self.options.dtype);
        Tensor::from_data(data, (self.device, self.options.dtype))
    }

    /// Embedding or head as the device can keep it: as it is stored, else as floats.
    fn table(&self, table: Table) -> Result<StoredTable, ModelError> {
        if keeps_k_quants(self.device)
            && let Some(blocks) = self.checkpoint.table_blocks(table)?
        {
            return Ok(StoredTable::KQuant(KQuantTable::new(blocks, self.device)?));
        }
        self.float_table(table).map(StoredTable::Float)
    }

    /// A table as floats: as it is stored, else in f32, which holds every value.
    fn float_table(&self, table: Table) -> Result<TensorData, ModelError> {
        let vocabulary = self.config.vocab_size;
        let stored = self.checkpoint.table_rows(table, 0..vocabulary)?;
        if keeps_dtype(self.device, stored.dtype.burn()) {
            return Ok(tensor_data(stored));
        }
        tracing::info!(
            bytes = 4 * stored.bytes.len() / stored.dtype.size(),
            "{:?} has no {}: a table of {} bytes is kept as F32",
            self.device,
            stored.dtype,
            stored.bytes.len(),
        );
        Ok(tensor_data(stored.convert(FloatType::F32).0))
    }

    /// A head of its own; `None` if the embedding serves.
    fn head(&self, embedding: &StoredTable) -> Result<Option<Head>, ModelError> {
        let tied = self.config.tie_word_embeddings;
        let own = (!tied).then(|| self.table(Table::Head)).transpose()?;
        let name = if tied { Table::Embedding } else { Table::Head };
        let table = own.as_ref().unwrap_or(embedding);
        let floats = || match table {
            StoredTable::Float(table) => Ok(Cow::Borrowed(table)),
            StoredTable::KQuant(_) => self.float_table(name).map(Cow::Owned),
        };
        let stored = match table {
            StoredTable::Float(_) => None,
            StoredTable::KQuant(table) => Some(table.kind()),
        };
        // What is stored in the blocks asked for is not rounded again.
        if let Some(kind) = self.options.head.k_quant()
            && stored != Some(kind)
        {
            return Head::k_quant(kind, &*floats()?, self.device).map(Some);
        }
        if self.options.head == HeadPrecision::Int8 {
            return Head::int8(&*floats()?, self.device).map(Some);
        }
        // Families that were trained weight-only may have ternary tables too.
        if self.precision == Precision::W2A16
            && self.config.inputs == InputPrecision::Float
            && let StoredTable::Float(table) = table
            && let Some(head) = Head::ternary(table, self.device)?
        {
            return Ok(Some(head));
        }
        let own = own.map(|table| table.embedding(self.device)).transpose()?;
        Ok(own.map(Head::from))
    }
}

/// A table on its way to the device.
#[allow(
    clippy::large_enum_variant,
    reason = "two exist, and none is moved in a loop"
)]
enum StoredTable {
    Float(TensorData),
    /// There already: it takes as much memory as the file.
    KQuant(KQuantTable),
}

impl StoredTable {
    fn embedding(self, device: &Device) -> Result<Embedding, ModelError> {
        Ok(match self {
            Self::Float(table) => Embedding::Dense(upload(table, device)),
            Self::KQuant(table) => Embedding::KQuant(table),
        })
    }
}

/// A table in memory of its own: a GPU's pools would grow all of their pages to its size.
fn upload(table: TensorData, device: &Device) -> Tensor<2> {
    let stored = table.dtype();
    device.memory_persistent_allocations(table, |table| Tensor::from_data(table, (device, stored)))
}

fn tensor_data(tensor: FloatTensorData) -> TensorData {
    TensorData::from_bytes(
        Bytes::from_bytes_vec(tensor.bytes),
        tensor.shape,
        tensor.dtype.burn(),
    )
}
