//! Prompts in, tokens out.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use burn::tensor::{Int, Tensor};

use super::session::Session;
use crate::model::ModelError;
use crate::sample::{SampleError, Sampler, Sampling};

/// How to continue prompts.
#[derive(Clone, Debug)]
pub struct GenerationOptions {
    /// Tokens to add to each sequence at most.
    pub max_new_tokens: usize,
    /// Tokens that end a sequence; the one found is part of the result.
    pub stop_ids: Vec<u32>,
    /// How the next token is chosen. Sequences of a batch draw independently.
    pub sampling: Sampling,
}

/// Why a sequence ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// A stop token.
    Stop,
    /// The largest number of new tokens.
    Length,
    /// The callback asked for it.
    Interrupted,
}

/// What [`generate`] made of a batch of prompts.
#[derive(Clone, Debug)]
pub struct Generation {
    /// The new tokens of each sequence, a stop token included.
    pub ids: Vec<Vec<u32>>,
    /// Why each sequence ended.
    pub finish: Vec<Finish>,
    /// Tokens of all prompts.
    pub prompt_tokens: usize,
    /// From the start to the first new token of every sequence.
    pub prompt_time: Duration,
    /// New tokens behind the first one of each sequence.
    pub decoded_tokens: usize,
    /// What those took.
    pub decode_time: Duration,
}

impl Generation {
    /// Prompt tokens per second; `None` for a prompt too quick to time.
    pub fn prompt_tokens_per_second(&self) -> Option<f64> {
        rate(self.prompt_tokens, self.prompt_time)
    }

    /// Decoded tokens per second over all sequences; `None` if only one token was asked for.
    pub fn decode_tokens_per_second(&self) -> Option<f64> {
        rate(self.decoded_tokens, self.decode_time)
    }
}

fn rate(tokens: usize, time: Duration) -> Option<f64> {
    let seconds = time.as_secs_f64();
    (tokens > 0 && seconds > 0.0).then(|| tokens as f64 / seconds)
}

/// Appends `prompts` to the sequences of `session` and continues them until each has met a stop
/// token or its largest number of new tokens.
///
/// `on_token(row, id)` is called for each new token as soon as it is known; breaking ends that
/// sequence. The sequences of `session` then hold prompts and new tokens but the very last of each,
/// whose keys and values have not been needed; shorter sequences of a batch hold fillers behind
/// their end, so only a session of one sequence can go on.
///
/// # Errors
/// As [`Session::prefill`], with [`ModelError::Context`] ahead of any work if a prompt and
/// `max_new_tokens` do not fit; [`ModelError::Sample`].
///
/// # Examples
///
/// ```
/// use std::ops::ControlFlow;
/// use std::sync::Arc;
/// use burn::tensor::Device;
/// use tritburn_models::checkpoint::Synthetic;
/// use tritburn_models::generate::{Finish, GenerationOptions, Session, generate};
/// use tritburn_models::model::LoadOptions;
/// use tritburn_models::sample::Sampling;
/// use tritburn_models::{DecoderConfig, CausalLm};
///
/// let checkpoint = Synthetic::new(DecoderConfig::tiny(), 1)?;
/// let device = Device::flex();
/// let model = CausalLm::load(&checkpoint, &LoadOptions::default(), &device)?;
/// let mut session = Session::new(Arc::new(model), 1, 16)?;
///
/// let options = GenerationOptions {
///     max_new_tokens: 8,
///     stop_ids: vec![],
///     sampling: Sampling::greedy(),
/// };
/// let mut streamed = Vec::new();
/// let generation = generate(&mut session, &[&[1, 2, 3]], &options, |_row, id| {
///     streamed.push(id);
///     ControlFlow::Continue(())
/// })?;
/// assert_eq!(generation.finish, [Finish::Length]);
/// assert_eq!(generation.ids, [streamed]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn generate(
    session: &mut Session,
    prompts: &[&[u32]],
    options: &GenerationOptions,
    mut on_token: impl FnMut(usize, u32) -> ControlFlow<()>,
) -> Result<Generation, ModelError> {
    let started = Instant::now();
    session.check_prompts(prompts)?;
    let new = options.max_new_tokens;
    session.check_room(|row| prompts[row].len() + new.saturating_sub(1))?;
    let mut chooser = Chooser::new(prompts, options)?;
    let mut batch = Batch {
        options,
        ids: vec![Vec::new(); prompts.len()],
        finish: vec![(new == 0).then_some(Finish::Length); prompts.len()],
    };
    let logits = session.prefill(prompts)?;
    let mut next = chooser.first(logits)?;
    batch.extend(&next, &mut on_token);
    let prompt_time = started.elapsed();

    let started = Instant::now();
    let mut decoded_tokens = 0;
    while batch.open() > 0 {
        let (logits, ids) = match chooser.device_side && decoded_tokens > 0 {
            true => session.decode_next()?,
            false => session.decode(&next)?,
        };
        decoded_tokens += batch.open();
        next = chooser.choose(logits, ids, &batch.ids)?;
        batch.extend(&next, &mut on_token);
    }
    Ok(Generation {
        ids: batch.ids,
        finish: batch
            .finish
            .into_iter()
            .map(|finish| finish.unwrap_or(Finish::Length))
            .collect(),
        prompt_tokens: prompts.iter().map(|p| p.len()).sum(),
        prompt_time,
        decoded_tokens,
        decode_time: started.elapsed(),
    })
}

