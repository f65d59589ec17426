//! Operands of the operations: strides, single rows, random shapes, and what is refused.

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tritburn::formats::quantize::quantize_weights;
use tritburn::formats::{QuantizedActivations, reference};
use tritburn::transformer::{self, Heads, LayerCache};
use tritburn::{Error, InputPrecision, PackedLayout, ScaleGranularity, WeightCode, ops};

use crate::common::{device, devices, matrix, relative_error, to_vec};

/// The reference product of `tritburn-formats`.
fn expected(x: &[f32], w: &[f32], layout: &PackedLayout) -> Vec<f32> {
    let matrix = quantize_weights(w, layout).unwrap();
    let x = QuantizedActivations::quantize(x, layout.in_features()).unwrap();
    reference::matmul_w2a8(x.bytes(), x.scales(), &matrix, None)
}

fn check(x: Tensor<2>, w: Tensor<2>, layout: &PackedLayout) {
    let expected = expected(&to_vec(x.clone()), &to_vec(w.clone()), layout);
    let y = ops::bit_linear(x.clone(), w.clone(), None, layout, InputPrecision::Int8).unwrap();
    let error = relative_error(&to_vec(y), &expected);
    assert!(
        error < 1e-6,
        "{:?} {:?} {layout:?}: {error}",
        x.dims(),
        x.device()
    );
}

#[test]
fn random_shapes_equal_the_reference() {
    let mut rng = StdRng::seed_from_u64(20);
    for round in 0..40 {
        let m = if round % 4 == 0 {
            1
        } else {
            rng.random_range(1..24)
        };
        let (n, k) = (rng.random_range(1..70), rng.random_range(1..200));
        let scale = match rng.random_range(0..4) {
            0 => ScaleGranularity::Tensor,
            1 => ScaleGranularity::Row,
            2 => ScaleGranularity::Group {
                size: 16 * rng.random_range(1..5),
            },
            _ if n > 1 => ScaleGranularity::Segments {
                rows: vec![1, n - 1],
            },
            _ => ScaleGranularity::Tensor,
        };
        let code = [WeightCode::Ternary, WeightCode::Int2][round % 2];
        let layout = PackedLayout::new(n, k, code, scale).unwrap();
        for device in devices() {
            let seed = 100 + round as u64;
            check(
                matrix(seed, m, k, &device),
                matrix(seed + 1, n, k, &device),
                &layout,
            );
        }
    }
}

#[test]
fn transposed_sliced_and_broadcast_operands_are_read_by_their_strides() {
    let (m, n, k) = (6, 20, 48);
    let layout = PackedLayout::new(n, k, WeightCode::Ternary, ScaleGranularity::Row).unwrap();
    for device in devices() {
        let plain = || matrix(1, m, k, &device);
        let weight = || matrix(2, n, k, &device);
        check(matrix(1, k, m, &device).swap_dims(0, 1), weight(), &layout);
        check(plain(), matrix(2, k, n, &device).swap_dims(0, 1), &layout);
        check(
            matrix(1, m, 2 * k, &device).slice([0..m, 7..7 + k]),
            weight(),
            &layout,
        );
        check(
            plain(),
            matrix(2, n + 3, k, &device).slice([3..n + 3, 0..k]),
            &layout,
        );
        check(matrix(1, 1, k, &device).expand([m, k]), weight(), &layout);
        check(plain(), matrix(2, n, 1, &device).expand([n, k]), &layout);
    }
}

