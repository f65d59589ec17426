//! Every conversion there and back: codes and scales exact, losses refused.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use rstest::rstest;
use tritburn_models::DecoderConfig;
use tritburn_models::checkpoint::{
    self, Checkpoint, CheckpointError, FloatTensorData, FloatType, Norm, Projection, Synthetic,
    Table, Weight,
};
use tritburn_models::convert::{ConvertError, Loss, Options, Report, TableType, Target, convert};
use tritburn_models::text::TokenizerFiles;

use crate::common::projections;

fn golden(folder: &str) -> Box<dyn Checkpoint> {
    let data = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/bitnet-tiny");
    checkpoint::open(data.join(folder)).unwrap()
}

/// Sizes that every format can hold.
fn synthetic() -> Synthetic {
    let config = DecoderConfig {
        vocab_size: 300,
        hidden_size: 256,
        intermediate_size: 768,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 64,
        bos_token_id: Some(1),
        eos_token_ids: vec![2],
        ..DecoderConfig::b1_58_2b_4t()
    };
    Synthetic::new(config, 11).unwrap()
}

fn go(
    source: &dyn Checkpoint,
    to: &Path,
    target: Target,
    options: &Options,
) -> Result<Report, ConvertError> {
    convert(source, to, target, options, &mut |_| {})
}

fn assert_same(a: &dyn Checkpoint, b: &dyn Checkpoint) {
    for (a, b) in projections(a).iter().zip(&projections(b)) {
        assert_eq!(a.codes(), b.codes());
        assert_eq!(a.scales(), b.scales());
    }
    for norm in a.config().norms() {
        assert_eq!(a.norm(norm).unwrap(), b.norm(norm).unwrap());
    }
    let table = |model: &dyn Checkpoint| model.embedding().unwrap().to_f32();
    assert_eq!(table(a), table(b));
}

#[rstest]
fn a_model_survives_every_pair_of_formats(
    #[values(0, 1, 2, 3, 4, 5, 6, 7)] first: usize,
    #[values(0, 1, 2, 3, 4, 5, 6, 7)] second: usize,
) {
    let folder = tempfile::tempdir().unwrap();
    let source = synthetic();
    let strict = Options::default();
    let (first, second) = (Target::ALL[first], Target::ALL[second]);
    let (a, b) = (folder.path().join("a"), folder.path().join("b"));
    let report = go(&source, &a, first, &strict).unwrap();
    assert_eq!((report.projections, report.losses), (14, vec![]));
    let middle = checkpoint::open(&a).unwrap();
    assert_same(&source, middle.as_ref());
    go(middle.as_ref(), &b, second, &strict).unwrap();
    let end = checkpoint::open(&b).unwrap();
    assert_same(&source, end.as_ref());
    assert_eq!(end.config().eos_token_ids, [2]);
}

#[rstest]
fn golden_masters_pack_to_the_codes_of_packing_in_memory(
    #[values(Target::Hf, Target::Tritburn)] target: Target,
) {
    let folder = tempfile::tempdir().unwrap();
    let source = golden("bf16");
    let options = Options {
        table_type: TableType::Of(FloatType::BF16),
        ..Options::default()
    };
    let report = go(
        source.as_ref(),
        &folder.path().join("out"),
        target,
        &options,
    )
    .unwrap();
    assert!(report.tokenizer);
    let result = checkpoint::open(&report.path).unwrap();
    assert_same(source.as_ref(), result.as_ref());
    assert!(result.tokenizer().unwrap().has_tokenizer());
}

#[test]
fn rounded_scales_are_refused_and_listed_unless_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let source = golden("bf16");
    let out = folder.path().join("out");
    let refused = go(
        source.as_ref(),
        &out,
        Target::BitNetGpu,
        &Options::default(),
    );
    let Err(ConvertError::Lossy { losses }) = refused else {
        panic!("{refused:?}");
    };
    assert!(losses.iter().all(|loss| matches!(loss, Loss::Scale { .. })));
    assert!(!out.exists());
    let allowed = Options {
        allow_lossy: true,
        ..Options::default()
    };
    let report = go(source.as_ref(), &out, Target::BitNetGpu, &allowed).unwrap();
    assert_eq!(report.losses, losses);
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "nothing but the result is left");
}

/// bitnet.cpp would read beyond such rows.
#[test]
fn rows_of_broken_blocks_are_refused_for_i2_s() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.gguf");
    let strict = Options::default();
    let error = go(golden("packed").as_ref(), &out, Target::GgufI2S, &strict).unwrap_err();
    assert!(
        matches!(
            error,
            ConvertError::Width {
                field: "intermediate_size",
                found: 352,
                block: 128,
                ..
            }
        ),
        "{error}"
    );
    let narrow = DecoderConfig {
        hidden_size: 192,
        head_dim: 48,
        ..synthetic().config().clone()
    };
    let error = go(
        &Synthetic::new(narrow, 1).unwrap(),
        &out,
        Target::GgufI2S,
        &strict,
    );
    assert!(
        matches!(error, Err(ConvertError::Width { found: 192, .. })),
        "{error:?}"
    );
    assert!(!out.exists());
}

