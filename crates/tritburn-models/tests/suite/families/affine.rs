//! Weights of 2, 3 and 4 bits with groups: folders of GPTQ and AWQ, float models that are rounded, and
//! what is wrong with either.

use std::error::Error;
use std::fs;
use std::path::Path;

use rstest::rstest;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use tempfile::TempDir;
use tritburn_formats::affine::Bits;
use tritburn_formats::codec::awq;
use tritburn_formats::quantize::affine::{AffineQuantizer, weight_report};
use tritburn_models::CausalLm;
use tritburn_models::checkpoint::{
    self, Checkpoint, CheckpointError, Overrides, Projection, Weight,
};
use tritburn_models::config::{AffineStorage, ConfigError, Quantization};
use tritburn_models::convert::{ConvertError, Options, Target, convert};
use tritburn_models::model::{LoadOptions, ModelError, Precision};

use super::{GEMMA3, GPTQ_INT3, GPTQ_INT4, LLAMA_PACKED, Toy, largest_difference, logits};
use crate::common::devices;

/// Name, type, shape and bytes.
type Tensor = (String, Dtype, Vec<usize>, Vec<u8>);

fn tensors(toy: Toy) -> Vec<Tensor> {
    let file = SafeTensors::deserialize(toy.weights).unwrap();
    let tensor = |(name, view): (String, TensorView)| {
        let (dtype, shape) = (view.dtype(), view.shape().to_vec());
        (name, dtype, shape, view.data().to_vec())
    };
    file.tensors().into_iter().map(tensor).collect()
}

fn write(folder: &Path, tensors: &[Tensor]) {
    let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
        let view = TensorView::new(*dtype, shape.clone(), bytes).unwrap();
        (name.as_str(), view)
    });
    let bytes = safetensors::serialize(views, None).unwrap();
    fs::write(folder.join("model.safetensors"), bytes).unwrap();
}

/// The toy with a tensor changed.
fn changed(toy: Toy, name: &str, change: impl FnOnce(&mut Tensor)) -> TempDir {
    let folder = toy.folder();
    let mut all = tensors(toy);
    let found = all.iter_mut().find(|tensor| tensor.0 == name);
    change(found.expect("a tensor of that name"));
    write(folder.path(), &all);
    folder
}

/// What reading the down projection of the last layer says, error by error.
fn down(folder: &TempDir) -> String {
    let checkpoint = checkpoint::open(folder.path()).unwrap();
    let refused = checkpoint.projection(1, Projection::Down).unwrap_err();
    chain(&refused)
}

