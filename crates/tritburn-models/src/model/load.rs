//! From a checkpoint to a device, one tensor at a time.

use burn::tensor::{Bytes, DType, Device, Tensor, TensorData};
use tritburn::InputPrecision;
use tritburn::formats::matrix::concat_rows;
use tritburn::ops::keeps_dtype;
use tritburn::transformer::rotary_table;

use super::causal_lm::CausalLm;
use super::error::ModelError;
use super::head::Head;
use super::layer::DecoderLayer;
use super::linear::Linear;
use super::norm::Norm;
use super::options::{HeadPrecision, LoadOptions, Precision};
use crate::checkpoint::{self, Checkpoint, FloatTensorData, FloatType, Projection, Weight};

impl CausalLm {
    /// Loads a model: reads every tensor of `checkpoint` once, quantises master weights where
    /// products are ternary, fuses q|k|v and gate|up.
    ///
    /// A plain float model stays one unless another precision is asked for. What was chosen is in
    /// [`precision`](Self::precision) and [`options`](Self::options). Embedding and head keep the type that
    /// they are stored in, or become f32 on a device that lacks it.
    ///
    /// # Errors
    /// [`ModelError::Checkpoint`], [`ModelError::Pack`]; [`ModelError::Operation`] for a dtype of hidden
    /// states that the device does not compute with.
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
        let precision = asked_for.unwrap_or_else(|| Precision::of(checkpoint.quantization()));
        let loader = Loader {
            checkpoint,
            options,
            precision,
            device,
            epsilon: config.rms_norm_eps as f32,
        };
        let table = loader.table(checkpoint.embedding()?);
        let head = loader.head(&table)?;
        let embedding = upload(table, device);
        let head = head.unwrap_or_else(|| Head::Dense(embedding.clone()));
        let layers = (0..config.num_hidden_layers)
            .map(|layer| loader.layer(layer))
            .collect::<Result<_, _>>()?;
        let norm = loader.norm(checkpoint::Norm::Final, false)?;
        let rotary = rotary_table(
            config.rope_theta as f32,
            config.head_dim,
            config.max_position_embeddings,
            device,
        );
        Ok(Self {
            config,
            options: LoadOptions {
                precision: Some(precision),
                ..options.clone()
            },
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
    options: &'a LoadOptions,
    precision: Precision,
    device: &'a Device,
    epsilon: f32,
}

impl Loader<'_> {
    fn layer(&self, index: usize) -> Result<DecoderLayer, ModelError> {
        use Projection::{Down, Gate, K, O, Q, Up, V};
        let int8 = self.precision.input_precision() == Some(InputPrecision::Int8);
        Ok(DecoderLayer {
            input_norm: self.norm(checkpoint::Norm::Input(index), int8)?,
            qkv: self.linear(index, &[Q, K, V])?,
            attention_sub_norm: self.norm(checkpoint::Norm::AttentionSub(index), int8)?,
            output: self.linear(index, &[O])?,
            post_attention_norm: self.norm(checkpoint::Norm::PostAttention(index), int8)?,
            gate_up: self.linear(index, &[Gate, Up])?,
            ffn_sub_norm: self.norm(checkpoint::Norm::FfnSub(index), int8)?,
            down: self.linear(index, &[Down])?,
        })
    }

    fn norm(&self, norm: checkpoint::Norm, quantize: bool) -> Result<Norm, ModelError> {
        let gamma = self.checkpoint.norm(norm)?;
        let len = gamma.len();
        let gamma = TensorData::new(gamma, [len]);
        Ok(Norm {
            gamma: Tensor::from_data(gamma, (self.device, DType::F32)),
            epsilon: self.epsilon,
            quantize,
        })
    }

    /// The given projections of a layer as one map, rows stacked in order.
    fn linear(&self, layer: usize, parts: &[Projection]) -> Result<Linear, ModelError> {
        let weight = |&part: &Projection| self.checkpoint.projection(layer, part);
        match self.precision.input_precision() {
            Some(precision) => {
                let name = |part| format!("{part:?} of layer {layer}");
                let matrices = parts
                    .iter()
                    .map(|part| weight(part)?.into_packed(name(part)))
                    .collect::<Result<Vec<_>, _>>()?;
                let matrix = match <[_; 1]>::try_from(matrices) {
                    Ok([matrix]) => matrix,
                    Err(matrices) => concat_rows(&matrices)?,
                };
                Linear::ternary(&matrix, precision, self.device)
            }
            None => {
                let parts = parts
                    .iter()
                    .map(|part| Ok(self.dense(weight(part)?)))
                    .collect::<Result<Vec<_>, ModelError>>()?;
                Ok(Linear::Dense(Tensor::cat(parts, 0)))
            }
        }
    }

    fn dense(&self, weight: Weight) -> Tensor<2> {
        let data = match weight {
            Weight::Packed(matrix) => {
                let shape = [
                    matrix.layout().out_features(),
                    matrix.layout().in_features(),
                ];
                TensorData::new(matrix.dequantize(), shape)
            }
            Weight::Master(master) => tensor_data(master),
        };
        let data = data.convert_dtype(self.options.dtype);
        Tensor::from_data(data, (self.device, self.options.dtype))
    }

    /// Embedding or head as the device can keep it: as it is stored, else in f32, which holds every value.
    fn table(&self, stored: FloatTensorData) -> TensorData {
        if keeps_dtype(self.device, stored.dtype.burn()) {
            return tensor_data(stored);
        }
        tracing::info!(
            bytes = 4 * stored.bytes.len() / stored.dtype.size(),
            "{:?} has no {}: a table of {} bytes is kept as F32",
            self.device,
            stored.dtype,
            stored.bytes.len(),
        );
        tensor_data(stored.convert(FloatType::F32).0)
    }

    /// A head of its own; `None` if the embedding serves.
    fn head(&self, embedding: &TensorData) -> Result<Option<Head>, ModelError> {
        let own = self.checkpoint.head()?.map(|head| self.table(head));
        Ok(match (self.options.head, own) {
            (HeadPrecision::Stored, None) => None,
            (HeadPrecision::Stored, Some(table)) => Some(Head::Dense(upload(table, self.device))),
            (HeadPrecision::Int8, own) => {
                let table = own.as_ref().unwrap_or(embedding);
                Some(Head::int8(table, self.device)?)
            }
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
