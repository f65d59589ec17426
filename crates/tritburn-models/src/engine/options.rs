//! The sizes of an engine.

use std::time::Duration;

use super::EngineError;

/// Sizes and limits of an [`Engine`](super::Engine).
///
/// # Examples
///
/// ```
/// use tritburn_models::engine::EngineOptions;
///
/// let options = EngineOptions { max_sequences: 8, context: Some(2048), ..Default::default() };
/// assert_eq!(options.block_size, 64);
/// ```
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Sequences that run at once; others wait. A request of `n` choices is `n` sequences.
    pub max_sequences: usize,
    /// Positions of a sequence, prompt and answer together; the model's own if `None`.
    pub context: Option<usize>,
    /// Positions that the key-value cache holds, of all sequences together, rounded up to blocks. `None`
    /// takes room for `max_sequences` of the whole context: more than most loads need.
    pub cache_tokens: Option<usize>,
    /// Positions of a block of the cache: what sequences take at a time, and what they share.
    pub block_size: usize,
    /// Whether prompts that begin alike share the blocks of what is alike.
    pub prefix_sharing: bool,
    /// Requests that may wait. The next one is refused.
    pub max_waiting: usize,
    /// Tokens of prompts in a step at most.
    pub prefill_tokens: usize,
    /// How long a step may take while answers are being written: prompts are read in smaller parts then. A
    /// part has at least [`MIN_PART`](super::MIN_PART) tokens, so this is an aim.
    pub step_time: Duration,
    /// Batch sizes for which a decode step is captured as a graph, on devices that have graphs: those up to
    /// the first that holds `max_sequences`. A step of fewer sequences is filled up to the next size; one of
    /// more sequences than the largest is launched operation by operation.
    pub graph_sizes: Vec<usize>,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            max_sequences: 64,
            context: None,
            cache_tokens: None,
            block_size: 64,
            prefix_sharing: true,
            max_waiting: 256,
            prefill_tokens: 2048,
            step_time: Duration::from_millis(50),
            graph_sizes: vec![1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512],
        }
    }
}

impl EngineOptions {
    /// The batch sizes to capture: none that is larger than `max_sequences` needs.
    pub(super) fn captured_sizes(&self) -> Vec<usize> {
        let sizes = || self.graph_sizes.iter().map(|&size| size.max(1));
        let enough = sizes().filter(|&size| size >= self.max_sequences).min();
        sizes()
            .filter(|&size| enough.is_none_or(|enough| size <= enough))
            .collect()
    }

    /// Refuses sizes that nothing could run with.
    pub(super) fn validate(&self) -> Result<(), EngineError> {
        let sizes = [
            ("max_sequences", self.max_sequences),
            ("context", self.context.unwrap_or(1)),
            ("cache_tokens", self.cache_tokens.unwrap_or(1)),
            ("block_size", self.block_size),
            ("max_waiting", self.max_waiting),
            ("prefill_tokens", self.prefill_tokens),
        ];
        match sizes.into_iter().find(|&(_, value)| value == 0) {
            Some((name, _)) => Err(EngineError::Zero { name }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_reach_the_first_that_holds_all_sequences() {
        let sizes = |graph_sizes: &[usize], max_sequences| {
            let graph_sizes = graph_sizes.to_vec();
            let options = EngineOptions {
                graph_sizes,
                max_sequences,
                ..EngineOptions::default()
            };
            options.captured_sizes()
        };
        assert_eq!(sizes(&[8, 1, 4, 16], 3), [1, 4], "in any order");
        assert_eq!(sizes(&[1, 2, 4], 4), [1, 2, 4]);
        assert_eq!(sizes(&[1, 2, 4], 5), [1, 2, 4], "none holds them");
        assert_eq!(sizes(&[0, 8], 3), [1, 8]);
    }
}