fn chain(error: &dyn Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

fn open_with(toy: Toy, overrides: &[&str]) -> Result<Box<dyn Checkpoint>, CheckpointError> {
    let folder = toy.folder();
    checkpoint::open_with(folder.path(), &Overrides::parse(overrides).unwrap())
}

#[test]
fn what_a_folder_says_of_its_weights_is_known() {
    for (toy, bits, group, permuted) in [
        (GPTQ_INT4, Bits::Four, 128, false),
        (GPTQ_INT3, Bits::Three, 64, true),
    ] {
        let folder = toy.folder();
        let checkpoint = checkpoint::open(folder.path()).unwrap();
        assert_eq!(checkpoint.format(), "Hugging Face, GPTQ");
        let Quantization::Affine(AffineStorage::Gptq { group_size, .. }) =
            checkpoint.config().quantization
        else {
            panic!("{:?}", checkpoint.config().quantization);
        };
        assert_eq!(group_size, Some(group));
        let Weight::Affine(matrix) = checkpoint.projection(0, Projection::Down).unwrap() else {
            panic!("no affine weights");
        };
        let layout = matrix.layout();
        assert_eq!((layout.bits(), layout.is_permuted()), (bits, permuted));
        assert_eq!((layout.out_features(), layout.in_features()), (128, 256));
    }
}

#[test]
fn affine_models_run_as_they_are_or_dense() {
    let folder = GPTQ_INT3.folder();
    let checkpoint = checkpoint::open(folder.path()).unwrap();
    let device = devices().swap_remove(0);
    let load = |precision| {
        let options = LoadOptions {
            precision,
            ..LoadOptions::default()
        };
        CausalLm::load(checkpoint.as_ref(), &options, &device)
    };
    let affine = load(None).unwrap();
    let dense = load(Some(Precision::Dense)).unwrap();
    assert_eq!(affine.precision(), Precision::Affine);
    // 14 projections: 3 bits, 32 bits of scale and zero point a group of 64, an order of 32 bits a
    // column.
    assert!(affine.byte_count() < dense.byte_count());
    for precision in [Precision::W2A8, Precision::W2A16] {
        let refused = load(Some(precision)).err();
        assert!(matches!(refused, Some(ModelError::Precision { asked, .. }) if asked == precision));
    }
    let packed = LLAMA_PACKED.folder();
    let packed = checkpoint::open(packed.path()).unwrap();
    let options = LoadOptions {
        precision: Some(Precision::Affine),
        ..LoadOptions::default()
    };
    let refused = CausalLm::load(packed.as_ref(), &options, &device).err();
    assert!(matches!(refused, Some(ModelError::Precision { .. })));
}

/// tritburn's folder has the same matrices and so the same bits; floats are multiplied otherwise.
#[rstest]
#[case(GPTQ_INT4)]
#[case(GPTQ_INT3)]
fn formats_that_hold_affine_weights_give_their_logits(#[case] toy: Toy) {
    let folder = toy.folder();
    let source = checkpoint::open(folder.path()).unwrap();
    let device = devices().swap_remove(0);
    let prompt = toy.ids("prompt");
    let run = |path: &Path| logits(checkpoint::open(path).unwrap().as_ref(), &device, &prompt);
    for target in Target::ALL {
        let to = folder.path().join(target.name());
        let options = Options::default();
        let result = convert(source.as_ref(), &to, target, &options, &mut |_| {});
        match (target, result) {
            (Target::Tritburn, Ok(_)) => assert_eq!(run(&to), run(folder.path())),
            (Target::F32, Ok(_)) => {
                let difference = largest_difference(&run(&to), &toy.logits());
                assert!(difference <= 2e-3, "{}: {difference}", toy.name);
            }
            (Target::Bf16, Err(ConvertError::Lossy { .. })) => {}
            (Target::Tritburn | Target::F32 | Target::Bf16, result) => {
                panic!("{} as {target}: {result:?}", toy.name);
            }
            (_, result) => assert!(matches!(result, Err(ConvertError::Model { .. }))),
        }
    }
}

/// The weights of the one toy, as AutoAWQ would store them.
#[test]
fn awq_folders_give_the_logits_of_the_same_weights_in_gptq() {
    let folder = GPTQ_INT4.folder();
    let gptq = checkpoint::open(folder.path()).unwrap();
    let mut all = tensors(GPTQ_INT4);
    all.retain(|tensor| !tensor.0.ends_with(".g_idx"));
    for (layer, projection) in gptq.config().projections() {
        let Weight::Affine(matrix) = gptq.projection(layer, projection).unwrap() else {
            panic!("no affine weights");
        };
        let encoded = awq::encode(&matrix).unwrap();
        let layout = matrix.layout();
        let words = layout.out_features() / 8;
        let bytes = |words: &[u32]| words.iter().flat_map(|w| w.to_le_bytes()).collect();
        for (part, shape, bytes) in [
            (
                "qweight",
                [layout.in_features(), words],
                bytes(&encoded.qweight),
            ),
            (
                "qzeros",
                [layout.groups_per_row(), words],
                bytes(&encoded.qzeros),
            ),
        ] {
            let part = format!("{projection}_proj.{part}");
            let named = format!("layers.{layer}.");
            let is = |t: &&mut Tensor| t.0.contains(&named) && t.0.ends_with(&part);
            let tensor = all.iter_mut().find(is).unwrap();
            (tensor.2, tensor.3) = (shape.to_vec(), bytes);
        }
    }
    let to = tempfile::tempdir().unwrap();
    let config = GPTQ_INT4
        .config
        .replace("\"gptq\",\n  \"bits\"", "\"awq\",\n  \"bits\"");
    fs::write(to.path().join("config.json"), config).unwrap();
    write(to.path(), &all);
    let awq = checkpoint::open(to.path()).unwrap();
    assert_eq!(awq.format(), "Hugging Face, AWQ");
    let prompt = GPTQ_INT4.ids("prompt");
    for device in devices() {
        let found = logits(awq.as_ref(), &device, &prompt);
        assert_eq!(found, logits(gptq.as_ref(), &device, &prompt));
    }
}

/// Writers add biases to families that have none.
#[test]
fn biases_beside_the_codes_are_added() {
    let folder = GPTQ_INT4.folder();
    let mut all = tensors(GPTQ_INT4);
    for layer in 0..2 {
        for (part, rows) in [("q", 128), ("k", 64), ("v", 64)] {
            let name = format!("model.layers.{layer}.self_attn.{part}_proj.bias");
            all.push((name, Dtype::F16, vec![rows], vec![0; 2 * rows]));
        }
    }
    write(folder.path(), &all);
    let checkpoint = checkpoint::open(folder.path()).unwrap();
    assert!(checkpoint.config().biases.qkv && !checkpoint.config().biases.ffn);
    let device = devices().swap_remove(0);
    let found = logits(checkpoint.as_ref(), &device, &GPTQ_INT4.ids("prompt"));
    let difference = largest_difference(&found, &GPTQ_INT4.logits());
    assert!(difference <= 2e-3, "{difference}");
}

#[test]
fn tensors_that_are_no_matrix_are_refused_by_name_row_and_group() {
    const DOWN: &str = "model.layers.1.mlp.down_proj";
    let part = |part: &str| format!("{DOWN}.{part}");
    // Group 1 of output 3: the scales are [2, 128], f16.
    let nan = changed(GPTQ_INT3, &part("scales"), |tensor| {
        tensor.3[2 * (128 + 3)..][..2].copy_from_slice(&0x7e00u16.to_le_bytes());
    });
    let message = down(&nan);
    assert!(message.contains(DOWN), "{message}");
    assert!(message.contains("row 3, group 1 is NaN"), "{message}");
    // A field of 7 is the zero point 8, which 3 bits do not hold.
    let zero = changed(GPTQ_INT3, &part("qzeros"), |tensor| tensor.3[0] |= 7);
    let message = down(&zero);
    assert!(message.contains("row 0, group 0 is 8"), "{message}");
    let g_idx = |input: usize, group: i32| {
        down(&changed(GPTQ_INT3, &part("g_idx"), |tensor| {
            tensor.3[4 * input..][..4].copy_from_slice(&group.to_le_bytes());
        }))
    };
    for group in [-1, 4, i32::MAX] {
        let message = g_idx(5, group);
        let expected = format!("input 5 the group {group}, of 4");
        assert!(message.contains(&expected), "{message}");
    }
    let moved = changed(GPTQ_INT3, &part("g_idx"), |tensor| {
        tensor.3[0] = (tensor.3[0] + 1) % 4;
    });
    let message = down(&moved);
    assert!(message.contains("inputs, expected 64"), "{message}");
}

#[test]
fn tensors_of_other_shapes_and_settings_without_a_meaning_are_refused() {
    for part in ["qweight", "qzeros", "scales", "g_idx"] {
        let name = format!("model.layers.0.self_attn.k_proj.{part}");
        let short = changed(GPTQ_INT4, &name, |tensor| {
            tensor.2[0] *= 2;
            let again = tensor.3.clone();
            tensor.3.extend(again);
        });
        let refused = checkpoint::open(short.path()).err();
        assert!(
            matches!(&refused, Some(CheckpointError::Shape { tensor, .. }) if *tensor == name),
            "{refused:?}"
        );
    }
    let config = |key: &str, value: &str| {
        let text = format!("quantization_config.{key}={value}");
        match open_with(GPTQ_INT4, &[&text]) {
            Err(CheckpointError::Config { source, .. }) => source,
            other => panic!("{text}: {:?}", other.err()),
        }
    };
    for (key, value) in [
        ("bits", "8"),
        ("bits", "\"four\""),
        ("group_size", "100"),
        ("group_size", "0"),
        ("group_size", "-128"),
        ("checkpoint_format", "marlin"),
        ("quant_method", "exl2"),
    ] {
        let refused = config(key, value);
        let field = format!("quantization_config.{key}");
        assert!(
            matches!(&refused, ConfigError::Value { field: f, .. } if *f == field),
            "{refused}"
        );
    }
    assert!(matches!(
        config("lm_head", "true"),
        ConfigError::Unsupported { .. }
    ));
    // Shapes follow from bits and groups, so that others are missed by them.
    let refused = open_with(GPTQ_INT4, &["quantization_config.bits=3"]).err();
    assert!(
        matches!(refused, Some(CheckpointError::Shape { .. })),
        "{refused:?}"
    );
}

fn round(toy: Toy, to: &Path, bits: Bits, group: Option<usize>) -> Result<(), ConvertError> {
    let folder = toy.folder();
    let source = checkpoint::open(folder.path()).unwrap();
    let options = Options {
        weights: Some(AffineQuantizer::new(bits, group)),
        ..Options::default()
    };
    convert(source.as_ref(), to, Target::Tritburn, &options, &mut |_| {}).map(|_| ())
}

#[rstest]
#[case(Bits::Four, Some(32), 0.09)]
#[case(Bits::Three, Some(48), 0.2)]
#[case(Bits::Two, None, 0.6)]
fn float_models_are_rounded_to_what_runs(
    #[case] bits: Bits,
    #[case] group: Option<usize>,
    #[case] error: f64,
) {
    let folder = GEMMA3.folder();
    let source = checkpoint::open(folder.path()).unwrap();
    let to = folder.path().join("rounded");
    round(GEMMA3, &to, bits, group).unwrap();
    let rounded = checkpoint::open(&to).unwrap();
    assert_eq!(rounded.format(), "tritburn, affine");
    assert_eq!(Precision::of(rounded.config()), Precision::Affine);
    for (layer, projection) in source.config().projections() {
        let Weight::Affine(matrix) = rounded.projection(layer, projection).unwrap() else {
            panic!("no affine weights");
        };
        assert_eq!(matrix.layout().bits(), bits);
        let Weight::Master(floats) = source.projection(layer, projection).unwrap() else {
            panic!("no floats");
        };
        let report = weight_report(&floats.to_f32(), &matrix).unwrap();
        assert!(report.relative_error <= error, "{}", report.relative_error);
    }
    // What runs is what was stored.
    let dense = folder.path().join("dense");
    let options = Options::default();
    convert(rounded.as_ref(), &dense, Target::F32, &options, &mut |_| {}).unwrap();
    let dense = checkpoint::open(&dense).unwrap();
    let prompt = GEMMA3.ids("prompt");
    for device in devices() {
        let found = logits(rounded.as_ref(), &device, &prompt);
        let expected = logits(dense.as_ref(), &device, &prompt);
        let difference = largest_difference(&found, &expected);
        assert!(difference <= 1e-4, "{device:?}: {difference}");
    }
}

#[test]
fn what_cannot_be_rounded_is_refused_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("out");
    for toy in [LLAMA_PACKED, GPTQ_INT4] {
        let refused = round(toy, &to, Bits::Four, Some(32));
        assert!(
            matches!(refused, Err(ConvertError::Model { .. })),
            "{refused:?}"
        );
    }
    let refused = round(GEMMA3, &to, Bits::Four, Some(40)).unwrap_err();
    let message = chain(&refused);
    assert!(
        message.contains("q_proj") && message.contains("40"),
        "{message}"
    );
    assert!(!to.exists());
}