#[test]
fn blocks_of_256_are_a_demand_of_tq_that_the_golden_model_does_not_meet() {
    let folder = tempfile::tempdir().unwrap();
    for target in [Target::GgufTq1_0, Target::GgufTq2_0] {
        let out = folder.path().join("out");
        let error = go(golden("packed").as_ref(), &out, target, &Options::default());
        assert!(
            matches!(error, Err(ConvertError::Codec { .. })),
            "{error:?}"
        );
    }
}

/// A synthetic model with the toy's tokenizer, whose tokens are: pad 0, bos 1, eos 2.
struct Speaking {
    model: Synthetic,
    files: TokenizerFiles,
    /// The first value of each row of the embedding, if it is another.
    first: Option<FloatTensorData>,
}

fn speaking(change: impl FnOnce(&mut DecoderConfig, &mut TokenizerFiles)) -> Speaking {
    let mut config = DecoderConfig {
        vocab_size: 512,
        ..synthetic().config().clone()
    };
    let mut files = golden("packed").tokenizer().unwrap();
    change(&mut config, &mut files);
    Speaking {
        model: Synthetic::new(config, 5).unwrap(),
        files,
        first: None,
    }
}

impl Checkpoint for Speaking {
    fn format(&self) -> &'static str {
        self.model.format()
    }

    fn config(&self) -> &DecoderConfig {
        self.model.config()
    }

    fn stored_bytes(&self) -> u64 {
        self.model.stored_bytes()
    }

    fn norm(&self, norm: Norm) -> Result<Vec<f32>, CheckpointError> {
        self.model.norm(norm)
    }

    fn table_type(&self, table: Table) -> FloatType {
        let own = self.model.table_type(table);
        self.first.as_ref().map_or(own, |value| value.dtype)
    }

    fn table_rows(
        &self,
        table: Table,
        rows: Range<usize>,
    ) -> Result<FloatTensorData, CheckpointError> {
        let data = self.model.table_rows(table, rows)?;
        let Some(first) = &self.first else {
            return Ok(data);
        };
        let width = data.shape[1] * first.dtype.size();
        let (mut data, _) = data.convert(first.dtype);
        for row in data.bytes.chunks_mut(width) {
            row[..first.bytes.len()].copy_from_slice(&first.bytes);
        }
        Ok(data)
    }

    fn projection(&self, layer: usize, projection: Projection) -> Result<Weight, CheckpointError> {
        self.model.projection(layer, projection)
    }

    fn tokenizer(&self) -> Result<TokenizerFiles, CheckpointError> {
        Ok(self.files.clone())
    }
}

/// The published embedding is bf16, and f16 has no room for its smallest values.
#[rstest]
#[case::fits_f16(FloatType::BF16, 0.25, FloatType::F16)]
#[case::below_f16(FloatType::BF16, 1e-10, FloatType::BF16)]
#[case::loses_bits_as_a_subnormal(FloatType::BF16, 1.171875e-6, FloatType::BF16)]
#[case::bf16_in_f32(FloatType::F32, 2.0f32.powi(-40), FloatType::BF16)]
#[case::f32(FloatType::F32, 0.1, FloatType::F32)]
fn gguf_tables_lose_nothing(
    #[case] stored: FloatType,
    #[case] value: f32,
    #[case] expected: FloatType,
    #[values(Target::GgufI2S, Target::GgufTq1_0)] target: Target,
) {
    let mut source = speaking(|_, _| {});
    source.first = Some(FloatTensorData::from_f32(stored, vec![1], &[value]));
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.gguf");
    let report = go(&source, &out, target, &Options::default()).unwrap();
    assert_eq!(report.losses, []);
    let result = checkpoint::open(&out).unwrap();
    assert_eq!(result.table_type(Table::Embedding), expected);
    assert_same(&source, result.as_ref());

    let asked_for = Options {
        table_type: TableType::Of(FloatType::F16),
        force: true,
        ..Options::default()
    };
    let forced = go(&source, &out, target, &asked_for);
    match expected == FloatType::F16 {
        true => assert_eq!(forced.unwrap().losses, []),
        false => assert!(
            matches!(forced, Err(ConvertError::Lossy { .. })),
            "{forced:?}"
        ),
    }
}

