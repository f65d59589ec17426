//! One decode step of a whole batch, as a captured graph where the device has such.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use burn::tensor::{DType, Device, Graph, Int, Tensor, TensorData, capture};
use tritburn::ops::captures_graphs;
use tritburn::transformer::{Tokens, advance, argmax, draw, overwrite};

use crate::model::{CausalLm, KvCache, LayerStack, ModelError};

/// Tensors that a step reads and writes in place.
pub(crate) struct StepState {
    pub cache: KvCache,
    tokens: Tensor<1, Int>,
    positions: Tensor<1, Int>,
    rows: Tensor<1, Int>,
    /// Blocks of every row, where the cache is made of blocks.
    blocks: Option<Tensor<1, Int>>,
    /// How the next token of every row is drawn, U32 `[3 · rows]` as [`draw`] takes it; without it the largest
    /// logit is taken.
    draws: Option<Tensor<1, Int>>,
    /// All layers in one launch, where one token is a step.
    layers: Option<LayerStack>,
    /// Where the head is to read the only token twice: U32 `[2]`, zeros.
    twice: Option<Tensor<1, Int>>,
}

/// What a step leaves on the device.
#[derive(Clone)]
pub(crate) struct StepOutput {
    /// F32 `[rows, vocabulary]`, or more rows.
    pub logits: Tensor<2>,
    /// U32 `[rows]`, the largest logits or what was drawn: the next step's tokens unless others are written.
    pub ids: Tensor<1, Int>,
    /// Keeps the work that moves tokens and positions on from being elided.
    _state: (Tensor<1, Int>, Tensor<1, Int>),
}

type StepResult = Result<StepOutput, ModelError>;

/// A decode step for a fixed number of sequences.
pub(crate) struct DecodeStep {
    state: Rc<RefCell<StepState>>,
    run: Execution,
}

type CapturedStep = Graph<StepResult, Box<dyn FnMut() -> StepResult>>;

enum Execution {
    /// Launches every operation.
    Eager(Arc<CausalLm>),
    /// One launch for all.
    Graph(Box<CapturedStep>),
}

impl DecodeStep {
    /// A step on `cache`. Capturing a graph runs it a few times, which leaves garbage at the first
    /// positions of the cache: call this ahead of the prompt.
    pub fn new(model: Arc<CausalLm>, cache: KvCache) -> Result<Self, ModelError> {
        let rows = cache.rows();
        Self::start(model, cache, rows, None)
    }

    /// A step of `rows` sequences on a cache of blocks. All of them begin with block 0 alone, whose first
    /// positions get garbage. The head reads two tokens at least: it sums the logits of a single one in
    /// another order, and a sequence would not be told the same alone as among others.
    pub fn paged(model: Arc<CausalLm>, cache: KvCache, rows: usize) -> Result<Self, ModelError> {
        let blocks = rows * cache.blocks_per_row();
        Self::start(model, cache, rows, Some(blocks))
    }

    fn start(
        model: Arc<CausalLm>,
        cache: KvCache,
        rows: usize,
        blocks: Option<usize>,
    ) -> Result<Self, ModelError> {
        let device = model.device().clone();
        let zeros = |len: usize| Tensor::zeros([len], (&device, DType::U32));
        let layers = match rows {
            1 if captures_graphs(&device) => model.layer_stack(&cache)?,
            _ => None,
        };
        tracing::debug!(rows, one_launch = layers.is_some(), "a decode step");
        let state = Rc::new(RefCell::new(StepState {
            cache,
            layers,
            tokens: zeros(rows),
            positions: zeros(rows),
            rows: words((0..rows as u32).collect(), model.device()),
            blocks: blocks.map(zeros),
            draws: blocks.map(|_| zeros(3 * rows)),
            twice: (blocks.is_some() && rows == 1).then(|| zeros(2)),
        }));
        let run = if captures_graphs(&device) {
            let state = state.clone();
            let model = model.clone();
            let closure: Box<dyn FnMut() -> StepResult> =
                Box::new(move || step(&model, &mut state.borrow_mut()));
            let graph = capture(&device, closure);
            if let Err(error) = graph.output() {
                return Err(ModelError::Device {
                    reason: error.to_string(),
                });
            }
            tracing::debug!(
                rows,
                hardware = graph.is_hardware(),
                "captured a decode step"
            );
            if !graph.is_hardware() {
                tracing::warn!(
                    "no hardware graph: every decode step launches its kernels one by one"
                );
            }
            Execution::Graph(Box::new(graph))
        } else {
            Execution::Eager(model)
        };
        Ok(Self { state, run })
    }

