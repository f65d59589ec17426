//! Output layer and cross entropy.

use burn::tensor::{DType, Device, Int, Tensor, TensorData, activation};
use rstest::rstest;
use tritburn::Error;
use tritburn::training::{LossConfig, embedding, linear_cross_entropy, token_losses};

use super::{Results, TRAINED, assert_close, assert_is_slope, half_types, leaf, scalar, tensor};
use crate::common::{device as reference, devices, is_slow, to_vec};

const IGNORE: u32 = 1_000_000;

fn words(values: &[u32], device: &Device) -> Tensor<1, Int> {
    let data = TensorData::new(values.to_vec(), [values.len()]);
    Tensor::from_data(data, (device, DType::U32))
}

fn targets(tokens: usize, vocabulary: usize, ignored: bool) -> Vec<u32> {
    (0..tokens)
        .map(|t| match ignored && t % 3 == 1 {
            true => IGNORE,
            false => (t * t + 1) as u32 % vocabulary as u32,
        })
        .collect()
}

/// The composition that holds all logits.
fn plain(x: Tensor<2>, table: Tensor<2>, targets: &[u32], config: &LossConfig) -> Tensor<1> {
    let ([tokens, _], [vocabulary, _]) = (x.dims(), table.dims());
    let device = x.device();
    let logits = x.matmul(table.transpose());
    let log_sum = (logits.clone() - activation::log_softmax(logits.clone(), 1)).mean_dim(1);
    let mut hits = vec![0.0f32; tokens * vocabulary];
    let mut counted = vec![0.0f32; tokens];
    for (t, &target) in targets.iter().enumerate().filter(|(_, t)| **t != IGNORE) {
        hits[t * vocabulary + target as usize] = 1.0;
        counted[t] = 1.0;
    }
    let hits = Tensor::<2>::from_data(TensorData::new(hits, [tokens, vocabulary]), &device);
    let counted = Tensor::<2>::from_data(TensorData::new(counted, [tokens, 1]), &device);
    let weights = match &config.label_weights {
        None => counted,
        Some(labels) => {
            let labels = Tensor::<1>::from_data(labels.clone().into_data(), &device);
            (hits.clone() * labels.unsqueeze()).sum_dim(1)
        }
    };
    let losses = log_sum.clone() - (logits * hits).sum_dim(1) + log_sum.square() * config.z_loss;
    (losses * weights.clone()).sum() / weights.sum()
}

struct Case {
    tokens: usize,
    vocabulary: usize,
    k: usize,
    dtype: DType,
    trained: [bool; 2],
    ignored: bool,
}

type Loss<'a> = &'a dyn Fn(Tensor<2>, Tensor<2>, &[u32]) -> Tensor<1>;

impl Case {
    fn run(&self, device: &Device, loss: Loss<'_>) -> Results {
        let device = device.clone().autodiff();
        let x = leaf(
            1,
            [self.tokens, self.k],
            (self.dtype, self.trained[0]),
            &device,
        );
        let shape = [self.vocabulary, self.k];
        let table = leaf(2, shape, (DType::F32, self.trained[1]), &device);
        let targets = targets(self.tokens, self.vocabulary, self.ignored);
        let loss = loss(x.clone(), table.clone(), &targets);
        assert_eq!((loss.dtype(), loss.dims()), (DType::F32, [1]));
        let mut results = vec![("loss", to_vec(loss.clone()))];
        if self.trained == [false, false] {
            return results;
        }
        // A factor that the backward pass has to take into account.
        let grads = (loss * 3.0).backward();
        if let Some(dx) = x.grad(&grads).filter(|_| self.trained[0]) {
            assert_eq!(dx.dtype(), self.dtype);
            results.push(("dx", to_vec(dx)));
        }
        if let Some(d_table) = table.grad(&grads).filter(|_| self.trained[1]) {
            assert_eq!(d_table.dtype(), DType::F32);
            results.push(("dtable", to_vec(d_table)));
        }
        results
    }
}

fn fused<'a>(config: &'a LossConfig) -> impl Fn(Tensor<2>, Tensor<2>, &[u32]) -> Tensor<1> + 'a {
    |x, table, targets| {
        let targets = words(targets, &x.device());
        let mut config = config.clone();
        // Weights are made on no device in particular.
        config.label_weights = config
            .label_weights
            .map(|w| Tensor::from_data(w.into_data(), &x.device().inner()));
        linear_cross_entropy(x, table, targets, &config).unwrap()
    }
}

