//! The thread that owns the device: one step after another.

mod logprobs;
mod pace;
mod schedule;
mod sequence;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use rayon::prelude::*;

use self::pace::Pace;
use self::schedule::Part;
use self::sequence::Sequence;
use super::blocks::BlockPool;
use super::check::Limits;
use super::executor::{Executor, Found, Run};
use super::shared::{Phase, Shared};
use super::{EngineError, EngineOptions, Failure, FinishReason};
use crate::CausalLm;
use crate::model::ModelError;
use crate::text::Tokenizer;

/// The state of an engine between two steps.
pub(super) struct Worker<'a> {
    shared: &'a Shared,
    tokenizer: Option<&'a Tokenizer>,
    options: &'a EngineOptions,
    limits: Limits,
    executor: Executor,
    pool: BlockPool,
    pace: Pace,
    /// In the order in which they started.
    running: Vec<Sequence<'a>>,
    /// Sequences that come ahead of the requests that wait: preempted ones and further choices.
    ready: VecDeque<Sequence<'a>>,
    /// Sequences that have ended, until it is told.
    ended: Vec<(Sequence<'a>, FinishReason)>,
}

impl<'a> Worker<'a> {
    pub fn new(
        model: &Arc<CausalLm>,
        tokenizer: Option<&'a Tokenizer>,
        options: &'a EngineOptions,
        shared: &'a Shared,
    ) -> Result<Self, EngineError> {
        let config = model.config();
        let context = options.context.unwrap_or(config.max_position_embeddings);
        let size = options.block_size;
        let blocks = match options.cache_tokens {
            Some(tokens) => tokens.div_ceil(size),
            None => options.max_sequences * context.div_ceil(size),
        };
        let (prompt, sizes) = (options.prefill_tokens, options.captured_sizes());
        let executor = Executor::new(model, blocks, size, context, prompt, &sizes)?;
        shared.lock().stats.blocks = blocks;
        Ok(Self {
            shared,
            tokenizer,
            options,
            limits: Limits {
                vocabulary: config.vocab_size,
                context,
                blocks,
                block_size: size,
            },
            executor,
            pool: BlockPool::new(blocks, size),
            pace: Pace::default(),
            running: Vec::new(),
            ready: VecDeque::new(),
            ended: Vec::new(),
        })
    }

    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Works until the engine is shut down or fails.
    pub fn run(&mut self) {
        let failure = loop {
            if let Some(failure) = self.receive() {
                break failure;
            }
            self.sweep();
            self.admit();
            if let Err(error) = self.step() {
                tracing::error!(%error, "a step failed");
                break Failure::Device {
                    reason: error.to_string(),
                };
            }
        };
        self.end_all(&failure);
    }

    /// Waits for something to do; why the engine ends, if it does.
    fn receive(&mut self) -> Option<Failure> {
        let mut state = self.shared.lock();
        loop {
            if let Some(reason) = state.injected.take() {
                return Some(Failure::Device { reason });
            }
            let idle = self.running.is_empty() && self.ready.is_empty() && state.waiting.is_empty();
            let until = match state.phase {
                Phase::Draining(until) if idle || Instant::now() >= until => {
                    return Some(Failure::Shutdown);
                }
                Phase::Draining(until) => Some(until),
                _ => None,
            };
            if !idle {
                return None;
            }
            state = self.shared.wait(state, until);
        }
    }

    /// Ends what was cancelled and what is late.
    fn sweep(&mut self) {
        let now = Instant::now();
        for sequence in std::mem::take(&mut self.running) {
            match sequence.ended(now) {
                Some(reason) => self.end(sequence, &reason),
                None => self.running.push(sequence),
            }
        }
        for sequence in std::mem::take(&mut self.ready) {
            match sequence.ended(now) {
                Some(reason) => self.end(sequence, &reason),
                None => self.ready.push_back(sequence),
            }
        }
        for (submission, reason) in self.shared.take_ended(now) {
            self.end(Sequence::of(submission, self.tokenizer), &reason);
        }
        self.tell();
    }

    /// Starts as many sequences as there is room for.
    fn admit(&mut self) {
        while self.running.len() < self.options.max_sequences {
            let next = self.ready.pop_front().or_else(|| {
                let mut state = self.shared.lock();
                let submission = state.waiting.pop_front()?;
                // It is not to be missing while it changes places.
                state.stats.waiting += 1;
                drop(state);
                Some(Sequence::of(submission, self.tokenizer))
            });
            let Some(mut sequence) = next else {
                break;
            };
            let first = !sequence.has_started();
            let share = self.options.prefix_sharing;
            // Those that run may all need a block soon.
            let spare = self.running.len();
            if !sequence.start(&mut self.pool, share, spare) {
                self.ready.push_front(sequence);
                break;
            }
            if first {
                let mut state = self.shared.lock();
                let (prompt, cached) = (sequence.prompt_len(), sequence.cached_tokens());
                state.stats.prompt_tokens += prompt as u64;
                if share {
                    state.stats.prefix_queries += prompt as u64;
                    state.stats.prefix_hits += cached as u64;
                }
            }
            self.running.push(sequence);
        }
        self.tell();
    }

    /// Brings the gauges up to date, then tells of those that ended.
    fn tell(&mut self) {
        {
            let mut state = self.shared.lock();
            state.stats.running = self.running.len();
            state.stats.waiting = self.ready.len();
            state.stats.blocks_used = self.pool.count() - self.pool.free();
            self.ended
                .iter()
                .for_each(|(_, reason)| state.stats.count(reason));
        }
        for (sequence, reason) in self.ended.drain(..) {
            sequence.finish(reason);
        }
    }

