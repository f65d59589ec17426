//! A model whose layers run in one launch for one token.

use std::rc::Rc;
use std::sync::Arc;

use burn::tensor::{Device, Graph, Int, Tensor, capture};
use tritburn::formats::WeightCode;
use tritburn::ops::FrozenWeight;
use tritburn::transformer::{Stack, StackShape, StackWeights, Tokens};

use super::cache::KvCache;
use super::causal_lm::{CausalLm, Hidden};
use super::error::ModelError;
use super::layer::{DecoderLayer, Stream};
use super::linear::Weight;
use super::projections::Projections;

type Recording = Box<dyn FnMut() -> Result<Tensor<1, Int>, ModelError>>;
type Recorded = Graph<Result<Tensor<1, Int>, ModelError>, Recording>;

/// The layers of a model on one cache, recorded for [`CausalLm::forward_stack`].
pub(crate) struct LayerStack {
    stack: Rc<Stack>,
    table: Tensor<1, Int>,
    epsilon: f32,
    /// Nothing that it names moves while it lives.
    _recorded: Recorded,
}

/// The packed weight of projections without a norm or a bias of their own.
fn packed(projections: &Projections) -> Option<&FrozenWeight> {
    match projections {
        Projections::Fused(linear) if linear.bias.is_none() => match &linear.weight {
            Weight::Ternary(weight) => Some(weight),
            _ => None,
        },
        _ => None,
    }
}

/// The weights of a layer that is made as stacks are.
fn weights(layer: &DecoderLayer) -> Option<StackWeights<'_>> {
    let plain = layer.head_norms.is_none()
        && layer.attention_result_norm.is_none()
        && layer.ffn_result_norm.is_none()
        && layer.input_norm.quantize
        && layer.post_attention_norm.quantize;
    let sub_norms = [&layer.attention_sub_norm, &layer.ffn_sub_norm];
    let quantize = sub_norms
        .iter()
        .all(|norm| norm.as_ref().is_none_or(|norm| norm.quantize));
    let [attention, ffn] = sub_norms.map(|norm| norm.as_ref().unwrap_or(&layer.input_norm));
    (plain && quantize).then_some(())?;
    Some(StackWeights {
        qkv: packed(&layer.qkv)?,
        output: packed(&layer.output)?,
        gate_up: packed(&layer.gate_up)?,
        down: packed(&layer.down)?,
        input_norm: &layer.input_norm.gamma,
        attention_sub_norm: &attention.gamma,
        post_attention_norm: &layer.post_attention_norm.gamma,
        ffn_sub_norm: &ffn.gamma,
    })
}

impl CausalLm {
    /// What the layers have in common, with their epsilon, if all are made as stacks are.
    fn stack_shape(&self, cache: &KvCache) -> Option<(StackShape, f32)> {
        let first = self.layers.first()?;
        let (config, code) = (self.config(), weights(first)?.qkv.layout().code());
        let sub_norms = first.attention_sub_norm.is_some();
        let (activation, epsilon) = (first.activation, first.input_norm.epsilon);
        let same = |layer: &DecoderLayer| {
            let norms = [
                Some(&layer.input_norm),
                Some(&layer.post_attention_norm),
                layer.attention_sub_norm.as_ref(),
                layer.ffn_sub_norm.as_ref(),
            ];
            weights(layer).is_some_and(|weights| weights.qkv.layout().code() == code)
                && layer.attention_sub_norm.is_some() == sub_norms
                && layer.ffn_sub_norm.is_some() == sub_norms
                && layer.activation == activation
                && norms
                    .into_iter()
                    .flatten()
                    .all(|norm| norm.epsilon == epsilon)
        };
        let positions = |index: usize| {
            let table = self.rotary.of_layer(config.slides(index), cache.capacity());
            table.dims()[0] / config.head_dim
        };
        let fits = code == WeightCode::Ternary
            && self.layers.iter().all(same)
            && cache
                .layers
                .iter()
                .all(|layer| layer.dtype() == self.dtype())
            && (1..self.layers.len()).all(|index| positions(index) == positions(0));
        let shape = StackShape {
            layers: self.layers.len(),
            hidden: config.hidden_size,
            inner: config.intermediate_size,
            heads: self.heads(),
            activation,
            sub_norms,
            code,
            dtype: self.dtype(),
            rotary_positions: positions(0),
        };
        fits.then_some((shape, epsilon))
    }

    /// The layers on `cache` in one launch for one token; `None` where they run operation by operation: on
    /// devices without graphs, for layers that are made otherwise, or while another thread has the device.
    ///
    /// # Errors
    /// [`ModelError::Device`] or [`ModelError::Operation`] if recording fails.
    pub(crate) fn layer_stack(
        self: &Arc<Self>,
        cache: &KvCache,
    ) -> Result<Option<LayerStack>, ModelError> {
        let device: Device = self.device().clone();
        let Some((shape, epsilon)) = self.stack_shape(cache) else {
            return Ok(None);
        };
        let Some(stack) = Stack::claim(shape, &device) else {
            return Ok(None);
        };
        let stack = Rc::new(stack);
        let (model, cache, recording) = (self.clone(), cache.clone(), stack.clone());
        let mut table = stack.table();
        let record: Recording = Box::new(move || {
            for (index, layer) in model.layers.iter().enumerate() {
                let slides = model.config().slides(index);
                let rotary = model.rotary.of_layer(slides, cache.capacity());
                let weights = weights(layer).ok_or(tritburn::Error::Stack)?;
                let layer = &cache.layers[index];
                table = recording.record(table.clone(), index, weights, rotary, layer)?;
            }
            Ok(table.clone())
        });
        let mut recorded = capture(&device, record);
        let failed = |error: &dyn std::fmt::Display| ModelError::Device {
            reason: error.to_string(),
        };
        let table = match recorded.output() {
            Ok(table) => table.clone(),
            Err(error) => return Err(failed(error)),
        };
        if !recorded.is_hardware() {
            return Ok(None);
        }
        // SAFETY: the closure holds every tensor that the graph names, and all are used on this thread.
        if let Err(error) = unsafe { recorded.replay() } {
            return Err(failed(error));
        }
        Ok(Some(LayerStack {
            stack,
            table,
            epsilon,
            _recorded: recorded,
        }))
    }

    /// As [`forward`](Self::forward) for one token, its layers in one launch. Writes to the cache that `stack` was
    /// recorded with, which is to be `cache`.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub(crate) fn forward_stack(
        &self,
        ids: Tensor<1, Int>,
        tokens: &Tokens,
        cache: &KvCache,
        stack: &LayerStack,
    ) -> Result<Hidden, ModelError> {
        let (x, table) = (self.embed(ids)?, stack.table.clone());
        let layer = &cache.layers[0];
        let (sum, delta) = stack.stack.run(x, table, tokens, layer, stack.epsilon)?;
        Ok(Hidden(Stream {
            sum,
            delta: Some(delta),
        }))
    }
}
