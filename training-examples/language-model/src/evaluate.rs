//! How well a model predicts the held-out text, and whether what serves is what was trained.

use std::sync::Arc;

use burn::data::dataloader::DataLoader;
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Int, Tensor, TensorData};
use tritburn::training::LossConfig;
use tritburn_models::generate::Session;
use tritburn_models::{CausalLm, TrainableModel};

use crate::data::{Conversation, Corpus, IGNORED, TokenBatch, ValidLoader};
use crate::error::Error;
use crate::generate::stretches;

/// Tokens that an evaluation predicts, where the held-out text has as many.
const TOKENS: usize = 64 << 10;

/// Windows read at once.
const BATCH: usize = 16;

/// Mean cross-entropy of what the assistant says, in nats a token of it.
///
/// # Errors
/// [`Error`] if the device fails.
pub fn loss_of_talks(
    model: &TrainableModel,
    talks: &[Conversation],
    device: &Device,
) -> Result<f64, Error> {
    let config = LossConfig {
        ignore: Some(IGNORED),
        ..LossConfig::default()
    };
    let (mut sum, mut count) = (0.0, 0);
    for talks in talks.chunks(BATCH) {
        let batch = TokenBatch::of_talks(talks.iter(), 0, device);
        let weight = batch.weight();
        let loss = model.loss_with(batch.inputs, batch.targets, &config)?;
        sum += loss.try_into_scalar::<f64>()? * weight as f64;
        count += weight;
    }
    Ok(sum / count as f64)
}

/// The held-out windows on which models are compared.
pub struct Evaluation {
    loader: ValidLoader,
    /// Cost of the tokens under [`Corpus::unigram_nats`].
    pub unigram_nats: f64,
    /// Number of tokens predicted.
    pub tokens: usize,
}

impl Evaluation {
    /// Windows of `context` tokens, spread evenly over the held-out text.
    pub fn new(corpus: &Corpus, context: usize, device: &Device) -> Self {
        let windows = TOKENS.div_ceil(context);
        let loader = ValidLoader::new(
            corpus.valid.tokens.clone(),
            windows,
            BATCH,
            context,
            device.clone(),
        );
        let targets = loader.targets();
        Self {
            unigram_nats: corpus.unigram_nats(&targets),
            tokens: targets.len(),
            loader,
        }
    }

    /// Mean cross-entropy of a model that trains, in nats a token.
    ///
    /// # Errors
    /// [`Error`] if the device fails.
    pub fn loss(&self, model: &TrainableModel) -> Result<f64, Error> {
        let (mut sum, mut count) = (0.0, 0);
        for batch in self.loader.iter().flatten() {
            let loss = model.loss(batch.inputs, batch.targets)?;
            sum += loss.try_into_scalar::<f64>()?;
            count += 1;
        }
        Ok(sum / f64::from(count))
    }

    /// Mean cross-entropy of a model that serves, in nats a token.
    ///
    /// # Errors
    /// [`Error`] if the device fails.
    pub fn served_loss(&self, model: &Arc<CausalLm>) -> Result<f64, Error> {
        let mut reader = Reader::new(model)?;
        let (mut sum, mut count) = (0.0, 0);
        for batch in self.loader.iter().flatten() {
            let logits = reader.logits(batch.inputs)?;
            let chosen = log_softmax(logits, 2).gather(2, batch.targets.unsqueeze_dim(2));
            sum -= chosen.mean().try_into_scalar::<f64>()?;
            count += 1;
        }
        Ok(sum / f64::from(count))
    }

    /// The largest difference between the logits of a trained model and of its packed form, over
    /// `batches` batches: the same operations on the same codes.
    ///
    /// # Errors
    /// [`Error`] if the device fails.
    pub fn max_logit_difference(
        &self,
        trained: &TrainableModel,
        packed: &TrainableModel,
        batches: usize,
    ) -> Result<f64, Error> {
        let mut largest = 0.0;
        for batch in self.loader.iter().flatten().take(batches) {
            let difference = trained.logits(batch.inputs.clone())? - packed.logits(batch.inputs)?;
            let difference = difference.abs().max().try_into_scalar::<f64>()?;
            // A NaN is the largest difference of all, and stays it.
            if difference.is_nan() || difference > largest {
                largest = difference;
            }
        }
        Ok(largest)
    }
}

/// Reads windows with a model that serves.
struct Reader {
    session: Session,
}

impl Reader {
    fn new(model: &Arc<CausalLm>) -> Result<Self, Error> {
        let context = model.config().max_position_embeddings;
        let session = Session::new(model.clone(), 1, context)?;
        Ok(Self { session })
    }

    /// Logits behind each token of `windows` `[batch, length]`: `[batch, length, vocabulary]`.
    fn logits(&mut self, windows: Tensor<2, Int>) -> Result<Tensor<3>, Error> {
        let [_, length] = windows.dims();
        let ids = windows.try_into_vec_as::<u32>()?;
        let logits = ids.chunks(length).map(|window| {
            self.session.clear();
            self.session.prefill_all(window)
        });
        Ok(Tensor::stack(logits.collect::<Result<_, _>>()?, 0))
    }
}

/// Whether `model`, continuing `prompt` as [`generate`](crate::generate::generate) does, finds each token
/// of `text` the likeliest: then it would have written the same.
///
/// # Errors
/// [`Error`] if the device fails.
pub fn likeliest(model: &TrainableModel, prompt: &[u32], text: &[u32]) -> Result<bool, Error> {
    let ids = [prompt, text].concat().into_iter();
    let whole: Vec<i32> = ids.map(|id| id as i32).collect();
    let context = model.config().max_position_embeddings;
    for stretch in stretches(prompt.len(), text.len(), context) {
        let end = stretch.first + stretch.read + stretch.new;
        let seen = &whole[stretch.first..end - 1];
        let ids = TensorData::new(seen.to_vec(), [1, seen.len()]);
        let logits = model.logits(Tensor::from_data(ids, &model.device()))?;
        let best = logits
            .narrow(1, stretch.read - 1, stretch.new)
            .argmax(2)
            .try_into_vec_as::<i32>()?;
        if best != whole[end - stretch.new..end] {
            return Ok(false);
        }
    }
    Ok(true)
}
