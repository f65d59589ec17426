//! `quantization_config` of GPTQ and AWQ.

use serde_json::{Value, json};
use tritburn_formats::affine::Bits;
use tritburn_formats::codec::gptq::StoredZeros;

use super::quantization::HfQuantization;
use crate::config::{AffineStorage, ConfigError};

/// Methods of this kind.
pub(super) const GPTQ: &str = "gptq";
pub(super) const AWQ: &str = "awq";

fn wrong(field: &str, found: &Value, expected: &'static str) -> ConfigError {
    ConfigError::Value {
        field: format!("quantization_config.{field}"),
        found: match found {
            Value::Null => "absent".to_string(),
            found => found.to_string().chars().take(40).collect(),
        },
        expected,
    }
}

impl HfQuantization {
    /// What a section of `quant_method` gptq says.
    pub(super) fn gptq(&self) -> Result<AffineStorage, ConfigError> {
        self.refuse_parts()?;
        let bits = self
            .bits
            .as_u64()
            .and_then(|bits| usize::try_from(bits).ok());
        let bits = bits.and_then(Bits::from_count);
        let format = match &self.checkpoint_format {
            Value::Null => None,
            Value::String(format) => Some(format.as_str()),
            other => return Err(wrong("checkpoint_format", other, "\"gptq\" or \"gptq_v2\"")),
        };
        let zeros = StoredZeros::from_checkpoint_format(format).map_err(|_| {
            let expected = "\"gptq\" or \"gptq_v2\"";
            wrong("checkpoint_format", &self.checkpoint_format, expected)
        })?;
        Ok(AffineStorage::Gptq {
            bits: bits.ok_or_else(|| wrong("bits", &self.bits, "2, 3 or 4"))?,
            group_size: self.group_size()?,
            zeros,
        })
    }

    /// What a section of `quant_method` awq says.
    pub(super) fn awq(&self) -> Result<AffineStorage, ConfigError> {
        self.refuse_parts()?;
        if self.bits.as_u64() != Some(4) {
            return Err(wrong("bits", &self.bits, "4"));
        }
        let gemm = |version: &str| version.eq_ignore_ascii_case("gemm");
        match &self.version {
            Value::Null => {}
            Value::String(version) if gemm(version) => {}
            other => return Err(wrong("version", other, "\"gemm\"")),
        }
        Ok(AffineStorage::Awq {
            group_size: self.group_size()?,
        })
    }

    /// Inputs of a group; -1 is one group.
    fn group_size(&self) -> Result<Option<usize>, ConfigError> {
        let expected = "-1, or a multiple of 16";
        let refused = || wrong("group_size", &self.group_size, expected);
        match self.group_size.as_i64() {
            Some(-1) => Ok(None),
            Some(size) if size > 0 && size % 16 == 0 => {
                usize::try_from(size).map(Some).map_err(|_| refused())
            }
            _ => Err(refused()),
        }
    }

    /// Refuses what quantises some layers otherwise than others, and the head.
    fn refuse_parts(&self) -> Result<(), ConfigError> {
        let empty = |value: &Value| match value {
            Value::Null | Value::Bool(false) => true,
            Value::Object(map) => map.is_empty(),
            _ => false,
        };
        for (field, found, reason) in [
            (
                "quantization_config.dynamic",
                &self.dynamic,
                "all projections have to be quantised alike",
            ),
            (
                "quantization_config.lm_head",
                &self.lm_head,
                "the output head has to be in float",
            ),
            (
                "quantization_config.is_marlin_format",
                &self.is_marlin_format,
                "codes in Marlin's order are not read",
            ),
        ] {
            if !empty(found) {
                let found = found.to_string().chars().take(40).collect();
                return Err(ConfigError::Unsupported {
                    field,
                    found,
                    reason,
                });
            }
        }
        Ok(())
    }
}

/// The section for transformers; `None` where it has none.
pub(super) fn to_json(storage: AffineStorage) -> Option<Value> {
    let size = |group_size: Option<usize>| match group_size {
        Some(size) => json!(size),
        None => json!(-1),
    };
    match storage {
        AffineStorage::Gptq {
            bits,
            group_size,
            zeros,
        } => Some(json!({
            "quant_method": GPTQ,
            "bits": bits.count(),
            "group_size": size(group_size),
            "checkpoint_format": match zeros {
                StoredZeros::MinusOne => "gptq",
                StoredZeros::Plain => "gptq_v2",
            },
        })),
        AffineStorage::Awq { group_size } => Some(json!({
            "quant_method": AWQ,
            "bits": 4,
            "group_size": size(group_size),
            "version": "gemm",
            "zero_point": true,
        })),
        AffineStorage::Canonical => None,
    }
}
