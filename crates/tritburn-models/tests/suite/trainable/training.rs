//! Gradients reach every parameter, and a model learns.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::{DType, Device, Int, Tensor};
use rstest::rstest;
use tritburn::training::LossConfig;
use tritburn_models::DecoderConfig;
use tritburn_models::config::Quantization;
use tritburn_models::trainable::{Distillation, TrainableError, TrainableModel, TrainableOptions};

use super::{batch, config, ids, model};
use crate::common::{devices, is_slow};

fn small(quantization: Quantization, tie_word_embeddings: bool) -> DecoderConfig {
    DecoderConfig {
        vocab_size: 61,
        hidden_size: 64,
        intermediate_size: 48,
        num_attention_heads: 2,
        num_key_value_heads: 1,
        head_dim: 32,
        quantization,
        tie_word_embeddings,
        ..config()
    }
}

fn windows(device: &Device) -> (Tensor<2, Int>, Tensor<2, Int>) {
    let text = ids(34, 61);
    let pair = |at| batch(&[&text[at..at + 16], &text[at + 17..at + 33]], device);
    (pair(0), pair(1))
}

struct Gradients<'a> {
    gradients: &'a GradientsParams,
    path: Vec<String>,
    without: Vec<String>,
    with: usize,
}

impl ModuleVisitor for Gradients<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let gradient = self.gradients.get::<D>(param.id);
        let moves = gradient.is_some_and(|g| g.abs().max().into_scalar::<f32>() > 0.0);
        match moves {
            true => self.with += 1,
            false => self.without.push(self.path.join(".")),
        }
    }
}

#[rstest]
fn every_parameter_has_a_gradient(
    #[values(Quantization::Online, Quantization::Dense)] quantization: Quantization,
    #[values(true, false)] tied: bool,
) {
    let few = quantization == Quantization::Online && tied;
    for device in devices().into_iter().filter(|d| few || !is_slow(d)) {
        let model = model(&small(quantization, tied), &device);
        let (inputs, targets) = windows(&model.device());
        let gradients = model.loss(inputs, targets).unwrap().backward();
        let gradients = GradientsParams::from_grads(gradients, &model);
        let mut visitor = Gradients {
            gradients: &gradients,
            path: Vec::new(),
            without: Vec::new(),
            with: 0,
        };
        model.visit(&mut visitor);
        assert_eq!(visitor.without, Vec::<String>::new());
        let tables = if tied { 1 } else { 2 };
        assert_eq!(visitor.with, 2 * 8 + 1 + tables);
    }
}

#[rstest]
#[case::f32(DType::F32)]
#[case::bf16(DType::BF16)]
fn a_model_learns_a_short_text(#[case] dtype: DType) {
    let device = devices().remove(0).autodiff();
    device.seed(3);
    let options = TrainableOptions {
        dtype,
        ..TrainableOptions::default()
    };
    let mut model =
        TrainableModel::new(&small(Quantization::Online, true), &options, &device).unwrap();
    let mut optimizer = AdamWConfig::new().init();
    let (inputs, targets) = windows(&device);
    let loss = |model: &TrainableModel| model.loss(inputs.clone(), targets.clone()).unwrap();
    let value = |loss: Tensor<1>| {
        assert_eq!(loss.dtype(), DType::F32);
        loss.into_scalar::<f32>()
    };
    let before = value(loss(&model));
    for _ in 0..60 {
        let gradients = GradientsParams::from_grads(loss(&model).backward(), &model);
        model = optimizer.step(1e-2, model, gradients);
    }
    let after = value(loss(&model));
    assert!((before - 61f32.ln()).abs() < 0.5, "{before}");
    assert!(after < before - 2.0, "{before} to {after}");
}

/// A loss over logits that were made whole, in f64 on the host.
#[test]
fn the_loss_is_the_mean_cross_entropy_of_the_logits() {
    let device = devices().remove(0);
    let model = model(&small(Quantization::Online, false), &device).valid();
    let (inputs, targets) = windows(&device);
    let logits = model.logits(inputs.clone()).unwrap();
    let logits = logits.into_data().try_into_vec::<f32>().unwrap();
    let ids = targets
        .clone()
        .into_data()
        .iter::<i64>()
        .collect::<Vec<_>>();
    let nats = logits.chunks(61).zip(&ids).map(|(row, &id)| {
        let sum: f64 = row.iter().map(|&l| f64::from(l).exp()).sum();
        sum.ln() - f64::from(row[id as usize])
    });
    let expected = nats.sum::<f64>() / ids.len() as f64;
    let found = model.loss(inputs, targets).unwrap().into_scalar::<f64>();
    // 32 losses of some 4 nats, each off by a few roundings of f32.
    assert!((found - expected).abs() < 4e-6, "{found} {expected}");
}

