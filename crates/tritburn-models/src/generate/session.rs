//! A batch of sequences and what the device remembers of them.

use std::sync::Arc;

use burn::tensor::{Int, Tensor};
use tritburn::transformer::Tokens;

use super::step::{DecodeStep, words};
use crate::model::{CausalLm, Hidden, KvCache, ModelError};

/// Tokens that run through the layers at once: bounds the memory of a long prompt.
const CHUNK: usize = 2048;

/// Sequences of one batch, their cache, and the decode step captured for them.
///
/// Sequences may be of different lengths; prompts are not padded. A session can go on from where it
/// is: another [`prefill`](Self::prefill) appends (a chat's next turn), [`clear`](Self::clear)
/// starts anew without allocating.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use burn::tensor::Device;
/// use tritburn_models::checkpoint::Synthetic;
/// use tritburn_models::generate::Session;
/// use tritburn_models::model::LoadOptions;
/// use tritburn_models::{DecoderConfig, CausalLm};
///
/// let checkpoint = Synthetic::new(DecoderConfig::tiny(), 1)?;
/// let device = Device::flex();
/// let model = CausalLm::load(&checkpoint, &LoadOptions::default(), &device)?;
///
/// // Two sequences of up to 16 tokens each, with prompts of different lengths.
/// let mut session = Session::new(Arc::new(model), 2, 16)?;
/// let logits = session.prefill(&[&[1, 2, 3], &[4]])?;
/// assert_eq!(logits.dims(), [2, 512]);
///
/// // One more token each; then the most likely ones, which need not come to the host.
/// let (_logits, _ids) = session.decode(&[5, 6])?;
/// let (_logits, _ids) = session.decode_next()?;
/// assert_eq!(session.lengths(), [5, 3]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Session {
    model: Arc<CausalLm>,
    step: DecodeStep,
    lengths: Vec<usize>,
    capacity: usize,
    /// Whether the device's tokens and positions follow from the last step.
    resumes: bool,
}

impl Session {
    /// A session of `rows` sequences of up to `capacity` tokens each.
    ///
    /// # Errors
    /// As [`CausalLm::cache`].
    pub fn new(model: Arc<CausalLm>, rows: usize, capacity: usize) -> Result<Self, ModelError> {
        let cache = model.cache(rows, capacity)?;
        let step = DecodeStep::new(model.clone(), cache)?;
        Ok(Self {
            model,
            step,
            lengths: vec![0; rows],
            capacity,
            resumes: false,
        })
    }

    /// The model.
    pub fn model(&self) -> &Arc<CausalLm> {
        &self.model
    }

    /// Tokens of each sequence so far.
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// Largest length of a sequence.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Forgets all sequences.
    pub fn clear(&mut self) {
        self.lengths.fill(0);
        self.resumes = false;
    }

    /// Forgets what sequence `row` holds behind its first `len` tokens; nothing if it is shorter.
    pub fn truncate(&mut self, row: usize, len: usize) {
        if let Some(length) = self.lengths.get_mut(row) {
            *length = len.min(*length);
        }
        self.resumes = false;
    }

    /// Appends `prompts`, one for each sequence, and returns the logits that follow their last
    /// tokens: F32 `[rows, vocabulary]`.
    ///
    /// # Errors
    /// [`ModelError::Rows`], [`ModelError::EmptyPrompt`], [`ModelError::TokenId`],
    /// [`ModelError::Context`]; nothing is appended then.
    pub fn prefill(&mut self, prompts: &[&[u32]]) -> Result<Tensor<2>, ModelError> {
        self.run_prompts(prompts, CausalLm::logits)
    }

