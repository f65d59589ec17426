//! The device's part of a step.

use std::collections::BTreeMap;
use std::sync::Arc;

use burn::tensor::{Int, Tensor};
use tritburn::ops::captures_graphs;
use tritburn::transformer::{Tokens, argmax};

use super::blocks::{BlockId, IDLE};
use crate::CausalLm;
use crate::generate::{DecodeStep, read, words};
use crate::model::{KvCache, ModelError};

/// What a step is to tell about the token that follows a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Nothing: the next token is known, or more of the prompt comes.
    Nothing,
    /// The id of the largest logit.
    Largest,
    /// All logits.
    Logits,
}

/// Consecutive tokens of a sequence.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run<'a> {
    /// Blocks of the sequence, enough for these tokens.
    pub blocks: &'a [BlockId],
    pub ids: &'a [u32],
    /// Position of the first.
    pub start: usize,
    pub wanted: Wanted,
}

/// What is known of the token behind a run.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Found {
    Nothing,
    /// The id of the largest logit; `None` where the logits hold a NaN.
    Largest(Option<u32>),
    Logits(Vec<f32>),
}

/// Model, cache and captured steps.
pub(super) struct Executor {
    model: Arc<CausalLm>,
    cache: KvCache,
    /// By the sequences that they take.
    steps: BTreeMap<usize, CapturedStep>,
    /// Heads read more than one token by other kernels than one, whose sums have another order: they get
    /// two at least.
    pairs: bool,
}

/// A decode step of a fixed number of rows, and what the device's buffers hold for it.
struct CapturedStep {
    step: DecodeStep,
    tokens: Vec<u32>,
    positions: Vec<u32>,
    blocks: Vec<BlockId>,
}

/// A step that is under way.
pub(super) struct Launched {
    /// F32 `[rows, vocabulary]`, a row for each run that wants something, and maybe more.
    logits: Option<Tensor<2>>,
    /// U32 `[rows]`, where some run wants it.
    ids: Option<Tensor<1, Int>>,
    /// The captured step that it is one of.
    captured: Option<usize>,
    /// Row of the logits and what is wanted of it, for each run.
    wanted: Vec<(usize, Wanted)>,
}

impl Executor {
    /// An executor on `blocks` blocks of `positions` positions, besides that of idle rows, which captures
    /// decode steps of `sizes` sequences where the device has graphs.
    pub fn new(
        model: &Arc<CausalLm>,
        blocks: usize,
        positions: usize,
        context: usize,
        sizes: &[usize],
    ) -> Result<Self, ModelError> {
        let cache = model.paged_cache(blocks + 1, positions, context)?;
        let pairs = captures_graphs(model.device());
        let mut steps = BTreeMap::new();
        for size in sizes.iter().map(|&size| size.max(2)).filter(|_| pairs) {
            let step = DecodeStep::paged(model.clone(), cache.clone(), size)?;
            let captured = CapturedStep {
                step,
                // What capturing left there.
                tokens: vec![u32::MAX; size],
                positions: vec![u32::MAX; size],
                blocks: vec![IDLE; size * cache.blocks_per_row()],
            };
            steps.insert(size, captured);
        }
        Ok(Self {
            model: model.clone(),
            cache,
            steps,
            pairs,
        })
    }

