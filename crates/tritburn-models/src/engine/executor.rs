//! The device's part of a step.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use burn::tensor::{Int, Tensor};
use tritburn::ops::captures_graphs;
use tritburn::transformer::{Tokens, draw};

use super::blocks::{BlockId, IDLE};
use crate::CausalLm;
use crate::generate::{DecodeStep, read, words};
use crate::model::{KvCache, ModelError};

/// What a step is to tell about the token that follows a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Wanted {
    /// Nothing: the next token is known, or more of the prompt comes.
    Nothing,
    /// Its id, which the device chooses.
    Id(Choice),
    /// All logits, and the id that the device chooses if it is to.
    Logits(Option<Choice>),
}

/// How a device chooses a token.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Choice {
    /// 0 for the largest logit.
    pub temperature: f32,
    pub seed: u64,
}

impl Choice {
    /// The three words of [`draw`].
    fn words(self) -> [u32; 3] {
        let (low, high) = (self.seed as u32, (self.seed >> 32) as u32);
        [self.temperature.to_bits(), low, high]
    }
}

impl Wanted {
    /// How the device is to choose, if it is.
    fn choice(self) -> Option<Choice> {
        match self {
            Self::Id(choice) => Some(choice),
            Self::Logits(choice) => choice,
            Self::Nothing => None,
        }
    }
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
    /// The id that the device chose; `None` where the logits hold a NaN.
    Id(Option<u32>),
    Logits(Vec<f32>),
    /// Both.
    IdAndLogits(Option<u32>, Vec<f32>),
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
    draws: Vec<u32>,
}

/// A step that is under way.
pub(super) struct Launched {
    /// A captured step, and what goes operation by operation.
    parts: [LaunchedPart; 2],
    /// Part, and index in it, of each run.
    places: Vec<(usize, usize)>,
}

/// What is launched together.
#[derive(Default)]
struct LaunchedPart {
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
    /// An executor on `blocks` blocks of `positions` positions, besides that of idle rows. Where the device
    /// has graphs, kernels for prompts of up to `prompt` tokens are compiled and decode steps of `sizes`
    /// sequences are captured.
    pub fn new(
        model: &Arc<CausalLm>,
        blocks: usize,
        positions: usize,
        context: usize,
        prompt: usize,
        sizes: &[usize],
    ) -> Result<Self, ModelError> {
        let cache = model.paged_cache(blocks + 1, positions, context)?;
        let pairs = captures_graphs(model.device());
        let mut executor = Self {
            model: model.clone(),
            cache,
            steps: BTreeMap::new(),
            pairs,
        };
        if pairs {
            executor.warm_up(prompt.min(context), positions)?;
            for &size in sizes {
                executor.capture(size)?;
            }
        }
        Ok(executor)
    }

    /// Runs prompts of up to `most` tokens, all of them in the block of idle rows: kernels for them are
    /// compiled now, and not while someone waits.
    fn warm_up(&mut self, most: usize, positions: usize) -> Result<(), ModelError> {
        let begun = Instant::now();
        let sizes = (4..usize::BITS).flat_map(|i| [1 << i, 3 << (i - 1)]);
        let sizes = sizes.take_while(|&size| size < most).chain([most]);
        for size in sizes {
            let ids = vec![0; size];
            let run = Run {
                blocks: &vec![IDLE; size.div_ceil(positions)],
                ids: &ids,
                start: 0,
                wanted: Wanted::Id(Choice::default()),
            };
            let launched = self.launch(&[run])?;
            self.read(launched)?;
            tracing::debug!(
                tokens = size,
                seconds = begun.elapsed().as_secs_f64(),
                "prompt kernels"
            );
        }
        Ok(())
    }

    /// Captures a decode step of `size` sequences.
    fn capture(&mut self, size: usize) -> Result<(), ModelError> {
        let step = DecodeStep::paged(self.model.clone(), self.cache.clone(), size)?;
        let captured = CapturedStep {
            step,
            // What capturing left there.
            tokens: vec![u32::MAX; size],
            positions: vec![u32::MAX; size],
            blocks: vec![IDLE; size * self.cache.blocks_per_row()],
            draws: vec![0; 3 * size],
        };
        self.steps.insert(size, captured);
        Ok(())
    }

