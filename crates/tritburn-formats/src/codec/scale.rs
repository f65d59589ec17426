//! Scales as files hold them.

use half::{bf16, f16};

use super::check;
use super::error::CodecError;

/// What to do with a scale that the stored type cannot hold exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Rounding {
    /// Refuse it with [`CodecError::InexactScale`].
    #[default]
    Exact,
    /// Store the nearest value, half to even.
    Nearest,
}

impl Rounding {
    /// `value` as f16. `index` is for the error.
    ///
    /// # Errors
    /// [`CodecError::InexactScale`] under [`Rounding::Exact`]; always
    /// [`CodecError::BadScale`] for NaN and infinity and for what would become zero or infinity.
    pub fn f16(self, index: usize, value: f32) -> Result<f16, CodecError> {
        let stored = f16::from_f32(value);
        self.check(index, value, stored.to_f32(), stored.to_f32())?;
        Ok(stored)
    }

    /// `value` as bf16. `index` is for the error.
    ///
    /// # Errors
    /// As [`f16`](Self::f16).
    pub fn bf16(self, index: usize, value: f32) -> Result<bf16, CodecError> {
        let stored = bf16::from_f32(value);
        self.check(index, value, stored.to_f32(), stored.to_f32())?;
        Ok(stored)
    }

    /// `stored` stands in the file, `read` is what it is read back as.
    fn check(self, index: usize, value: f32, stored: f32, read: f32) -> Result<(), CodecError> {
        let usable = |s: f32| s.is_finite() && (s != 0.0 || value == 0.0);
        if !value.is_finite() || !usable(stored) || !usable(read) {
            return Err(CodecError::BadScale { index, value });
        }
        if self == Self::Exact && read != value {
            return Err(CodecError::InexactScale {
                index,
                value,
                stored: read,
            });
        }
        Ok(())
    }
}

/// What a stored scale does to the ternary weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScaleDirection {
    /// `W = ternary · stored`: the file holds γ.
    Multiply,
    /// `W = ternary / stored`: the file holds `1 / γ`.
    Divide,
}

impl ScaleDirection {
    /// What `weight_scale` means in a transformers `bitnet` checkpoint, by the fields of its
    /// `quantization_config`. An absent `linear_class` is `bitlinear`, which ignores
    /// `quantization_mode`; an absent mode is `offline`. `None` for `autobitlinear` in mode
    /// `online`, whose weights are float master weights without a scale.
    ///
    /// | `linear_class` | `quantization_mode` | |
    /// |---|---|---|
    /// | `bitlinear` | any | divide |
    /// | `autobitlinear` | `offline` | multiply |
    /// | `autobitlinear` | `online` | `None` |
    ///
    /// # Errors
    /// [`CodecError::Config`] for any other value.
    pub fn from_config(
        linear_class: Option<&str>,
        quantization_mode: Option<&str>,
    ) -> Result<Option<Self>, CodecError> {
        let unknown = |field, value: &str| CodecError::Config {
            field,
            value: value.to_owned(),
        };
        let offline = match quantization_mode {
            None | Some("offline") => true,
            Some("online") => false,
            Some(other) => return Err(unknown("quantization_mode", other)),
        };
        match linear_class {
            None | Some("bitlinear") => Ok(Some(Self::Divide)),
            Some("autobitlinear") => Ok(offline.then_some(Self::Multiply)),
            Some(other) => Err(unknown("linear_class", other)),
        }
    }

    /// γ of a stored scale. The one rounding of a division is that of f32.
    ///
    /// # Errors
    /// [`CodecError::BadScale`] if `stored` or γ is not finite, which includes a division by zero.
    pub fn to_gamma(self, stored: f32) -> Result<f32, CodecError> {
        let gamma = self.apply(stored);
        if stored.is_finite() && gamma.is_finite() {
            return Ok(gamma);
        }
        Err(CodecError::BadScale {
            index: 0,
            value: stored,
        })
    }

    /// The f32 to store for γ. Exact means that [`to_gamma`](Self::to_gamma) gives γ again.
    ///
    /// # Errors
    /// [`CodecError::InexactScale`] under [`Rounding::Exact`], [`CodecError::BadScale`] for γ that
    /// is not finite or has no finite inverse.
    pub fn from_gamma(self, gamma: f32, rounding: Rounding) -> Result<f32, CodecError> {
        let stored = self.apply(gamma);
        rounding.check(0, gamma, stored, self.apply(stored))?;
        Ok(stored)
    }

    /// The bf16 to store for γ, the nearest to γ or `1 / γ`. Exact means that
    /// [`to_gamma`](Self::to_gamma) gives γ again, so whatever was read from bf16 can be written.
    ///
    /// # Errors
    /// As [`from_gamma`](Self::from_gamma).
    pub fn to_bf16(self, gamma: f32, rounding: Rounding) -> Result<bf16, CodecError> {
        check::finite(&[gamma])?;
        let stored = bf16::from_f32(self.apply(gamma));
        rounding.check(0, gamma, stored.to_f32(), self.apply(stored.to_f32()))?;
        Ok(stored)
    }

    fn apply(self, scale: f32) -> f32 {
        match self {
            Self::Multiply => scale,
            Self::Divide => 1.0 / scale,
        }
    }
}