    /// One step of everything that runs.
    fn step(&mut self) -> Result<(), ModelError> {
        let parts = self.plan();
        if parts.is_empty() {
            self.running.iter_mut().for_each(Sequence::tell);
            return Ok(());
        }
        let begun = Instant::now();
        let runs: Vec<_> = parts
            .iter()
            .map(|&Part { sequence, count }| {
                let sequence = &self.running[sequence];
                Run {
                    blocks: sequence.blocks(),
                    ids: sequence.next(count),
                    start: sequence.computed(),
                    wanted: sequence.wanted(count),
                }
            })
            .collect();
        let launched = self.executor.launch(&runs)?;
        let launch_time = begun.elapsed();
        self.running.iter_mut().for_each(Sequence::tell);
        self.prepare();
        let found = self.executor.read(launched)?;
        let decoding = parts.iter().filter(|part| self.decodes(part)).count();
        let prompt = parts.iter().filter(|part| !self.decodes(part));
        let prompt = prompt.map(|part| part.count).sum();
        let time = begun.elapsed();
        tracing::trace!(decoding, prompt, ?launch_time, ?time, "step");
        self.pace.record(prompt, decoding, time);
        self.count(&parts, &found);
        self.advance(&parts, found);
        Ok(())
    }

    /// Prepares what can be known ahead of the logits.
    fn prepare(&mut self) {
        let constrained = self.running.iter_mut().filter(|s| s.is_constrained());
        let mut constrained: Vec<_> = constrained.collect();
        match constrained.len() {
            0 | 1 => constrained.iter_mut().for_each(|s| s.prepare()),
            _ => constrained.par_iter_mut().for_each(|s| s.prepare()),
        }
    }

    fn decodes(&self, part: &Part) -> bool {
        self.running[part.sequence].prompt_left() == 0
    }

    /// What the next step computes. Sequences that have no room for it are preempted, the last that
    /// started first.
    fn plan(&mut self) -> Vec<Part> {
        let decoding = self.running.iter().filter(|s| s.prompt_left() == 0).count();
        let most = self.options.prefill_tokens;
        let room = self.pace.room(decoding, self.options.step_time, most);
        let mut parts = schedule::plan(self.running.iter().map(Sequence::prompt_left), room);
        let mut at = 0;
        while at < parts.len() && parts[at].sequence < self.running.len() {
            let Part { sequence, count } = parts[at];
            let sequence = &mut self.running[sequence];
            let tokens = sequence.computed() + count;
            if sequence.make_room(&mut self.pool, tokens) {
                at += 1;
            } else if let Some(mut last) = self.running.pop() {
                last.tell();
                last.give_back(&mut self.pool);
                self.shared.lock().stats.preemptions += 1;
                self.ready.push_front(last);
            }
        }
        parts.truncate(at);
        parts
    }

    fn count(&self, parts: &[Part], found: &[Found]) {
        let tokens: usize = parts.iter().map(|part| part.count).sum();
        let new = found.iter().filter(|found| **found != Found::Nothing);
        let mut state = self.shared.lock();
        state.stats.step_tokens.record(tokens as u64);
        state.stats.generated_tokens += new.count() as u64;
    }

    /// Gives the results of a step to its sequences.
    fn advance(&mut self, parts: &[Part], found: Vec<Found>) {
        let mut results: Vec<Option<(usize, Found)>> = vec![None; self.running.len()];
        for (part, found) in parts.iter().zip(found) {
            results[part.sequence] = Some((part.count, found));
        }
        let advance = |(sequence, result): (&mut Sequence<'a>, Option<(usize, Found)>)| {
            let (count, found) = result?;
            sequence.advance(count, found)
        };
        // Choosing from logits is worth waking other threads; taking note of a token is not.
        let choosing = results.iter().flatten();
        let choosing = choosing
            .filter(|(_, found)| matches!(found, Found::Logits(_) | Found::IdAndLogits(..)));
        let ends: Vec<Option<FinishReason>> = match choosing.count() {
            0 | 1 => self.running.iter_mut().zip(results).map(advance).collect(),
            _ => self
                .running
                .par_iter_mut()
                .zip(results)
                .map(advance)
                .collect(),
        };
        for (mut sequence, end) in std::mem::take(&mut self.running).into_iter().zip(ends) {
            if self.options.prefix_sharing {
                sequence.publish(&mut self.pool);
            }
            let siblings = sequence.take_siblings();
            self.ready.extend(siblings);
            match end {
                Some(reason) => self.end(sequence, &reason),
                None => self.running.push(sequence),
            }
        }
        self.tell();
    }

    /// Ends a sequence and the choices that it has with it, and takes back what they held.
    fn end(&mut self, sequence: Sequence<'a>, reason: &FinishReason) {
        for mut sequence in sequence.apart() {
            sequence.give_back(&mut self.pool);
            self.ended.push((sequence, reason.clone()));
        }
    }

    /// Ends everything, and the engine.
    pub fn end_all(&mut self, failure: &Failure) {
        let all = self.running.drain(..).chain(self.ready.drain(..));
        let mut all: Vec<_> = all.flat_map(Sequence::apart).collect();
        // Whoever hears of the end finds the engine ended.
        for submission in self.shared.end(failure.clone(), all.len()) {
            all.extend(Sequence::of(submission, self.tokenizer).apart());
        }
        for sequence in all {
            self.end(sequence, &FinishReason::Failed(failure.clone()));
        }
        self.tell();
    }
}
