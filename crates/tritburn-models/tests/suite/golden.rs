//! The toy BitNet against the logits and tokens that Hugging Face transformers gave for it.

use std::fs;
use std::sync::Arc;

use burn::tensor::{DType, Device};
use rstest::rstest;
use safetensors::SafeTensors;
use tritburn::Error;
use tritburn::ops::captures_graphs;
use tritburn_models::CausalLm;
use tritburn_models::checkpoint::{self, Checkpoint};
use tritburn_models::generate::{GenerationOptions, Session, generate};
use tritburn_models::model::{HeadPrecision, LoadOptions, ModelError, Precision};
use tritburn_models::sample::Sampling;

use crate::common::{EXPECTED, Form, devices};

/// A tensor of the file of expected values.
fn expected<const N: usize, T>(name: &str, of: impl Fn([u8; N]) -> T) -> Vec<T> {
    let file = SafeTensors::deserialize(EXPECTED).unwrap();
    let tensor = file.tensor(name).unwrap();
    tensor
        .data()
        .chunks(N)
        .map(|bytes| of(bytes.try_into().unwrap()))
        .collect()
}

fn expected_ids(name: &str) -> Vec<u32> {
    expected(name, |bytes| i64::from_le_bytes(bytes) as u32)
}

fn session(form: Form, options: &LoadOptions, device: &Device, capacity: usize) -> Session {
    let folder = form.folder();
    let checkpoint = checkpoint::open(folder.path()).unwrap();
    let model = CausalLm::load(checkpoint.as_ref(), options, device).unwrap();
    Session::new(Arc::new(model), 1, capacity).unwrap()
}

fn logits(session: &mut Session, ids: &[u32]) -> Vec<f32> {
    let logits = session.prefill_all(ids).unwrap();
    logits.into_data().try_into_vec().unwrap()
}

fn largest_difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    found
        .iter()
        .zip(expected)
        .fold(0.0, |m, (a, b)| f32::max(m, (a - b).abs()))
}

#[rstest]
#[case(Form::Masters, "online_f32")]
#[case(Form::Packed, "offline_f32")]
fn logits_are_those_of_transformers(#[case] form: Form, #[case] name: &str) {
    let prompt = expected_ids("prompt");
    let expected = expected(name, f32::from_le_bytes);
    for device in devices() {
        let options = LoadOptions::default();
        let mut session = session(form, &options, &device, prompt.len());
        let difference = largest_difference(&logits(&mut session, &prompt), &expected);
        assert!(difference <= 2e-3, "{form:?} on {device:?}: {difference}");
    }
}

/// A table that is stored in a type that the device lacks is another matter: it is converted.
#[test]
fn hidden_states_of_a_type_that_the_device_lacks_are_refused() {
    let folder = Form::Packed.folder();
    let checkpoint = checkpoint::open(folder.path()).unwrap();
    for device in devices() {
        for dtype in [DType::BF16, DType::F16] {
            if device.supports_dtype(dtype) {
                continue;
            }
            let options = LoadOptions {
                dtype,
                ..LoadOptions::default()
            };
            let refused = CausalLm::load(checkpoint.as_ref(), &options, &device);
            let Err(ModelError::Operation(Error::Unsupported { dtype: found, .. })) = refused
            else {
                panic!("{dtype:?} on {device:?}");
            };
            assert_eq!(found, dtype);
        }
    }
}

/// How far dense logits may be off: Burn has TF32 products on NVIDIA's tensor cores.
fn dense_bound(device: &Device) -> f32 {
    match captures_graphs(device) {
        true => 0.05,
        false => 2e-3,
    }
}

/// The same weights as plain floats: quantising is not optional.
#[test]
fn dense_logits_are_those_of_transformers_without_quantisation() {
    let prompt = expected_ids("prompt");
    let expected = expected("unquantized_f32", f32::from_le_bytes);
    for device in devices() {
        let options = LoadOptions {
            precision: Some(Precision::Dense),
            ..LoadOptions::default()
        };
        let mut session = session(Form::Masters, &options, &device, prompt.len());
        let difference = largest_difference(&logits(&mut session, &prompt), &expected);
        assert!(
            difference <= dense_bound(&device),
            "{device:?}: {difference}"
        );
    }
}

