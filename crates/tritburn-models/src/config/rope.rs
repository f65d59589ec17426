//! Rotary embeddings that were stretched to longer contexts.

use tritburn::transformer::rotary_frequencies;

use super::{ConfigError, DecoderConfig, gguf};

/// How the rotary frequencies of a model differ from `1 / theta^(2i / d)`.
///
/// Formulas are those of Hugging Face transformers (`modeling_rope_utils.py`).
#[derive(Clone, Debug, Default, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    #[default]
    None,
    /// Divided by a factor (position interpolation, Chen et al. 2023, arXiv 2306.15595).
    Linear {
        /// The factor.
        factor: f64,
    },
    /// Long wavelengths are divided, short ones stay, those between are blended (Llama 3.1).
    Llama3 {
        /// Divides the frequencies of long wavelengths.
        factor: f64,
        /// Wavelengths over `original_positions / low_frequency_factor` are long.
        low_frequency_factor: f64,
        /// Wavelengths under `original_positions / high_frequency_factor` are short.
        high_frequency_factor: f64,
        /// Positions that the model was first trained on.
        original_positions: usize,
    },
    /// As `Llama3`, by rotations instead of wavelengths, with scores sharpened (YaRN, Peng et al.
    /// 2023, arXiv 2309.00071).
    Yarn {
        /// Divides the frequencies of few rotations.
        factor: f64,
        /// Rotations from which a frequency stays.
        beta_fast: f64,
        /// Rotations up to which it is divided.
        beta_slow: f64,
        /// Positions that the model was first trained on.
        original_positions: usize,
        /// Factor of cosines and sines.
        attention_factor: f64,
        /// Whether the bounds between divided and kept pairs are whole numbers.
        truncate: bool,
    },
    /// Divided by a factor of its own for each pair: one set for contexts up to
    /// `original_positions`, one for longer ones (LongRoPE, Ding et al. 2024, arXiv 2402.13753).
    LongRope {
        /// Divisors for short contexts.
        short: Vec<f64>,
        /// Divisors for long contexts.
        long: Vec<f64>,
        /// Longest of the short contexts.
        original_positions: usize,
        /// Factor of cosines and sines.
        attention_factor: f64,
    },
    /// Divided by a factor of its own for each pair: how GGUF files store `Llama3`.
    Factors {
        /// The divisors.
        factors: Vec<f64>,
    },
}

impl RopeScaling {
    /// What `config.json` calls it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::None => "default",
            Self::Linear { .. } => "linear",
            Self::Llama3 { .. } => "llama3",
            Self::Yarn { .. } => "yarn",
            Self::LongRope { .. } => "longrope",
            Self::Factors { .. } => "factors",
        }
    }

    /// Whether GGUF has it as divisors in tensors.
    pub(crate) fn has_factors(&self) -> bool {
        matches!(
            self,
            Self::Llama3 { .. } | Self::LongRope { .. } | Self::Factors { .. }
        )
    }

    /// Factor of cosines and sines.
    pub fn attention_factor(&self) -> f64 {
        match self {
            Self::Yarn {
                attention_factor, ..
            }
            | Self::LongRope {
                attention_factor, ..
            } => *attention_factor,
            _ => 1.0,
        }
    }
}

/// Whether a number is positive and finite, as f32 too.
pub(super) fn is_positive(value: f64) -> bool {
    let value = value as f32;
    value > 0.0 && value.is_finite()
}

/// The scale of attention that YaRN gives a stretched context: `0.1 · mscale · ln(factor) + 1`.
pub(super) fn yarn_attention(factor: f64, mscale: f64) -> f64 {
    match factor > 1.0 {
        true => 0.1 * mscale * factor.ln() + 1.0,
        false => 1.0,
    }
}

/// The scale of attention of LongRoPE: `√(1 + ln(stretch) / ln(original))`.
pub(super) fn longrope_attention(stretch: f64, original: usize) -> f64 {
    match stretch > 1.0 {
        true => (1.0 + stretch.ln() / (original as f64).ln()).sqrt(),
        false => 1.0,
    }
}

impl DecoderConfig {
    /// Columns of a head that are rotated, from its first on: all, unless the model says otherwise.
    pub fn rotary_dim(&self) -> usize {
        (self.head_dim as f64 * self.partial_rotary_factor) as usize
    }