/// The names of the canonical tensors, and headers that describe something else.
#[test]
fn headers_that_do_not_fit_the_tensors_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("out");
    round(GEMMA3, &to, Bits::Four, Some(32)).unwrap();
    let file = to.join("model.safetensors");
    let bytes = fs::read(&file).unwrap();
    let stored = SafeTensors::deserialize(&bytes).unwrap();
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let name = "model.layers.0.self_attn.q_proj.header";
    let with = |word: usize, value: u32| {
        let mut header = stored.tensor(name).unwrap().data().to_vec();
        header[4 * word..][..4].copy_from_slice(&value.to_le_bytes());
        let views = stored.tensors().into_iter().map(|(other, view)| {
            let shape = view.shape().to_vec();
            let bytes = if other == name {
                header.clone()
            } else {
                view.data().to_vec()
            };
            (other, view.dtype(), shape, bytes)
        });
        let views: Vec<Tensor> = views.collect();
        let views = views.iter().map(|(name, dtype, shape, bytes)| {
            (
                name.as_str(),
                TensorView::new(*dtype, shape.clone(), bytes).unwrap(),
            )
        });
        let bytes = safetensors::serialize(views, metadata.metadata().clone()).unwrap();
        fs::write(&file, bytes).unwrap();
        checkpoint::open(&to).err()
    };
    let refused = with(4, 3).unwrap();
    assert!(
        matches!(refused, CheckpointError::Shape { .. }),
        "{refused}"
    );
    let refused = with(4, 7).unwrap();
    assert!(
        matches!(refused, CheckpointError::Header { .. }),
        "{refused}"
    );
    let refused = with(3, 32).unwrap();
    assert!(
        matches!(refused, CheckpointError::Shape { .. }),
        "{refused}"
    );
    // An order that the folder does not have.
    let refused = with(9, 1).unwrap();
    assert!(
        matches!(refused, CheckpointError::Missing { .. }),
        "{refused}"
    );
    assert!(with(4, 4).is_none());
}
