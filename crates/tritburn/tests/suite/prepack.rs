//! Prepacked weights: the order of the codes, products with them, and the copy that layers keep.

use burn::module::{Module, ModuleMapper};
use burn::tensor::{Device, Tensor};
use tritburn::ops::{self, internals};
use tritburn::{
    BitLinear, BitLinearConfig, Error, InputPrecision, Pack, PackedLayout, ScaleGranularity,
    WeightCode,
};

use crate::common::{devices, matrix, to_vec};

fn layer(seed: u64, device: &Device) -> BitLinear {
    device.seed(seed);
    BitLinearConfig::new(100, 70)
        .with_scale(ScaleGranularity::Row)
        .init(device)
        .pack()
        .unwrap()
}

fn run(layer: &BitLinear, device: &Device) -> Vec<f32> {
    to_vec(layer.forward(matrix(41, 3, 100, device)))
}

/// Takes every parameter through a mapper, as an optimiser does.
struct Untouched;

impl ModuleMapper for Untouched {}

#[test]
fn a_layer_that_ran_forgets_its_copy_when_it_is_loaded() {
    for device in devices() {
        let (first, second) = (layer(1, &device), layer(2, &device));
        let before = run(&first, &device);
        let expected = run(&second, &device);
        assert_ne!(before, expected);
        let loaded = first.clone().load_record(second.into_record());
        assert_eq!(run(&loaded, &device), expected, "{device:?}");
        assert_eq!(run(&first, &device), before, "{device:?}");
    }
}

#[test]
fn mapped_moved_and_forked_layers_give_the_same_numbers() {
    for device in devices() {
        let layer = layer(3, &device);
        let expected = run(&layer, &device);
        for other in [
            layer.clone(),
            layer.clone().map(&mut Untouched),
            layer.clone().to_device(&device),
            layer.clone().fork(&device),
            layer.clone().train(),
            layer.clone().train().valid(),
        ] {
            assert_eq!(run(&other, &device), expected, "{device:?}");
        }
    }
}

#[test]
#[cfg_attr(
    not(all(feature = "flex", any(feature = "cpu", feature = "cuda"))),
    ignore = "this build has one device"
)]
fn a_layer_runs_on_the_device_it_was_moved_to() {
    let devices = devices();
    let [first, .., second] = devices.as_slice() else {
        panic!("needs two devices, has {devices:?}");
    };
    let layer = layer(4, first);
    let expected = run(&layer, first);
    let moved = layer.clone().to_device(second);
    assert_eq!(run(&moved, second), expected);
    assert_eq!(run(&moved.to_device(first), first), expected);
    assert_eq!(run(&layer, first), expected);
}

#[test]
fn records_hold_no_copy() {
    for device in devices() {
        let layer = layer(5, &device);
        let parameters = |layer: &BitLinear| {
            let mut names = Names::default();
            layer.visit(&mut names);
            names.0
        };
        let before = parameters(&layer);
        run(&layer, &device);
        assert_eq!(parameters(&layer), before);
        assert_eq!(before, ["weight", "weight.packed.codes", "header"]);
    }
}

/// Paths of the parameters of a module.
#[derive(Default)]
struct Names(Vec<String>, Vec<String>);

impl burn::module::ModuleVisitor for Names {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.1.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.1.pop();
    }

    fn visit_float<const D: usize>(&mut self, _param: &burn::module::Param<Tensor<D>>) {
        self.0.push(self.1.join("."));
    }

    fn visit_int<const D: usize>(
        &mut self,
        _param: &burn::module::Param<Tensor<D, burn::tensor::Int>>,
    ) {
        self.0.push(self.1.join("."));
    }
}

#[test]
fn what_cannot_be_prepacked_is_refused() {
    for device in devices() {
        let scale = ScaleGranularity::Group { size: 16 };
        let layout = PackedLayout::new(8, 32, WeightCode::Ternary, scale).unwrap();
        for precision in [InputPrecision::Int8, InputPrecision::Float] {
            assert!(!internals::prefers_prepacked(&device, &layout, precision));
            let (codes, scales) = ops::quantize_weight(matrix(1, 8, 32, &device), &layout).unwrap();
            let error = internals::prepack(codes, scales, &layout, precision).unwrap_err();
            assert!(matches!(error, Error::NotPrepackable { .. }), "{error}");
        }
    }
}

#[cfg(feature = "flex")]
#[test]
fn flex_has_no_kernel_order() {
    let device = Device::flex();
    let scale = ScaleGranularity::Tensor;
    let layout = PackedLayout::new(8, 32, WeightCode::Ternary, scale).unwrap();
    let (codes, scales) = ops::quantize_weight(matrix(1, 8, 32, &device), &layout).unwrap();
    let error = internals::prepack(codes, scales, &layout, InputPrecision::Int8).unwrap_err();
    assert!(matches!(error, Error::NotPrepackable { .. }), "{error}");
}

/// On every CubeCL device; those without tensor-core kernels multiply with the canonical codes.
#[cfg(feature = "cube")]
mod cube {
    use rstest::rstest;
    use tritburn_kernels::{FragmentOrder, PrepackedWeights};

    use super::*;
    use crate::common::{cube_devices, device as reference, relative_error};