/// The sequences being continued.
struct Batch<'a> {
    options: &'a GenerationOptions,
    ids: Vec<Vec<u32>>,
    finish: Vec<Option<Finish>>,
}

impl Batch<'_> {
    /// Sequences that go on.
    fn open(&self) -> usize {
        self.finish.iter().filter(|finish| finish.is_none()).count()
    }

    fn extend(&mut self, next: &[u32], on_token: &mut impl FnMut(usize, u32) -> ControlFlow<()>) {
        for (row, &id) in next.iter().enumerate() {
            if self.finish[row].is_some() {
                continue;
            }
            self.ids[row].push(id);
            let broken = on_token(row, id).is_break();
            self.finish[row] = if self.options.stop_ids.contains(&id) {
                Some(Finish::Stop)
            } else if self.ids[row].len() >= self.options.max_new_tokens {
                Some(Finish::Length)
            } else {
                broken.then_some(Finish::Interrupted)
            };
        }
    }
}

/// Chooses the next token of each sequence, on the device where the largest logit is all it takes.
struct Chooser {
    samplers: Vec<Sampler>,
    /// Prompt and new tokens of each sequence, for a repetition penalty.
    histories: Vec<Vec<u32>>,
    device_side: bool,
}

impl Chooser {
    fn new(prompts: &[&[u32]], options: &GenerationOptions) -> Result<Self, ModelError> {
        let sampling = options.sampling;
        let samplers = (0..prompts.len())
            .map(|row| Sampler::for_sequence(sampling, row as u64))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            samplers,
            histories: prompts.iter().map(|p| p.to_vec()).collect(),
            device_side: sampling.takes_largest(),
        })
    }

    fn first(&mut self, logits: Tensor<2>) -> Result<Vec<u32>, ModelError> {
        let ids = tritburn::transformer::argmax(logits.clone())?;
        if self.device_side {
            // The largest one may be infinite, which the device does not tell. A model whose first
            // logits are numbers is taken to stay so.
            let [_, vocabulary] = logits.dims();
            let values = read::<f32, 2, burn::tensor::Float>(logits.clone())?;
            if let Some(index) = values.iter().position(|&value| value == f32::INFINITY) {
                let (token, value) = (index % vocabulary, values[index]);
                return Err(SampleError::NotFinite { token, value }.into());
            }
        }
        self.choose(logits, ids, &[])
    }

    fn choose(
        &mut self,
        logits: Tensor<2>,
        ids: Tensor<1, Int>,
        new: &[Vec<u32>],
    ) -> Result<Vec<u32>, ModelError> {
        let [rows, vocabulary] = logits.dims();
        if self.device_side {
            let ids = read::<u32, 1, Int>(ids)?;
            return match ids.iter().position(|&id| id as usize >= vocabulary) {
                None => Ok(ids),
                Some(row) => Err(ModelError::NonFinite { row }),
            };
        }
        let logits = read::<f32, 2, burn::tensor::Float>(logits)?;
        let mut next = Vec::with_capacity(rows);
        for (row, logits) in logits.chunks(vocabulary).enumerate() {
            let history = &mut self.histories[row];
            if let Some(&last) = new.get(row).and_then(|new| new.last()) {
                history.push(last);
            }
            next.push(self.samplers[row].sample(logits, history)?);
        }
        Ok(next)
    }
}

/// A tensor's values on the host.
pub(crate) fn read<E, const D: usize, K>(tensor: Tensor<D, K>) -> Result<Vec<E>, ModelError>
where
    E: burn::tensor::Element,
    K: burn::tensor::kind::Basic,
{
    let device = |reason: String| ModelError::Device { reason };
    let data = tensor
        .try_into_data()
        .map_err(|error| device(format!("{error:?}")))?;
    data.try_into_vec()
        .map_err(|error| device(format!("{error:?}")))
}
