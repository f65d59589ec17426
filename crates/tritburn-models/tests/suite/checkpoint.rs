//! Opening checkpoints: what is beside the weights, and what stands in for it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use tritburn_formats::file::{TensorSource, TensorSpec, TorchCheckpoint, TorchWriter};
use tritburn_models::DecoderConfig;
use tritburn_models::checkpoint::{self, Checkpoint, CheckpointError, Synthetic, Table};
use tritburn_models::convert::{Options, Target, convert};
use tritburn_models::text::{TextError, TokenizerFiles};

use crate::common::{Form, projections};

/// Sizes from which those that no shape tells follow.
fn synthetic(tie_word_embeddings: bool) -> Synthetic {
    let config = DecoderConfig {
        vocab_size: 96,
        hidden_size: 256,
        intermediate_size: 384,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        num_key_value_heads: 1,
        head_dim: 128,
        tie_word_embeddings,
        bos_token_id: None,
        eos_token_ids: Vec::new(),
        ..DecoderConfig::b1_58_2b_4t()
    };
    Synthetic::new(config, 17).unwrap()
}

fn write(source: &dyn Checkpoint, to: &Path, target: Target) {
    convert(source, to, target, &Options::default(), &mut |_| {}).unwrap();
}

#[test]
fn a_bitnet_gpu_file_alone_tells_its_sizes_and_whether_its_tables_are_tied() {
    let folder = tempfile::tempdir().unwrap();
    for tied in [true, false] {
        let source = synthetic(tied);
        let out = folder.path().join(tied.to_string());
        write(&source, &out, Target::BitNetGpu);
        fs::remove_file(out.join("config.json")).unwrap();
        let alone = checkpoint::open(&out).unwrap();
        assert_eq!(alone.config(), source.config(), "tied: {tied}");
        let some = source.table_rows(Table::Embedding, 3..40).unwrap();
        assert_eq!(alone.table_rows(Table::Embedding, 3..40).unwrap(), some);
    }
}

#[test]
fn one_value_makes_another_table() {
    let folder = tempfile::tempdir().unwrap();
    let source = synthetic(true);
    let out = folder.path().join("out");
    write(&source, &out, Target::BitNetGpu);
    fs::remove_file(out.join("config.json")).unwrap();
    let file = out.join("model_state_int2.pt");
    let read = TorchCheckpoint::open(&file).unwrap();
    let specs = read.tensors().iter();
    let specs: Vec<_> = specs
        .map(|info| TensorSpec::new(info.name.as_str(), info.dtype, info.shape.clone()))
        .collect();
    let changed = out.join("changed.pt");
    let mut writer = TorchWriter::create(&changed, &specs).unwrap();
    for spec in &specs {
        let mut bytes = read.read(&spec.name).unwrap();
        if spec.name == "output.weight" {
            // The lowest bit of a value somewhere in the middle.
            bytes[20_002] ^= 1;
        }
        writer.write(&spec.name, &bytes).unwrap();
    }
    writer.finish().unwrap();
    assert!(
        checkpoint::open(&file)
            .unwrap()
            .config()
            .tie_word_embeddings
    );
    let changed = checkpoint::open(&changed).unwrap();
    assert!(!changed.config().tie_word_embeddings);
}

#[test]
fn a_configuration_that_cannot_be_read_is_no_missing_one() {
    let folder = tempfile::tempdir().unwrap();
    for target in [Target::BitNetGpu, Target::Hf] {
        let out = folder.path().join(target.name());
        write(&synthetic(true), &out, target);
        fs::write(out.join("config.json"), b"\xff\xfe").unwrap();
        let error = checkpoint::open(&out).err().unwrap();
        assert!(
            matches!(error, CheckpointError::Text(TextError::Io { .. })),
            "{target}: {error}"
        );
    }
}

/// Name, type, shape and bytes.
type Tensor = (String, Dtype, Vec<usize>, Vec<u8>);

fn tensors(file: &Path) -> Vec<Tensor> {
    let bytes = fs::read(file).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensor = |(name, view): (String, TensorView)| {
        let (dtype, shape) = (view.dtype(), view.shape().to_vec());
        (name, dtype, shape, view.data().to_vec())
    };
    file.tensors().into_iter().map(tensor).collect()
}

fn write_tensors(file: &Path, tensors: &[Tensor]) {
    let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
        let view = TensorView::new(*dtype, shape.clone(), bytes).unwrap();
        (name.as_str(), view)
    });
    fs::write(file, safetensors::serialize(views, None).unwrap()).unwrap();
}

