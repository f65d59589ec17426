//! Values that are made on demand and then kept for good.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

/// Values by key, of several sizes for a key if need be. None is ever dropped: what was captured
/// with one may use it again at any time.
pub(super) struct Kept<K, T>(Mutex<Option<HashMap<K, Vec<T>>>>);

impl<K: Eq + Hash, T: Clone> Kept<K, T> {
    pub const fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// The first value of `key` that `fits`, else a new one. Sizes that are powers
    /// of two keep all of them together below twice the largest.
    pub fn get(&self, key: K, fits: impl Fn(&T) -> bool, make: impl FnOnce() -> T) -> T {
        // A panic while the lock was held added a value or did not: both are whole.
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let values = kept.get_or_insert_default().entry(key).or_default();
        if let Some(value) = values.iter().find(|&value| fits(value)) {
            return value.clone();
        }
        let value = make();
        values.push(value.clone());
        value
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_larger_value_does_not_drop_the_smaller_one() {
        let kept = Kept::new();
        let get = |key, size: usize| kept.get(key, |v: &Arc<usize>| **v >= size, || Arc::new(size));
        let small = Arc::downgrade(&get("a", 1));
        let large = Arc::downgrade(&get("a", 4));
        let again = get("a", 1);
        assert!(Arc::ptr_eq(&again, &small.upgrade().expect("kept")));
        assert!(Arc::ptr_eq(&get("a", 3), &large.upgrade().expect("kept")));
        assert!(!Arc::ptr_eq(&get("b", 1), &again), "keys share nothing");
    }
}
