//! A word now and then while nothing else is to be seen.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::logging::Counts;

/// Time between two lines.
const INTERVAL: Duration = Duration::from_secs(2);

/// Says on the standard error what is being waited for, every two seconds until it is dropped: a GPU's kernels are
/// compiled, and some of Burn's tuned, when they are first launched. Says nothing of what is over sooner.
pub struct Heartbeat {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Heartbeat {
    /// Lines that begin with `what`: "getting ready for the first step".
    pub fn start(what: &'static str) -> Self {
        let (stop, stopped) = channel();
        let begun = Instant::now();
        let thread = std::thread::spawn(move || {
            let counts = Counts::listen();
            let mut said = false;
            while stopped.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                said = true;
                let seconds = begun.elapsed().as_secs();
                eprintln!("{what}: {seconds} s{}", counts.in_words());
            }
            if said {
                let seconds = begun.elapsed().as_secs_f64();
                eprintln!("{what}: done after {seconds:.1} s{}", counts.in_words());
            }
        });
        Self {
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // A thread that prints has no result.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_waits_for_the_end_of_an_interval() {
        let begun = Instant::now();
        drop(Heartbeat::start("waiting"));
        assert!(begun.elapsed() < INTERVAL);
    }
}
