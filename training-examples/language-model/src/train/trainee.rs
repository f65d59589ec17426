//! The model as Burn trains it.

use std::sync::Arc;

use burn::lr_scheduler::module_lr_scheduler::ModuleLearningRate;
use burn::module::Module;
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{ExecutionError, Tensor};
use burn::train::metric::Adaptor;
use burn::train::{InferenceStep, ItemLazy, TrainOutput, TrainStep};
use tritburn::stats::{LayerCodes, flip_share, layer_codes, zero_share};
use tritburn_models::TrainableModel;

use crate::data::ByteBatch;

/// A [`TrainableModel`] and what is watched of its codes.
#[derive(Module, Debug)]
pub struct Trainee {
    /// The model.
    pub model: TrainableModel,
    /// The codes after the latest step.
    #[module(skip)]
    codes: Option<Arc<Vec<LayerCodes>>>,
    #[module(skip)]
    shares: Option<CodeShares>,
}

/// What the latest step did to the codes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CodeShares {
    /// Share of weights that are zero.
    pub zero: f64,
    /// Share of weights whose code the step changed.
    pub flipped: f64,
}

impl Trainee {
    /// A model about to be trained.
    pub fn new(model: TrainableModel) -> Self {
        Self {
            model,
            codes: None,
            shares: None,
        }
    }

    /// Compares the codes with those before the step. Weights that are not finite have none.
    fn watch(&mut self, before: Option<Arc<Vec<LayerCodes>>>) {
        self.codes = codes_of(&self.model);
        self.shares = match (before, &self.codes) {
            (Some(before), Some(after)) if !after.is_empty() => Some(CodeShares {
                zero: zero_share(after),
                flipped: flip_share(&before, after),
            }),
            _ => None,
        };
    }
}

fn codes_of(model: &TrainableModel) -> Option<Arc<Vec<LayerCodes>>> {
    layer_codes(model).ok().map(Arc::new)
}

fn loss_of(model: &TrainableModel, batch: &ByteBatch) -> Tensor<1> {
    let loss = model.loss(batch.inputs.clone(), batch.targets.clone());
    loss.expect("windows are as long as the context of the model, and on its device")
}

impl TrainStep for Trainee {
    type Input = ByteBatch;
    type Output = StepReport;

    fn step(&self, batch: ByteBatch) -> TrainOutput<StepReport> {
        let loss = loss_of(&self.model, &batch);
        let report = StepReport {
            step: batch.step,
            loss: loss.clone().detach(),
            shares: self.shares,
        };
        TrainOutput::new(self, loss.backward(), report)
    }

    fn optimize(
        mut self,
        optimizer: &mut ModuleOptimizer,
        rate: ModuleLearningRate,
        gradients: GradientsParams,
    ) -> Self {
        let before = self.codes.take().or_else(|| codes_of(&self.model));
        let mut trained = optimizer.step(rate, self, gradients);
        trained.watch(before);
        trained
    }
}

impl InferenceStep for Trainee {
    type Input = ByteBatch;
    type Output = StepReport;

    fn step(&self, batch: ByteBatch) -> StepReport {
        let loss = loss_of(&self.model, &batch);
        StepReport {
            step: batch.step,
            loss,
            shares: None,
        }
    }
}

/// What is known of a step when its gradients are.
#[derive(Clone, Debug)]
pub struct StepReport {
    /// The step, counted from 1; 0 in validation.
    pub step: usize,
    /// Mean cross-entropy in nats a byte, `[1]`.
    pub loss: Tensor<1>,
    /// What the step before did to the codes.
    pub shares: Option<CodeShares>,
}

impl ItemLazy for StepReport {
    fn sync(self) -> Result<Self, ExecutionError> {
        self.loss.device().sync()?;
        Ok(self)
    }
}

impl Adaptor<StepReport> for StepReport {
    fn adapt(&self) -> StepReport {
        self.clone()
    }
}