    /// Appends `prompts`, one for each sequence, and returns what stands for each as a whole: the
    /// normalised hidden state behind its last token, at a length of 1 (last-token pooling), in f32.
    /// Models that were trained to embed text expect the token that ends a sequence as the last one.
    ///
    /// # Errors
    /// As [`prefill`](Self::prefill); [`ModelError::Device`].
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::Arc;
    /// use burn::tensor::Device;
    /// use tritburn_models::checkpoint::Synthetic;
    /// use tritburn_models::generate::Session;
    /// use tritburn_models::model::LoadOptions;
    /// use tritburn_models::{CausalLm, DecoderConfig};
    ///
    /// let checkpoint = Synthetic::new(DecoderConfig::tiny(), 1)?;
    /// let model = CausalLm::load(&checkpoint, &LoadOptions::default(), &Device::flex())?;
    /// let mut session = Session::new(Arc::new(model), 2, 16)?;
    /// let vectors = session.embed(&[&[1, 2, 3], &[1, 2, 3]])?;
    /// assert_eq!(vectors[0].len(), 128);
    /// let cosine: f32 = vectors[0].iter().zip(&vectors[1]).map(|(a, b)| a * b).sum();
    /// assert!((cosine - 1.0).abs() < 1e-5);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn embed(&mut self, prompts: &[&[u32]]) -> Result<Vec<Vec<f32>>, ModelError> {
        let states = self.run_prompts(prompts, CausalLm::states)?;
        let width = states.dims()[1];
        let values = states.try_into_vec_as::<f32>();
        let values = values.map_err(|error| ModelError::Device {
            reason: error.to_string(),
        })?;
        let vectors = values.chunks(width).enumerate().map(|(row, state)| {
            let length = state.iter().map(|v| v * v).sum::<f32>().sqrt();
            match length.is_finite() {
                true => Ok(state
                    .iter()
                    .map(|v| v / length.max(f32::MIN_POSITIVE))
                    .collect()),
                false => Err(ModelError::NonFinite { row }),
            }
        });
        vectors.collect()
    }

    /// Appends `prompts` and returns what `read` makes of the hidden states behind their last tokens.
    fn run_prompts(
        &mut self,
        prompts: &[&[u32]],
        read: impl Fn(&CausalLm, Hidden) -> Result<Tensor<2>, ModelError>,
    ) -> Result<Tensor<2>, ModelError> {
        self.check_prompts(prompts)?;
        self.resumes = false;
        let mut last: Vec<Option<Tensor<2>>> = vec![None; prompts.len()];
        for batch in batches(prompts) {
            let hidden = self.forward(prompts, &batch)?;
            // The tokens that end a prompt, by index in this batch.
            let mut ends = Vec::new();
            let mut index = 0;
            for part in &batch {
                index += part.len;
                if part.first + part.len == prompts[part.row].len() {
                    ends.push((part.row, index as u32 - 1));
                }
            }
            if ends.is_empty() {
                continue;
            }
            let indices = ends.iter().map(|&(_, index)| index).collect();
            let indices = words(indices, self.model.device());
            let found = read(&self.model, hidden.select(indices))?;
            for (i, (row, _)) in ends.into_iter().enumerate() {
                last[row] = Some(found.clone().narrow(0, i, 1));
            }
        }
        for (length, prompt) in self.lengths.iter_mut().zip(prompts) {
            *length += prompt.len();
        }
        Ok(Tensor::cat(last.into_iter().flatten().collect(), 0))
    }

    /// Appends one prompt and returns the logits behind each of its tokens: F32
    /// `[tokens, vocabulary]`. For a session of one sequence.
    ///
    /// # Errors
    /// As [`prefill`](Self::prefill).
    pub fn prefill_all(&mut self, prompt: &[u32]) -> Result<Tensor<2>, ModelError> {
        let prompts = [prompt];
        self.check_prompts(&prompts)?;
        self.resumes = false;
        let mut parts = Vec::new();
        for batch in batches(&prompts) {
            let hidden = self.forward(&prompts, &batch)?;
            parts.push(self.model.logits(hidden)?);
        }
        self.lengths[0] += prompt.len();
        Ok(Tensor::cat(parts, 0))
    }

    /// Appends one token to each sequence: the logits that follow, F32 `[rows, vocabulary]`, and the
    /// ids of the largest, U32 `[rows]`.
    ///
    /// # Errors
    /// [`ModelError::Rows`], [`ModelError::TokenId`], [`ModelError::Context`].
    pub fn decode(&mut self, ids: &[u32]) -> Result<(Tensor<2>, Tensor<1, Int>), ModelError> {
        let prompts: Vec<&[u32]> = ids.chunks(1).collect();
        self.check_prompts(&prompts)?;
        let mut state = self.step.state();
        if self.resumes {
            state.set_tokens(ids.to_vec(), &self.model)?;
        } else {
            let positions = self.lengths.iter().map(|&len| len as u32).collect();
            state.set(ids.to_vec(), positions, &self.model)?;
        }
        drop(state);
        self.run()
    }

    /// Appends to each sequence the token that the last step found most likely, without asking the
    /// host which that is: what [`decode`](Self::decode) does for the ids it returned.
    ///
    /// # Errors
    /// [`ModelError::NoStep`] if the last call was not [`decode`](Self::decode) or `decode_next`,
    /// [`ModelError::Context`].
    pub fn decode_next(&mut self) -> Result<(Tensor<2>, Tensor<1, Int>), ModelError> {
        if !self.resumes {
            return Err(ModelError::NoStep);
        }
        self.check_room(|_| 1)?;
        self.run()
    }

    fn run(&mut self) -> Result<(Tensor<2>, Tensor<1, Int>), ModelError> {
        let output = self.step.run()?;
        self.resumes = true;
        for length in &mut self.lengths {
            *length += 1;
        }
        Ok((output.logits, output.ids))
    }

    fn forward(&mut self, prompts: &[&[u32]], batch: &[PromptPart]) -> Result<Hidden, ModelError> {
        let ids = batch
            .iter()
            .flat_map(|part| &prompts[part.row][part.first..part.first + part.len])
            .copied()
            .collect();
        let runs: Vec<_> = batch
            .iter()
            .map(|part| (part.row, self.lengths[part.row] + part.first, part.len))
            .collect();
        let tokens = Tokens::runs(&runs, self.model.device());
        let ids = words(ids, self.model.device());
        let cache: &mut KvCache = &mut self.step.state().cache;
        self.model.forward(ids, &tokens, cache)
    }

    pub(super) fn check_prompts(&self, prompts: &[&[u32]]) -> Result<(), ModelError> {
        if prompts.len() != self.lengths.len() {
            return Err(ModelError::Rows {
                found: prompts.len(),
                rows: self.lengths.len(),
            });
        }
        let vocabulary = self.model.config().vocab_size;
        for (prompt, ids) in prompts.iter().enumerate() {
            if ids.is_empty() {
                return Err(ModelError::EmptyPrompt { prompt });
            }
            if let Some(index) = ids.iter().position(|&id| id as usize >= vocabulary) {
                return Err(ModelError::TokenId {
                    prompt,
                    index,
                    id: ids[index],
                    vocabulary,
                });
            }
        }
        self.check_room(|row| prompts[row].len())
    }

    pub(super) fn check_room(&self, more: impl Fn(usize) -> usize) -> Result<(), ModelError> {
        for (row, &length) in self.lengths.iter().enumerate() {
            let needed = length + more(row);
            if needed > self.capacity {
                return Err(ModelError::Context {
                    row,
                    needed,
                    available: self.capacity,
                });
            }
        }
        Ok(())
    }
}