#[test]
fn one_token_gives_the_bits_that_it_has_among_many() {
    let (m, n, k) = (32, 40, 96);
    for scale in [
        ScaleGranularity::Tensor,
        ScaleGranularity::Group { size: 32 },
    ] {
        let layout = PackedLayout::new(n, k, WeightCode::Ternary, scale).unwrap();
        for device in devices() {
            let run = |x: Tensor<2>| {
                let w = matrix(2, n, k, &device);
                to_vec(ops::bit_linear(x, w, None, &layout, InputPrecision::Int8).unwrap())
            };
            let all = run(matrix(1, m, k, &device));
            for row in [0, 17, 31] {
                let one = run(matrix(1, m, k, &device).slice([row..row + 1, 0..k]));
                let among = &all[row * n..(row + 1) * n];
                // GPU compilers may contract the sum over groups, in one kernel and not another.
                let cpu = ["Flex", "Cpu"]
                    .iter()
                    .any(|name| format!("{device:?}").contains(name));
                if cpu || matches!(layout.scale(), ScaleGranularity::Tensor) {
                    assert_eq!(one, among, "{device:?}");
                } else {
                    let close = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-5 * (1.0 + b.abs());
                    assert!(one.iter().zip(among).all(close), "{device:?}");
                }
            }
        }
    }
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    let device = device();
    let layout = PackedLayout::new(4, 16, WeightCode::Ternary, ScaleGranularity::Tensor).unwrap();
    let x = || matrix(1, 2, 16, &device);
    let w = || matrix(2, 4, 16, &device);
    let run = |x: Tensor<2>, w: Tensor<2>, bias: Option<Tensor<1>>| {
        ops::bit_linear(x, w, bias, &layout, InputPrecision::Int8).unwrap_err()
    };
    let error = run(matrix(1, 2, 15, &device), w(), None);
    assert!(
        matches!(
            error,
            Error::InputFeatures {
                found: 15,
                expected: 16,
                ..
            }
        ),
        "{error}"
    );
    let error = run(x(), matrix(2, 5, 16, &device), None);
    assert!(
        matches!(
            error,
            Error::Shape {
                operand: "weight",
                ..
            }
        ),
        "{error}"
    );
    let error = run(x(), w(), Some(Tensor::zeros([5], &device)));
    assert!(
        matches!(
            error,
            Error::Shape {
                operand: "bias",
                ..
            }
        ),
        "{error}"
    );
    let error = run(
        x(),
        w(),
        Some(Tensor::<1>::zeros([4], &device).cast(DType::F16)),
    );
    assert!(
        matches!(
            error,
            Error::DType {
                operand: "bias",
                ..
            }
        ),
        "{error}"
    );
    let error = run(x().cast(DType::F64), w(), None);
    assert!(
        matches!(
            error,
            Error::DType {
                operand: "input",
                ..
            }
        ),
        "{error}"
    );

    let (codes, scales) = ops::quantize_weight(w(), &layout).unwrap();
    let packed = |codes: Tensor<1, Int>, scales: Tensor<1>| {
        ops::packed_linear(x(), codes, scales, None, &layout, InputPrecision::Int8).unwrap_err()
    };
    let short = Tensor::from_data(TensorData::new(vec![0u32; 3], [3]), (&device, DType::U32));
    let error = packed(short, scales.clone());
    assert!(
        matches!(
            error,
            Error::Shape {
                operand: "packed codes",
                ..
            }
        ),
        "{error}"
    );
    let error = packed(codes.clone(), scales.clone().cast(DType::F16));
    assert!(
        matches!(
            error,
            Error::DType {
                operand: "scales",
                ..
            }
        ),
        "{error}"
    );
    let signed = codes.cast(DType::I32);
    let error = packed(signed, scales);
    assert!(
        matches!(
            error,
            Error::DType {
                operand: "packed codes",
                ..
            }
        ),
        "{error}"
    );
}

#[test]
#[cfg_attr(
    not(all(feature = "flex", any(feature = "cpu", feature = "cuda"))),
    ignore = "this build has one device"
)]
fn operands_on_two_devices_are_refused() {
    let devices = devices();
    let [first, .., second] = devices.as_slice() else {
        panic!("needs two devices, has {devices:?}");
    };
    let layout = PackedLayout::new(4, 16, WeightCode::Ternary, ScaleGranularity::Tensor).unwrap();
    let (x, w): (Tensor<2>, Tensor<2>) = (matrix(1, 2, 16, first), matrix(2, 4, 16, second));
    let error = ops::bit_linear(x, w, None, &layout, InputPrecision::Int8).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Device {
                operand: "weight",
                ..
            }
        ),
        "{error}"
    );
}

/// WebGPU and some Vulkan drivers have no bf16; Burn takes such tensors there all the same.
#[test]
fn a_type_that_the_device_lacks_is_refused_by_every_operation_that_reads_or_writes_it() {
    let lacking = |device: &Device| !ops::keeps_dtype(device, DType::BF16);
    for device in devices().into_iter().filter(lacking) {
        let data = TensorData::new(vec![0f32; 4 * 32], [4, 32]).convert_dtype(DType::BF16);
        let bf16 = || Tensor::<2>::from_data(data.clone(), (&device, DType::BF16));
        let f32 = || matrix(1, 4, 32, &device);
        let ids = Tensor::<1, Int>::zeros([1], (&device, DType::U32));
        let layout =
            PackedLayout::new(4, 32, WeightCode::Ternary, ScaleGranularity::Tensor).unwrap();
        let (codes, scales) = ops::quantize_weight(f32(), &layout).unwrap();
        let heads = Heads {
            query: 1,
            key_value: 1,
            size: 32,
        };
        let results = [
            ops::quantize_activations(bf16()).err(),
            ops::quantize_weight(bf16(), &layout).err(),
            ops::unpack_weight(codes, scales, &layout, DType::BF16).err(),
            ops::bit_linear(bf16(), f32(), None, &layout, InputPrecision::Int8).err(),
            transformer::embedding(bf16(), ids.clone(), DType::F32).err(),
            transformer::embedding(f32(), ids, DType::BF16).err(),
            transformer::dense_head(f32(), bf16()).err(),
            LayerCache::new(1, 4, heads, DType::BF16, &device).err(),
        ];
        for (i, error) in results.into_iter().enumerate() {
            let dtype = match error {
                Some(Error::Unsupported { dtype, .. }) => dtype,
                other => panic!("operation {i} on {device:?}: {other:?}"),
            };
            assert_eq!(dtype, DType::BF16);
        }
    }
}