    /// Frequencies of the [`rotary_dim`](Self::rotary_dim)` / 2` pairs, for a sequence of up to
    /// `positions` tokens.
    pub fn rotary_frequencies(&self, positions: usize) -> Vec<f32> {
        let dim = self.rotary_dim();
        let plain = rotary_frequencies(self.rope_theta as f32, dim);
        let divided = |divisors: &[f64]| -> Vec<f32> {
            let pairs = plain.iter().zip(divisors);
            pairs.map(|(f, &divisor)| f / divisor as f32).collect()
        };
        match &self.rope_scaling {
            RopeScaling::None => plain,
            RopeScaling::Linear { factor } => plain.iter().map(|f| f / *factor as f32).collect(),
            RopeScaling::Factors { factors } => divided(factors),
            RopeScaling::LongRope {
                short,
                long,
                original_positions,
                ..
            } => match positions > *original_positions {
                true => divided(long),
                false => divided(short),
            },
            &RopeScaling::Llama3 {
                factor,
                low_frequency_factor: low,
                high_frequency_factor: high,
                original_positions,
            } => {
                let context = original_positions as f64;
                let scaled = |&frequency: &f32| {
                    let f = f64::from(frequency);
                    let wavelength = 2.0 * std::f64::consts::PI / f;
                    if wavelength > context / low {
                        (f / factor) as f32
                    } else if wavelength < context / high {
                        frequency
                    } else {
                        let smooth = (context / wavelength - low) / (high - low);
                        ((1.0 - smooth) * f / factor + smooth * f) as f32
                    }
                };
                plain.iter().map(scaled).collect()
            }
            &RopeScaling::Yarn {
                factor,
                beta_fast,
                beta_slow,
                original_positions,
                truncate,
                ..
            } => {
                let pair_of = |rotations: f64| {
                    let turns =
                        original_positions as f64 / (rotations * 2.0 * std::f64::consts::PI);
                    dim as f64 * turns.ln() / (2.0 * self.rope_theta.ln())
                };
                let (mut low, mut high) = (pair_of(beta_fast), pair_of(beta_slow));
                if truncate {
                    (low, high) = (low.floor(), high.ceil());
                }
                let (low, mut high) = (low.max(0.0), high.min(dim as f64 - 1.0));
                if high <= low {
                    high = low + 0.001;
                }
                let scaled = |(pair, &f): (usize, &f32)| {
                    let divided = ((pair as f64 - low) / (high - low)).clamp(0.0, 1.0) as f32;
                    f / factor as f32 * divided + f * (1.0 - divided)
                };
                plain.iter().enumerate().map(scaled).collect()
            }
        }
    }

    /// The divisors of the frequencies under the names that GGUF has for them: one set, or one for short
    /// and one for long contexts.
    pub(crate) fn rope_factors(&self) -> Vec<(&'static str, Vec<f32>)> {
        let plain = rotary_frequencies(self.rope_theta as f32, self.rotary_dim());
        let divisors = |positions| -> Vec<f32> {
            let scaled = self.rotary_frequencies(positions);
            plain
                .iter()
                .zip(scaled)
                .map(|(f, scaled)| f / scaled)
                .collect()
        };
        let [all, short, long] = gguf::ROPE_FACTORS;
        let exact = |factors: &[f64]| factors.iter().map(|&f| f as f32).collect();
        match &self.rope_scaling {
            RopeScaling::LongRope {
                short: near,
                long: far,
                ..
            } => vec![(short, exact(near)), (long, exact(far))],
            RopeScaling::Factors { factors } => vec![(all, exact(factors))],
            RopeScaling::Llama3 { .. } => vec![(all, divisors(1))],
            _ => Vec::new(),
        }
    }

