//! One sequence's sampler.

use std::collections::HashMap;

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use super::filters::{self, Candidate};
use super::{SampleError, Sampling};

/// Chooses the tokens of one sequence.
///
/// Random numbers are ChaCha with 8 rounds, keyed by the seed, in the stream of the sequence's
/// number: the same seed, number and logits give the same tokens on every machine and, as the
/// algorithm is part of the type, with every release.
///
/// # Examples
///
/// ```
/// use tritburn_models::sample::{Sampler, Sampling};
///
/// let logits = [0.0, 3.0, 2.0, f32::NEG_INFINITY];
/// assert_eq!(Sampler::new(Sampling::greedy())?.sample(&logits, &[])?, 1);
///
/// // The two most likely tokens, by chance; a token at -∞ is never drawn.
/// let sampling = Sampling { temperature: 1.0, top_k: Some(2), seed: 7, ..Sampling::greedy() };
/// let mut sampler = Sampler::new(sampling)?;
/// for _ in 0..10 {
///     assert!([1, 2].contains(&sampler.sample(&logits, &[])?));
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Sampler {
    sampling: Sampling,
    random: ChaCha8Rng,
    candidates: Vec<Candidate>,
    /// Tokens of the sequence, and how often they are among the new ones.
    seen: HashMap<u32, u32>,
}

impl Sampler {
    /// A sampler for a single sequence.
    ///
    /// # Errors
    /// [`SampleError::Parameter`], see [`Sampling::validate`].
    pub fn new(sampling: Sampling) -> Result<Self, SampleError> {
        Self::for_sequence(sampling, 0)
    }

    /// The sampler of sequence `number` of a batch: sequences draw independently of each other.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn for_sequence(sampling: Sampling, number: u64) -> Result<Self, SampleError> {
        sampling.validate()?;
        let mut random = ChaCha8Rng::seed_from_u64(sampling.seed);
        random.set_stream(number);
        Ok(Self {
            sampling,
            random,
            candidates: Vec::new(),
            seen: HashMap::new(),
        })
    }

    /// What it was made with.
    pub fn sampling(&self) -> &Sampling {
        &self.sampling
    }

    /// The next token by `logits`, one per token id. `history` is the sequence so far, prompt
    /// included; only penalties look at it, at all of it, and ids outside of the vocabulary are passed
    /// over.
    ///
    /// # Errors
    /// [`SampleError::NotFinite`] for a NaN or +∞ logit, [`SampleError::Nothing`] where no logit
    /// is over -∞ (which stands for a forbidden token).
    pub fn sample(&mut self, logits: &[f32], history: &[u32]) -> Result<u32, SampleError> {
        self.sample_after(logits, &[], history)
    }

    /// As [`sample`](Self::sample), with the prompt told from the new tokens behind it: presence and
    /// frequency penalties look at the latter alone.
    ///
    /// # Errors
    /// As [`sample`](Self::sample).
    pub fn sample_after(
        &mut self,
        logits: &[f32],
        prompt: &[u32],
        new: &[u32],
    ) -> Result<u32, SampleError> {
        let wrong = logits
            .iter()
            .position(|&l| l.is_nan() || l == f32::INFINITY);
        if let Some(token) = wrong {
            let value = logits[token];
            return Err(SampleError::NotFinite { token, value });
        }
        let possible = |(token, &logit): (usize, &f32)| {
            (logit > f32::NEG_INFINITY).then_some(Candidate {
                token: token as u32,
                logit,
                weight: 0.0,
            })
        };
        self.candidates.clear();
        self.candidates
            .extend(logits.iter().enumerate().filter_map(possible));
        if self.candidates.is_empty() {
            return Err(SampleError::Nothing {
                vocabulary: logits.len(),
            });
        }
        self.penalise(logits.len(), prompt, new);
        if self.sampling.is_greedy() {
            let best = self.candidates.iter().min_by(|a, b| filters::by_rank(a, b));
            return Ok(best.map_or(0, |best| best.token));
        }
        Ok(self.draw())
    }

    fn penalise(&mut self, vocabulary: usize, prompt: &[u32], new: &[u32]) {
        if !self.sampling.penalises() || prompt.len() + new.len() == 0 {
            return;
        }
        let Sampling {
            repetition_penalty: repetition,
            presence_penalty: presence,
            frequency_penalty: frequency,
            ..
        } = self.sampling;
        self.seen.clear();
        for (ids, times) in [(prompt, 0), (new, 1)] {
            for &id in ids.iter().filter(|&&id| (id as usize) < vocabulary) {
                *self.seen.entry(id).or_default() += times;
            }
        }
        for (token, &times) in &self.seen {
            // Candidates are in the order of their ids yet.
            let found = self.candidates.binary_search_by_key(token, |c| c.token);
            let Some(candidate) = found.ok().map(|at| &mut self.candidates[at]) else {
                continue;
            };
            let logit = match candidate.logit {
                logit if logit > 0.0 => logit / repetition,
                logit => logit * repetition,
            };
            let new = if times > 0 { presence } else { 0.0 };
            let penalised = logit - new - frequency * times as f32;
            // A penalty far from 1 must not turn a possible token into an impossible sum.
            candidate.logit = penalised.clamp(f32::MIN, f32::MAX);
        }
    }

    fn draw(&mut self) -> u32 {
        let Sampling {
            temperature,
            top_k,
            top_p,
            min_p,
            ..
        } = self.sampling;
        // A temperature near 0 makes all quotients infinite, which would leave all tokens equal: what
        // counts is how far each logit is from the largest.
        let quotient = |candidate: &Candidate| candidate.logit / temperature;
        let overflow = self.candidates.iter().any(|c| quotient(c).is_infinite());
        let logits = self.candidates.iter().map(|c| c.logit);
        let from = match overflow {
            true => logits.fold(f32::NEG_INFINITY, f32::max),
            false => 0.0,
        };
        for candidate in &mut self.candidates {
            let logit = (candidate.logit - from) / temperature;
            candidate.logit = logit.clamp(f32::MIN, f32::MAX);
        }
        let candidates = &mut self.candidates;
        if let Some(k) = top_k {
            filters::top_k(candidates, k);
        }
        filters::weigh(candidates);
        if let Some(p) = top_p {
            filters::top_p(candidates, p);
        }
        if let Some(p) = min_p {
            filters::min_p(candidates, p);
        }
        let mut left = self.random.random::<f64>() * filters::sum(candidates);
        let drawn = candidates.iter().find(|c| {
            left -= c.weight as f64;
            left < 0.0
        });
        // Rounding may leave a hair behind the last weight: the last possible token is meant.
        let last = || candidates.iter().rfind(|c| c.weight > 0.0);
        drawn.or_else(last).map_or(0, |c| c.token)
    }
}
