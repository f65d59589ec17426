//! One choice of a request, from its start to its end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::blocks::{BlockId, BlockPool, Content};
use super::super::executor::{Choice, Found, Wanted};
use super::super::output::TextOutput;
use super::super::shared::Submission;
use super::super::structure::Constraint;
use super::super::{
    Event, Failure, FinishReason, Finished, Logprobs, MIN_PART, Stop, Token, Usage,
};
use super::logprobs;
use crate::sample::{SampleError, Sampler};
use crate::text::Tokenizer;

/// One choice.
pub(in crate::engine) struct Sequence<'t> {
    origin: Arc<Submission>,
    choice: usize,
    /// Prompt and new tokens.
    ids: Vec<u32>,
    /// Tokens whose keys and values are in the cache.
    computed: usize,
    /// The blocks that hold them, and room for the next.
    blocks: Vec<BlockId>,
    /// How many of the blocks others may share, and the content of the last of those.
    shared: (usize, Content),
    cached_tokens: usize,
    /// The other choices of the request, until the prompt that they share has been read.
    siblings: Vec<Self>,
    sampler: Sampler,
    constraint: Option<Constraint>,
    text: Option<TextOutput<'t>>,
    /// New tokens that nobody has been told of.
    untold: Vec<Untold>,
    /// What went wrong when a token was told late.
    failed: Option<FinishReason>,
    started: Option<Instant>,
    first_token: Option<Instant>,
}

/// A new token.
struct Untold {
    id: u32,
    logprobs: Option<Logprobs>,
    at: Instant,
}

impl<'t> Sequence<'t> {
    /// The first choice of a request, which has the others with it: they share its prompt.
    pub fn of(submission: Submission, tokenizer: Option<&'t Tokenizer>) -> Self {
        let origin = Arc::new(submission);
        let request = &origin.request;
        let choice = |choice: usize| Self {
            origin: origin.clone(),
            choice,
            ids: request.prompt.to_vec(),
            computed: 0,
            blocks: Vec::new(),
            shared: (0, Content::default()),
            siblings: Vec::new(),
            cached_tokens: 0,
            sampler: Sampler::for_sequence(request.sampling, choice as u64)
                .expect("parameters were checked when the request was taken"),
            constraint: origin.grammar.as_ref().map(|grammar| grammar.start()),
            text: tokenizer.map(|tokenizer| TextOutput::new(tokenizer, &request.stop)),
            untold: Vec::new(),
            failed: None,
            started: None,
            first_token: None,
        };
        Self {
            siblings: (1..request.choices).map(choice).collect(),
            ..choice(0)
        }
    }

    /// It and the other choices that it still has with it.
    pub fn apart(mut self) -> Vec<Self> {
        let siblings = std::mem::take(&mut self.siblings);
        std::iter::once(self).chain(siblings).collect()
    }

    /// Starts it, or starts it again: with what the cache still has of its prompt, and blocks for the rest of
    /// its tokens. Nothing happens, and false is returned, where `spare` blocks would not stay free.
    pub fn start(&mut self, pool: &mut BlockPool, share: bool, spare: usize) -> bool {
        if share {
            self.find_prompt(pool);
        }
        let needed = pool.needed(self.ids.len()) - self.blocks.len();
        if needed + spare > pool.free() || !self.make_room(pool, self.ids.len()) {
            self.give_back(pool);
            return false;
        }
        if self.started.is_none() {
            self.started = Some(Instant::now());
            self.cached_tokens = self.computed;
        }
        true
    }

    /// Takes the blocks of the prompt that the cache has. What remains is long enough to be read by the
    /// kernels that read whole prompts: [`MIN_PART`].
    fn find_prompt(&mut self, pool: &mut BlockPool) {
        let size = pool.positions();
        let most = self.prompt_len().saturating_sub(MIN_PART) / size;
        let (mut found, mut content) = self.shared;
        while found < most {
            let tokens = &self.ids[found * size..(found + 1) * size];
            let Some((id, next)) = pool.find(content, tokens) else {
                break;
            };
            self.blocks.push(id);
            (found, content) = (found + 1, next);
        }
        self.shared = (found, content);
        self.computed = found * size;
    }

    /// Lets others share the blocks of the prompt that have been computed. Those behind it hold keys and
    /// values by the kernels that read single tokens, which a prompt's would not equal to the last bit.
    pub fn publish(&mut self, pool: &mut BlockPool) {
        let size = pool.positions();
        if self.prompt_len() < MIN_PART {
            return;
        }
        let computed = self.computed.min(self.prompt_len()) / size;
        let (mut done, mut content) = self.shared;
        while done < computed {
            let tokens = &self.ids[done * size..(done + 1) * size];
            content = pool.publish(self.blocks[done], content, tokens);
            done += 1;
        }
        self.shared = (done, content);
    }

