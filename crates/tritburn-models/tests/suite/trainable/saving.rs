//! Folders: what is in them, and what becomes of earlier ones.

use std::fs;

use burn::module::Module;
use tritburn_models::checkpoint::{self, Checkpoint, FloatType, Projection, Table, Weight};
use tritburn_models::config::Quantization;
use tritburn_models::convert::ConvertError;
use tritburn_models::model::{CausalLm, LoadOptions};
use tritburn_models::text::{Tokenizer, TokenizerFiles};
use tritburn_models::trainable::{
    SaveOptions, SavedType, TrainableError, TrainableModel, TrainableOptions,
};

use super::{batch, config, ids, model};
use crate::common::{Form, devices, projections};

#[test]
fn a_folder_has_the_names_types_and_mode_of_transformers() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("model");
    let model = model(&config(), &devices()[0]);
    let options = SaveOptions {
        tokenizer: TokenizerFiles::bytes().unwrap(),
        ..SaveOptions::default()
    };
    let report = model.save(&out, &options).unwrap();
    assert_eq!(
        (report.projections, report.norms, report.tables),
        (14, 9, 1)
    );
    assert!(report.tokenizer && report.losses.is_empty());

    let bytes = fs::read(out.join("model.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    for (name, shape) in [
        ("model.embed_tokens.weight", &[256, 128][..]),
        ("model.layers.1.self_attn.q_proj.weight", &[128, 128]),
        ("model.layers.1.self_attn.k_proj.weight", &[64, 128]),
        ("model.layers.0.mlp.up_proj.weight", &[384, 128]),
        ("model.layers.0.mlp.ffn_sub_norm.weight", &[384]),
        ("model.norm.weight", &[128]),
    ] {
        let tensor = file.tensor(name).unwrap();
        assert_eq!(
            (tensor.shape(), tensor.dtype()),
            (shape, safetensors::Dtype::F32),
            "{name}"
        );
    }
    let text = fs::read_to_string(out.join("config.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["quantization_config"]["quantization_mode"], "online");
    assert_eq!(json["quantization_config"]["linear_class"], "autobitlinear");
    assert_eq!(json["torch_dtype"], "float32");
    let opened = checkpoint::open(&out).unwrap();
    let tokenizer = Tokenizer::from_files(&opened.tokenizer().unwrap()).unwrap();
    assert_eq!(tokenizer.encode("fn").unwrap(), [102, 110]);
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "nothing but the folder is left");
}

#[test]
fn half_precision_rounds_each_weight_and_keeps_the_gains() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("model");
    let model = model(&config(), &devices()[0]);
    let options = SaveOptions {
        dtype: SavedType::BF16,
        ..SaveOptions::default()
    };
    let report = model.save(&out, &options).unwrap();
    assert!(!report.losses.is_empty());
    let (files, saved) = (TokenizerFiles::default(), checkpoint::open(&out).unwrap());
    let exact = model.as_checkpoint(&files).unwrap();
    assert_eq!(saved.table_type(Table::Embedding), FloatType::BF16);
    for norm in exact.config().norms() {
        assert_eq!(saved.norm(norm).unwrap(), exact.norm(norm).unwrap());
    }
    for (layer, projection) in exact.config().projections() {
        let read = |c: &dyn Checkpoint| match c.projection(layer, projection).unwrap() {
            Weight::Master(data) => data,
            _ => panic!("masters"),
        };
        assert_eq!(
            read(saved.as_ref()),
            read(&exact).convert(FloatType::BF16).0
        );
    }
}

#[test]
fn a_published_checkpoint_goes_through_training_unchanged() {
    let golden = Form::Masters.folder();
    let golden = checkpoint::open(golden.path()).unwrap();
    let options = TrainableOptions::default();
    let device = devices().remove(0).autodiff();
    let model = TrainableModel::from_checkpoint(golden.as_ref(), &options, &device).unwrap();
    assert_eq!(model.num_params() as u64, golden.config().parameter_count());
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("model");
    let options = SaveOptions {
        dtype: SavedType::BF16,
        tokenizer: golden.tokenizer().unwrap(),
        replace: false,
    };
    let report = model.save(&out, &options).unwrap();
    assert_eq!(report.losses, [], "bf16 values are f32 values");
    let saved = checkpoint::open(&out).unwrap();
    assert_eq!(saved.config(), golden.config());
    assert_eq!(projections(saved.as_ref()), projections(golden.as_ref()));
    assert_eq!(saved.embedding().unwrap(), golden.embedding().unwrap());
    assert_eq!(saved.tokenizer().unwrap(), golden.tokenizer().unwrap());
}

