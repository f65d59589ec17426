//! What an engine has done, for dashboards.

use super::FinishReason;

/// Counters and gauges of an engine since its start.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct EngineStats {
    /// Sequences that run.
    pub running: usize,
    /// Sequences that wait.
    pub waiting: usize,
    /// Blocks of the cache.
    pub blocks: usize,
    /// Blocks that sequences hold. Others may still have what later prompts can share.
    pub blocks_used: usize,
    /// Tokens of prompts that were looked up in the cache.
    pub prefix_queries: u64,
    /// Tokens of prompts that were found there.
    pub prefix_hits: u64,
    /// Tokens of prompts that started.
    pub prompt_tokens: u64,
    /// New tokens.
    pub generated_tokens: u64,
    /// Sequences that gave their blocks back before their end, for others to go on.
    pub preemptions: u64,
    /// Choices that came to an end by a stop.
    pub finished_stop: u64,
    /// Choices that came to an end by their length.
    pub finished_length: u64,
    /// Choices that were cancelled or met their deadline.
    pub finished_cancelled: u64,
    /// Choices that failed.
    pub finished_failed: u64,
    /// Requests that a full queue refused.
    pub refused: u64,
    /// Tokens of a step.
    pub step_tokens: Histogram,
}

impl EngineStats {
    /// Counts a choice that ended.
    pub(super) fn count(&mut self, reason: &FinishReason) {
        let counter = match reason {
            FinishReason::Stop(_) => &mut self.finished_stop,
            FinishReason::Length => &mut self.finished_length,
            FinishReason::Cancelled | FinishReason::Deadline => &mut self.finished_cancelled,
            FinishReason::Failed(_) => &mut self.finished_failed,
        };
        *counter += 1;
    }

    /// Share of the cache's blocks that sequences hold, from 0 to 1.
    pub fn cache_usage(&self) -> f64 {
        match self.blocks {
            0 => 0.0,
            blocks => self.blocks_used as f64 / blocks as f64,
        }
    }
}

/// Values counted by size, in buckets of powers of two.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    counts: [u64; Histogram::BOUNDS.len()],
    count: u64,
    sum: u64,
}

impl Histogram {
    /// Largest value of each bucket; what is larger only counts in [`count`](Self::count).
    pub const BOUNDS: [u64; 14] = [
        1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192,
    ];

    /// Adds a value.
    pub(super) fn record(&mut self, value: u64) {
        if let Some(bucket) = Self::BOUNDS.iter().position(|&bound| value <= bound) {
            self.counts[bucket] += 1;
        }
        self.count += 1;
        self.sum += value;
    }

    /// `(bound, values up to it)`, as Prometheus counts.
    pub fn cumulative(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let counts = self.counts.iter().scan(0, |total, count| {
            *total += count;
            Some(*total)
        });
        Self::BOUNDS.into_iter().zip(counts)
    }

    /// Values.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Their sum.
    pub fn sum(&self) -> u64 {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_count_all_values_up_to_their_bound() {
        let mut histogram = Histogram::default();
        for value in [1, 2, 3, 8192, 8193] {
            histogram.record(value);
        }
        let counts: Vec<_> = histogram.cumulative().collect();
        assert_eq!(counts[..4], [(1, 1), (2, 2), (4, 3), (8, 3)]);
        assert_eq!(counts[13], (8192, 4));
        assert_eq!((histogram.count(), histogram.sum()), (5, 16391));
    }
}