const BOTH: [bool; 2] = [true, true];

#[rstest]
fn the_loss_equals_the_composition(
    #[values((1, 1, 16), (1, 5, 8), (7, 40, 33), (20, 300, 48))] shape: (usize, usize, usize),
    #[values(None, Some(1), Some(3), Some(7))] chunk: Option<usize>,
    #[values((false, false, 0.0), (true, false, 0.0), (true, true, 1e-2))] terms: (bool, bool, f32),
) {
    let (tokens, vocabulary, k) = shape;
    let (ignored, weighted, z_loss) = terms;
    let labels: Vec<f32> = (0..vocabulary).map(|i| 0.5 + (i % 4) as f32).collect();
    let config = LossConfig {
        ignore: Some(IGNORE),
        label_weights: weighted.then(|| Tensor::from_floats(labels.as_slice(), &reference())),
        z_loss,
        chunk,
    };
    let case = Case {
        tokens,
        vocabulary,
        k,
        dtype: DType::F32,
        trained: BOTH,
        ignored,
    };
    let expected = case.run(&reference(), &|x, table, targets| {
        plain(x, table, targets, &config)
    });
    // Where every shape is compiled for, these: all kinds of rest, and a long row.
    let few = tokens == 7 || (tokens == 20 && chunk.is_none() && weighted);
    for device in devices().into_iter().filter(|d| few || !is_slow(d)) {
        let found = case.run(&device, &fused(&config));
        // A vocabulary of one: losses and gradients are zero but for the z-loss.
        if vocabulary > 1 || z_loss > 0.0 {
            assert_close(&found, &expected, 1e-5, &format!("{shape:?} on {device:?}"));
        } else {
            assert!(found.iter().all(|(_, v)| v.iter().all(|v| v.abs() < 1e-6)));
        }
        assert_eq!(found, case.run(&device, &fused(&config)), "{device:?}");
    }
}

#[rstest]
fn only_what_is_trained_gets_a_gradient(
    #[values([true, false], [false, true], [false, false])] trained: [bool; 2],
) {
    let config = LossConfig {
        chunk: Some(4),
        ..Default::default()
    };
    let case = |trained| Case {
        tokens: 10,
        vocabulary: 30,
        k: 24,
        dtype: DType::F32,
        trained,
        ignored: false,
    };
    for device in devices() {
        let all = case(BOTH).run(&device, &fused(&config));
        let found = case(trained).run(&device, &fused(&config));
        assert_eq!(found.len(), 1 + trained.iter().filter(|&&t| t).count());
        for result in found {
            assert!(all.contains(&result), "{} on {device:?}", result.0);
        }
    }
}

/// Logits, and so probabilities, are rounded to half precision.
#[test]
fn half_precision_hidden_states_with_an_f32_table() {
    let config = LossConfig {
        chunk: Some(8),
        z_loss: 1e-3,
        ..Default::default()
    };
    let case = |dtype| Case {
        tokens: 20,
        vocabulary: 50,
        k: 32,
        dtype,
        trained: BOTH,
        ignored: false,
    };
    let expected = case(DType::F32).run(&reference(), &|x, table, targets| {
        plain(x, table, targets, &config)
    });
    for device in devices() {
        for dtype in half_types(&device) {
            let found = case(dtype).run(&device, &fused(&config));
            assert_close(&found, &expected, 4e-2, &format!("{dtype:?} on {device:?}"));
        }
    }
}

#[test]
fn a_batch_of_padding_changes_nothing() {
    let config = LossConfig {
        ignore: Some(3),
        ..Default::default()
    };
    for device in devices() {
        let ad = device.clone().autodiff();
        let (x, table) = (leaf(1, [5, 8], TRAINED, &ad), leaf(2, [7, 8], TRAINED, &ad));
        let targets = words(&[3; 5], &ad);
        let loss = linear_cross_entropy(x.clone(), table.clone(), targets, &config).unwrap();
        assert_eq!(to_vec(loss.clone()), [0.0]);
        let grads = loss.backward();
        assert!(to_vec(x.grad(&grads).unwrap()).iter().all(|&g| g == 0.0));
        assert!(
            to_vec(table.grad(&grads).unwrap())
                .iter()
                .all(|&g| g == 0.0)
        );
        let none = linear_cross_entropy(
            Tensor::zeros([0, 8], &device),
            tensor(2, [7, 8], &device),
            words(&[], &device),
            &config,
        );
        assert_eq!(to_vec(none.unwrap()), [0.0]);
    }
}

