//! The part of every step that one of several devices computes.

use std::ops::Range;

/// One of `count` parts of a step, all of them as equal as can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Which part, counted from 0.
    pub index: usize,
    /// Number of parts.
    pub count: usize,
}

impl Shard {
    /// The only part of a step that is not divided.
    pub const WHOLE: Self = Self { index: 0, count: 1 };

    /// The places of `length` items that belong to this part; the first parts are longer by one where the
    /// number does not divide `length`.
    pub fn range(self, length: usize) -> Range<usize> {
        let (least, longer) = (length / self.count, length % self.count);
        let start = self.index * least + self.index.min(longer);
        start..start + least + usize::from(self.index < longer)
    }

    /// All parts of something that is divided into `count`.
    pub fn all(count: usize) -> impl Iterator<Item = Self> {
        (0..count).map(move |index| Self { index, count })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_everything_once_and_differ_by_one_at_most() {
        for (length, count) in [(8, 2), (7, 2), (16, 3), (3, 3), (1, 2), (0, 4)] {
            let ranges: Vec<_> = Shard::all(count).map(|part| part.range(length)).collect();
            let covered: Vec<usize> = ranges.iter().cloned().flatten().collect();
            assert_eq!(covered, (0..length).collect::<Vec<_>>());
            let sizes = || ranges.iter().map(ExactSizeIterator::len);
            assert!(sizes().max().unwrap() - sizes().min().unwrap() <= 1);
        }
        assert_eq!(Shard::WHOLE.range(5), 0..5);
    }
}