/// Plain floats were not trained to be ternary.
#[test]
fn a_plain_float_model_stays_one_unless_another_precision_is_asked_for() {
    let folder = Form::Masters.folder();
    let path = folder.path().join("config.json");
    let text = fs::read_to_string(&path).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&text).unwrap();
    config
        .as_object_mut()
        .unwrap()
        .remove("quantization_config");
    fs::write(&path, config.to_string()).unwrap();
    let plain = checkpoint::open(folder.path()).unwrap();
    let folder = Form::Masters.folder();
    let masters = checkpoint::open(folder.path()).unwrap();

    let prompt = expected_ids("prompt");
    let expected = expected("unquantized_f32", f32::from_le_bytes);
    let device = devices().swap_remove(0);
    let load = |checkpoint: &dyn Checkpoint, precision| {
        let options = LoadOptions {
            precision,
            ..LoadOptions::default()
        };
        CausalLm::load(checkpoint, &options, &device).unwrap()
    };
    let model = load(plain.as_ref(), None);
    assert_eq!(model.precision(), Precision::Dense);
    assert_eq!(model.options().precision, Some(Precision::Dense));
    let mut session = Session::new(Arc::new(model), 1, prompt.len()).unwrap();
    let difference = largest_difference(&logits(&mut session, &prompt), &expected);
    assert!(
        difference <= dense_bound(&device),
        "{device:?}: {difference}"
    );

    let asked_for = load(plain.as_ref(), Some(Precision::W2A16));
    assert_eq!(asked_for.precision(), Precision::W2A16);
    assert_eq!(load(masters.as_ref(), None).precision(), Precision::W2A8);
}

#[rstest]
#[case(Form::Masters, "greedy")]
#[case(Form::Packed, "offline_greedy")]
fn greedy_tokens_are_those_of_transformers(#[case] form: Form, #[case] name: &str) {
    let prompt = expected_ids("prompt");
    let expected = expected_ids(name);
    for device in devices() {
        let mut session = session(form, &LoadOptions::default(), &device, expected.len());
        let options = GenerationOptions {
            max_new_tokens: expected.len() - prompt.len(),
            stop_ids: Vec::new(),
            sampling: Sampling::greedy(),
        };
        let mut streamed = Vec::new();
        let generation = generate(&mut session, &[&prompt], &options, |row, id| {
            assert_eq!(row, 0);
            streamed.push(id);
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(
            generation.ids,
            [expected[prompt.len()..].to_vec()],
            "{device:?}"
        );
        assert_eq!(streamed, generation.ids[0]);
    }
}

/// Logits do not depend on how a prompt was cut or which other prompts ran beside it.
#[test]
fn steps_and_batches_give_the_logits_of_the_whole_prompt() {
    let prompt = expected_ids("prompt");
    for device in devices() {
        let options = LoadOptions::default();
        let mut whole = session(Form::Packed, &options, &device, prompt.len());
        let expected = logits(&mut whole, &prompt);
        let vocabulary = expected.len() / prompt.len();
        let at = |token: usize| &expected[token * vocabulary..(token + 1) * vocabulary];

        let model = whole.model().clone();
        let mut batch = Session::new(model, 3, prompt.len()).unwrap();
        let cuts = [3, 1, prompt.len() - 2];
        let prompts = cuts.map(|len| &prompt[..len]);
        let found: Vec<f32> = {
            let logits = batch.prefill(&prompts).unwrap();
            logits.into_data().try_into_vec().unwrap()
        };
        for (row, len) in cuts.into_iter().enumerate() {
            let found = &found[row * vocabulary..(row + 1) * vocabulary];
            let difference = largest_difference(found, at(len - 1));
            assert!(difference <= 1e-3, "row {row} on {device:?}: {difference}");
        }
        for step in 0..2 {
            let ids = cuts.map(|len| prompt[len + step]);
            let (logits, _) = batch.decode(&ids).unwrap();
            let found: Vec<f32> = logits.into_data().try_into_vec().unwrap();
            for (row, len) in cuts.into_iter().enumerate() {
                let found = &found[row * vocabulary..(row + 1) * vocabulary];
                let difference = largest_difference(found, at(len + step));
                assert!(difference <= 1e-3, "row {row} on {device:?}: {difference}");
            }
        }
    }
}

/// What the int8 head costs, so that its documentation stays true.
#[test]
fn an_int8_head_moves_logits_by_less_than_two_percent_of_their_scale() {
    let prompt = expected_ids("prompt");
    let expected = expected("offline_f32", f32::from_le_bytes);
    let scale = expected.iter().fold(0f32, |m, v| m.max(v.abs()));
    for device in devices() {
        let options = LoadOptions {
            head: HeadPrecision::Int8,
            ..LoadOptions::default()
        };
        let mut session = session(Form::Packed, &options, &device, prompt.len());
        let difference = largest_difference(&logits(&mut session, &prompt), &expected);
        assert!(difference > 0.0, "the option does something");
        assert!(
            difference / scale < 0.02,
            "{device:?}: {difference} of {scale}"
        );
    }
}
