//! From a checkpoint of float weights to a model that trains on.

use burn::module::Param;
use burn::tensor::{DType, Device, Tensor, TensorData};

use super::error::TrainableError;
use super::model::TrainableModel;
use super::options::TrainableOptions;
use crate::checkpoint::{Checkpoint, FloatTensorData, Norm, Projection, Weight, hf_names};
use crate::config::Quantization;
use crate::convert::master_weights;

impl TrainableModel {
    /// A model of the weights of `checkpoint`: the float weights that codes are made of (`online`), or
    /// those of a plain float model, which trains as one unless [`TrainableOptions::ternarize`]. One tensor at a time is in host memory.
    ///
    /// The tokenizer stays with the checkpoint; hand it to [`save`](Self::save).
    ///
    /// # Errors
    /// As [`new`](Self::new); [`TrainableError::Checkpoint`] for what cannot be read,
    /// [`TrainableError::PackedCheckpoint`] for a checkpoint that holds only codes, unless
    /// [`TrainableOptions::unpack`]s them, and [`TrainableError::Scales`] for codes that it cannot unpack.
    pub fn from_checkpoint(
        checkpoint: &dyn Checkpoint,
        options: &TrainableOptions,
        device: &Device,
    ) -> Result<Self, TrainableError> {
        let loader = Loader {
            checkpoint,
            unpack: options.unpack,
            device,
        };
        // Ahead of everything that takes long.
        loader.weight(0, Projection::Q)?;
        // Fresh parameters are not made before they are read, and these never are.
        let mut config = checkpoint.config().clone();
        if options.ternarize && config.quantization == Quantization::Dense {
            config.quantization = Quantization::Online;
        }
        let mut model = Self::new(&config, options, device)?;
        model.embedding = loader.table(checkpoint.embedding()?);
        if model.head.is_some() {
            model.head = checkpoint.head()?.map(|head| loader.table(head));
        }
        let sub_norms = checkpoint.config().sub_norms;
        for (index, layer) in model.layers.iter_mut().enumerate() {
            use Norm::{AttentionSub, FfnSub, Input, PostAttention};
            use Projection::{Down, Gate, K, O, Q, Up, V};
            for (projection, norm, parts) in [
                (&mut layer.qkv, Some(Input(index)), &[Q, K, V][..]),
                (
                    &mut layer.output,
                    sub_norms.then_some(AttentionSub(index)),
                    &[O],
                ),
                (&mut layer.gate_up, Some(PostAttention(index)), &[Gate, Up]),
                (&mut layer.down, sub_norms.then_some(FfnSub(index)), &[Down]),
            ] {
                let gains = norm.map(|norm| loader.gains(norm)).transpose()?;
                projection.set(loader.latent(index, parts)?, gains);
            }
        }
        model.norm.gamma = Param::from_tensor(loader.gains(Norm::Final)?);
        Ok(model)
    }
}

struct Loader<'a> {
    checkpoint: &'a dyn Checkpoint,
    unpack: bool,
    device: &'a Device,
}

impl Loader<'_> {
    fn table(&self, table: FloatTensorData) -> Param<Tensor<2>> {
        let shape = [table.shape[0], table.shape[1]];
        Param::from_tensor(self.place(table.to_f32(), shape))
    }

    fn gains(&self, norm: Norm) -> Result<Tensor<1>, TrainableError> {
        let gains = self.checkpoint.norm(norm)?;
        let size = gains.len();
        Ok(self.place(gains, [size]))
    }

    /// The given projections of a layer as one matrix, rows stacked in order.
    fn latent(&self, layer: usize, parts: &[Projection]) -> Result<Tensor<2>, TrainableError> {
        let config = self.checkpoint.config();
        let (mut values, mut rows) = (Vec::new(), 0);
        for &part in parts {
            values.extend(self.weight(layer, part)?.to_f32());
            rows += config.projection_shape(part)[0];
        }
        let columns = config.projection_shape(parts[0])[1];
        Ok(self.place(values, [rows, columns]))
    }

    fn weight(&self, layer: usize, part: Projection) -> Result<FloatTensorData, TrainableError> {
        let packed = match self.checkpoint.projection(layer, part)? {
            Weight::Master(master) => return Ok(master),
            packed => packed,
        };
        if !self.unpack {
            return Err(TrainableError::PackedCheckpoint {
                format: self.checkpoint.format(),
            });
        }
        match packed {
            Weight::Packed(matrix) => match matrix.scales().len() {
                1 => Ok(master_weights(&matrix).0),
                scales => Err(TrainableError::Scales {
                    tensor: hf_names::projection(layer, part),
                    scales,
                }),
            },
            // Trained on as the floats that they stand for.
            affine => Ok(affine.into_float()),
        }
    }

    fn place<const D: usize>(&self, values: Vec<f32>, shape: [usize; D]) -> Tensor<D> {
        let data = TensorData::new(values, shape);
        Tensor::from_data(data, (self.device, DType::F32))
    }
}