/// The way from a float model to a ternary one begins and ends at those, and its gradients reach every
/// latent weight.
#[test]
fn a_model_goes_from_float_to_ternary_by_shares() {
    let device = devices().swap_remove(0);
    let ternary = model(&config(), &device);
    let twin = model(
        &DecoderConfig {
            quantization: Quantization::Dense,
            ..config()
        },
        &device,
    );
    let ids = ids(9, 256);
    let device = ternary.device();
    let (inputs, targets) = (batch(&[&ids[..8]], &device), batch(&[&ids[1..]], &device));
    let plain = LossConfig::default();
    let loss = |model: &TrainableModel, share: f32| {
        let loss = model.loss_by(inputs.clone(), targets.clone(), &plain, share);
        loss.unwrap()
    };
    let value = |loss: Tensor<1>| loss.try_into_scalar::<f32>().unwrap();
    let float = value(loss(&twin, 1.0));
    let (start, end) = (value(loss(&ternary, 0.0)), value(loss(&ternary, 1.0)));
    assert!((start - float).abs() < 1e-4, "{start} {float}");
    assert!((start - end).abs() > 1e-3, "quantising changes the loss");
    // Rounding of float products is all that is left next to the end.
    let nearly = value(loss(&ternary, 1.0 - f32::EPSILON));
    assert!((nearly - end).abs() < 1e-3, "{nearly} {end}");
    let half = loss(&ternary, 0.5);
    let gradients = GradientsParams::from_grads(half.backward(), &ternary);
    assert_eq!(
        gradients.len(),
        2 * 8 + 2,
        "of weights and gains of two layers, table and norm"
    );
}

/// A model taught by itself has nothing to learn from that; another teacher costs the divergence.
#[test]
fn a_teacher_costs_the_divergence_of_what_counts() {
    let device = devices().swap_remove(0);
    let student = model(&config(), &device);
    let twin = DecoderConfig {
        quantization: Quantization::Dense,
        ..config()
    };
    let teacher = model(&twin, &device).valid();
    let ids = ids(9, 256);
    let device = student.device();
    let inputs = batch(&[&ids[..8]], &device);
    // The first four targets do not count.
    let targets: Vec<u32> = (1..9).map(|i| if i < 5 { 999 } else { ids[i] }).collect();
    let targets = batch(&[&targets], &device);
    let some = LossConfig {
        ignore: Some(999),
        ..LossConfig::default()
    };
    let taught = |teacher: &TrainableModel, weight, temperature| {
        let distillation = Distillation {
            temperature,
            weight,
        };
        let (inputs, targets) = (inputs.clone(), targets.clone());
        student.distill_loss(inputs, targets, teacher, distillation, &some, 1.0)
    };
    let value = |loss: Tensor<1>| loss.try_into_scalar::<f32>().unwrap();
    let plain = value(
        student
            .loss_with(inputs.clone(), targets.clone(), &some)
            .unwrap(),
    );
    let own = value(taught(&student.valid(), 1.0, 2.0).unwrap());
    assert!((own - plain).abs() < 1e-4, "{own} {plain}");

    // By hand, from the logits of both.
    let rows = |logits: Tensor<3>| -> Vec<Vec<f64>> {
        let values: Vec<f32> = logits.into_data().try_into_vec().unwrap();
        let rows = values.chunks(256);
        rows.map(|row| {
            let row: Vec<f64> = row.iter().map(|&v| f64::from(v) / 2.0).collect();
            let sum: f64 = row.iter().map(|v| v.exp()).sum();
            row.iter().map(|v| v - sum.ln()).collect()
        })
        .collect()
    };
    let student_rows = rows(student.valid().logits(inputs.clone().inner()).unwrap());
    let teacher_rows = rows(teacher.logits(inputs.clone().inner()).unwrap());
    let divergence: f64 = (4..8)
        .map(|row| {
            let pairs = teacher_rows[row].iter().zip(&student_rows[row]);
            pairs.map(|(t, s)| t.exp() * (t - s)).sum::<f64>()
        })
        .sum::<f64>()
        / 4.0;
    let found = f64::from(value(taught(&teacher, 0.5, 2.0).unwrap()) - plain);
    let expected = 0.5 * 4.0 * divergence;
    assert!(
        (found - expected).abs() < 1e-3 * expected,
        "{found} {expected}"
    );
    let loss = taught(&teacher, 0.5, 2.0).unwrap();
    let gradients = GradientsParams::from_grads(loss.backward(), &student);
    assert_eq!(gradients.len(), 2 * 8 + 2);

    let other = DecoderConfig {
        vocab_size: 301,
        ..twin
    };
    let other = model(&other, &devices()[0]).valid();
    assert!(matches!(
        taught(&other, 1.0, 1.0),
        Err(TrainableError::Teacher {
            found: 301,
            vocabulary: 256
        })
    ));
}
