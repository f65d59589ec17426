//! Times calls through a graph of the device, where it has one.

use std::time::Instant;

use anyhow::{Result, ensure};
use cubecl::client::Graph;

use super::Bench;
use crate::timing::{Method, Plan, Timing};

/// Most calls in a graph.
const MAX_CALLS: usize = 4096;

impl Bench {
    /// Times `call(i)`, which launches work on copy `i mod copies` of its weights. The calls are
    /// recorded into a graph once and replayed; without graphs they are launched in batches.
    ///
    /// # Errors
    /// The first error of a call, or of the device.
    pub fn time(&self, copies: usize, call: impl Fn(usize) -> Result<()>) -> Result<Timing> {
        let calls = self.calls_per_graph(copies, &call)?;
        let sequence = || (0..calls).try_for_each(|i| call(i % copies));
        match self.record(sequence) {
            Ok(graph) => {
                let whole = self.plan.batches(1, Method::Graph, |replays| {
                    let start = Instant::now();
                    for _ in 0..replays {
                        // SAFETY: `call` holds the buffers, nothing else runs on this device, and
                        // every launch of this thread goes to the stream of the capture.
                        unsafe { graph.replay() }?;
                    }
                    self.sync()?;
                    Ok(start.elapsed())
                })?;
                Ok(Plan::per_call(whole, calls))
            }
            Err(reason) => {
                if self.facts.cuda.is_some() {
                    eprintln!("warning: timed from the host, no graph: {reason:#}");
                }
                let mut failed = None;
                let sync = || failed = self.sync().err().or(failed.take());
                let timing = self.plan.host(sync, |i| call(i % copies))?;
                failed.map_or(Ok(timing), Err)
            }
        }
    }

    /// Whole rounds of copies that take about half a sample, kernels being compiled on the way.
    fn calls_per_graph(&self, copies: usize, call: impl Fn(usize) -> Result<()>) -> Result<usize> {
        ensure!(copies > 0, "no copy of the weights");
        call(0)?;
        self.sync()?;
        let trial = copies.clamp(2, 16);
        let start = Instant::now();
        (0..trial).try_for_each(|i| call(i % copies))?;
        self.sync()?;
        let once = start.elapsed().as_secs_f64() / trial as f64;
        let wanted = self.plan.sample_time().as_secs_f64() / 2.0 / once.max(1e-9);
        let rounds = (wanted / copies as f64).ceil().max(1.0) as usize;
        Ok(copies * rounds.min((MAX_CALLS / copies).max(1)))
    }

    fn record(&self, sequence: impl Fn() -> Result<()>) -> Result<Graph> {
        self.client.graph_prepare()?;
        // The run to record may allocate nothing: these fill the pools and the launch caches.
        let warm = (0..2).try_for_each(|_| {
            sequence()?;
            self.sync()
        });
        let recorded = warm.and_then(|()| {
            self.client.start_capture()?;
            sequence()
        });
        // Ends the capture whatever happened before.
        let graph = self.client.stop_capture();
        recorded?;
        let graph = graph?;
        // SAFETY: as for every replay above.
        unsafe { graph.replay() }?;
        self.sync()?;
        Ok(graph)
    }
}
