//! A step that waits until the checkpoint before it is read.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Records of checkpoints that are still to be read from their device.
///
/// A record made of tensors on a CubeCL device is read when it is written, by the thread that writes it, and
/// holds what is in their memory then. Optimizers write parameters and moments in place: a step that began
/// earlier would change the checkpoint. It waits until all records are in the memory of the host, while they
/// are written to disk beside it.
#[derive(Clone, Debug, Default)]
pub struct Unread(Arc<State>);

#[derive(Debug, Default)]
struct State {
    records: Mutex<usize>,
    read: Condvar,
}

impl Unread {
    /// As many more records will be read.
    pub fn add(&self, records: usize) {
        *self.lock() += records;
    }

    /// One of them: read, or given up, when this is dropped.
    pub fn one(&self) -> Reading {
        Reading(self.clone())
    }

    /// Waits until all are read.
    pub fn wait(&self) {
        let mut records = self.lock();
        while *records > 0 {
            let woken = self.0.read.wait(records);
            records = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, usize> {
        let records = self.0.records.lock();
        records.unwrap_or_else(PoisonError::into_inner)
    }
}

/// Held while a record is read.
pub struct Reading(Unread);

impl Drop for Reading {
    fn drop(&mut self) {
        let mut records = self.0.lock();
        // Restored and foreign records were never counted.
        *records = records.saturating_sub(1);
        self.0.0.read.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn nobody_goes_on_before_all_records_are_read() {
        let unread = Unread::default();
        unread.wait();
        unread.add(3);
        let read = AtomicUsize::new(0);
        thread::scope(|scope| {
            for part in 0..3u64 {
                let (unread, read) = (&unread, &read);
                scope.spawn(move || {
                    let reading = unread.one();
                    thread::sleep(Duration::from_millis(20 * part));
                    read.fetch_add(1, Ordering::SeqCst);
                    drop(reading);
                });
            }
            unread.wait();
            assert_eq!(read.load(Ordering::SeqCst), 3);
        });
    }
}
