//! Toy models of the published families against the logits and tokens of an independent float64
//! implementation.

mod affine;
mod formats;

use std::fs;
use std::sync::Arc;

use burn::tensor::Device;
use rstest::rstest;
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use tempfile::TempDir;
use tritburn_models::checkpoint::{self, Checkpoint, CheckpointError, Overrides, Synthetic};
use tritburn_models::config::{Biases, Family};
use tritburn_models::convert::{Options, Target, convert};
use tritburn_models::generate::{GenerationOptions, Session, generate};
use tritburn_models::model::{LoadOptions, ModelError, Precision};
use tritburn_models::sample::Sampling;
use tritburn_models::{CausalLm, DecoderConfig};

use crate::common::devices;

/// The files of a toy model.
macro_rules! toy {
    ($name:literal) => {
        Toy {
            name: $name,
            config: include_str!(concat!("../../data/", $name, "/config.json")),
            weights: include_bytes!(concat!("../../data/", $name, "/model.safetensors")),
            expected: include_bytes!(concat!("../../data/", $name, "/expected.safetensors")),
        }
    };
}

#[derive(Clone, Copy)]
struct Toy {
    name: &'static str,
    config: &'static str,
    weights: &'static [u8],
    expected: &'static [u8],
}

const BITNET_SILU: Toy = toy!("bitnet-silu");
const GEMMA3: Toy = toy!("gemma3");
const GEMMA3_NORMS: Toy = toy!("gemma3-projection-norms");
const GPTQ_INT4: Toy = toy!("llama-gptq-int4");
const GPTQ_INT3: Toy = toy!("llama-gptq-int3-act-order");
const LLAMA_PACKED: Toy = toy!("llama-packed");
const LLAMA_NORMS: Toy = toy!("llama-projection-norms");
const LLAMA_UNPACKED: Toy = toy!("llama-unpacked");
const MINICPM: Toy = toy!("minicpm-groups");
const QWEN3: Toy = toy!("qwen3-groups");

impl Toy {
    fn folder(&self) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("config.json"), self.config).unwrap();
        fs::write(folder.path().join("model.safetensors"), self.weights).unwrap();
        folder
    }

    fn values<const N: usize, T>(&self, name: &str, of: impl Fn([u8; N]) -> T) -> Vec<T> {
        let file = SafeTensors::deserialize(self.expected).unwrap();
        let data = file.tensor(name).unwrap();
        let values = data.data().chunks(N);
        values.map(|bytes| of(bytes.try_into().unwrap())).collect()
    }

    fn ids(&self, name: &str) -> Vec<u32> {
        self.values(name, |bytes| i64::from_le_bytes(bytes) as u32)
    }

    fn logits(&self) -> Vec<f32> {
        self.values("logits", f32::from_le_bytes)
    }

    fn embedding(&self) -> Vec<f32> {
        self.values("embedding", f32::from_le_bytes)
    }
}

fn session(checkpoint: &dyn Checkpoint, device: &Device, capacity: usize) -> Session {
    let model = CausalLm::load(checkpoint, &LoadOptions::default(), device).unwrap();
    Session::new(Arc::new(model), 1, capacity).unwrap()
}

fn logits(checkpoint: &dyn Checkpoint, device: &Device, ids: &[u32]) -> Vec<f32> {
    let mut session = session(checkpoint, device, ids.len());
    let logits = session.prefill_all(ids).unwrap();
    logits.into_data().try_into_vec().unwrap()
}

fn largest_difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let pairs = found.iter().zip(expected);
    pairs.fold(0.0, |m, (a, b)| f32::max(m, (a - b).abs()))
}