    /// Takes blocks until `tokens` positions have room; false where there are none left.
    pub fn make_room(&mut self, pool: &mut BlockPool, tokens: usize) -> bool {
        while self.blocks.len() < pool.needed(tokens) {
            match pool.take() {
                Some(id) => self.blocks.push(id),
                None => return false,
            }
        }
        true
    }

    /// Gives all blocks back: what they held has to be computed again.
    pub fn give_back(&mut self, pool: &mut BlockPool) {
        // The end of a sequence is of use to the fewest others: it goes first.
        for id in self.blocks.drain(..).rev() {
            pool.give(id);
        }
        self.computed = 0;
        self.shared = (0, Content::default());
    }

    /// Blocks that it has.
    pub fn blocks(&self) -> &[BlockId] {
        &self.blocks
    }

    /// Whether it has run before.
    pub fn has_started(&self) -> bool {
        self.started.is_some()
    }

    /// Tokens of the prompt that its first start found in the cache.
    pub fn cached_tokens(&self) -> usize {
        self.cached_tokens
    }

    /// The other choices of the request, if they may start.
    pub fn take_siblings(&mut self) -> Vec<Self> {
        match self.prompt_left() {
            0 => std::mem::take(&mut self.siblings),
            _ => Vec::new(),
        }
    }

    /// Why it is to end without a next token, if it is.
    pub fn ended(&self, now: Instant) -> Option<FinishReason> {
        self.failed.clone().or_else(|| self.origin.ended(now))
    }

    /// Tokens of the prompt.
    pub fn prompt_len(&self) -> usize {
        self.origin.request.prompt.len()
    }

    /// Tokens whose keys and values are in the cache.
    pub fn computed(&self) -> usize {
        self.computed
    }

    /// Tokens of the prompt that the cache does not have yet. 0 for one that decodes.
    pub fn prompt_left(&self) -> usize {
        self.prompt_len().saturating_sub(self.computed)
    }

    /// The next `count` tokens to be computed.
    pub fn next(&self, count: usize) -> &[u32] {
        &self.ids[self.computed..self.computed + count]
    }

    /// What it needs to know behind the next `count` tokens.
    pub fn wanted(&self, count: usize) -> Wanted {
        let request = &self.origin.request;
        if self.computed + count < self.ids.len() {
            return Wanted::Nothing;
        }
        let sampling = &request.sampling;
        let plain = request.logit_bias.is_empty() && self.constraint.is_none();
        let choice = if plain && sampling.takes_largest() {
            Some(Choice::default())
        } else if plain && sampling.is_plain() {
            Some(Choice {
                temperature: sampling.temperature,
                seed: seed_of(sampling.seed, self.choice as u64),
            })
        } else {
            None
        };
        // Who asks for log probabilities gets the tokens of who does not.
        match choice {
            Some(choice) if request.logprobs.is_none() => Wanted::Id(choice),
            choice => Wanted::Logits(choice),
        }
    }

    /// Whether a grammar restricts its tokens.
    pub fn is_constrained(&self) -> bool {
        self.constraint.is_some()
    }

    /// Prepares what can be known ahead of the logits.
    pub fn prepare(&mut self) {
        if let Some(constraint) = &mut self.constraint {
            // An error comes again when the mask is applied.
            let _ = constraint.prepare();
        }
    }

    /// Takes the result of a step over its next `count` tokens; why it ends, if it does.
    pub fn advance(&mut self, count: usize, found: Found) -> Option<FinishReason> {
        self.computed += count;
        if found == Found::Nothing {
            return None;
        }
        match self.choose(found) {
            Ok((id, logprobs)) => self.append(id, logprobs),
            Err(failure) => Some(FinishReason::Failed(failure)),
        }
    }

    fn choose(&mut self, found: Found) -> Result<(u32, Option<Logprobs>), Failure> {
        let request = &self.origin.request;
        let mut logits = match found {
            Found::Nothing | Found::Id(None) => return Err(Failure::NotFinite),
            Found::IdAndLogits(None, _) => return Err(Failure::NotFinite),
            Found::Id(Some(id)) => return Ok((id, None)),
            Found::IdAndLogits(Some(id), logits) => {
                let logprobs = request.logprobs.map(|top| logprobs::of(&logits, id, top));
                return Ok((id, logprobs));
            }
            Found::Logits(logits) => logits,
        };
        let unchanged = request.logprobs.map(|top| (top, logits.clone()));
        for &(id, bias) in &request.logit_bias {
            logits[id as usize] += bias;
        }
        if let Some(constraint) = &mut self.constraint {
            constraint.apply(&mut logits)?;
        }
        let (prompt, new) = self.ids.split_at(request.prompt.len());
        let id = match self.sampler.sample_after(&logits, prompt, new) {
            Err(SampleError::NotFinite { .. }) => return Err(Failure::NotFinite),
            chosen => chosen?,
        };
        let logprobs = unchanged.map(|(top, logits)| logprobs::of(&logits, id, top));
        Ok((id, logprobs))
    }

