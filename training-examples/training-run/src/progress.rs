//! Progress without a terminal: a line now and then.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use burn::train::LearnerSummary;
use burn::train::logger::{EvaluationProgressLogger, TrainingProgressLogger};
use burn::train::metric::{
    MetricAttributes, MetricDefinition, MetricId, MetricName, NumericAttributes,
};
use burn::train::renderer::{
    EvaluationName, MetricState, MetricsRenderer, MetricsRendererEvaluation,
    MetricsRendererTraining,
};

use crate::heartbeat::Heartbeat;
use crate::steps::Steps;

/// Time between two lines.
const INTERVAL: Duration = Duration::from_secs(5);

/// Name and unit of a metric.
type Label = (MetricName, String);

/// Prints a line with the latest metrics every few seconds, and one after every epoch.
///
/// Burn's own renderer for this case prints a line a step, without metrics.
pub struct PlainProgress {
    steps: Steps,
    /// What held-out data are called.
    held_out: &'static str,
    /// Steps done before this epoch.
    epoch_start: usize,
    steps_done: usize,
    training: bool,
    metrics: HashMap<MetricId, Label>,
    /// Latest values in order of registration.
    train: Vec<(Label, f64)>,
    valid: Vec<(Label, f64)>,
    /// When the latest line was printed, and the steps that were done then.
    printed: (Instant, usize),
    /// Until the first step is done.
    waiting: Option<Heartbeat>,
}

impl PlainProgress {
    /// Progress of a training that begins after step `resumed_at`; `held_out` is what lines about held-out
    /// data begin with.
    pub fn new(steps: Steps, resumed_at: usize, held_out: &'static str) -> Self {
        Self {
            steps,
            held_out,
            epoch_start: resumed_at,
            steps_done: resumed_at,
            training: true,
            metrics: HashMap::new(),
            train: Vec::new(),
            valid: Vec::new(),
            printed: (Instant::now(), resumed_at),
            waiting: Some(Heartbeat::start("the first step")),
        }
    }

    fn keep(&mut self, state: MetricState, train: bool) {
        let MetricState::Numeric(entry, Some(value)) = state else {
            return;
        };
        let Some(label) = self.metrics.get(&entry.metric_id) else {
            return;
        };
        let values = if train {
            &mut self.train
        } else {
            &mut self.valid
        };
        match values.iter_mut().find(|(known, _)| known == label) {
            Some((_, latest)) => *latest = value.current(),
            None => values.push((label.clone(), value.current())),
        }
    }

    /// A line about the training, with the time that is left at the speed since the latest line: steps
    /// before that were slower if kernels were compiled.
    fn print_step(&mut self) {
        let (since, done_then) = self.printed;
        let rate = (self.steps_done - done_then) as f64 / since.elapsed().as_secs_f64();
        let left = (self.steps.all - self.steps_done) as f64 / rate.max(1e-9);
        let left = format!("  {left:.0} s left");
        self.print("step", &self.train.clone(), &left);
    }

    fn print(&mut self, what: &str, values: &[(Label, f64)], left: &str) {
        let (done, total) = (self.steps_done, self.steps.all);
        let values: String = values
            .iter()
            .map(|((name, unit), value)| format!("  {name} {}{unit}", short(*value)))
            .collect();
        println!("{what} {done}/{total}{values}{left}");
        self.printed = (Instant::now(), done);
    }
}

/// Four significant digits.
fn short(value: f64) -> String {
    match value.abs() {
        small if small < 0.01 && small > 0.0 => format!("{value:.2e}"),
        middle if middle < 10.0 => format!("{value:.3}"),
        large if large >= 10_000.0 => format!("{value:.0}"),
        _ => format!("{value:.1}"),
    }
}

impl MetricsRendererTraining for PlainProgress {
    fn update_train(&mut self, state: MetricState) {
        self.keep(state, true);
    }

    fn update_valid(&mut self, state: MetricState) {
        self.keep(state, false);
    }

    fn on_train_end(
        &mut self,
        _summary: Option<LearnerSummary>,
    ) -> Result<(), Box<dyn std::error::Error>> {
        Ok(())
    }
}

impl TrainingProgressLogger for PlainProgress {
    fn start(&mut self, _: usize, _: usize, _: Option<usize>, _: Option<&str>) {
        self.printed.0 = Instant::now();
    }

    fn start_split(&mut self, split: &str, _total_items: usize) {
        self.training = split == "train";
    }

    fn update_split(&mut self, items_processed: usize) {
        self.waiting = None;
        if !self.training {
            return;
        }
        self.steps_done = self.epoch_start + items_processed;
        if self.printed.0.elapsed() >= INTERVAL {
            self.print_step();
        }
    }

    fn update_epoch(&mut self, epoch: usize) {
        self.epoch_start = self.steps.after(epoch);
        let values = self.valid.clone();
        let what = format!("{} after step", self.held_out);
        self.print(&what, &values, "");
    }

    fn end_split(&mut self) {}

    fn end(&mut self) {}

    fn log_event_training(&mut self, _event: String) {}
}

impl MetricsRenderer for PlainProgress {
    fn manual_close(&mut self) {}

    fn register_metric(&mut self, definition: MetricDefinition) {
        let unit = match definition.attributes {
            MetricAttributes::Numeric(NumericAttributes {
                unit: Some(unit), ..
            }) => unit,
            _ => String::new(),
        };
        self.metrics
            .insert(definition.metric_id, (definition.name, unit));
    }
}

// Burn asks for one renderer for both; nothing is evaluated through it here.
impl MetricsRendererEvaluation for PlainProgress {
    fn update_test(&mut self, _name: EvaluationName, _state: MetricState) {}
}

impl EvaluationProgressLogger for PlainProgress {
    fn start_global_progress(&mut self, _total_tests: usize) {}

    fn start_test(&mut self, _name: &str, _total_items: usize) {}

    fn update_test_progress(&mut self, _items_processed: usize) {}

    fn end_test(&mut self) {}

    fn end_global_progress(&mut self) {}

    fn log_event_evaluation(&mut self, _event: String) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_size_keep_their_meaning() {
        let shown = [0.0, 0.00123, 0.0199, 1.23456, 41.96, 588_901.3].map(short);
        assert_eq!(
            shown,
            ["0.000", "1.23e-3", "0.020", "1.235", "42.0", "588901"]
        );
    }
}
