//! Saving and loading: round trips in both containers, and files that must be refused.

use std::fs;
use std::path::PathBuf;

use crate::common::{device, devices, matrix, to_vec, values};
use burn::module::{Module, ModuleMapper, Param};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use rstest::rstest;
use tempfile::TempDir;
use tritburn::formats::HeaderError;
use tritburn::store::{StoreError, load, save};
use tritburn::{BitLinear, BitLinearConfig, Pack, ScaleGranularity};

#[derive(Module, Debug)]
struct Model {
    first: BitLinear,
    second: BitLinear,
    head: Linear,
    steps: Param<Tensor<1, Int>>,
}

fn model_of(inputs: usize, device: &Device) -> Model {
    let steps = Tensor::from_data([3i32, 4], (device, DType::I32));
    Model {
        first: BitLinearConfig::fused(inputs, &[20, 12])
            .with_norm(true)
            .init(device),
        second: BitLinearConfig::new(32, 16)
            .with_bias(true)
            .with_scale(ScaleGranularity::Row)
            .init(device),
        head: LinearConfig::new(16, 5).init(device),
        steps: Param::initialized(burn::module::ParamId::new(), steps),
    }
}

/// A model whose parameters follow from `seed`, whatever other tests draw on the device meanwhile.
fn model(seed: u64, device: &Device) -> Model {
    struct Redraw(u64);

    impl ModuleMapper for Redraw {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            self.0 += 1;
            let drawn = |value: Tensor<D>| {
                let dims = value.dims();
                let values = values(self.0, dims.iter().product());
                let values: Vec<f32> = values.iter().map(|value| 0.2 * value).collect();
                let data = TensorData::new(values, dims);
                Tensor::from_data(data, &value.device()).set_require_grad(value.is_require_grad())
            };
            param.map(drawn)
        }
    }

    model_of(50, device).map(&mut Redraw(100 * seed))
}

impl Model {
    fn run(&self, device: &Device) -> Vec<f32> {
        let x = matrix(3, 4, 50, device);
        to_vec(
            self.head
                .forward(self.second.forward(self.first.forward(x))),
        )
    }
}

struct Files {
    _dir: TempDir,
    path: PathBuf,
}

fn file(extension: &str) -> Files {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model").with_extension(extension);
    Files { _dir: dir, path }
}

#[rstest]
fn latent_and_packed_models_come_back_with_the_same_numbers(
    #[values("bpk", "safetensors")] extension: &str,
    #[values(false, true)] packed: bool,
) {
    for device in devices() {
        let files = file(extension);
        let saved = model(1, &device);
        let expected = saved.run(&device);
        let saved = if packed { saved.pack().unwrap() } else { saved };
        save(&saved, &files.path).unwrap();

        let other = model(2, &device);
        assert_ne!(other.run(&device), expected);
        let loaded = load(&other, &files.path).unwrap();
        assert_eq!(loaded.first.is_packed(), packed);
        assert_eq!(loaded.run(&device), expected, "{device:?}");

        // A packed model loads into a packed one too, and saves to the same bytes again.
        let again = file(extension);
        save(&load(&loaded, &files.path).unwrap(), &again.path).unwrap();
        assert_eq!(
            fs::read(&again.path).unwrap(),
            fs::read(&files.path).unwrap()
        );
    }
}

#[test]
fn a_packed_file_is_small_and_holds_plain_tensors() {
    let device = device();
    let files = file("safetensors");
    let layer = BitLinearConfig::new(1024, 512).init(&device);
    save(&layer.pack().unwrap(), &files.path).unwrap();
    let bytes = fs::read(&files.path).unwrap();
    assert!(bytes.len() < 1024 * 512 / 4 + 1024, "{} bytes", bytes.len());
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut names = tensors.names();
    names.sort_unstable();
    assert_eq!(names, ["header", "weight", "weight.packed.codes"]);
    assert_eq!(
        tensors.tensor("weight.packed.codes").unwrap().shape(),
        [512 * 64]
    );
}

#[rstest]
fn a_truncated_file_is_refused(#[values("bpk", "safetensors")] extension: &str) {
    let device = device();
    let files = file(extension);
    let saved = model(1, &device).pack().unwrap();
    let expected = saved.run(&device);
    save(&saved, &files.path).unwrap();
    let bytes = fs::read(&files.path).unwrap();
    for keep in [0, 1, 7, 8, 40, bytes.len() / 2, bytes.len() - 1] {
        fs::write(&files.path, &bytes[..keep]).unwrap();
        let error = load(&saved, &files.path).unwrap_err();
        let refused = matches!(
            error,
            StoreError::Damaged { .. } | StoreError::Truncated { .. } | StoreError::Format { .. }
        );
        assert!(refused, "{keep} bytes: {error}");
    }
    assert_eq!(saved.run(&device), expected, "the model is untouched");
}

