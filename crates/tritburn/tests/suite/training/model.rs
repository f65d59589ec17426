//! All operations together: a decoder block that learns a sequence by heart.

use burn::module::{Module, Param};
use burn::optim::GradientsParams;
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use tritburn::optim::{AdamWConfig, clip_by_global_norm};
use tritburn::training::{
    GatedActivation, Heads, LossConfig, embedding, linear_cross_entropy, rotary_attention,
    rotary_table,
};
use tritburn::{BitLinear, BitLinearConfig};

use super::{half_types, scalar, tensor};
use crate::common::{devices, is_slow};

const TOKENS: [u32; 12] = [1, 5, 2, 9, 7, 3, 3, 8, 0, 4, 6, 1];
const HEADS: Heads = Heads {
    query: 2,
    key_value: 1,
    size: 32,
};

#[derive(Module, Debug)]
struct Decoder {
    table: Param<Tensor<2>>,
    qkv: BitLinear,
    out: BitLinear,
    gate_up: BitLinear,
    down: BitLinear,
}

impl Decoder {
    fn new(device: &Device) -> Self {
        let linear = |seed: u64, d_input: usize, d_output: usize| {
            let mut layer = BitLinearConfig::new(d_input, d_output)
                .with_norm(true)
                .init(device);
            // The same weights on every device.
            layer.weight = Param::from_tensor(tensor(seed, [d_output, d_input], device) * 0.1);
            layer
        };
        Self {
            table: Param::from_tensor(tensor(1, [10, 64], device) * 0.05),
            qkv: linear(2, 64, HEADS.fused_width()),
            out: linear(3, 64, 64),
            gate_up: linear(4, 64, 192),
            down: linear(5, 96, 64),
        }
    }

    fn loss(&self, dtype: DType) -> Tensor<1> {
        let device = self.table.device();
        let words = |words: &[u32]| -> Tensor<1, Int> {
            let data = TensorData::new(words.to_vec(), [words.len()]);
            Tensor::from_data(data, (&device, DType::U32))
        };
        let ids = words(&TOKENS[..11]).reshape([1, 11]);
        let x = embedding(self.table.val(), ids, dtype).unwrap();
        let table = rotary_table(10_000.0, HEADS.size, 11, &device);
        let mixed = rotary_attention(self.qkv.forward(x.clone()), Some(table), HEADS).unwrap();
        let x = x + self.out.forward(mixed);
        let gate_up = self.gate_up.forward(x.clone());
        let x = x + self
            .down
            .forward_gated(gate_up, GatedActivation::SquaredRelu);
        let x = x.reshape([11, 64]);
        let config = LossConfig {
            chunk: Some(4),
            ..Default::default()
        };
        linear_cross_entropy(x, self.table.val(), words(&TOKENS[1..]), &config).unwrap()
    }
}

/// Losses of `steps` steps. `sync` waits for the device after each.
fn train(device: &Device, dtype: DType, steps: usize, sync: bool) -> Vec<f32> {
    let mut model = Decoder::new(&device.clone().autodiff());
    let mut optimizer = AdamWConfig::new().with_weight_decay(0.01).init();
    (0..steps)
        .map(|_| {
            let loss = model.loss(dtype);
            if sync {
                device.sync().unwrap();
            }
            let grads = GradientsParams::from_grads(loss.clone().backward(), &model);
            let (grads, _) = clip_by_global_norm(grads, &model, 1.0);
            model = optimizer.step(5e-3, model.clone(), grads);
            scalar(loss)
        })
        .collect()
}

/// Slow devices take the same first steps.
#[test]
fn a_decoder_learns_a_sequence_by_heart() {
    let expected = train(&devices()[0], DType::F32, 60, false);
    assert!((expected[0] - 10f32.ln()).abs() < 1.0, "{}", expected[0]);
    for device in devices() {
        let steps = if is_slow(&device) { 5 } else { 60 };
        let losses = train(&device, DType::F32, steps, false);
        assert_first_steps(&losses[..5], &expected, 0.02);
        assert_eq!(
            losses[..5],
            train(&device, DType::F32, 5, true),
            "{device:?}"
        );
        let learned = |losses: &[f32]| is_slow(&device) || losses[59] < 0.3 * losses[0];
        assert!(learned(&losses), "{device:?}: {losses:?}");
        for dtype in half_types(&device) {
            let steps = if is_slow(&device) { 2 } else { 60 };
            let half = train(&device, dtype, steps, false);
            assert_first_steps(&half[..1], &expected, 0.05);
            assert!(learned(&half), "{dtype:?} on {device:?}: {half:?}");
        }
    }
}

fn assert_first_steps(found: &[f32], expected: &[f32], bound: f32) {
    for (found, expected) in found.iter().zip(expected) {
        let error = (found - expected).abs() / expected;
        assert!(error < bound, "{found} instead of {expected}");
    }
}