/// Consecutive tokens `first..first + len` of prompt `row`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PromptPart {
    row: usize,
    first: usize,
    len: usize,
}

/// Cuts prompts into batches of at most [`CHUNK`] tokens.
fn batches(prompts: &[&[u32]]) -> Vec<Vec<PromptPart>> {
    let mut batches = vec![Vec::new()];
    let mut room = CHUNK;
    for (row, prompt) in prompts.iter().enumerate() {
        let mut first = 0;
        while first < prompt.len() {
            if room == 0 {
                batches.push(Vec::new());
                room = CHUNK;
            }
            let len = room.min(prompt.len() - first);
            batches
                .last_mut()
                .expect("one batch")
                .push(PromptPart { row, first, len });
            (first, room) = (first + len, room - len);
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_are_cut_into_batches_that_cover_them_once() {
        let ids = vec![0; 3 * CHUNK];
        let prompts: Vec<&[u32]> = [5, CHUNK + 1, 1, CHUNK - 7, 2 * CHUNK]
            .map(|len| &ids[..len])
            .to_vec();
        let batches = batches(&prompts);
        let total: usize = prompts.iter().map(|p| p.len()).sum();
        assert_eq!(batches.len(), total.div_ceil(CHUNK));
        let mut next = vec![0; prompts.len()];
        for batch in &batches {
            assert!(batch.iter().map(|part| part.len).sum::<usize>() <= CHUNK);
            for part in batch {
                assert_eq!(part.first, next[part.row]);
                next[part.row] += part.len;
            }
        }
        assert_eq!(next, prompts.iter().map(|p| p.len()).collect::<Vec<_>>());
    }
}