    /// Checks that the rotation has a factor for each pair, and positive ones.
    pub(super) fn validate_rope(&self) -> Result<(), ConfigError> {
        let pairs = self.rotary_dim() / 2;
        let positive = |field, value: f64| match is_positive(value) {
            true => Ok(()),
            false => Err(ConfigError::NotPositive { field, value }),
        };
        let divisors = |field, factors: &[f64]| {
            if factors.len() != pairs {
                return Err(ConfigError::Range {
                    field,
                    value: factors.len(),
                    min: pairs,
                    max: pairs,
                });
            }
            factors.iter().try_for_each(|&f| positive(field, f))
        };
        let original = |positions: usize| match positions {
            0 | 1 => Err(ConfigError::Range {
                field: "original_max_position_embeddings",
                value: positions,
                min: 2,
                max: usize::MAX,
            }),
            _ => Ok(()),
        };
        match &self.rope_scaling {
            RopeScaling::None => Ok(()),
            RopeScaling::Linear { factor } => positive("factor of the rotation", *factor),
            RopeScaling::Factors { factors } => divisors("factors of the rotation", factors),
            RopeScaling::LongRope {
                short,
                long,
                original_positions,
                attention_factor,
            } => {
                original(*original_positions)?;
                divisors("short_factor", short)?;
                divisors("long_factor", long)?;
                positive("attention_factor", *attention_factor)
            }
            &RopeScaling::Llama3 {
                factor,
                low_frequency_factor,
                high_frequency_factor,
                original_positions,
            } => {
                original(original_positions)?;
                positive("factor of the rotation", factor)?;
                positive("low_freq_factor", low_frequency_factor)?;
                positive(
                    "high_freq_factor - low_freq_factor",
                    high_frequency_factor - low_frequency_factor,
                )
            }
            &RopeScaling::Yarn {
                factor,
                beta_fast,
                beta_slow,
                original_positions,
                attention_factor,
                ..
            } => {
                original(original_positions)?;
                positive("factor of the rotation", factor)?;
                positive("beta_fast", beta_fast)?;
                positive("beta_slow", beta_slow)?;
                positive("attention_factor", attention_factor)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frequencies(rope_scaling: RopeScaling, positions: usize) -> Vec<f32> {
        let config = DecoderConfig {
            head_dim: 8,
            rope_theta: 10_000.0,
            rope_scaling,
            ..DecoderConfig::tiny()
        };
        config.rotary_frequencies(positions)
    }

    /// Values of `transformers.modeling_rope_utils` 4.57 for heads of 8 and theta 10000, whose plain
    /// frequencies are 1, 0.1, 0.01, 0.001.
    #[test]
    fn scaled_frequencies_are_those_of_transformers() {
        let close = |found: &[f32], expected: [f32; 4]| {
            for (found, expected) in found.iter().zip(expected) {
                assert!((found / expected - 1.0).abs() < 2e-6, "{found} {expected}");
            }
        };
        close(&frequencies(RopeScaling::None, 9), [1.0, 0.1, 0.01, 0.001]);
        let linear = RopeScaling::Linear { factor: 4.0 };
        close(&frequencies(linear, 9), [0.25, 0.025, 0.0025, 0.00025]);
        // Wavelengths 6.28, 62.8, 628, 6283: short, blended, long, long.
        let llama3 = RopeScaling::Llama3 {
            factor: 8.0,
            low_frequency_factor: 1.0,
            high_frequency_factor: 4.0,
            original_positions: 128,
        };
        let smooth = (128.0 / (20.0 * std::f32::consts::PI) - 1.0) / 3.0;
        let blended = (1.0 - smooth) * 0.0125 + smooth * 0.1;
        close(&frequencies(llama3, 9), [1.0, blended, 0.00125, 0.000125]);
        let longrope = || RopeScaling::LongRope {
            short: vec![1.0, 2.0, 4.0, 5.0],
            long: vec![2.0, 4.0, 5.0, 10.0],
            original_positions: 16,
            attention_factor: longrope_attention(4.0, 16),
        };
        close(&frequencies(longrope(), 16), [1.0, 0.05, 0.0025, 0.0002]);
        close(&frequencies(longrope(), 17), [0.5, 0.025, 0.002, 0.0001]);
        assert!((longrope().attention_factor() - 1.5f64.sqrt()).abs() < 1e-12);
        // Bounds: floor(0.83) and ceil(2.34): pairs 0 kept, 3 divided, a third and two between.
        let yarn = RopeScaling::Yarn {
            factor: 4.0,
            beta_fast: 32.0,
            beta_slow: 1.0,
            original_positions: 1364,
            attention_factor: yarn_attention(4.0, 1.0),
            truncate: true,
        };
        let between = |f: f32, share: f32| f / 4.0 * share + f * (1.0 - share);
        let third = 1.0 / 3.0;
        let expected = [
            1.0,
            between(0.1, third),
            between(0.01, 2.0 * third),
            0.00025,
        ];
        close(&frequencies(yarn.clone(), 9), expected);
        assert!((yarn.attention_factor() - 1.138_629).abs() < 1e-6);
    }

    #[test]
    fn rotations_that_do_not_fit_the_heads_are_refused() {
        let refused = |rope_scaling| DecoderConfig {
            rope_scaling,
            ..DecoderConfig::tiny()
        };
        let factors = |count| RopeScaling::Factors {
            factors: vec![1.0; count],
        };
        assert!(refused(factors(16)).validate().is_ok());
        assert!(matches!(
            refused(factors(15)).validate(),
            Err(ConfigError::Range {
                value: 15,
                min: 16,
                ..
            })
        ));
        let linear = refused(RopeScaling::Linear { factor: 0.0 }).validate();
        assert!(matches!(linear, Err(ConfigError::NotPositive { .. })));
    }
}