#[rstest]
#[case("bpk", "steps")]
#[case("safetensors", "second.weight.packed.codes")]
fn a_file_that_ends_in_a_tensor_names_it(#[case] extension: &str, #[case] inside: &str) {
    let device = device();
    let files = file(extension);
    let saved = model(1, &device).pack().unwrap();
    save(&saved, &files.path).unwrap();
    let bytes = fs::read(&files.path).unwrap();
    let cut = |missing: usize| {
        fs::write(&files.path, &bytes[..bytes.len() - missing]).unwrap();
        match load(&saved, &files.path).unwrap_err() {
            StoreError::Truncated {
                tensor,
                expected,
                found,
                ..
            } => {
                assert_eq!(found, (bytes.len() - missing) as u64);
                assert!(expected > found);
                tensor
            }
            other => panic!("{other}"),
        }
    };
    assert_eq!(cut(1), "steps");
    // The steps are the last 8 bytes of a safetensors file.
    assert_eq!(cut(8 + usize::from(inside != "steps")), inside);
}

#[rstest]
fn another_shape_or_layout_is_refused_by_name(
    #[values("bpk", "safetensors")] extension: &str,
    #[values(false, true)] packed: bool,
) {
    let device = device();
    let files = file(extension);
    let saved = model_of(48, &device);
    let saved = if packed { saved.pack().unwrap() } else { saved };
    save(&saved, &files.path).unwrap();
    let error = load(&model(1, &device), &files.path).unwrap_err();
    assert!(matches!(error, StoreError::Layout { .. }), "{error}");
    assert!(error.to_string().contains("`first.header`"), "{error}");

    let mut wide = model(1, &device);
    wide.head = LinearConfig::new(16, 6).init(&device);
    save(&wide, &files.path).unwrap();
    let error = load(&model(1, &device), &files.path).unwrap_err();
    assert!(
        matches!(&error, StoreError::Shape { tensor, found, expected }
            if tensor == "head.bias" && found == &[6] && expected == &[5])
            || matches!(&error, StoreError::Shape { tensor, .. } if tensor == "head.weight"),
        "{error}"
    );
}

#[test]
fn missing_and_unexpected_tensors_are_named() {
    let device = device();
    let files = file("bpk");
    let mut without_bias = model(1, &device);
    without_bias.second.bias = None;
    save(&without_bias, &files.path).unwrap();
    let error = load(&model(1, &device), &files.path).unwrap_err();
    assert!(
        matches!(&error, StoreError::Missing { tensor } if tensor == "second.bias"),
        "{error}"
    );

    save(&model(1, &device), &files.path).unwrap();
    let error = load(&without_bias, &files.path).unwrap_err();
    assert!(
        matches!(&error, StoreError::Unexpected { tensor } if tensor == "second.bias"),
        "{error}"
    );
}

#[test]
fn damaged_codes_scales_and_headers_are_refused() {
    let device = device();
    let files = file("safetensors");
    let layer = BitLinearConfig::new(32, 4).init(&device);
    let packed = layer.pack().unwrap();
    let with = |find: &[u8], replace: &[u8]| {
        save(&packed, &files.path).unwrap();
        let mut bytes = fs::read(&files.path).unwrap();
        let at = bytes
            .windows(find.len())
            .rposition(|window| window == find)
            .unwrap();
        bytes[at..at + replace.len()].copy_from_slice(replace);
        fs::write(&files.path, bytes).unwrap();
        load(&layer, &files.path).unwrap_err()
    };
    let codes = packed.codes().unwrap().into_data();
    let error = with(&codes.as_bytes()[..8], &[0xff; 8]);
    assert!(matches!(error, StoreError::Packed { .. }), "{error}");
    let error = with(
        packed.scales().unwrap().into_data().as_bytes(),
        &f32::NAN.to_le_bytes(),
    );
    assert!(
        error.to_string().contains("`weight`: scale 0 is NaN"),
        "{error}"
    );
    let error = with(b"TRIT\x01\0\0\0", b"TRIT\x02\0\0\0");
    let version = HeaderError::Version {
        found: 2,
        supported: 1,
    };
    assert!(
        matches!(&error, StoreError::Header { source, .. } if *source == version),
        "{error:?}"
    );
    let error = with(b"tritburn-model 1", b"tritburn-model 9");
    assert!(matches!(error, StoreError::Version { .. }), "{error}");
    let error = with(b"tritburn-model", b"somebody-else!");
    assert!(matches!(error, StoreError::Format { .. }), "{error}");
}

