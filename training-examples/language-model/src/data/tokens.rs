//! Token ids, in memory or in a file.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;
use rayon::prelude::*;

use super::DataError;

/// Ids of a text in its order. Clones share them.
#[derive(Clone, Debug)]
pub enum Tokens {
    /// In memory.
    Held(Arc<[u32]>),
    /// In a file, little-endian, read as they are needed.
    Mapped {
        /// The file.
        map: Arc<Mmap>,
        /// Bytes of an id.
        width: Width,
    },
}

/// Bytes of an id in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// `u16`, for vocabularies of at most 65,536 tokens.
    Two,
    /// `u32`.
    Four,
}

impl Width {
    /// The narrowest that holds every id of a vocabulary.
    pub fn of(vocabulary: usize) -> Self {
        match vocabulary <= 1 << 16 {
            true => Self::Two,
            false => Self::Four,
        }
    }

    /// In bytes.
    pub fn bytes(self) -> usize {
        match self {
            Self::Two => 2,
            Self::Four => 4,
        }
    }
}

impl Tokens {
    /// Every byte as the token of its value.
    pub fn of_bytes(text: &[u8]) -> Self {
        Self::Held(text.iter().map(|byte| u32::from(*byte)).collect())
    }

    /// The ids in the file at `path`, all below `vocabulary`.
    ///
    /// # Errors
    /// [`DataError`] if the file cannot be read, has half an id at its end, or an id that is too large.
    pub fn map(path: &Path, width: Width, vocabulary: usize) -> Result<Self, DataError> {
        let file = File::open(path).map_err(DataError::unreadable(path))?;
        // SAFETY: the ids are only read. A file that somebody else shortens meanwhile ends the process, as
        // for every program that maps files.
        let map = unsafe { Mmap::map(&file) }.map_err(DataError::unreadable(path))?;
        if map.len() % width.bytes() != 0 {
            return Err(DataError::TornTokens {
                path: path.into(),
                bytes: map.len(),
                width: width.bytes(),
            });
        }
        let map = Arc::new(map);
        let tokens = Self::Mapped { map, width };
        let wrong = (0..tokens.len())
            .into_par_iter()
            .with_min_len(1 << 16)
            .find_first(|&at| tokens.at(at) as usize >= vocabulary);
        match wrong {
            None => Ok(tokens),
            Some(at) => Err(DataError::TokenId {
                path: path.into(),
                at,
                found: tokens.at(at),
                vocabulary,
            }),
        }
    }

    /// Number of ids.
    pub fn len(&self) -> usize {
        match self {
            Self::Held(ids) => ids.len(),
            Self::Mapped { map, width } => map.len() / width.bytes(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The ids from `start` on, `length` of them, which there must be.
    pub fn window(&self, start: usize, length: usize) -> impl Iterator<Item = u32> {
        (start..start + length).map(|at| self.at(at))
    }

    fn at(&self, index: usize) -> u32 {
        match self {
            Self::Held(ids) => ids[index],
            Self::Mapped { map, width } => match width {
                Width::Two => u32::from(u16::from_le_bytes([map[2 * index], map[2 * index + 1]])),
                Width::Four => {
                    let mut bytes = [0; 4];
                    bytes.copy_from_slice(&map[4 * index..4 * index + 4]);
                    u32::from_le_bytes(bytes)
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        file
    }

    #[test]
    fn ids_of_a_file_are_those_that_were_written() {
        let two = file(&[1, 0, 255, 255, 0, 1]);
        let tokens = Tokens::map(two.path(), Width::Two, 1 << 16).unwrap();
        assert_eq!(tokens.window(0, 3).collect::<Vec<_>>(), [1, 65_535, 256]);
        let four = file(&[1, 2, 0, 0, 0, 0, 1, 0]);
        let tokens = Tokens::map(four.path(), Width::Four, 1 << 17).unwrap();
        assert_eq!(tokens.window(1, 1).collect::<Vec<_>>(), [65_536]);
        assert_eq!(tokens.window(0, 1).collect::<Vec<_>>(), [513]);
    }

    #[test]
    fn half_an_id_and_one_past_the_vocabulary_are_refused_with_their_place() {
        let torn = Tokens::map(file(&[1, 0, 2]).path(), Width::Two, 256).unwrap_err();
        assert!(matches!(torn, DataError::TornTokens { bytes: 3, .. }));
        let large = Tokens::map(file(&[1, 0, 0, 1]).path(), Width::Two, 256).unwrap_err();
        assert!(matches!(
            large,
            DataError::TokenId {
                at: 1,
                found: 256,
                ..
            }
        ));
    }

    #[test]
    fn a_vocabulary_of_two_bytes_is_written_in_two_bytes() {
        assert_eq!(Width::of(65_536), Width::Two);
        assert_eq!(Width::of(65_537), Width::Four);
    }
}
