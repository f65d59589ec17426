//! Embeddings and heads in ggml's K types: written, kept, read, and what they cost.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::Device;
use rstest::rstest;
use tritburn::formats::codec::gguf::k_quant::KQuant;
use tritburn::transformer::keeps_k_quants;
use tritburn_models::checkpoint::{self, Checkpoint, Synthetic, Table};
use tritburn_models::convert::{ConvertError, Loss, Options, TableType, Target, convert};
use tritburn_models::generate::Session;
use tritburn_models::model::{HeadPrecision, LoadOptions, ModelError};
use tritburn_models::{CausalLm, DecoderConfig};

use crate::common::devices;

const PROMPT: [u32; 9] = [1, 17, 299, 3, 3, 250, 0, 41, 128];

fn synthetic(width: usize, tied: bool) -> Synthetic {
    let config = DecoderConfig {
        vocab_size: 300,
        hidden_size: width,
        intermediate_size: 768,
        num_hidden_layers: 2,
        num_attention_heads: width / 64,
        num_key_value_heads: width / 128,
        head_dim: 64,
        bos_token_id: Some(1),
        eos_token_ids: vec![2],
        tie_word_embeddings: tied,
        ..DecoderConfig::b1_58_2b_4t()
    };
    Synthetic::new(config, 5).unwrap()
}

fn go(
    source: &dyn Checkpoint,
    to: &Path,
    target: Target,
    table_type: TableType,
    allow_lossy: bool,
) -> Result<PathBuf, ConvertError> {
    let options = Options {
        table_type,
        allow_lossy,
        ..Options::default()
    };
    Ok(convert(source, to, target, &options, &mut |_| {})?.path)
}

fn load(path: &Path, head: HeadPrecision, device: &Device) -> Result<CausalLm, ModelError> {
    let options = LoadOptions {
        head,
        ..LoadOptions::default()
    };
    CausalLm::load(checkpoint::open(path)?.as_ref(), &options, device)
}

fn logits(model: CausalLm) -> Vec<f32> {
    let mut session = Session::new(Arc::new(model), 1, PROMPT.len()).unwrap();
    let logits = session.prefill_all(&PROMPT).unwrap();
    logits.into_data().try_into_vec().unwrap()
}

/// Root mean square of the differences, of the expected ones' own.
fn relative_error(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let square = |x: f32| f64::from(x) * f64::from(x);
    let error: f64 = found.iter().zip(expected).map(|(a, b)| square(a - b)).sum();
    (error / expected.iter().map(|&x| square(x)).sum::<f64>()).sqrt()
}

#[rstest]
fn a_file_with_such_tables_runs_as_its_values_do(
    #[values(KQuant::Q4K, KQuant::Q5K, KQuant::Q6K)] kind: KQuant,
    #[values(true, false)] tied: bool,
) {
    let folder = tempfile::tempdir().unwrap();
    let source = synthetic(256, tied);
    let blocks = TableType::Blocks(kind);
    let path = folder.path().join("blocks.gguf");
    let path = go(&source, &path, Target::GgufI2S, blocks, true).unwrap();
    // The same values as floats.
    let file = checkpoint::open(&path).unwrap();
    let floats = folder.path().join("floats");
    let exact = TableType::Exact;
    let floats = go(file.as_ref(), &floats, Target::Tritburn, exact, false).unwrap();
    for device in devices() {
        let model = load(&path, HeadPrecision::Stored, &device).unwrap();
        let twin = load(&floats, HeadPrecision::Stored, &device).unwrap();
        let tables = if tied { 1 } else { 2 };
        let saved = match keeps_k_quants(&device) {
            true => tables * 300 * (4 * 256 - kind.block_bytes()),
            false => 0,
        };
        assert_eq!(twin.byte_count() - model.byte_count(), saved, "{device:?}");
        let error = relative_error(&logits(model), &logits(twin));
        let exact = !keeps_k_quants(&device);
        assert!(
            error < 5e-5 && (exact || error > 0.0),
            "{device:?}: {error}"
        );
    }
}

#[test]
fn blocks_stay_as_they_are_from_file_to_file() {
    let folder = tempfile::tempdir().unwrap();
    let (blocks, exact) = (TableType::Blocks(KQuant::Q5K), TableType::Exact);
    let first = folder.path().join("first.gguf");
    let source = synthetic(256, false);
    let first = go(&source, &first, Target::GgufI2S, blocks, true).unwrap();
    let first = checkpoint::open(&first).unwrap();
    for (name, table_type) in [("second.gguf", exact), ("third.gguf", blocks)] {
        let path = folder.path().join(name);
        let path = go(first.as_ref(), &path, Target::GgufI2S, table_type, false).unwrap();
        let second = checkpoint::open(&path).unwrap();
        for table in [Table::Embedding, Table::Head] {
            let blocks = first.table_blocks(table).unwrap();
            assert!(blocks.is_some() && blocks == second.table_blocks(table).unwrap());
        }
    }
    // Another type is another matter.
    let path = folder.path().join("fourth.gguf");
    let other = TableType::Blocks(KQuant::Q4K);
    let error = go(first.as_ref(), &path, Target::GgufI2S, other, false).unwrap_err();
    assert!(matches!(error, ConvertError::Lossy { .. }), "{error}");
}

#[test]
fn rounding_a_table_is_a_loss_and_not_every_target_has_blocks() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("result");
    let blocks = TableType::Blocks(KQuant::Q6K);
    let source = synthetic(256, true);
    let Err(ConvertError::Lossy { losses }) = go(&source, &path, Target::GgufI2S, blocks, false)
    else {
        panic!("a loss without leave");
    };
    let tensor = "token_embd.weight".to_string();
    let kind = KQuant::Q6K;
    assert_eq!(losses, [Loss::Blocks { tensor, kind }]);
    for (width, target, said) in [
        (256, Target::Tritburn, "tables of Q6_K are for GGUF files"),
        (384, Target::GgufI2S, "rows of 384 are no blocks of 256"),
    ] {
        let error = go(&synthetic(width, true), &path, target, blocks, true).unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
    }
    assert!(!path.exists());
}

/// What small heads cost, so that their documentation stays true.
#[rstest]
#[case(HeadPrecision::Int6, 0.02, 210)]
#[case(HeadPrecision::Int4, 0.08, 144)]
fn small_heads_move_logits_a_little(
    #[case] head: HeadPrecision,
    #[case] most: f64,
    #[case] block: usize,
    // Rows of 384 end in half a block.
    #[values(256, 384)] width: usize,
) {
    let folder = tempfile::tempdir().unwrap();
    let source = synthetic(width, true);
    let path = folder.path().join("model");
    let path = go(&source, &path, Target::Tritburn, TableType::Exact, false).unwrap();
    for device in devices() {
        if !keeps_k_quants(&device) {
            let error = load(&path, head, &device).unwrap_err().to_string();
            assert!(error.contains("only the CPU (flex) has"), "{error}");
            continue;
        }
        let stored = load(&path, HeadPrecision::Stored, &device).unwrap();
        let model = load(&path, head, &device).unwrap();
        let bytes = 300 * width.div_ceil(256) * block;
        assert_eq!(model.byte_count() - stored.byte_count(), bytes);
        let error = relative_error(&logits(model), &logits(stored));
        assert!((most / 10.0..most).contains(&error), "{head:?}: {error}");
    }
}
