//! Where the tokens of a batch belong.

use burn::tensor::{DType, Device, Int, Tensor, TensorData};

/// A run of consecutive tokens of one sequence inside of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Index of its first token in the batch.
    pub first: usize,
    /// Cache row of the sequence.
    pub row: usize,
    /// Position of the first token.
    pub start: usize,
    /// Tokens.
    pub len: usize,
}

/// Cache row and position of every token, on the device.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// Cache rows, U32 `[tokens]`.
    pub rows: Tensor<1, Int>,
    /// Positions in the sequences, U32 `[tokens]`.
    pub positions: Tensor<1, Int>,
    /// Blocks of every row of a cache that is made of blocks, U32 `[rows · blocks of a row]`.
    pub blocks: Option<Tensor<1, Int>>,
    /// Rows and positions as the host knows them, if it does: attention then treats long runs as such. Empty
    /// for a step whose positions only the device knows.
    pub spans: Vec<Span>,
}

impl Tokens {
    /// One token for each cache row `0..rows`, at positions that the device keeps.
    pub fn step(rows: Tensor<1, Int>, positions: Tensor<1, Int>) -> Self {
        Self {
            rows,
            positions,
            blocks: None,
            spans: Vec::new(),
        }
    }

    /// Runs of consecutive tokens, `(row, start, len)` each.
    pub fn runs(runs: &[(usize, usize, usize)], device: &Device) -> Self {
        let (mut rows, mut positions, mut spans) = (Vec::new(), Vec::new(), Vec::new());
        for &(row, start, len) in runs {
            spans.push(Span {
                first: rows.len(),
                row,
                start,
                len,
            });
            rows.extend(std::iter::repeat_n(row as u32, len));
            positions.extend((start..start + len).map(|p| p as u32));
        }
        let tensor = |values: Vec<u32>| {
            let len = values.len();
            Tensor::from_data(TensorData::new(values, [len]), (device, DType::U32))
        };
        Self {
            rows: tensor(rows),
            positions: tensor(positions),
            blocks: None,
            spans,
        }
    }

    /// The same tokens, in a cache of blocks.
    pub fn in_blocks(self, blocks: Tensor<1, Int>) -> Self {
        Self {
            blocks: Some(blocks),
            ..self
        }
    }

    /// Number of tokens.
    pub fn count(&self) -> usize {
        self.rows.dims()[0]
    }
}