    /// Starts to run `runs` through the model.
    pub fn launch(&mut self, runs: &[Run<'_>]) -> Result<Launched, ModelError> {
        let single = runs.iter().all(|run| run.ids.len() == 1);
        let size = self.steps.range(runs.len()..).next().map(|(&size, _)| size);
        match size.filter(|_| single) {
            Some(size) => self.replay(size, runs),
            None => self.run(runs),
        }
    }

    /// Operation by operation.
    fn run(&mut self, runs: &[Run<'_>]) -> Result<Launched, ModelError> {
        let device = self.model.device();
        let ids = runs.iter().flat_map(|run| run.ids).copied().collect();
        let places = runs.iter().enumerate();
        let places: Vec<_> = places.map(|(row, r)| (row, r.start, r.ids.len())).collect();
        let blocks = table(runs, runs.len(), self.cache.blocks_per_row());
        let tokens = Tokens::runs(&places, device).in_blocks(words(blocks, device));
        let ids = words(ids, device);
        let hidden = self.model.forward(ids, &tokens, &mut self.cache)?;
        let (mut ends, mut count, mut wanted) = (Vec::new(), 0, Vec::new());
        for run in runs {
            count += run.ids.len();
            wanted.push((ends.len(), run.wanted));
            if run.wanted != Wanted::Nothing {
                ends.push(count as u32 - 1);
            }
        }
        let Some(&last) = ends.last() else {
            return Ok(Launched {
                logits: None,
                ids: None,
                captured: None,
                wanted,
            });
        };
        if self.pairs && ends.len() == 1 {
            ends.push(last);
        }
        let logits = self.model.logits(hidden.select(words(ends, device)))?;
        let largest = wanted.iter().any(|&(_, wanted)| wanted == Wanted::Largest);
        let ids = largest.then(|| argmax(logits.clone())).transpose()?;
        Ok(Launched {
            logits: Some(logits),
            ids,
            captured: None,
            wanted,
        })
    }

    /// As one graph, whose rows may be more than the runs.
    fn replay(&mut self, size: usize, runs: &[Run<'_>]) -> Result<Launched, ModelError> {
        let per_row = self.cache.blocks_per_row();
        let held = self.steps.get_mut(&size).ok_or(ModelError::NoStep)?;
        let blocks = table(runs, size, per_row);
        let (mut tokens, mut positions) = (vec![0; size], vec![0; size]);
        for row in 0..size {
            match runs.get(row) {
                Some(run) => {
                    (tokens[row], positions[row]) = (run.ids[0], run.start as u32);
                }
                // Idle rows go on in their block, from its start where it ends.
                None if (1..8).contains(&held.positions[row]) => {
                    (tokens[row], positions[row]) = (held.tokens[row], held.positions[row]);
                }
                None => {}
            }
        }
        let mut state = held.step.state();
        if blocks != held.blocks {
            state.set_blocks(blocks.clone(), &self.model)?;
            held.blocks = blocks;
        }
        if (&tokens, &positions) != (&held.tokens, &held.positions) {
            state.set(tokens, positions.clone(), &self.model)?;
        }
        drop(state);
        let output = held.step.run()?;
        held.positions = positions.into_iter().map(|position| position + 1).collect();
        Ok(Launched {
            logits: Some(output.logits),
            ids: Some(output.ids),
            captured: Some(size),
            wanted: runs.iter().map(|run| run.wanted).enumerate().collect(),
        })
    }

    /// Waits for a step: what each run wanted to know, in their order.
    pub fn read(&mut self, launched: Launched) -> Result<Vec<Found>, ModelError> {
        let Launched {
            logits,
            ids,
            captured,
            wanted,
        } = launched;
        let Some(logits) = logits else {
            return Ok(vec![Found::Nothing; wanted.len()]);
        };
        let [_, vocabulary] = logits.dims();
        let ids = ids
            .map(read::<u32, 1, Int>)
            .transpose()?
            .unwrap_or_default();
        if let Some(captured) = captured.and_then(|size| self.steps.get_mut(&size)) {
            captured.tokens.clone_from(&ids);
        }
        let whole = wanted
            .iter()
            .filter(|(_, wanted)| *wanted == Wanted::Logits);
        let whole: Vec<u32> = whole.map(|&(row, _)| row as u32).collect();
        let values = match whole.is_empty() {
            true => Vec::new(),
            false => read(logits.select(0, words(whole, self.model.device())))?,
        };
        let mut values = values.chunks_exact(vocabulary);
        let found = wanted.into_iter().map(|(row, wanted)| match wanted {
            Wanted::Nothing => Found::Nothing,
            Wanted::Largest => Found::Largest(
                ids.get(row)
                    .copied()
                    .filter(|&id| (id as usize) < vocabulary),
            ),
            Wanted::Logits => Found::Logits(values.next().unwrap_or_default().to_vec()),
        });
        Ok(found.collect())
    }
}

/// The blocks of every run, in `rows` rows of `per_row`.
fn table(runs: &[Run<'_>], rows: usize, per_row: usize) -> Vec<BlockId> {
    let mut table = vec![IDLE; rows * per_row];
    for (row, run) in table.chunks_exact_mut(per_row).zip(runs) {
        row[..run.blocks.len()].copy_from_slice(run.blocks);
    }
    table
}
