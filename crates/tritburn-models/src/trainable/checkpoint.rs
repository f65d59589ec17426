//! A trained model as a checkpoint: what reads checkpoints reads it.

use std::ops::Range;

use burn::tensor::Tensor;

use super::error::TrainableError;
use super::layer::TrainableLayer;
use super::model::TrainableModel;
use crate::checkpoint::{
    Checkpoint, CheckpointError, FloatTensorData, FloatType, Norm, Projection, Table, Weight,
    check_layer, check_rows, hf_names,
};
use crate::config::DecoderConfig;
use crate::text::TokenizerFiles;

/// The weights that a [`TrainableModel`] has now, as a [`Checkpoint`] of f32 master weights.
///
/// [`convert`](crate::convert::convert) writes it in any format,
/// [`CausalLm::load`](crate::CausalLm::load) makes an inference model of it, without a
/// file between. Tensors are read from the device when they are asked for.
pub struct TrainedCheckpoint<'a> {
    model: &'a TrainableModel,
    tokenizer: &'a TokenizerFiles,
}

impl TrainableModel {
    /// The model as a checkpoint, with the files of its tokenizer.
    ///
    /// # Errors
    /// [`TrainableError::PackedModel`] for a model whose latent weights `Pack` has removed.
    pub fn as_checkpoint<'a>(
        &'a self,
        tokenizer: &'a TokenizerFiles,
    ) -> Result<TrainedCheckpoint<'a>, TrainableError> {
        let packed = |layer: &TrainableLayer| {
            let projections = [&layer.qkv, &layer.output, &layer.gate_up, &layer.down];
            projections.into_iter().any(|p| p.latent().is_none())
        };
        match self.layers.iter().position(packed) {
            Some(layer) => Err(TrainableError::PackedModel { layer }),
            None => Ok(TrainedCheckpoint {
                model: self,
                tokenizer,
            }),
        }
    }
}

impl TrainedCheckpoint<'_> {
    fn layer(&self, layer: usize) -> Result<&TrainableLayer, CheckpointError> {
        check_layer(layer, self.model.layers.len())?;
        Ok(&self.model.layers[layer])
    }

    fn missing(&self, tensor: String) -> CheckpointError {
        CheckpointError::Missing {
            path: self.format().into(),
            tensor,
        }
    }
}

impl Checkpoint for TrainedCheckpoint<'_> {
    fn format(&self) -> &'static str {
        "trained model"
    }

    fn config(&self) -> &DecoderConfig {
        self.model.config()
    }

    fn stored_bytes(&self) -> u64 {
        self.config().parameter_count() * FloatType::F32.size() as u64
    }

    fn norm(&self, norm: Norm) -> Result<Vec<f32>, CheckpointError> {
        let gains = match norm {
            Norm::Input(layer) => self.layer(layer)?.qkv.gains(),
            Norm::AttentionSub(layer) => self.layer(layer)?.output.gains(),
            Norm::PostAttention(layer) => self.layer(layer)?.gate_up.gains(),
            Norm::FfnSub(layer) => self.layer(layer)?.down.gains(),
            Norm::Query(_)
            | Norm::Key(_)
            | Norm::AttentionResult(_)
            | Norm::FfnResult(_)
            | Norm::Projection(..) => None,
            Norm::Final => Some(self.model.norm.gamma.val()),
        };
        let name = || hf_names::norm(norm, self.config());
        let gains = gains.ok_or_else(|| self.missing(name()))?;
        Ok(read(gains, name)?.to_f32())
    }

    fn table_type(&self, _: Table) -> FloatType {
        FloatType::F32
    }

    fn table_rows(
        &self,
        table: Table,
        rows: Range<usize>,
    ) -> Result<FloatTensorData, CheckpointError> {
        let name = || hf_names::table(table).to_string();
        let parameter = match (table, &self.model.head) {
            (Table::Embedding, _) => &self.model.embedding,
            (Table::Head, Some(head)) => head,
            (Table::Head, None) => return Err(self.missing(name())),
        };
        check_rows(&rows, self.config().vocab_size)?;
        let count = rows.len();
        read(parameter.val().narrow(0, rows.start, count), name)
    }

    fn projection(&self, layer: usize, projection: Projection) -> Result<Weight, CheckpointError> {
        use Projection::{Down, Gate, K, O, Q, Up, V};
        let module = self.layer(layer)?;
        let rows = |p| self.config().projection_shape(p)[0];
        let (matrix, start) = match projection {
            Q => (&module.qkv, 0),
            K => (&module.qkv, rows(Q)),
            V => (&module.qkv, rows(Q) + rows(K)),
            O => (&module.output, 0),
            Gate => (&module.gate_up, 0),
            Up => (&module.gate_up, rows(Gate)),
            Down => (&module.down, 0),
        };
        let name = || format!("{}.weight", hf_names::projection(layer, projection));
        let latent = matrix.latent().ok_or_else(|| self.missing(name()))?;
        let part = latent.narrow(0, start, rows(projection));
        Ok(Weight::Master(read(part, name)?))
    }

    fn tokenizer(&self) -> Result<TokenizerFiles, CheckpointError> {
        Ok(self.tokenizer.clone())
    }
}

/// A tensor's values on the host, which have to be numbers: readers refuse others.
fn read<const D: usize>(
    tensor: Tensor<D>,
    name: impl Fn() -> String,
) -> Result<FloatTensorData, CheckpointError> {
    let shape = tensor.dims().to_vec();
    let values = tensor.detach().try_into_vec_as::<f32>();
    let values = values.map_err(|error| CheckpointError::Device {
        tensor: name(),
        reason: error.to_string(),
    })?;
    match values.iter().position(|value| !value.is_finite()) {
        Some(index) => Err(CheckpointError::NonFinite {
            tensor: name(),
            index,
            value: values[index],
        }),
        None => Ok(FloatTensorData::from_f32(FloatType::F32, shape, &values)),
    }
}
