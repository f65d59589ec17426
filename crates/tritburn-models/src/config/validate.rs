//! Sizes that fit each other.

use tritburn_formats::layout::MAX_IN_FEATURES;

use super::rope::is_positive;
use super::{ConfigError, DecoderConfig};

/// More tokens than any vocabulary has; keeps ids in an i32, which device tensors use.
const MAX_VOCABULARY: usize = i32::MAX as usize;
/// Positions of the longest contexts, and how many values of the rotary table (a gigabyte of them)
/// they may make: the table is built when a model is loaded.
const MAX_POSITIONS: usize = 1 << 20;
const MAX_ROTARY: usize = 1 << 28;
/// More layers than any model has.
const MAX_LAYERS: usize = 1 << 16;

impl DecoderConfig {
    /// Checks that the sizes fit each other.
    ///
    /// # Errors
    /// [`ConfigError::Range`], [`ConfigError::Divides`] or [`ConfigError::NotPositive`].
    pub fn validate(&self) -> Result<(), ConfigError> {
        for (field, value, max) in [
            ("vocab_size", self.vocab_size, MAX_VOCABULARY),
            ("hidden_size", self.hidden_size, MAX_IN_FEATURES),
            ("intermediate_size", self.intermediate_size, MAX_IN_FEATURES),
            ("num_hidden_layers", self.num_hidden_layers, MAX_LAYERS),
            (
                "num_attention_heads",
                self.num_attention_heads,
                MAX_IN_FEATURES,
            ),
            (
                "num_key_value_heads",
                self.num_key_value_heads,
                self.num_attention_heads,
            ),
            (
                "head_dim",
                self.head_dim,
                MAX_IN_FEATURES / self.num_attention_heads.max(1),
            ),
            (
                "max_position_embeddings",
                self.max_position_embeddings,
                MAX_POSITIONS.min(MAX_ROTARY / self.head_dim.max(1)),
            ),
        ] {
            if value == 0 || value > max {
                return Err(ConfigError::Range {
                    field,
                    value,
                    min: 1,
                    max,
                });
            }
        }
        for (field, value, divisor_field, divisor) in [
            (
                "num_attention_heads",
                self.num_attention_heads,
                "num_key_value_heads",
                self.num_key_value_heads,
            ),
            ("head_dim", self.head_dim, "the two halves of a rotation", 2),
            (
                "the rotated part of a head",
                self.rotary_dim(),
                "the two halves of a rotation",
                2,
            ),
        ] {
            if !value.is_multiple_of(divisor) {
                return Err(ConfigError::Divides {
                    field,
                    value,
                    divisor_field,
                    divisor,
                });
            }
        }
        for (field, value) in [
            ("rms_norm_eps", self.rms_norm_eps),
            ("rope_theta", self.rope_theta),
            ("partial_rotary_factor", self.partial_rotary_factor),
            ("embedding multiplier", self.multipliers.embedding),
            ("residual multiplier", self.multipliers.residual),
            ("queries multiplier", self.multipliers.queries),
            ("logits multiplier", self.multipliers.logits),
            (
                "rms_norm_eps of projections",
                self.projection_norm_eps.unwrap_or(1.0),
            ),
        ] {
            if !is_positive(value) {
                return Err(ConfigError::NotPositive { field, value });
            }
        }
        let rotated = self.rotary_dim();
        if rotated == 0 || rotated > self.head_dim {
            return Err(ConfigError::Range {
                field: "the rotated part of a head",
                value: rotated,
                min: 2,
                max: self.head_dim,
            });
        }
        self.validate_rope()?;
        self.validate_window()?;
        let tokens = [
            ("bos_token_id", self.bos_token_id.as_slice()),
            ("eos_token_id", &self.eos_token_ids),
        ];
        for (field, ids) in tokens {
            if let Some(&id) = ids.iter().find(|&&id| id as usize >= self.vocab_size) {
                return Err(ConfigError::Range {
                    field,
                    value: id as usize,
                    min: 0,
                    max: self.vocab_size - 1,
                });
            }
        }
        Ok(())
    }
}