    /// Cache and buffers, for the prompt.
    pub fn state(&self) -> std::cell::RefMut<'_, StepState> {
        self.state.borrow_mut()
    }

    /// Runs the step on the tokens and positions that the device holds.
    pub fn run(&mut self) -> StepResult {
        match &mut self.run {
            Execution::Eager(model) => step(model, &mut self.state.borrow_mut()),
            Execution::Graph(graph) => {
                // SAFETY: every tensor that the graph touches is owned by its closure (model and
                // state) or its output, and the scratch of its kernels is kept for good by
                // `tritburn::transformer`. All are used on this thread only: `Rc` keeps the step
                // from leaving it, and scratch belongs to the stream of one thread.
                match unsafe { graph.replay() } {
                    Ok(output) => Ok(output.clone()),
                    Err(error) => Err(ModelError::Device {
                        reason: error.to_string(),
                    }),
                }
            }
        }
    }
}

impl StepState {
    /// Says where the next step takes up: one token and position for each sequence.
    pub fn set(
        &mut self,
        tokens: Vec<u32>,
        positions: Vec<u32>,
        model: &CausalLm,
    ) -> Result<(), ModelError> {
        self.set_tokens(tokens, model)?;
        let positions = words(positions, model.device());
        self.positions = overwrite(self.positions.clone(), positions)?;
        Ok(())
    }

    /// Writes the blocks of every row.
    pub fn set_blocks(&mut self, blocks: Vec<u32>, model: &CausalLm) -> Result<(), ModelError> {
        if let Some(held) = &mut self.blocks {
            *held = overwrite(held.clone(), words(blocks, model.device()))?;
        }
        Ok(())
    }

    /// Writes how the next tokens are drawn: three words a row.
    pub fn set_draws(&mut self, draws: Vec<u32>, model: &CausalLm) -> Result<(), ModelError> {
        if let Some(held) = &mut self.draws {
            *held = overwrite(held.clone(), words(draws, model.device()))?;
        }
        Ok(())
    }

    /// Writes other tokens than the largest logits.
    pub fn set_tokens(&mut self, tokens: Vec<u32>, model: &CausalLm) -> Result<(), ModelError> {
        self.tokens = overwrite(self.tokens.clone(), words(tokens, model.device()))?;
        Ok(())
    }
}

/// U32 values on `device`.
pub(crate) fn words(values: Vec<u32>, device: &Device) -> Tensor<1, Int> {
    let len = values.len();
    Tensor::from_data(TensorData::new(values, [len]), (device, DType::U32))
}

fn step(model: &CausalLm, state: &mut StepState) -> StepResult {
    let mut tokens = Tokens::step(state.rows.clone(), state.positions.clone());
    tokens.blocks = state.blocks.clone();
    let ids = state.tokens.clone();
    let mut hidden = match &state.layers {
        Some(layers) => model.forward_stack(ids, &tokens, &state.cache, layers)?,
        None => model.forward(ids, &tokens, &mut state.cache)?,
    };
    if let Some(twice) = &state.twice {
        hidden = hidden.select(twice.clone());
    }
    let logits = model.logits(hidden)?;
    let ids = match &state.draws {
        Some(draws) => {
            let logits = logits.clone().narrow(0, 0, state.rows.dims()[0]);
            draw(logits, draws.clone(), state.positions.clone())?
        }
        None => argmax(logits.clone())?,
    };
    let (tokens, positions) = advance(state.tokens.clone(), state.positions.clone(), ids.clone())?;
    state.tokens = tokens.clone();
    state.positions = positions.clone();
    Ok(StepOutput {
        logits,
        ids,
        _state: (tokens, positions),
    })
}