#[rstest]
fn the_first_two_stop_tokens_go_to_gguf_and_the_rest_is_a_loss(
    #[values(Target::GgufI2S, Target::GgufTq2_0)] target: Target,
) {
    let source = speaking(|config, files| {
        config.eos_token_ids = vec![5];
        files.generation_config = Some(r#"{"eos_token_id": [5, 7, 8]}"#.to_string());
    });
    assert_eq!(source.stop_ids().unwrap(), [5, 2, 7, 8]);
    let lossy = Options {
        allow_lossy: true,
        ..Options::default()
    };
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.gguf");
    let report = go(&source, &out, target, &lossy).unwrap();
    let lost = Loss::EndTokens { ids: vec![7, 8] };
    assert_eq!(report.losses, [lost]);
    let result = checkpoint::open(&out).unwrap();
    assert_eq!(result.config().eos_token_ids, [5, 2]);
    assert_eq!(result.stop_ids().unwrap(), [5, 2]);
}

#[rstest]
#[case::beside_the_tokenizers_own(false)]
#[case::without_a_tokenizer(true)]
fn a_stop_token_of_the_generation_config_becomes_the_end_of_a_turn(#[case] silent: bool) {
    let source = speaking(|_, files| {
        if silent {
            *files = TokenizerFiles::default();
        }
        files.generation_config = Some(r#"{"eos_token_id": [2, 7]}"#.to_string());
    });
    let folder = tempfile::tempdir().unwrap();
    let (gguf, hf) = (folder.path().join("a.gguf"), folder.path().join("hf"));
    go(&source, &gguf, Target::GgufI2S, &Options::default()).unwrap();
    let middle = checkpoint::open(&gguf).unwrap();
    assert_eq!(middle.stop_ids().unwrap(), [2, 7]);
    go(middle.as_ref(), &hf, Target::Hf, &Options::default()).unwrap();
    assert_eq!(checkpoint::open(&hf).unwrap().stop_ids().unwrap(), [2, 7]);
}

#[test]
fn special_tokens_that_only_the_tokenizer_names_go_to_gguf() {
    let source = speaking(|config, _| {
        config.bos_token_id = None;
        config.eos_token_ids = Vec::new();
        config.pad_token_id = None;
    });
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.gguf");
    go(&source, &out, Target::GgufI2S, &Options::default()).unwrap();
    let result = checkpoint::open(&out).unwrap();
    let config = result.config();
    assert_eq!(config.bos_token_id, Some(1));
    assert_eq!(config.eos_token_ids, [2]);
    assert_eq!(config.pad_token_id, Some(0));
}

#[test]
fn what_is_there_stays_unless_forced() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    std::fs::write(&out, "mine").unwrap();
    let source = synthetic();
    let error = go(&source, &out, Target::GgufI2S, &Options::default());
    assert!(
        matches!(error, Err(ConvertError::Exists { .. })),
        "{error:?}"
    );
    assert_eq!(std::fs::read_to_string(&out).unwrap(), "mine");
    go(&source, &out, Target::GgufI2S, &FORCE).unwrap();
    assert_eq!(checkpoint::open(&out).unwrap().format(), "GGUF, I2_S");
    let error = go(&source, &out, Target::Hf, &FORCE);
    assert!(matches!(error, Err(ConvertError::Kept { .. })), "{error:?}");
    assert_eq!(checkpoint::open(&out).unwrap().format(), "GGUF, I2_S");
}

const FORCE: Options = Options {
    allow_lossy: false,
    force: true,
    cancelled: None,
    table_type: TableType::Exact,
    weights: None,
};

/// The names and contents of a folder of files.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let paths = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path());
    paths
        .map(|path| (path.clone(), std::fs::read(&path).unwrap()))
        .collect()
}

#[test]
fn force_replaces_models_of_ours_and_empty_folders() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    std::fs::create_dir(&out).unwrap();
    for target in [Target::Hf, Target::BitNetGpu, Target::Tritburn] {
        go(&synthetic(), &out, target, &FORCE).unwrap();
    }
    assert_eq!(checkpoint::open(&out).unwrap().format(), "tritburn");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

/// Notes alone or beside a model, weights that are none, a model that is to become a file.
#[rstest]
#[case(false, Some("notes.txt"), Target::Hf, "notes.txt")]
#[case(true, Some("notes.txt"), Target::Hf, "notes.txt")]
#[case(false, Some("model.safetensors"), Target::Hf, "no model")]
#[case(false, Some("notes.txt"), Target::GgufI2S, "is a folder")]
#[case(true, None, Target::GgufI2S, "is a folder")]
fn force_keeps_what_no_conversion_wrote(
    #[case] model: bool,
    #[case] file: Option<&str>,
    #[case] target: Target,
    #[case] said: &str,
) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    match model {
        true => drop(go(&synthetic(), &out, Target::Hf, &Options::default()).unwrap()),
        false => std::fs::create_dir(&out).unwrap(),
    }
    if let Some(file) = file {
        std::fs::write(out.join(file), "years of work").unwrap();
    }
    let before = contents(&out);
    let error = go(&synthetic(), &out, target, &FORCE).unwrap_err();
    assert!(
        matches!(
            error,
            ConvertError::Kept { .. } | ConvertError::NoModel { .. }
        ),
        "{error:?}"
    );
    let message = error.to_string();
    let named = message.contains(out.to_str().unwrap());
    assert!(named && message.contains(said), "{message}");
    assert_eq!(contents(&out), before);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_conversion_that_is_called_off_leaves_nothing() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    fn later() -> bool {
        // In the middle of writing.
        ASKED.fetch_add(1, Ordering::Relaxed) > 30
    }
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        cancelled: Some(later),
        ..Options::default()
    };
    let error = go(
        &synthetic(),
        &folder.path().join("out"),
        Target::Hf,
        &options,
    )
    .unwrap_err();
    assert!(matches!(error, ConvertError::Cancelled), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
