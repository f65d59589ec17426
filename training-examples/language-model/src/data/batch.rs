//! Batches of windows of text, or of conversations.

use burn::tensor::{Device, Int, Tensor, TensorData};

use super::{Conversation, Shard, Tokens};

/// Windows of text, each token with the one that follows it.
#[derive(Clone, Debug)]
pub struct TokenBatch {
    /// `[batch, context]`.
    pub inputs: Tensor<2, Int>,
    /// The token after each input, `[batch, context]`.
    pub targets: Tensor<2, Int>,
    /// Step of the training that this batch is for, counted from 1; 0 in validation.
    pub step: usize,
    /// Targets of each window that count; the others are [`IGNORED`]. `None` where all of them do.
    pub counted: Option<Vec<usize>>,
    /// The part of a step that these windows are.
    pub shard: Shard,
    /// The [`weight`](Self::weight) of all parts of the step together.
    pub step_weight: usize,
}

/// A target that nobody should learn. (Ids are below it: no vocabulary is so large.)
pub const IGNORED: u32 = i32::MAX as u32;

/// Rows of conversations are as long as the longest of their batch, rounded up to this many tokens.
const ROUND: usize = 64;

impl TokenBatch {
    /// The windows of `context + 1` tokens of `text` that begin at `starts`.
    pub fn new(
        text: &Tokens,
        starts: &[usize],
        context: usize,
        step: usize,
        device: &Device,
    ) -> Self {
        let windows = |shift: usize| {
            let tokens = starts
                .iter()
                .flat_map(|start| text.window(start + shift, context));
            let data: Vec<i32> = tokens.map(|id| id as i32).collect();
            Tensor::from_data(TensorData::new(data, [starts.len(), context]), device)
        };
        Self {
            inputs: windows(0),
            targets: windows(1),
            step,
            counted: None,
            shard: Shard::WHOLE,
            step_weight: starts.len(),
        }
    }

    /// Whole conversations, one a row, behind each other's ends nothing that counts.
    pub fn of_talks<'a>(
        talks: impl Iterator<Item = &'a Conversation> + Clone,
        step: usize,
        device: &Device,
    ) -> Self {
        let longest = talks.clone().map(|talk| talk.ids.len() - 1).max();
        let length = longest.unwrap_or(1).next_multiple_of(ROUND);
        let (mut inputs, mut targets, mut counted) = (Vec::new(), Vec::new(), Vec::new());
        for Conversation { ids, said } in talks {
            let count = ids.len() - 1;
            inputs.extend(ids[..count].iter().map(|&id| id as i32));
            inputs.resize(inputs.len() + length - count, 0);
            let learned = ids[1..].iter().zip(&said[1..]);
            targets
                .extend(learned.map(|(&id, &said)| if said { id as i32 } else { IGNORED as i32 }));
            targets.resize(targets.len() + length - count, IGNORED as i32);
            counted.push(said[1..].iter().filter(|&&said| said).count());
        }
        let place =
            |data| Tensor::from_data(TensorData::new(data, [counted.len(), length]), device);
        Self {
            inputs: place(inputs),
            targets: place(targets),
            step,
            step_weight: counted.iter().sum(),
            counted: Some(counted),
            shard: Shard::WHOLE,
        }
    }

    /// The same windows as `shard` of a step whose parts weigh `step_weight` together.
    pub fn as_part(self, shard: Shard, step_weight: usize) -> Self {
        Self {
            shard,
            step_weight,
            ..self
        }
    }

    /// What the mean of the batch is over, as far as parts of it compare.
    pub fn weight(&self) -> usize {
        match &self.counted {
            None => self.windows(),
            Some(counted) => counted.iter().sum(),
        }
    }

    /// Number of windows.
    pub fn windows(&self) -> usize {
        self.inputs.dims()[0]
    }

    /// What the loss of these windows counts in the mean over the whole step.
    pub fn share(&self) -> f32 {
        self.weight() as f32 / self.step_weight.max(1) as f32
    }

    /// The same windows in `count` batches of equal size, as far as that goes; at most one a window.
    pub fn split(&self, count: usize) -> Vec<Self> {
        let windows = self.windows();
        let parts = Shard::all(count.clamp(1, windows.max(1)));
        parts
            .map(|part| {
                let rows = part.range(windows);
                let cut = |ids: &Tensor<2, Int>| ids.clone().narrow(0, rows.start, rows.len());
                Self {
                    inputs: cut(&self.inputs),
                    targets: cut(&self.targets),
                    counted: self
                        .counted
                        .as_ref()
                        .map(|counted| counted[rows.clone()].to_vec()),
                    step: self.step,
                    shard: self.shard,
                    step_weight: self.step_weight,
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> Tokens {
        Tokens::of_bytes(&(0..=255).collect::<Vec<u8>>())
    }

    fn talk(length: u32, from: usize) -> Conversation {
        Conversation {
            ids: (0..length).collect(),
            said: (0..length as usize).map(|at| at >= from).collect(),
        }
    }

    #[test]
    fn conversations_are_padded_with_what_does_not_count() {
        let talks = [talk(5, 3), talk(70, 69)];
        let batch = TokenBatch::of_talks(talks.iter(), 1, &crate::test_device());
        assert_eq!(batch.inputs.dims(), [2, 128]);
        assert_eq!(batch.counted, Some(vec![2, 1]));
        assert_eq!(batch.weight(), 3);
        let targets: Vec<i64> = batch.targets.clone().into_data().iter().collect();
        let ignored = i64::from(IGNORED);
        assert_eq!(targets[..5], [ignored, ignored, 3, 4, ignored]);
        assert_eq!((targets[128 + 67], targets[128 + 68]), (ignored, 69));
        let parts = batch.split(2);
        assert_eq!(parts[1].counted, Some(vec![1]));
        assert_eq!(parts[1].targets.dims(), [1, 128]);
        assert_eq!(
            parts.iter().map(TokenBatch::share).collect::<Vec<_>>(),
            [2.0 / 3.0, 1.0 / 3.0]
        );
        assert_eq!(batch.split(9).len(), 2, "no part is empty");
    }

    #[test]
    fn targets_are_the_inputs_one_token_on() {
        let batch = TokenBatch::new(&text(), &[3, 250], 5, 1, &crate::test_device());
        let inputs: Vec<i64> = batch.inputs.into_data().iter().collect();
        let targets: Vec<i64> = batch.targets.into_data().iter().collect();
        assert_eq!(inputs, [3, 4, 5, 6, 7, 250, 251, 252, 253, 254]);
        assert_eq!(targets, [4, 5, 6, 7, 8, 251, 252, 253, 254, 255]);
    }
}
