//! Toy models on their way through every format that can hold them.

use rstest::rstest;
use tritburn::InputPrecision;
use tritburn_formats::codec::gguf::tq2_0;
use tritburn_formats::file::gguf::Gguf;
use tritburn_formats::file::{DType, GgufWriter, TensorInfo, TensorSource, TensorSpec};
use tritburn_models::DecoderConfig;
use tritburn_models::checkpoint::{self, Synthetic};
use tritburn_models::config::{Biases, Family, GatedActivation, Multipliers, SlidingLayers};
use tritburn_models::convert::{ConvertError, Options, Target, convert};
use tritburn_models::model::Precision;

use super::{
    BITNET_SILU, GEMMA3, GEMMA3_NORMS, LLAMA_NORMS, LLAMA_PACKED, LLAMA_UNPACKED, MINICPM, QWEN3,
    Toy, largest_difference, logits,
};
use crate::common::devices;

/// What holds a model without loss gives its logits to the last digits; what does not is refused.
#[rstest]
#[case(BITNET_SILU, &[Target::Hf, Target::Tritburn, Target::Bf16, Target::F32])]
#[case(GEMMA3, &[Target::Bf16, Target::F32])]
#[case(GEMMA3_NORMS, &[Target::Hf, Target::Tritburn, Target::Bf16, Target::F32])]
#[case(LLAMA_PACKED, &[
    Target::Hf,
    Target::Tritburn,
    Target::GgufI2S,
    Target::Bf16,
    Target::F32,
])]
#[case(LLAMA_NORMS, &[Target::Hf, Target::Tritburn, Target::Bf16, Target::F32])]
#[case(LLAMA_UNPACKED, &[Target::Tritburn, Target::GgufQ2_0, Target::F32])]
#[case(MINICPM, &[Target::Tritburn, Target::GgufQ2_0, Target::Bf16, Target::F32])]
#[case(QWEN3, &[Target::Tritburn, Target::GgufQ2_0, Target::F32])]
fn formats_that_hold_a_family_give_its_logits(#[case] toy: Toy, #[case] holds: &[Target]) {
    let folder = toy.folder();
    let source = checkpoint::open(folder.path()).unwrap();
    let device = devices().swap_remove(0);
    let prompt = toy.ids("prompt");
    let expected = logits(source.as_ref(), &device, &prompt);
    for target in Target::ALL {
        let to = folder.path().join(target.name());
        let result = convert(
            source.as_ref(),
            &to,
            target,
            &Options::default(),
            &mut |_| {},
        );
        match (result, holds.contains(&target)) {
            (Ok(_), true) => {
                let again = checkpoint::open(&to).unwrap();
                assert_eq!(again.config().family, source.config().family);
                let found = logits(again.as_ref(), &device, &prompt);
                let difference = largest_difference(&found, &expected);
                assert!(difference <= 1e-5, "{} as {target}: {difference}", toy.name);
            }
            (
                Err(
                    ConvertError::Dense
                    | ConvertError::Model { .. }
                    | ConvertError::Codec { .. }
                    | ConvertError::Lossy { .. }
                    | ConvertError::Width { .. },
                ),
                false,
            ) => {}
            (result, _) => panic!("{} as {target}: {result:?}", toy.name),
        }
    }
}

/// Models that GGUF's blocks of 256 fit: rows of q and k change their order on the way.
#[rstest]
#[case(Family::Llama, InputPrecision::Int8)]
#[case(Family::Llama, InputPrecision::Float)]
#[case(Family::Qwen2, InputPrecision::Int8)]
#[case(Family::Qwen3, InputPrecision::Int8)]
#[case(Family::MiniCpm, InputPrecision::Float)]
#[case(Family::Gemma3, InputPrecision::Int8)]
fn gguf_files_of_a_family_give_its_logits(#[case] family: Family, #[case] inputs: InputPrecision) {
    let config = DecoderConfig {
        family,
        hidden_size: 256,
        intermediate_size: 512,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 64,
        hidden_act: match family {
            Family::Gemma3 => GatedActivation::GeluTanh,
            _ => GatedActivation::Silu,
        },
        sub_norms: false,
        post_norms: family == Family::Gemma3,
        head_norms: matches!(family, Family::Qwen3 | Family::Gemma3),
        sliding: (family == Family::Gemma3).then(|| SlidingLayers {
            window: 32,
            rope_theta: 10_000.0,
            layers: vec![true; 2],
        }),
        biases: Biases {
            qkv: family == Family::Qwen2,
            ..Biases::default()
        },
        multipliers: match family {
            Family::MiniCpm => Multipliers {
                embedding: 12.0,
                residual: 0.5,
                queries: 1.0,
                logits: 0.25,
            },
            Family::Gemma3 => Multipliers {
                embedding: 16.0,
                queries: 0.5,
                ..Multipliers::default()
            },
            _ => Multipliers::default(),
        },
        tie_word_embeddings: false,
        inputs,
        ..DecoderConfig::tiny()
    };
    let source = Synthetic::new(config.clone(), 3).unwrap();
    let device = devices().swap_remove(0);
    let prompt = [5, 9, 1, 300, 17, 200];
    let expected = logits(&source, &device, &prompt);
    let folder = tempfile::tempdir().unwrap();
    let weight_only = inputs == InputPrecision::Float;
    for target in [Target::GgufTq1_0, Target::GgufTq2_0, Target::GgufI2S] {
        let to = folder.path().join(target.name());
        let result = convert(&source, &to, target, &Options::default(), &mut |_| {});
        if weight_only && target == Target::GgufI2S {
            assert!(
                matches!(result, Err(ConvertError::Model { .. })),
                "{result:?}"
            );
            continue;
        }
        result.unwrap();
        let again = checkpoint::open(&to).unwrap();
        assert_eq!(Precision::of(again.config()), Precision::of(&config));
        let found = logits(again.as_ref(), &device, &prompt);
        let difference = largest_difference(&found, &expected);
        assert!(difference <= 1e-5, "{family} as {target}: {difference}");
    }
}

