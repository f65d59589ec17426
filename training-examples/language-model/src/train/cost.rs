//! What training costs the device.

use tritburn::device::{part_name, tensor_core_rates};
use tritburn_models::DecoderConfig;

use burn::tensor::Device;

/// Floating-point operations of a training, and how many its devices could do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// Operations for each token.
    pub per_token: f64,
    /// bf16 operations that the tensor cores of all devices do in a second at most, where that is known.
    pub peak: Option<f64>,
}

impl Cost {
    /// The cost of a step on windows of `context` tokens.
    pub fn new(config: &DecoderConfig, context: usize, devices: &[Device]) -> Self {
        let rates = devices.first().and_then(part_name);
        let rates = rates.and_then(|name| tensor_core_rates(&name));
        Self {
            per_token: operations(config, context),
            peak: rates.map(|rates| rates.bf16 * devices.len() as f64),
        }
    }

    /// Model FLOP utilisation in percent: operations that the model needs over those that the devices
    /// could do.
    pub fn utilisation(&self, tokens_per_second: f64) -> Option<f64> {
        let peak = self.peak?;
        Some(100.0 * self.per_token * tokens_per_second / peak)
    }
}

/// Operations for a token: 6 a parameter that is multiplied, and 12 · layers · width of all heads · context
/// for attention (Chowdhery et al. 2022, arXiv 2204.02311, appendix B). They do not count what is computed
/// twice to save memory, nor that half of attention is masked.
fn operations(config: &DecoderConfig, context: usize) -> f64 {
    let looked_up = match config.tie_word_embeddings {
        true => 0,
        false => config.vocab_size * config.hidden_size,
    };
    let multiplied = config.parameter_count() as f64 - looked_up as f64;
    let attention = config.num_hidden_layers * config.query_size() * context;
    6.0 * multiplied + 12.0 * attention as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ModelConfig;

    #[test]
    fn a_token_costs_six_operations_a_parameter_and_its_share_of_attention() {
        let sizes = ModelConfig::new().with_d_model(768).with_d_ff(2048);
        let config = sizes.with_layers(12).with_heads(12).decoder();
        let parameters = config.parameter_count() as f64;
        let expected = 6.0 * parameters + 12.0 * (12 * 768 * 1024) as f64;
        assert_eq!(operations(&config, 1024), expected);
        // A table that is only looked up is not multiplied.
        let untied = DecoderConfig {
            tie_word_embeddings: false,
            ..config.clone()
        };
        assert_eq!(operations(&untied, 1024), expected);
    }

    #[test]
    fn the_utilisation_is_that_of_all_devices_together() {
        let cost = Cost {
            per_token: 1e9,
            peak: Some(2e15),
        };
        assert_eq!(cost.utilisation(1e6), Some(50.0));
        let unknown = Cost { peak: None, ..cost };
        assert_eq!(unknown.utilisation(1e6), None);
    }
}