#[test]
fn a_sharded_folder_is_one_model() {
    let whole = Form::Packed.folder();
    let sharded = Form::Packed.folder();
    let single = sharded.path().join("model.safetensors");
    let all = tensors(&single);
    fs::remove_file(single).unwrap();
    let mut map = BTreeMap::new();
    let shards = all.chunks(all.len().div_ceil(3));
    assert_eq!(shards.len(), 3);
    for (i, tensors) in shards.enumerate() {
        let name = format!("model-{:05}-of-00003.safetensors", i + 1);
        write_tensors(&sharded.path().join(&name), tensors);
        map.extend(
            tensors
                .iter()
                .map(|(tensor, ..)| (tensor.clone(), name.clone())),
        );
    }
    let index = serde_json::json!({ "metadata": {}, "weight_map": map }).to_string();
    let index_file = sharded.path().join("model.safetensors.index.json");
    fs::write(&index_file, &index).unwrap();

    let whole = checkpoint::open(whole.path()).unwrap();
    let found = checkpoint::open(sharded.path()).unwrap();
    assert_eq!(found.config(), whole.config());
    assert_eq!(found.stored_bytes(), whole.stored_bytes());
    assert_eq!(projections(found.as_ref()), projections(whole.as_ref()));
    assert_eq!(found.embedding().unwrap(), whole.embedding().unwrap());
    for norm in whole.config().norms() {
        assert_eq!(found.norm(norm).unwrap(), whole.norm(norm).unwrap());
    }

    fs::remove_file(sharded.path().join("model-00002-of-00003.safetensors")).unwrap();
    let error = checkpoint::open(sharded.path()).err().unwrap();
    assert!(matches!(error, CheckpointError::File(_)), "{error}");
}

/// Its stored scales divide.
#[test]
fn a_checkpoint_of_bitlinear_has_the_weights_of_autobitlinear() {
    let multiply = Form::Packed.folder();
    let divide = Form::Packed.folder();
    let config = divide.path().join("config.json");
    let text = fs::read_to_string(&config).unwrap();
    assert!(text.contains("\"autobitlinear\""));
    fs::write(&config, text.replace("\"autobitlinear\"", "\"bitlinear\"")).unwrap();
    let file = divide.path().join("model.safetensors");
    let mut all = tensors(&file);
    let scales = all
        .iter_mut()
        .filter(|(name, ..)| name.ends_with("weight_scale"));
    for (_, dtype, _, bytes) in scales {
        assert_eq!(*dtype, Dtype::BF16);
        let gamma = half::bf16::from_le_bytes(bytes.as_slice().try_into().unwrap()).to_f32();
        (*dtype, *bytes) = (Dtype::F32, (1.0 / gamma).to_le_bytes().to_vec());
    }
    write_tensors(&file, &all);

    let multiply = checkpoint::open(multiply.path()).unwrap();
    let divide = checkpoint::open(divide.path()).unwrap();
    let pairs = projections(multiply.as_ref())
        .into_iter()
        .zip(projections(divide.as_ref()));
    for (a, b) in pairs {
        assert_eq!(a.words(), b.words());
        let ratio = a.scales()[0] / b.scales()[0];
        assert!((ratio - 1.0).abs() <= 2.0 * f32::EPSILON, "{ratio}");
        assert!((a.scales()[0] - 1.0).abs() > 0.1, "a scale of its own");
    }
}

#[test]
fn one_of_several_gguf_files_has_to_be_named() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["c.gguf", "a.gguf", "b.gguf"] {
        write(&synthetic(true), &folder.path().join(name), Target::GgufI2S);
    }
    let error = checkpoint::open(folder.path()).err().unwrap();
    let CheckpointError::Several { count, first, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!((*count, first.as_path()), (3, Path::new("a.gguf")));
    let message = error.to_string();
    assert!(message.contains("3 .gguf files: name one"), "{message}");
    assert!(checkpoint::open(folder.path().join("a.gguf")).is_ok());
}

/// Downloads that stopped half-way: the shards that an index names, or what Git LFS keeps elsewhere.
#[test]
fn files_that_were_not_downloaded_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("config.json", &DecoderConfig::tiny().to_hf_json("bfloat16"));
    let shard = "model-00001-of-00002.safetensors";
    let index = format!(r#"{{"weight_map": {{"model.norm.weight": "{shard}"}}}}"#);
    write("model.safetensors.index.json", &index);
    let error = checkpoint::open(folder.path()).err().unwrap().to_string();
    assert!(error.contains(shard), "{error}");

    let pointer = "version https://git-lfs.github.com/spec/v1\nsize 9\n";
    for name in ["tokenizer.model", "tokenizer.json"] {
        write(name, pointer);
        let error = TokenizerFiles::from_folder(folder.path()).unwrap_err();
        assert!(
            matches!(&error, TextError::LfsPointer { path } if path.ends_with(name)),
            "{error}"
        );
    }
}
