//! Every conversion there and back: codes and scales exact, losses refused.

use std::path::{Path, PathBuf};

use rstest::rstest;
use tritburn_formats::{PackedMatrix, matrix::unpack_codes};
use tritburn_models::BitNetConfig;
use tritburn_models::checkpoint::{self, Checkpoint, FloatType, Synthetic};
use tritburn_models::convert::{ConvertError, Loss, Options, Report, Target, convert};

fn golden(folder: &str) -> Box<dyn Checkpoint> {
    let data = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/bitnet-tiny");
    checkpoint::open(data.join(folder)).unwrap()
}

/// Sizes that every format can hold.
fn synthetic() -> Synthetic {
    let config = BitNetConfig {
        vocab_size: 300,
        hidden_size: 256,
        intermediate_size: 768,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 64,
        bos_token_id: Some(1),
        eos_token_ids: vec![2],
        ..BitNetConfig::b1_58_2b_4t()
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

fn projections(model: &dyn Checkpoint) -> Vec<PackedMatrix> {
    let projections = model.config().projections();
    projections
        .map(|(layer, p)| {
            model
                .projection(layer, p)
                .unwrap()
                .into_packed("w")
                .unwrap()
        })
        .collect()
}

fn assert_same(a: &dyn Checkpoint, b: &dyn Checkpoint) {
    for (a, b) in projections(a).iter().zip(&projections(b)) {
        assert_eq!(
            unpack_codes(a.words(), a.layout()),
            unpack_codes(b.words(), b.layout())
        );
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
    #[values(0, 1, 2, 3, 4, 5, 6)] first: usize,
    #[values(0, 1, 2, 3, 4, 5, 6)] second: usize,
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
    #[values(Target::Hf, Target::Tritburn, Target::GgufI2S)] target: Target,
) {
    let folder = tempfile::tempdir().unwrap();
    let source = golden("bf16");
    let options = Options {
        table_type: Some(FloatType::BF16),
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

#[test]
fn what_is_there_stays_unless_forced() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    std::fs::write(&out, "mine").unwrap();
    let source = synthetic();
    let error = go(&source, &out, Target::Hf, &Options::default());
    assert!(
        matches!(error, Err(ConvertError::Exists { .. })),
        "{error:?}"
    );
    assert_eq!(std::fs::read_to_string(&out).unwrap(), "mine");
    let force = Options {
        force: true,
        ..Options::default()
    };
    go(&source, &out, Target::Hf, &force).unwrap();
    go(&source, &out, Target::GgufI2S, &force).unwrap();
    assert_eq!(checkpoint::open(&out).unwrap().format(), "GGUF, I2_S");
}
