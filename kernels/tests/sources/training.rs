//! The kernels around the products of a training step, on Hopper.

use tritburn_kernels::cross_entropy::{self, CrossEntropy};
use tritburn_kernels::decoder::embedding;
use tritburn_kernels::decoder::glu::{self, GatedActivation, NormGradient};
use tritburn_kernels::decoder::norm::{self, RowOutput};
use tritburn_kernels::decoder::rotary::{self, Rotation};
use tritburn_kernels::optimizer::{self, AdamW, AdamWOperands};
use tritburn_kernels::statistics;

use super::*;

const TYPES: [FloatType; 3] = [FloatType::F32, FloatType::F16, FloatType::BF16];

fn vector(client: &Client, len: usize) -> FloatVector {
    FloatVector::new(client.empty(4 * len), len, FloatType::F32).expect("a valid vector")
}

/// Rows of `k` with planes of their own, with several planes, and where `k` is odd passes over memory.
#[test]
fn rows_stay_in_registers_where_they_are_whole_lines() {
    let device = Device::new(HOPPER, 4);
    for dtype in TYPES {
        for k in [37, 48, 768, 2048, 5632] {
            let found = device.compile(|client| {
                let [x, dy, dx] = [(); 3].map(|()| matrix(client, [1000, k], dtype));
                let [wide, d_wide] = [(); 2].map(|()| matrix(client, [1000, 2 * k], dtype));
                let [gamma, dgamma] = [(); 2].map(|()| vector(client, k));
                for add in [None, Some(&x)] {
                    norm::backward(client, &x, &gamma, 1e-5, &dy, add, &dx, &dgamma)
                        .expect("a launch");
                }
                for activation in [
                    GatedActivation::SquaredRelu,
                    GatedActivation::Silu,
                    GatedActivation::Gelu,
                    GatedActivation::GeluTanh,
                ] {
                    let gradient = NormGradient {
                        gamma: &gamma,
                        eps: 1e-5,
                        dgamma: &dgamma,
                    };
                    for normed in [false, true] {
                        let norm = normed.then_some((&gamma, 1e-5));
                        let out = RowOutput::Float(&dx);
                        glu::launch(client, &wide, activation, norm, out).expect("a launch");
                        let norm = normed.then_some(gradient);
                        glu::backward(client, &wide, activation, norm, &dy, &d_wide)
                            .expect("a launch");
                    }
                }
            });
            keep(device.gpu, &format!("training-rows-{k}-{dtype}"), &found);
            let names: Vec<&str> = found.iter().map(|source| source.kernel.as_str()).collect();
            let lines = names.iter().any(|name| name.contains("GradientLines"));
            assert_eq!(lines, k % 16 == 0, "{names:?}");
        }
    }
}

#[test]
fn losses_read_rows_once_where_registers_hold_them() {
    let device = Device::new(HOPPER, 5);
    for dtype in TYPES {
        for (v, once) in [(250, false), (256, true), (32_000, true), (128_256, false)] {
            let found = device.compile(|client| {
                let [logits, gradient] = [(); 2].map(|()| matrix(client, [100, v], dtype));
                let [losses, weights] = [(); 2].map(|()| vector(client, 100));
                let labels = vector(client, v);
                let targets = buffer(client, 100);
                for (gradient, label_weights) in [
                    (None, None),
                    (Some(&gradient), None),
                    (Some(&logits), Some(&labels)),
                ] {
                    let terms = CrossEntropy {
                        label_weights,
                        ..Default::default()
                    };
                    cross_entropy::launch(
                        client, &logits, &targets, terms, &losses, &weights, gradient,
                    )
                    .expect("a launch");
                }
            });
            keep(device.gpu, &format!("training-loss-{v}-{dtype}"), &found);
            let all = found.iter();
            let count = all
                .filter(|source| source.kernel.contains("LossesOfLines"))
                .count();
            assert_eq!(count, if once { 3 } else { 0 }, "{v} {dtype}");
        }
    }
}

#[test]
fn the_other_kernels_of_a_step_compile() {
    let device = Device::new(HOPPER, 6);
    for dtype in TYPES {
        let found = device.compile(|client| {
            let qkv = matrix(client, [64, 4 * 64], dtype);
            let out = matrix(client, [64, 4 * 64], dtype);
            let rotation = Rotation {
                length: 32,
                heads: 2,
                kv_heads: 1,
                dim: 64,
                inverse: true,
            };
            let table = buffer(client, 32 * 64);
            rotary::rotate(client, &qkv, &table, rotation, &out).expect("a launch");
            rotary::rotate(client, &qkv, &table, rotation, &qkv).expect("a launch");

            let table = matrix(client, [300, 256], FloatType::F32);
            embedding::backward(client, &qkv, &buffer(client, 64), &table).expect("a launch");

            let [param, m, v] = [(); 3].map(|()| matrix(client, [64, 256], FloatType::F32));
            let operands = AdamWOperands {
                param: &param,
                grad: &qkv,
                m: &m,
                v: &v,
            };
            let constants = AdamW {
                lr: 1e-3,
                beta1: 0.9,
                beta2: 0.95,
                epsilon: 1e-8,
                weight_decay: 0.1,
                step: 1,
            };
            let [sums, norm, factor] = [4, 1, 1].map(|len| buffer(client, len));
            optimizer::square_sum(client, &qkv, &sums, 1).expect("a launch");
            optimizer::clip_factor(client, &sums, 1.0, &norm, &factor).expect("a launch");
            for factor in [None, Some(&factor)] {
                optimizer::adamw(client, constants, factor, operands).expect("a launch");
            }
        });
        keep(device.gpu, &format!("training-step-{dtype}"), &found);
    }
    let found = device.compile(|client| {
        let layout = layout(100, 40, WeightCode::Ternary);
        let [before, after] = [(); 2].map(|()| buffer(client, layout.word_count()));
        let out = buffer(client, 3);
        for before in [None, Some(&before)] {
            statistics::compare_codes(client, &layout, before, &after, &out).expect("a launch");
        }
    });
    keep(device.gpu, "training-codes", &found);
}
