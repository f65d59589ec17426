//! Rotary tables of a model, and heads that are rotated in part.

use burn::tensor::{Device, Tensor};
use tritburn::transformer::{rotary_frequencies, scaled_rotary_table};

use crate::config::{DecoderConfig, RopeScaling};

/// The cosines and sines of a model: one table, or one for long contexts besides, and one of sliding
/// layers.
#[derive(Clone, Debug)]
pub(super) struct RotaryTables {
    short: Tensor<1>,
    /// Longest context of `short`, and the table of longer ones.
    long: Option<(usize, Tensor<1>)>,
    sliding: Option<Tensor<1>>,
}

impl RotaryTables {
    pub fn new(config: &DecoderConfig, device: &Device) -> Self {
        let positions = config.longest_sequence();
        let table = |mut frequencies: Vec<f32>, factor: f32, positions: usize| {
            // Pairs that stand still.
            frequencies.resize(config.head_dim / 2, 0.0);
            scaled_rotary_table(&frequencies, factor, positions, device)
        };
        let scaled = |positions: usize| {
            let factor = config.rope_scaling.attention_factor() as f32;
            table(config.rotary_frequencies(positions), factor, positions)
        };
        let original = match config.rope_scaling {
            RopeScaling::LongRope {
                original_positions, ..
            } => original_positions.min(positions),
            _ => positions,
        };
        Self {
            short: scaled(original),
            long: (original < positions).then(|| (original, scaled(positions))),
            sliding: config.sliding.as_ref().map(|sliding| {
                let theta = sliding.rope_theta as f32;
                table(
                    rotary_frequencies(theta, config.rotary_dim()),
                    1.0,
                    positions,
                )
            }),
        }
    }

    /// The table of a layer, which may slide, for sequences of up to `capacity` tokens.
    pub fn of_layer(&self, slides: bool, capacity: usize) -> &Tensor<1> {
        match (&self.sliding, &self.long) {
            (Some(sliding), _) if slides => sliding,
            (_, Some((original, long))) if capacity > *original => long,
            _ => &self.short,
        }
    }
}

/// The order of a head's elements in which the rotated ones, of which pairs are half of `rotary_dim`
/// apart, stand at the beginnings of both halves: then every pair is half a head apart, the rotated
/// ones first. Scores do not depend on the order, if queries and keys have the same. `None` where it
/// is theirs already.
pub(super) fn head_order(config: &DecoderConfig) -> Option<Vec<usize>> {
    let (half, rotated) = (config.head_dim / 2, config.rotary_dim() / 2);
    if half == rotated {
        return None;
    }
    let still = |i: usize| rotated + i;
    let first = (0..half).map(|i| if i < rotated { i } else { still(i) });
    let second = (0..half).map(|i| match i < rotated {
        true => rotated + i,
        false => still(half - rotated) + i,
    });
    Some(first.chain(second).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotated_elements_lead_both_halves() {
        let config = |partial_rotary_factor| DecoderConfig {
            head_dim: 8,
            partial_rotary_factor,
            ..DecoderConfig::tiny()
        };
        assert_eq!(head_order(&config(1.0)), None);
        // Pairs (0, 2) and (1, 3) turn; 4 to 7 stand still.
        let order = head_order(&config(0.5)).unwrap();
        assert_eq!(order, [0, 1, 4, 5, 2, 3, 6, 7]);
        // The pair (0, 1) turns.
        let order = head_order(&config(0.25)).unwrap();
        assert_eq!(order, [0, 2, 3, 4, 1, 5, 6, 7]);
    }
}