#[test]
fn packed_checkpoints_are_unpacked_on_request_to_the_same_codes_and_scales() {
    let golden = Form::Packed.folder();
    let golden = checkpoint::open(golden.path()).unwrap();
    let device = devices().remove(0);
    let refused =
        TrainableModel::from_checkpoint(golden.as_ref(), &TrainableOptions::default(), &device);
    let error = refused.err().unwrap();
    assert!(
        matches!(error, TrainableError::PackedCheckpoint { .. }),
        "{error}"
    );
    assert!(
        error.to_string().contains("Hugging Face, packed"),
        "{error}"
    );

    let unpack = TrainableOptions {
        unpack: true,
        ..TrainableOptions::default()
    };
    let model = TrainableModel::from_checkpoint(golden.as_ref(), &unpack, &device).unwrap();
    assert_eq!(model.config().quantization, Quantization::Online);
    let files = TokenizerFiles::default();
    let masters = model.as_checkpoint(&files).unwrap();
    for (a, b) in projections(&masters)
        .iter()
        .zip(&projections(golden.as_ref()))
    {
        assert_eq!(a.words(), b.words());
        // A scale is the f32 next to the stored one at worst.
        assert!(a.scales()[0].to_bits().abs_diff(b.scales()[0].to_bits()) <= 1);
    }
}

#[test]
fn a_folder_that_is_there_stays_unless_it_is_to_be_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("model");
    let first = model(&config(), &devices()[0]);
    first.save(&out, &SaveOptions::default()).unwrap();
    let before = fs::read(out.join("model.safetensors")).unwrap();
    let second = first.clone().map(&mut super::Redraw::new(&config(), 8));
    let error = second.save(&out, &SaveOptions::default()).unwrap_err();
    assert!(
        matches!(error, TrainableError::Save(ConvertError::Exists { .. })),
        "{error}"
    );
    assert_eq!(fs::read(out.join("model.safetensors")).unwrap(), before);

    let replace = SaveOptions {
        replace: true,
        ..SaveOptions::default()
    };
    second.save(&out, &replace).unwrap();
    assert_ne!(fs::read(out.join("model.safetensors")).unwrap(), before);

    fs::write(out.join("notes.txt"), "years of work").unwrap();
    let error = first.save(&out, &replace).unwrap_err();
    assert!(
        matches!(error, TrainableError::Save(ConvertError::Kept { .. })),
        "{error}"
    );
    assert_eq!(
        fs::read_to_string(out.join("notes.txt")).unwrap(),
        "years of work"
    );
}

#[test]
fn a_failed_save_leaves_the_earlier_folder_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("model");
    let device = devices().remove(0);
    let good = model(&config(), &device);
    good.save(&out, &SaveOptions::default()).unwrap();
    let before = fs::read(out.join("model.safetensors")).unwrap();
    let diverged = good.clone().map(&mut Diverge);
    let replace = SaveOptions {
        replace: true,
        ..SaveOptions::default()
    };
    let error = diverged.save(&out, &replace).unwrap_err();
    assert!(format!("{:?}", error).contains("NonFinite"), "{error:?}");
    assert_eq!(fs::read(out.join("model.safetensors")).unwrap(), before);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);

    let nowhere = folder.path().join("missing/model");
    let error = good.save(&nowhere, &SaveOptions::default()).unwrap_err();
    assert!(error.to_string().contains("missing"), "{error}");
    assert!(checkpoint::open(&out).is_ok());
}

/// Makes the last weights of a training that came to no number.
struct Diverge;

impl burn::module::ModuleMapper for Diverge {
    fn map_float<const D: usize>(
        &mut self,
        param: burn::module::Param<burn::tensor::Tensor<D>>,
    ) -> burn::module::Param<burn::tensor::Tensor<D>> {
        param.map(|value| value.log() * f32::NAN)
    }
}

/// As conversions of the model do: without a folder between.
#[test]
fn a_model_in_memory_is_a_checkpoint() {
    let device = devices().remove(0);
    let model = model(&config(), &device);
    let files = TokenizerFiles::default();
    let checkpoint = model.as_checkpoint(&files).unwrap();
    let whole = checkpoint.embedding().unwrap();
    let some = checkpoint.table_rows(Table::Embedding, 3..7).unwrap();
    assert_eq!(some.bytes, whole.bytes[3 * 512..7 * 512]);
    assert!(checkpoint.table_rows(Table::Embedding, 250..257).is_err());
    assert!(checkpoint.table_rows(Table::Head, 0..1).is_err(), "tied");
    assert!(checkpoint.projection(2, Projection::K).is_err());
    let fused = CausalLm::load(&checkpoint, &LoadOptions::default(), &device);
    assert!(fused.is_ok());
    let logits = model
        .logits(batch(&[&ids(5, 256)], &device.autodiff()))
        .unwrap();
    assert_eq!(logits.dims(), [1, 5, 256]);
}