    #[rstest]
    fn words_hold_every_code_where_the_fragment_order_says(
        #[values(WeightCode::Ternary, WeightCode::Int2)] code: WeightCode,
        #[values(InputPrecision::Int8, InputPrecision::Float)] precision: InputPrecision,
        #[values((70, 100), (64, 128), (3, 5))] (n, k): (usize, usize),
    ) {
        let scale = ScaleGranularity::Row;
        let layout = PackedLayout::new(n, k, code, scale).unwrap();
        let order = match precision {
            InputPrecision::Int8 => FragmentOrder::Int8,
            _ => FragmentOrder::Half,
        };
        let fragments = PrepackedWeights::fragments(&layout, order).unwrap();
        for device in cube_devices() {
            let (codes, scales) = ops::quantize_weight(matrix(2, n, k, &device), &layout).unwrap();
            let prepacked =
                internals::prepack(codes.clone(), scales.clone(), &layout, precision).unwrap();
            let words = prepacked.words().into_data().try_into_vec::<u32>().unwrap();
            assert_eq!(words.len(), fragments.word_count());
            let codes = codes.into_data().try_into_vec::<u32>().unwrap();
            for (row, col) in (0..n).flat_map(|row| (0..k).map(move |col| (row, col))) {
                let stored = codes[row * k.div_ceil(16) + col / 16] >> (2 * (col % 16)) & 3;
                // Ternary codes are stored with an offset of one, four levels with one of two.
                let offset = if code == WeightCode::Ternary { 1 } else { 2 };
                let (word, bit) = fragments.position(row, col);
                let expected = stored.wrapping_sub(offset) & 3;
                assert_eq!(
                    words[word] >> bit & 3,
                    expected,
                    "({row}, {col}) on {device:?}"
                );
            }
            let unit = order.decoded_unit(code) * code.unit();
            let expected: Vec<f32> = to_vec(scales).iter().map(|scale| scale * unit).collect();
            assert_eq!(to_vec(prepacked.row_scales()), expected, "{device:?}");
        }
    }

    #[rstest]
    fn products_and_gradients_do_not_depend_on_who_prepacked(
        #[values(InputPrecision::Int8, InputPrecision::Float)] precision: InputPrecision,
        #[values(1, 5, 40, 130)] m: usize,
        #[values(false, true)] with_bias: bool,
    ) {
        let (n, k) = (70, 100);
        let scale = ScaleGranularity::Segments { rows: vec![50, 20] };
        let layout = PackedLayout::new(n, k, WeightCode::Ternary, scale).unwrap();
        let run = |device: &Device, ahead: bool| {
            let (codes, scales) = ops::quantize_weight(matrix(6, n, k, device), &layout).unwrap();
            let ad = device.clone().autodiff();
            let x = matrix(7, m, k, &ad).require_grad();
            let b = with_bias.then(|| matrix(8, 1, n, &ad).flatten::<1>(0, 1).require_grad());
            let y = if ahead {
                let weight = internals::prepack(codes, scales, &layout, precision).unwrap();
                internals::prepacked_linear(x.clone(), &weight, b.clone()).unwrap()
            } else {
                ops::packed_linear(x.clone(), codes, scales, b.clone(), &layout, precision).unwrap()
            };
            let grads = (y.clone() * matrix(9, m, n, &ad)).backward();
            let mut results = vec![to_vec(y), to_vec(x.grad(&grads).unwrap())];
            results.extend(b.map(|b| to_vec(b.grad(&grads).unwrap())));
            results
        };
        let expected = run(&reference(), false);
        for device in cube_devices() {
            let found = run(&device, true);
            assert_eq!(found, run(&device, false), "{device:?}");
            for (found, expected) in found.iter().zip(&expected) {
                let error = relative_error(found, expected);
                assert!(error < 2e-6, "{device:?}: {error}");
            }
        }
    }

    /// Rows of half-precision activations that no 16-byte load can start at.
    #[test]
    fn rows_of_any_length_and_start_are_multiplied() {
        let (n, k) = (70, 100);
        let layout =
            PackedLayout::new(n, k, WeightCode::Ternary, ScaleGranularity::Tensor).unwrap();
        for device in cube_devices() {
            for dtype in [burn::tensor::DType::BF16, burn::tensor::DType::F16] {
                let bf16 = dtype == burn::tensor::DType::BF16;
                if !device.supports_dtype(dtype) || bf16 && !internals::rounds_to_bf16(&device) {
                    continue;
                }
                for m in [1, 40] {
                    let wide = matrix(10, m, k + 9, &device).cast(dtype);
                    let x = wide.slice([0..m, 3..k + 3]);
                    let (codes, scales) =
                        ops::quantize_weight(matrix(11, n, k, &device), &layout).unwrap();
                    let product = |x: Tensor<2>| {
                        let (codes, scales) = (codes.clone(), scales.clone());
                        let float = InputPrecision::Float;
                        to_vec(ops::packed_linear(x, codes, scales, None, &layout, float).unwrap())
                    };
                    let expected = product(x.clone().cast(burn::tensor::DType::F32));
                    let error = relative_error(&product(x), &expected);
                    assert!(error < 1e-2, "{m} {dtype:?} on {device:?}: {error}");
                }
            }
        }
    }

    #[test]
    #[cfg_attr(not(feature = "flex"), ignore = "this build has one device")]
    fn a_weight_on_another_device_than_the_input_is_refused() {
        let (first, second) = (reference(), cube_devices().pop().unwrap());
        assert_ne!(first, second);
        let scale = ScaleGranularity::Tensor;
        let layout = PackedLayout::new(8, 32, WeightCode::Ternary, scale).unwrap();
        let (codes, scales) = ops::quantize_weight(matrix(1, 8, 32, &second), &layout).unwrap();
        let weight = internals::prepack(codes, scales, &layout, InputPrecision::Int8).unwrap();
        let error =
            internals::prepacked_linear(matrix(2, 3, 32, &first), &weight, None).unwrap_err();
        assert!(matches!(error, Error::Device { .. }), "{error}");
    }
}
