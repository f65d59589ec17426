//! Numbers for dashboards, under vLLM's names.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use tritburn_models::engine::{EnginePool, EngineStats, Usage};

/// The form that [`Metrics::text`] has.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What is counted about requests; what engines count of themselves is asked of them.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    first_token: Histogram,
    between_tokens: Histogram,
    whole_request: Histogram,
    queue: Histogram,
    prompt_tokens: Histogram,
    generation_tokens: Histogram,
    finished: Family<FinishLabels, Counter>,
    refused: Family<RefusalLabels, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FinishLabels {
    finished_reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusalLabels {
    status: u16,
}

impl Metrics {
    /// Nothing counted yet, for a model of this name.
    pub fn new(model: &str, engines: Option<Arc<EnginePool>>) -> Self {
        let labels = [("model_name".into(), model.to_string().into())];
        let mut registry = Registry::with_labels(labels.into_iter());
        let mut histogram = |name: &str, help: &str, buckets: &[f64]| {
            let histogram = Histogram::new(buckets.iter().copied());
            registry.register(name, help, histogram.clone());
            histogram
        };
        let first_token = histogram(
            "vllm:time_to_first_token_seconds",
            "From a request to its first token",
            &FIRST_TOKEN,
        );
        let between_tokens = histogram(
            "vllm:inter_token_latency_seconds",
            "From a token to the next of the same answer",
            &BETWEEN_TOKENS,
        );
        let whole_request = histogram(
            "vllm:e2e_request_latency_seconds",
            "From a request to its end",
            &REQUEST,
        );
        let queue = histogram(
            "vllm:request_queue_time_seconds",
            "From a request to the start of its work",
            &REQUEST,
        );
        let sizes: Vec<f64> = exponential_buckets(1.0, 2.0, 18).collect();
        let prompt_tokens = histogram("vllm:request_prompt_tokens", "Tokens of a prompt", &sizes);
        let generation_tokens = histogram(
            "vllm:request_generation_tokens",
            "Tokens of an answer",
            &sizes,
        );
        let finished = Family::default();
        registry.register(
            "vllm:request_success",
            "Answers that came to their end",
            finished.clone(),
        );
        if let Some(engines) = engines {
            registry.register_collector(Box::new(Engines(engines)));
        }
        let refused = Family::default();
        registry.register(
            "tritburn:refused_requests",
            "Requests that were refused",
            refused.clone(),
        );
        Self {
            registry,
            first_token,
            between_tokens,
            whole_request,
            queue,
            prompt_tokens,
            generation_tokens,
            finished,
            refused,
        }
    }

    /// A token came `after` the one before it.
    pub fn token(&self, after: Duration) {
        self.between_tokens.observe(after.as_secs_f64());
    }

    /// An answer came to its end.
    pub fn finish(&self, reason: &'static str, usage: &Usage) {
        self.finished
            .get_or_create(&FinishLabels {
                finished_reason: reason,
            })
            .inc();
        if usage.generated_tokens > 0 {
            self.first_token
                .observe(usage.first_token_time.as_secs_f64());
        }
        self.whole_request.observe(usage.total_time.as_secs_f64());
        self.queue.observe(usage.queue_time.as_secs_f64());
        self.prompt_tokens.observe(usage.prompt_tokens as f64);
        self.generation_tokens
            .observe(usage.generated_tokens as f64);
    }

    /// A request was refused.
    pub fn refuse(&self, status: u16) {
        self.refused.get_or_create(&RefusalLabels { status }).inc();
    }

    /// All of it as text.
    ///
    /// # Errors
    /// None but those of formatting.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

const FIRST_TOKEN: [f64; 16] = [
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0,
];
const BETWEEN_TOKENS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5,
];
const REQUEST: [f64; 15] = [
    0.05, 0.1, 0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0,
];

/// Which engine a number is of, as vLLM labels it.
type EngineLabel = [(&'static str, String); 1];

/// What engines count of themselves.
struct Engines(Arc<EnginePool>);

impl fmt::Debug for Engines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} engines", self.0.engines().len())
    }
}

impl Collector for Engines {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let engines: Vec<(EngineLabel, EngineStats, bool)> = self
            .0
            .engines()
            .iter()
            .enumerate()
            .map(|(index, engine)| {
                let label = [("engine", index.to_string())];
                (label, engine.stats(), engine.is_alive())
            })
            .collect();
        let mut gauge = |name: &str, help: &str, value: &dyn Fn(&EngineStats) -> f64| {
            let kind = ConstGauge::new(0.0).metric_type();
            let mut family = encoder.encode_descriptor(name, help, None, kind)?;
            for (label, stats, _) in &engines {
                ConstGauge::new(value(stats)).encode(family.encode_family(label)?)?;
            }
            Ok(())
        };
        gauge("vllm:num_requests_running", "Sequences that run", &|s| {
            s.running as f64
        })?;
        gauge("vllm:num_requests_waiting", "Sequences that wait", &|s| {
            s.waiting as f64
        })?;
        gauge(
            "vllm:kv_cache_usage_perc",
            "Share of the cache's blocks that sequences hold, 1 for all",
            &EngineStats::cache_usage,
        )?;
        let mut counter = |name: &str, help: &str, value: &dyn Fn(&EngineStats) -> u64| {
            let kind = ConstCounter::new(0u64).metric_type();
            let mut family = encoder.encode_descriptor(name, help, None, kind)?;
            for (label, stats, _) in &engines {
                ConstCounter::new(value(stats)).encode(family.encode_family(label)?)?;
            }
            Ok(())
        };
        counter(
            "vllm:prefix_cache_queries",
            "Tokens of prompts that were looked up in the cache",
            &|s| s.prefix_queries,
        )?;
        counter(
            "vllm:prefix_cache_hits",
            "Tokens of prompts that were found in the cache",
            &|s| s.prefix_hits,
        )?;
        counter("vllm:prompt_tokens", "Tokens of prompts", &|s| {
            s.prompt_tokens
        })?;
        counter("vllm:generation_tokens", "New tokens", &|s| {
            s.generated_tokens
        })?;
        counter(
            "vllm:num_preemptions",
            "Sequences that made room for others before their end",
            &|s| s.preemptions,
        )?;
        step_tokens(&mut encoder, &engines)?;
        let kind = ConstGauge::new(0).metric_type();
        let mut family = encoder.encode_descriptor(
            "tritburn:engine_alive",
            "1 if the engine works",
            None,
            kind,
        )?;
        for (label, _, alive) in &engines {
            ConstGauge::new(i64::from(*alive)).encode(family.encode_family(label)?)?;
        }
        Ok(())
    }
}

/// Tokens of a step, as vLLM's `iteration_tokens_total`.
fn step_tokens(
    encoder: &mut DescriptorEncoder,
    engines: &[(EngineLabel, EngineStats, bool)],
) -> fmt::Result {
    let kind = Histogram::new([]).metric_type();
    let name = "vllm:iteration_tokens_total";
    let mut family = encoder.encode_descriptor(name, "Tokens of a step", None, kind)?;
    for (label, stats, _) in engines {
        let steps = &stats.step_tokens;
        let mut below = 0;
        let mut buckets: Vec<(f64, u64)> = Vec::new();
        for (bound, up_to) in steps.cumulative() {
            buckets.push((bound as f64, up_to - below));
            below = up_to;
        }
        buckets.push((f64::MAX, steps.count() - below));
        let mut metric = family.encode_family(label)?;
        metric.encode_histogram::<NoLabelSet>(steps.sum() as f64, steps.count(), &buckets, None)?;
    }
    Ok(())
}