#[rstest]
#[case(BITNET_SILU, Family::BitNet, Precision::W2A8)]
#[case(GEMMA3, Family::Gemma3, Precision::Dense)]
#[case(GEMMA3_NORMS, Family::Gemma3, Precision::W2A8)]
#[case(GPTQ_INT4, Family::Llama, Precision::Affine)]
#[case(GPTQ_INT3, Family::Llama, Precision::Affine)]
#[case(LLAMA_PACKED, Family::Llama, Precision::W2A8)]
#[case(LLAMA_NORMS, Family::Llama, Precision::W2A8)]
#[case(LLAMA_UNPACKED, Family::Llama, Precision::W2A16)]
#[case(MINICPM, Family::MiniCpm, Precision::W2A16)]
#[case(QWEN3, Family::Qwen3, Precision::W2A16)]
fn families_give_the_logits_and_tokens_of_the_reference(
    #[case] toy: Toy,
    #[case] family: Family,
    #[case] precision: Precision,
) {
    let folder = toy.folder();
    let checkpoint = checkpoint::open(folder.path()).unwrap();
    assert_eq!(checkpoint.config().family, family);
    assert_eq!(Precision::of(checkpoint.config()), precision);
    let (prompt, expected) = (toy.ids("prompt"), toy.logits());
    let greedy = toy.ids("greedy");
    for device in devices() {
        let found = logits(checkpoint.as_ref(), &device, &prompt);
        let difference = largest_difference(&found, &expected);
        assert!(
            difference <= 2e-3,
            "{} on {device:?}: {difference}",
            toy.name
        );

        let mut session = session(checkpoint.as_ref(), &device, greedy.len());
        let options = GenerationOptions {
            max_new_tokens: greedy.len() - prompt.len(),
            stop_ids: Vec::new(),
            sampling: Sampling::greedy(),
        };
        let go_on = |_, _| std::ops::ControlFlow::Continue(());
        let generation = generate(&mut session, &[&prompt], &options, go_on).unwrap();
        assert_eq!(generation.ids[0], greedy[prompt.len()..], "{device:?}");
    }
}

/// A head that is rotated in part, biases and head norms included: the elements that stand still
/// must do so, which a model of few positions cannot tell from one that rotates them.
#[test]
fn a_part_of_a_head_may_be_rotated() {
    let config = |partial_rotary_factor| DecoderConfig {
        family: Family::Qwen3,
        head_norms: true,
        biases: Biases {
            qkv: true,
            ..Biases::default()
        },
        partial_rotary_factor,
        ..DecoderConfig::tiny()
    };
    let device = devices().swap_remove(0);
    let run = |factor, ids: &[u32]| {
        let source = Synthetic::new(config(factor), 3).unwrap();
        logits(&source, &device, ids)
    };
    // At position 0 nothing turns.
    let first = largest_difference(&run(0.5, &[7]), &run(1.0, &[7]));
    assert!(first < 1e-4, "{first}");
    let ids = [7, 300, 2, 9, 9];
    assert!(largest_difference(&run(0.5, &ids), &run(1.0, &ids)) > 1e-2);
}

/// Norms of projections run where the file has them, and not against what the configuration says.
#[test]
fn norms_of_projections_are_those_of_the_file() {
    let folder = LLAMA_NORMS.folder();
    let open = |override_| {
        let overrides = Overrides::parse([override_]).unwrap();
        checkpoint::open_with(folder.path(), &overrides)
    };
    let silent = open("quantization_config.use_rms_norm=null").unwrap();
    assert_eq!(silent.config().projection_norm_eps, Some(1e-6));
    let Err(CheckpointError::Unexpected { tensor, .. }) =
        open("quantization_config.use_rms_norm=false")
    else {
        panic!("the norms are ignored");
    };
    assert!(tensor.contains("rms_norm"), "{tensor}");
    // A float folder has no section to name the epsilon in.
    let to = folder.path().join("float");
    let float = open("inputs=float").unwrap();
    let options = Options::default();
    convert(float.as_ref(), &to, Target::F32, &options, &mut |_| {}).unwrap();
    let again = checkpoint::open(&to).unwrap();
    assert_eq!(again.config().projection_norm_eps, Some(1e-6));
}