    /// Appends a new token; why the choice ends with it, if it does. Where its text decides nothing, it is told
    /// [later](Self::tell).
    fn append(&mut self, id: u32, logprobs: Option<Logprobs>) -> Option<FinishReason> {
        let at = Instant::now();
        self.ids.push(id);
        self.first_token.get_or_insert(at);
        self.untold.push(Untold { id, logprobs, at });
        let decides = self.constraint.is_some() || !self.origin.request.stop.is_empty();
        let reason = match decides {
            true => self.follow_untold(),
            false => self.stops(id),
        };
        let full = self.generated() >= self.origin.max_new_tokens;
        reason.or(full.then_some(FinishReason::Length))
    }

    /// Tells of new tokens that have not been told: while the device does its next step.
    pub fn tell(&mut self) {
        let reason = self.follow_untold();
        if let Some(FinishReason::Failed(_)) = reason {
            self.failed = reason;
        }
    }

    /// Tells of new tokens; the end that the last of them brings.
    fn follow_untold(&mut self) -> Option<FinishReason> {
        let mut end = None;
        for Untold { id, logprobs, at } in std::mem::take(&mut self.untold) {
            let (text, reason) = match self.follow(id) {
                Ok(followed) => followed,
                Err(failure) => (String::new(), Some(FinishReason::Failed(failure))),
            };
            let token = Token {
                choice: self.choice,
                id,
                text,
                logprobs,
                at,
            };
            // Nobody may be there to hear it.
            let _ = self.origin.events.try_send(Event::Token(token));
            end = end.or(reason);
        }
        end
    }

    /// The end that a token is by itself.
    fn stops(&self, id: u32) -> Option<FinishReason> {
        let request = &self.origin.request;
        let stops = !request.ignore_stop_ids && request.stop_ids.contains(&id);
        stops.then_some(FinishReason::Stop(Stop::Id(id)))
    }

    /// The text that a new token makes certain, and the end that it brings.
    fn follow(&mut self, id: u32) -> Result<(String, Option<FinishReason>), Failure> {
        if let Some(stop) = self.stops(id) {
            return Ok((String::new(), Some(stop)));
        }
        let complete = match &mut self.constraint {
            Some(constraint) => constraint.accept(id)?,
            None => false,
        };
        let mut reason = complete.then_some(FinishReason::Stop(Stop::Structure));
        let mut text = String::new();
        if let Some(output) = &mut self.text {
            let (new, stop) = output.push(id).map_err(text_failure)?;
            text = new;
            if let Some(stop) = stop {
                reason = Some(FinishReason::Stop(Stop::Text(stop)));
            }
        }
        Ok((text, reason))
    }

    /// New tokens.
    pub fn generated(&self) -> usize {
        self.ids.len() - self.prompt_len()
    }

    /// Tells that it ended.
    pub fn finish(mut self, reason: FinishReason) {
        self.tell();
        let reason = self.failed.take().unwrap_or(reason);
        let rest = self
            .text
            .as_mut()
            .map_or(Ok(String::new()), TextOutput::finish);
        let (text, reason) = match rest {
            Ok(text) => (text, reason),
            Err(error) => (String::new(), FinishReason::Failed(text_failure(error))),
        };
        let since = |at: Option<Instant>| {
            at.map_or(Duration::ZERO, |at| {
                at.duration_since(self.origin.submitted)
            })
        };
        let usage = Usage {
            prompt_tokens: self.prompt_len(),
            cached_tokens: self.cached_tokens,
            generated_tokens: self.generated(),
            queue_time: since(self.started),
            first_token_time: since(self.first_token),
            total_time: self.origin.submitted.elapsed(),
        };
        let finished = Finished {
            choice: self.choice,
            reason,
            text,
            usage,
        };
        let _ = self.origin.events.try_send(Event::Finished(finished));
    }
}

/// A seed for a choice of its own (SplitMix64: Steele, Lea and Flood 2014).
fn seed_of(seed: u64, choice: u64) -> u64 {
    let a = seed.wrapping_add(choice.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let b = (a ^ (a >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let c = (b ^ (b >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    c ^ (c >> 31)
}

fn text_failure(error: crate::text::TextError) -> Failure {
    Failure::Text {
        reason: error.to_string(),
    }
}
