//! How well a model predicts the held-out text.

use burn::data::dataloader::DataLoader;
use burn::tensor::{Device, TensorReadError};

use crate::data::{Corpus, ValidLoader};
use crate::model::LanguageModel;

/// Bytes that an evaluation predicts, where the held-out text has as many.
const BYTES: usize = 64 << 10;

/// Windows read at once.
const BATCH: usize = 16;

/// The held-out windows on which models are compared.
pub struct Evaluation {
    loader: ValidLoader,
    /// Cost of the bytes under [`Corpus::unigram_nats`].
    pub unigram_nats: f64,
    /// Number of bytes predicted.
    pub bytes: usize,
}

impl Evaluation {
    /// Windows of `context` bytes, spread evenly over the held-out text.
    pub fn new(corpus: &Corpus, context: usize, device: &Device) -> Self {
        let windows = BYTES.div_ceil(context);
        let loader = ValidLoader::new(
            corpus.valid.clone(),
            windows,
            BATCH,
            context,
            device.clone(),
        );
        let targets = loader.targets();
        Self {
            unigram_nats: corpus.unigram_nats(&targets),
            bytes: targets.len(),
            loader,
        }
    }

    /// Mean cross-entropy of `model`, in nats a byte.
    ///
    /// # Errors
    /// [`TensorReadError`] if the device fails.
    pub fn loss(&self, model: &LanguageModel) -> Result<f64, TensorReadError> {
        let (mut sum, mut count) = (0.0, 0);
        for batch in self.loader.iter().flatten() {
            sum += model
                .loss(batch.inputs, batch.targets)
                .try_into_scalar::<f64>()?;
            count += 1;
        }
        Ok(sum / f64::from(count))
    }

    /// The largest difference between the logits of two models, over `batches` batches.
    ///
    /// # Errors
    /// [`TensorReadError`] if the device fails.
    pub fn max_logit_difference(
        &self,
        one: &LanguageModel,
        other: &LanguageModel,
        batches: usize,
    ) -> Result<f64, TensorReadError> {
        let mut largest = 0.0;
        for batch in self.loader.iter().flatten().take(batches) {
            let difference = one.forward(batch.inputs.clone()) - other.forward(batch.inputs);
            let difference = difference.abs().max().try_into_scalar::<f64>()?;
            // A NaN is the largest difference of all, and stays it.
            if difference.is_nan() || difference > largest {
                largest = difference;
            }
        }
        Ok(largest)
    }
}