/// Embedding models are saved without the language model around their decoder.
#[test]
fn names_without_the_model_in_front_are_known() {
    let folder = QWEN3.folder();
    let file = folder.path().join("model.safetensors");
    let tensors = SafeTensors::deserialize(QWEN3.weights).unwrap();
    let bare = tensors.tensors().into_iter().map(|(name, view)| {
        let name = name.strip_prefix("model.").expect("no head of its own");
        (name.to_string(), view)
    });
    fs::write(&file, safetensors::serialize(bare, None).unwrap()).unwrap();
    let checkpoint = checkpoint::open(folder.path()).unwrap();
    let device = devices().swap_remove(0);
    let found = logits(checkpoint.as_ref(), &device, &QWEN3.ids("prompt"));
    let difference = largest_difference(&found, &QWEN3.logits());
    assert!(difference <= 2e-3, "{difference}");
}

/// Attention here sees the whole sequence: right up to the window of sliding layers, and not beyond.
#[test]
fn a_sequence_beyond_the_window_of_sliding_layers_is_refused() {
    let folder = GEMMA3.folder();
    let checkpoint = checkpoint::open(folder.path()).unwrap();
    let device = devices().swap_remove(0);
    let model = CausalLm::load(checkpoint.as_ref(), &LoadOptions::default(), &device).unwrap();
    assert!(model.cache(1, 48).is_ok());
    let refused = model.cache(1, 49);
    assert!(
        matches!(
            refused,
            Err(ModelError::Window {
                needed: 49,
                window: 48
            })
        ),
        "{refused:?}"
    );
}

/// transformers reads the head of a file whose configuration ties it to other values.
#[rstest]
#[case::another(true)]
#[case::a_copy(false)]
fn a_tied_model_reads_the_head_that_its_file_has(#[case] differs: bool) {
    let folder = QWEN3.folder();
    let path = folder.path().join("model.safetensors");
    let tensors = SafeTensors::deserialize(QWEN3.weights).unwrap();
    let embedding = tensors.tensor("model.embed_tokens.weight").unwrap();
    let mut head = embedding.data().to_vec();
    let row = head.len() / embedding.shape()[0];
    if differs {
        // The first row is the last one's.
        let last = head.len() - row;
        head.copy_within(last.., 0);
    }
    let view = TensorView::new(embedding.dtype(), embedding.shape().to_vec(), &head).unwrap();
    let all = tensors.tensors().into_iter();
    let all = all.chain([("lm_head.weight".to_string(), view)]);
    fs::write(&path, safetensors::serialize(all, None).unwrap()).unwrap();
    let checkpoint = checkpoint::open(folder.path()).unwrap();
    assert_eq!(checkpoint.config().tie_word_embeddings, !differs);
    let device = devices().swap_remove(0);
    let found = logits(checkpoint.as_ref(), &device, &QWEN3.ids("prompt"));
    let vocabulary = checkpoint.config().vocab_size;
    let ends = |row: &[f32]| (row[0], row[vocabulary - 1]);
    for (row, expected) in found
        .chunks(vocabulary)
        .zip(QWEN3.logits().chunks(vocabulary))
    {
        let ((first, last), (own, other)) = (ends(row), ends(expected));
        let expected = if differs { other } else { own };
        assert!((first - expected).abs() <= 2e-3 && (last - other).abs() <= 2e-3);
    }
}

/// The last token's state behind the final norm, of length 1: what `tritburn embed` gives.
#[rstest]
#[case(GEMMA3)]
#[case(GEMMA3_NORMS)]
fn a_text_has_the_embedding_of_the_reference(#[case] toy: Toy) {
    let folder = toy.folder();
    let checkpoint = checkpoint::open(folder.path()).unwrap();
    let prompt = toy.ids("prompt");
    for device in devices() {
        let mut session = session(checkpoint.as_ref(), &device, prompt.len());
        let found = session.embed(&[&prompt]).unwrap();
        let difference = largest_difference(&found[0], &toy.embedding());
        assert!(
            difference <= 1e-4,
            "{} on {device:?}: {difference}",
            toy.name
        );
    }
}