#[test]
fn a_latent_file_does_not_go_into_a_packed_model() {
    let device = device();
    let files = file("bpk");
    save(&model(1, &device), &files.path).unwrap();
    let packed = model(1, &device).pack().unwrap();
    let error = load(&packed, &files.path).unwrap_err();
    assert!(
        matches!(error, StoreError::LatentIntoPacked { .. }),
        "{error}"
    );
}

#[test]
fn paths_that_cannot_be_used_are_refused() {
    let device = device();
    let saved = model(1, &device);
    let error = save(&saved, "model.txt").unwrap_err();
    assert!(matches!(error, StoreError::Extension { .. }));
    let error = load(&saved, "no/such/model.bpk").unwrap_err();
    assert!(matches!(error, StoreError::Open { .. }), "{error}");
    for name in ["model.bpk", "model.safetensors"] {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "not a folder").unwrap();
        let error = save(&saved, file.join(name)).unwrap_err();
        assert!(matches!(error, StoreError::Write { .. }), "{error}");
    }
}

/// Casts every float parameter of a model.
struct Cast(DType);

impl ModuleMapper for Cast {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|tensor| tensor.cast(self.0))
    }
}

/// A new model's parameters are not initialised when they are asked for their type, or they are.
#[rstest]
fn parameters_keep_the_models_type(
    #[values(DType::F16, DType::BF16)] half: DType,
    #[values(false, true)] initialised: bool,
) {
    let device = device();
    let files = file("safetensors");
    let full = model(1, &device);
    let narrow = full.clone().map(&mut Cast(half));
    let x = || matrix(3, 4, 50, &device);

    save(&narrow, &files.path).unwrap();
    let other = model(2, &device);
    if initialised {
        other.run(&device);
    }
    let loaded = load(&other, &files.path).unwrap();
    // Widening is exact, and the norm takes f32 again.
    let widened = narrow.clone().map(&mut Cast(DType::F32));
    assert_eq!(
        to_vec(loaded.first.forward(x())),
        to_vec(widened.first.forward(x()))
    );
    let data = |model: &Model| model.head.weight.val().into_data();
    data(&loaded).assert_eq(&data(&widened), true);

    // Narrowing rounds as a cast does.
    save(&full, &files.path).unwrap();
    let loaded = load(&other.map(&mut Cast(half)), &files.path).unwrap();
    data(&loaded).assert_eq(&data(&narrow), true);
}

#[test]
fn values_that_the_models_type_cannot_hold_are_refused_by_name() {
    let device = device();
    let files = file("bpk");
    let mut large = model(1, &device);
    large.head.bias = large.head.bias.map(|bias| bias.map(|b| b.add_scalar(1e6)));
    save(&large, &files.path).unwrap();
    let error = load(&model(2, &device).map(&mut Cast(DType::F16)), &files.path).unwrap_err();
    assert!(
        matches!(
            &error,
            StoreError::Value { tensor, dtype: DType::F16, .. } if tensor == "head.bias"
        ),
        "{error}"
    );

    let steps = |value: i64, dtype: DType| {
        let steps = Tensor::<1, Int>::from_data([3i64, value], (&device, dtype));
        Param::initialized(burn::module::ParamId::new(), steps)
    };
    let mut wide = model(1, &device);
    wide.steps = steps(i64::from(i32::MIN), DType::I64);
    save(&wide, &files.path).unwrap();
    let loaded = load(&model(2, &device), &files.path).unwrap();
    assert_eq!(loaded.steps.val().dtype(), DType::I32);
    let values = loaded.steps.val().into_data().try_into_vec::<i32>();
    assert_eq!(values.unwrap(), [3, i32::MIN]);

    wide.steps = steps(1 << 31, DType::I64);
    save(&wide, &files.path).unwrap();
    let error = load(&model(2, &device), &files.path).unwrap_err();
    assert!(
        matches!(
            &error,
            StoreError::Value { tensor, value, .. } if tensor == "steps" && value == "2147483648"
        ),
        "{error}"
    );
}
