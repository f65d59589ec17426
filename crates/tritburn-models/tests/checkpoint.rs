//! Opening checkpoints: what is beside the weights, and what stands in for it.

use std::fs;
use std::path::Path;

use tritburn_formats::file::{TensorSource, TensorSpec, TorchCheckpoint, TorchWriter};
use tritburn_models::BitNetConfig;
use tritburn_models::checkpoint::{self, Checkpoint, CheckpointError, Synthetic, Table};
use tritburn_models::convert::{Options, Target, convert};
use tritburn_models::text::TextError;

/// Sizes from which those that no shape tells follow.
fn synthetic(tie_word_embeddings: bool) -> Synthetic {
    let config = BitNetConfig {
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
        ..BitNetConfig::b1_58_2b_4t()
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