/// Writers leave matrices in float beside ternary ones where rows are not whole blocks.
#[test]
fn a_matrix_may_be_float_beside_ternary_ones() {
    let config = DecoderConfig {
        family: Family::Llama,
        hidden_size: 256,
        intermediate_size: 512,
        head_dim: 64,
        hidden_act: GatedActivation::Silu,
        sub_norms: false,
        inputs: InputPrecision::Float,
        ..DecoderConfig::tiny()
    };
    let source = Synthetic::new(config, 3).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (whole, mixed) = (folder.path().join("a.gguf"), folder.path().join("b.gguf"));
    let options = Options::default();
    convert(&source, &whole, Target::GgufTq2_0, &options, &mut |_| {}).unwrap();
    let file = Gguf::open(&whole).unwrap();
    let float = |name: &str| name.contains("ffn_down") || name.contains("attn_v");
    let of = |info: &TensorInfo| match float(&info.name) {
        true => DType::F16,
        false => info.dtype,
    };
    let specs = file.tensors().iter();
    let specs: Vec<TensorSpec> = specs
        .map(|info| TensorSpec::new(&info.name, of(info), info.shape.clone()))
        .collect();
    let mut writer = GgufWriter::create(&mixed, file.metadata(), &specs).unwrap();
    for info in file.tensors() {
        let mut bytes = file.read(&info.name).unwrap();
        if float(&info.name) {
            let matrix = tq2_0::decode(&bytes, info.shape[0], info.shape[1]).unwrap();
            let values = matrix.dequantize().into_iter().map(half::f16::from_f32);
            bytes = values.flat_map(half::f16::to_le_bytes).collect();
        }
        writer.write(&info.name, &bytes).unwrap();
    }
    writer.finish().unwrap();
    let device = devices().swap_remove(0);
    let prompt = [5, 9, 1, 300, 17];
    let [expected, found] = [whole, mixed].map(|path| {
        let checkpoint = checkpoint::open(path).unwrap();
        logits(checkpoint.as_ref(), &device, &prompt)
    });
    let difference = largest_difference(&found, &expected);
    assert!(difference <= 1e-5, "{difference}");
}

/// What llama.cpp's graph of a family has no place for is refused, not written.
#[rstest]
#[case::output_bias(Family::Qwen3, |c: &mut DecoderConfig| c.biases.output = true)]
#[case::ffn_bias(Family::Qwen2, |c: &mut DecoderConfig| c.biases.ffn = true)]
#[case::partial(Family::Llama, |c: &mut DecoderConfig| c.partial_rotary_factor = 0.5)]
#[case::norms(Family::Llama, |c: &mut DecoderConfig| c.projection_norm_eps = Some(1e-6))]
#[case::sub_norms(Family::Llama, |c: &mut DecoderConfig| c.sub_norms = true)]
#[case::post_norms(Family::Qwen3, |c: &mut DecoderConfig| c.post_norms = true)]
#[case::gate(Family::Llama, |c: &mut DecoderConfig| c.hidden_act = GatedActivation::Gelu)]
#[case::layers(Family::Qwen3, |c: &mut DecoderConfig| {
    let (window, rope_theta, layers) = (8, 1e4, vec![false, true]);
    c.sliding = Some(SlidingLayers { window, rope_theta, layers });
})]
fn what_llama_cpp_has_no_place_for_is_refused(
    #[case] family: Family,
    #[case] change: fn(&mut DecoderConfig),
) {
    let mut config = DecoderConfig {
        family,
        hidden_size: 256,
        intermediate_size: 512,
        head_dim: 64,
        hidden_act: GatedActivation::Silu,
        sub_norms: false,
        head_norms: family == Family::Qwen3,
        ..DecoderConfig::tiny()
    };
    change(&mut config);
    let source = Synthetic::new(config, 3).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("x.gguf");
    let result = convert(
        &source,
        &to,
        Target::GgufTq2_0,
        &Options::default(),
        &mut |_| {},
    );
    assert!(
        matches!(result, Err(ConvertError::Model { .. })),
        "{result:?}"
    );
}