#[test]
fn single_losses_add_up_to_the_mean() {
    let config = LossConfig {
        ignore: Some(IGNORE),
        chunk: Some(4),
        ..Default::default()
    };
    for device in devices() {
        let operands = || (tensor(1, [10, 16], &device), tensor(2, [20, 16], &device));
        let targets = || words(&targets(10, 20, true), &device);
        let (x, table) = operands();
        let (losses, weights) = token_losses(x, table, targets(), &config).unwrap();
        let (losses, weights) = (to_vec(losses), to_vec(weights));
        assert_eq!((losses[1], weights[1]), (0.0, 0.0));
        assert_eq!(weights.iter().sum::<f32>(), 7.0);
        let (x, table) = operands();
        let mean = scalar(linear_cross_entropy(x, table, targets(), &config).unwrap());
        let expected = losses.iter().sum::<f32>() / 7.0;
        assert!(
            (mean - expected).abs() < 1e-6 * expected,
            "{mean} {expected}"
        );
    }
}

#[test]
fn an_impossible_target_makes_the_loss_nan() {
    for device in devices() {
        let (x, table) = (tensor(1, [2, 8], &device), tensor(2, [7, 8], &device));
        let config = LossConfig::default();
        let loss = linear_cross_entropy(x, table, words(&[0, 7], &device), &config).unwrap();
        assert!(scalar(loss).is_nan());
    }
}

/// One table embeds the tokens and reads them out: both gradients meet in it.
#[test]
fn a_tied_table_gets_the_sum_of_both_gradients_and_they_are_slopes() {
    let shape = [6, 16];
    let tokens: [u32; 4] = [1, 5, 1, 0];
    for device in devices() {
        let loss = |table: Tensor<2>| {
            let device = table.device();
            let ids = words(&tokens, &device).reshape([1, 4]);
            let x = embedding(table.clone(), ids, DType::F32).unwrap();
            let x = x.reshape([4, 16]);
            let config = LossConfig {
                z_loss: 1e-2,
                chunk: Some(3),
                ..Default::default()
            };
            linear_cross_entropy(x, table, words(&[5, 1, 0, 2], &device), &config).unwrap()
        };
        let table = leaf(1, shape, TRAINED, &device.clone().autodiff());
        let grads = loss(table.clone()).backward();
        assert_is_slope(
            to_vec(table.grad(&grads).unwrap()),
            to_vec(table),
            |table| {
                scalar(loss(Tensor::from_data(
                    TensorData::new(table, shape),
                    &device,
                )))
            },
            "dtable",
        );
    }
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    for device in devices() {
        let run = |x: Tensor<2>, targets: Tensor<1, Int>, config: LossConfig| {
            linear_cross_entropy(x, tensor(2, [7, 8], &device), targets, &config)
        };
        let x = |k: usize| tensor(1, [2, k], &device);
        let two = || words(&[0, 1], &device);
        let config = LossConfig::default;
        assert!(matches!(
            run(x(9), two(), config()),
            Err(Error::InputFeatures {
                found: 9,
                expected: 8,
                ..
            })
        ));
        assert!(matches!(
            run(x(8), words(&[0], &device), config()),
            Err(Error::Shape {
                operand: "targets",
                ..
            })
        ));
        assert!(matches!(
            run(x(8), two().cast(DType::I32), config()),
            Err(Error::DType {
                operand: "targets",
                ..
            })
        ));
        let weights = LossConfig {
            label_weights: Some(tensor(3, [6], &device)),
            ..config()
        };
        assert!(matches!(
            run(x(8), two(), weights),
            Err(Error::Shape {
                operand: "label weights",
                ..
            })
        ));
        let chunk = LossConfig {
            chunk: Some(0),
            ..config()
        };
        assert!(matches!(run(x(8), two(), chunk), Err(Error::EmptyChunk)));
    }
}
