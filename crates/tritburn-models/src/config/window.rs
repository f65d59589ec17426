//! Layers that see a window of positions.

use super::rope::is_positive;
use super::{ConfigError, DecoderConfig};

/// Layers whose tokens see no more than the last positions, with rotary frequencies of their own.
///
/// Attention here sees the whole sequence, which is the same as long as that is no longer than the window:
/// see [`DecoderConfig::longest_sequence`].
#[derive(Clone, Debug, PartialEq)]
pub struct SlidingLayers {
    /// Positions that a token sees, its own among them.
    pub window: usize,
    /// Base of their rotary frequencies, which are not scaled.
    pub rope_theta: f64,
    /// Of every layer, whether it is one of them.
    pub layers: Vec<bool>,
}

impl SlidingLayers {
    /// Gemma's pattern: of `period` layers the last sees all positions.
    pub(crate) fn pattern(count: usize, period: usize) -> Vec<bool> {
        let slides = |layer: usize| !(layer + 1).is_multiple_of(period);
        (0..count).map(slides).collect()
    }
}

impl DecoderConfig {
    /// Longest sequence that runs here: the positions of the model, or the window of its sliding
    /// layers where that is shorter.
    ///
    /// # Examples
    ///
    /// ```
    /// use tritburn_models::DecoderConfig;
    /// use tritburn_models::config::SlidingLayers;
    ///
    /// let sliding = SlidingLayers { window: 64, rope_theta: 10_000.0, layers: vec![true, false] };
    /// let config = DecoderConfig { sliding: Some(sliding), ..DecoderConfig::tiny() };
    /// assert_eq!(config.max_position_embeddings, 512);
    /// assert_eq!(config.longest_sequence(), 64);
    /// ```
    pub fn longest_sequence(&self) -> usize {
        let slides = |sliding: &&SlidingLayers| sliding.layers.contains(&true);
        let window = self.sliding.as_ref().filter(slides).map(|s| s.window);
        window.map_or(self.max_position_embeddings, |window| {
            window.min(self.max_position_embeddings)
        })
    }

    /// Whether a layer is a sliding one.
    pub(crate) fn slides(&self, layer: usize) -> bool {
        let sliding = self.sliding.as_ref();
        sliding.is_some_and(|sliding| sliding.layers.get(layer) == Some(&true))
    }

    /// Checks that there is a window, and a kind for every layer.
    pub(super) fn validate_window(&self) -> Result<(), ConfigError> {
        let Some(sliding) = &self.sliding else {
            return Ok(());
        };
        let layers = self.num_hidden_layers;
        for (field, value, min, max) in [
            ("sliding_window", sliding.window, 1, usize::MAX),
            ("layer_types", sliding.layers.len(), layers, layers),
        ] {
            if value < min || value > max {
                return Err(ConfigError::Range {
                    field,
                    value,
                    min,
                    max,
                });
            }
        }
        match is_positive(sliding.rope_theta) {
            true => Ok(()),
            false => Err(ConfigError::NotPositive {
                field: "rope_local_base_freq",
                value: sliding.rope_theta,
            }),
        }
    }
}