    /// Starts to run `runs` through the model: single tokens as a captured step if there is one that holds
    /// them, parts of prompts behind it.
    pub fn launch(&mut self, runs: &[Run<'_>]) -> Result<Launched, ModelError> {
        let singles = runs.iter().filter(|run| run.ids.len() == 1).count();
        let size = self.steps.range(singles..).next().map(|(&size, _)| size);
        let size = size.filter(|_| singles > 0);
        let (mut single, mut rest, mut places) = (Vec::new(), Vec::new(), Vec::new());
        for &run in runs {
            let captured = size.is_some() && run.ids.len() == 1;
            let part = if captured { &mut single } else { &mut rest };
            places.push((usize::from(!captured), part.len()));
            part.push(run);
        }
        let mut parts = [LaunchedPart::default(), LaunchedPart::default()];
        if let Some(size) = size {
            parts[0] = self.replay(size, &single)?;
        }
        if !rest.is_empty() {
            parts[1] = self.run(&rest)?;
        }
        Ok(Launched { parts, places })
    }

    /// Operation by operation.
    fn run(&mut self, runs: &[Run<'_>]) -> Result<LaunchedPart, ModelError> {
        let device = self.model.device();
        let ids = runs.iter().flat_map(|run| run.ids).copied().collect();
        let places = runs.iter().enumerate();
        let places: Vec<_> = places.map(|(row, r)| (row, r.start, r.ids.len())).collect();
        let blocks = table(runs, runs.len(), self.cache.blocks_per_row());
        let tokens = Tokens::runs(&places, device).in_blocks(words(blocks, device));
        let ids = words(ids, device);
        let hidden = self.model.forward(ids, &tokens, &mut self.cache)?;
        let (mut ends, mut count, mut wanted) = (Vec::new(), 0, Vec::new());
        let (mut draws, mut positions) = (Vec::new(), Vec::new());
        for run in runs {
            count += run.ids.len();
            wanted.push((ends.len(), run.wanted));
            if run.wanted != Wanted::Nothing {
                ends.push(count as u32 - 1);
                draws.extend(run.wanted.choice().unwrap_or_default().words());
                positions.push((run.start + run.ids.len() - 1) as u32);
            }
        }
        let Some(&last) = ends.last() else {
            return Ok(LaunchedPart {
                wanted,
                ..LaunchedPart::default()
            });
        };
        if self.pairs && ends.len() == 1 {
            ends.push(last);
        }
        let logits = self.model.logits(hidden.select(words(ends, device)))?;
        let chosen = wanted.iter().any(|(_, wanted)| wanted.choice().is_some());
        let ids = chosen.then(|| {
            let logits = logits.clone().narrow(0, 0, positions.len());
            draw(logits, words(draws, device), words(positions, device))
        });
        let ids = ids.transpose()?;
        Ok(LaunchedPart {
            logits: Some(logits),
            ids,
            captured: None,
            wanted,
        })
    }

    /// As one graph, whose rows may be more than the runs.
    fn replay(&mut self, size: usize, runs: &[Run<'_>]) -> Result<LaunchedPart, ModelError> {
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
        let mut draws: Vec<u32> = runs
            .iter()
            .flat_map(|run| run.wanted.choice().unwrap_or_default().words())
            .collect();
        draws.resize(3 * size, 0);
        let mut state = held.step.state();
        if draws != held.draws {
            state.set_draws(draws.clone(), &self.model)?;
            held.draws = draws;
        }
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
        Ok(LaunchedPart {
            logits: Some(output.logits),
            ids: Some(output.ids),
            captured: Some(size),
            wanted: runs.iter().map(|run| run.wanted).enumerate().collect(),
        })
    }

    /// Waits for a step: what each run wanted to know, in their order.
    pub fn read(&mut self, launched: Launched) -> Result<Vec<Found>, ModelError> {
        let parts = launched.parts.into_iter().map(|part| self.read_part(part));
        let mut parts: Vec<_> = parts.collect::<Result<_, _>>()?;
        let places = launched.places.into_iter();
        Ok(places
            .map(|(part, at)| std::mem::replace(&mut parts[part][at], Found::Nothing))
            .collect())
    }

    fn read_part(&mut self, part: LaunchedPart) -> Result<Vec<Found>, ModelError> {
        let LaunchedPart {
            logits,
            ids,
            captured,
            wanted,
        } = part;
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
            .filter(|(_, wanted)| matches!(wanted, Wanted::Logits(_)));
        let whole: Vec<u32> = whole.map(|&(row, _)| row as u32).collect();
        let values = match whole.is_empty() {
            true => Vec::new(),
            false => read(logits.select(0, words(whole, self.model.device())))?,
        };
        let mut values = values.chunks_exact(vocabulary);
        let id = |row: usize| {
            let id = ids.get(row).copied();
            id.filter(|&id| (id as usize) < vocabulary)
        };
        let mut logits = || values.next().unwrap_or_default().to_vec();
        let found = wanted.into_iter().map(|(row, wanted)| match wanted {
            Wanted::Nothing => Found::Nothing,
            Wanted::Id(_) => Found::Id(id(row)),
            Wanted::Logits(None) => Found::Logits(logits()),
            Wanted::Logits(Some(_)) => Found::IdAndLogits(id(row), logits()),
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

// On a device whose caches are written in place, as those with graphs are: steps share the executor's.
#[cfg(all(test, feature = "cpu"))]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::DecoderConfig;
    use crate::checkpoint::Synthetic;
    use crate::model::LoadOptions;

    const POSITIONS: usize = 16;

    fn executor() -> Executor {
        let checkpoint = Synthetic::new(DecoderConfig::tiny(), 3).unwrap();
        let model = CausalLm::load(&checkpoint, &LoadOptions::default(), &Device::cpu()).unwrap();
        Executor::new(&Arc::new(model), 12, POSITIONS, 64, 64, &[]).unwrap()
    }

    fn found(executor: &mut Executor, runs: &[Run<'_>]) -> Vec<Found> {
        let launched = executor.launch(runs).unwrap();
        executor.read(launched).unwrap()
    }

    /// Tokens of three sequences, of which one goes on with its prompt while the others decode.
    fn tokens(executor: &mut Executor) -> Vec<Vec<Found>> {
        let drawn = |seed| {
            Wanted::Id(Choice {
                temperature: 1.5,
                seed,
            })
        };
        let wanted = [Wanted::Id(Choice::default()), drawn(5), drawn(6)];
        let blocks: [[BlockId; 3]; 3] = [[1, 2, 3], [4, 5, 6], [7, 8, 9]];
        let mut ids: [Vec<u32>; 3] = [vec![1, 2, 3], vec![4, 5], (9..39).collect()];
        let mut computed = [0; 3];
        let mut all = Vec::new();
        for step in 0..10 {
            // The third has its prompt read in parts of ten tokens.
            let count = |row: usize| match (step, row) {
                (0..3, 2) => 10,
                _ => ids[row].len() - computed[row],
            };
            let counts = [count(0), count(1), count(2)];
            let runs: Vec<Run<'_>> = (0..3)
                .map(|row| Run {
                    blocks: &blocks[row],
                    ids: &ids[row][computed[row]..][..counts[row]],
                    start: computed[row],
                    wanted: match (step, row) {
                        (0..2, 2) => Wanted::Nothing,
                        (4, 0) => Wanted::Logits(None),
                        (6, 1) => Wanted::Logits(wanted[row].choice()),
                        _ => wanted[row],
                    },
                })
                .collect();
            let found = found(executor, &runs);
            for row in 0..3 {
                computed[row] += counts[row];
                match &found[row] {
                    Found::Id(id) | Found::IdAndLogits(id, _) => ids[row].push(id.unwrap()),
                    Found::Logits(_) => ids[row].push(7),
                    Found::Nothing => {}
                }
            }
            all.push(found);
        }
        all
    }

    #[test]
    fn captured_steps_find_what_operations_find() {
        let mut plain = executor();
        let expected = tokens(&mut plain);
        assert_eq!(expected[1][2], Found::Nothing);
        assert!(matches!(expected[4][0], Found::Logits(_)));
        assert!(matches!(expected[6][1], Found::IdAndLogits(..)));
        for sizes in [&[1, 2, 4][..], &[8]] {
            let mut captured = executor();
            sizes
                .iter()
                .for_each(|&size| captured.capture(size).unwrap());
            assert_eq!(tokens(&mut captured), expected, "{sizes:?}");
        }
    }

    #[test]
    fn seeds_decide_what_is_drawn() {
        let mut executor = executor();
        let ids: Vec<u32> = (0..20).collect();
        let mut drawn = |seed| {
            let choice = Choice {
                temperature: 2.0,
                seed,
            };
            let run = Run {
                blocks: &[1, 2],
                ids: &ids,
                start: 0,
                wanted: Wanted::Id(choice),
            };
            found(&mut executor, &[run]).remove(0)
        };
        let first: Vec<_> = (0..20).map(&mut drawn).collect();
        assert!(first.iter().any(|found| *found != first[0]), "{first:?}");
        assert_eq!(first, (0..20).map(drawn).collect::<Vec<_>>());
    }
}
