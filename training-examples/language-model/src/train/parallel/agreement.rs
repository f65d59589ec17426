//! Points that all devices reach before one of them goes on.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Meetings of the threads that drive the devices of a training.
///
/// Each device waits in its step for the gradients of the others, so none of them may stop alone. The
/// first one decides for all, and a thread that panics ends the others' waiting.
#[derive(Debug)]
pub struct Agreement {
    devices: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Meetings held.
    held: usize,
    /// Threads at the present one.
    here: usize,
    /// What the first device wants at the present meeting.
    proposed: bool,
    /// What was decided at the latest one.
    decided: bool,
    failed: bool,
}

impl Agreement {
    /// Between so many `devices`.
    pub fn new(devices: usize) -> Self {
        Self {
            devices,
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Waits for all devices and returns what the one that says something has said.
    ///
    /// # Panics
    /// If the thread of another device has panicked.
    pub fn decide(&self, proposal: Option<bool>) -> bool {
        let mut state = self.lock();
        let meeting = state.held;
        state.proposed = proposal.unwrap_or(state.proposed);
        state.here += 1;
        if state.here == self.devices {
            (state.here, state.held) = (0, meeting + 1);
            state.decided = std::mem::take(&mut state.proposed);
            self.changed.notify_all();
        }
        while state.held == meeting && !state.failed {
            let woken = self.changed.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
        assert!(!state.failed, "the training failed on another device");
        state.decided
    }

    /// Something that, dropped by a panic, ends the others' waiting.
    pub fn presence(&self) -> Presence<'_> {
        Presence(self)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Held by a thread as long as the others may wait for it.
pub struct Presence<'a>(&'a Agreement);

impl Drop for Presence<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.lock().failed = true;
            self.0.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    #[test]
    fn all_do_what_the_first_one_says_meeting_by_meeting() {
        let agreement = Agreement::new(3);
        let first = [false, false, true, false];
        std::thread::scope(|scope| {
            let others = [0; 2].map(|_| scope.spawn(|| first.map(|_| agreement.decide(None))));
            assert_eq!(first.map(|stop| agreement.decide(Some(stop))), first);
            for other in others {
                assert_eq!(other.join().unwrap(), first);
            }
        });
    }

    #[test]
    fn nobody_waits_for_a_thread_that_panicked() {
        let agreement = Agreement::new(2);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| catch_unwind(|| agreement.decide(None)).is_err());
            let failing = scope.spawn(|| {
                let _presence = agreement.presence();
                panic!("a device is gone");
            });
            assert!(failing.join().is_err());
            assert!(waiting.join().unwrap());
        });
    }
}
