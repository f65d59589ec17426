//! Gradients of the training operation against the plain straight-through composition, built from
//! Burn's own operations.

use crate::common::{device as reference, devices, matrix, relative_error, to_vec};
use burn::tensor::{DType, Device, Tensor};
use rstest::rstest;
use tritburn::ops::{self, internals};
use tritburn::{InputPrecision, PackedLayout, ScaleGranularity, WeightCode};

/// `x + (q(x) - x).detach()` for both operands, then a float product.
fn plain(
    x: Tensor<2>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    layout: &PackedLayout,
    precision: InputPrecision,
) -> Tensor<2> {
    let x = match precision {
        InputPrecision::Int8 => {
            let absmax = x.clone().detach().abs().max_dim(1).clamp_min(1e-5);
            let a = absmax.recip() * 127.0;
            let q = (x.clone().detach() * a.clone())
                .round()
                .clamp(-128.0, 127.0)
                / a;
            x.clone() + (q - x).detach()
        }
        _ => x,
    };
    let (codes, scales) = ops::quantize_weight(weight.clone(), layout).unwrap();
    let quantized = ops::unpack_weight(codes, scales, layout, weight.dtype()).unwrap();
    let weight = weight.clone() + (quantized - weight).detach();
    let y = x.matmul(weight.transpose());
    match bias {
        Some(bias) => y + bias.unsqueeze(),
        None => y,
    }
}

#[rstest]
#[case::one_scale(ScaleGranularity::Tensor, WeightCode::Ternary)]
#[case::row_scales(ScaleGranularity::Row, WeightCode::Ternary)]
#[case::groups(ScaleGranularity::Group { size: 32 }, WeightCode::Ternary)]
#[case::segments(ScaleGranularity::Segments { rows: vec![10, 3, 20] }, WeightCode::Ternary)]
#[case::int2(ScaleGranularity::Row, WeightCode::Int2)]
fn forward_and_gradients_equal_the_plain_composition(
    #[case] scale: ScaleGranularity,
    #[case] code: WeightCode,
    #[values(InputPrecision::Int8, InputPrecision::Float)] precision: InputPrecision,
    #[values(false, true)] with_bias: bool,
) {
    let (m, n, k) = (19, 33, 100);
    let layout = PackedLayout::new(n, k, code, scale).unwrap();
    for device in devices() {
        // The reference runs on the first device, Flex: CUDA's own f32 product is TF32.
        type Op<'a> = &'a dyn Fn(Tensor<2>, Tensor<2>, Option<Tensor<1>>) -> Tensor<2>;
        let run = |device: Device, op: Op| {
            let device = device.autodiff();
            let x = matrix(1, m, k, &device).require_grad();
            let w = matrix(2, n, k, &device).require_grad();
            let b = with_bias.then(|| matrix(3, 1, n, &device).flatten::<1>(0, 1).require_grad());
            let y = op(x.clone(), w.clone(), b.clone());
            let dy = matrix(4, m, n, &device);
            let grads = (y.clone() * dy).backward();
            let mut results = vec![
                to_vec(y),
                to_vec(x.grad(&grads).unwrap()),
                to_vec(w.grad(&grads).unwrap()),
            ];
            results.extend(b.map(|b| to_vec(b.grad(&grads).unwrap())));
            results
        };
        let found = run(device.clone(), &|x, w, b| {
            ops::bit_linear(x, w, b, &layout, precision).unwrap()
        });
        let expected = run(reference(), &|x, w, b| plain(x, w, b, &layout, precision));
        for (name, (found, expected)) in ["y", "dx", "dw", "db"]
            .iter()
            .zip(found.iter().zip(&expected))
        {
            // With float activations dW is Burn's own product, in TF32 where CUDA prefers it.
            let tf32 = *name == "dw"
                && precision == InputPrecision::Float
                && ops::captures_graphs(&device);
            let bound = if tf32 { 1e-3 } else { 2e-6 };
            let error = relative_error(found, expected);
            assert!(error < bound, "{name} on {device:?}: {error}");
        }
    }
}

#[test]
fn a_frozen_packed_layer_passes_gradients_to_its_input() {
    let (m, n, k) = (7, 18, 50);
    let layout = PackedLayout::new(n, k, WeightCode::Ternary, ScaleGranularity::Tensor).unwrap();
    for device in devices() {
        let packed =
            |device: &Device| ops::quantize_weight(matrix(5, n, k, device), &layout).unwrap();
        let (codes, scales) = packed(&device);
        let ad = device.clone().autodiff();
        let x = matrix(6, m, k, &ad).require_grad();
        let y = ops::packed_linear(
            x.clone(),
            codes,
            scales,
            None,
            &layout,
            InputPrecision::Int8,
        )
        .unwrap();
        let grads = (y * matrix(7, m, n, &ad)).backward();

        let (codes, scales) = packed(&reference());
        let dense = ops::unpack_weight(codes, scales, &layout, DType::F32).unwrap();
        let expected = to_vec(matrix(7, m, n, &reference()).matmul(dense));
        let error = relative_error(&to_vec(x.grad(&grads).unwrap()), &expected);
        assert!(error < 2e-6, "{device:?}: {error}");
    }
}

#[rstest]
fn gradients_have_the_dtypes_of_their_tensors(
    #[values(DType::F16, DType::BF16)] dtype: DType,
    #[values(InputPrecision::Int8, InputPrecision::Float)] precision: InputPrecision,
) {
    let (m, n, k) = (5, 12, 48);
    let layout = PackedLayout::new(n, k, WeightCode::Ternary, ScaleGranularity::Tensor).unwrap();
    for device in devices() {
        let bf16 = dtype == DType::BF16;
        if !device.supports_dtype(dtype) || bf16 && !internals::rounds_to_bf16(&device) {
            continue;
        }
        let ad = device.clone().autodiff();
        let x = matrix(1, m, k, &ad).cast(dtype).require_grad();
        let w = matrix(2, n, k, &ad).require_grad();
        let b = matrix(3, 1, n, &ad)
            .flatten::<1>(0, 1)
            .cast(dtype)
            .require_grad();
        let y = ops::bit_linear(x.clone(), w.clone(), Some(b.clone()), &layout, precision);
        let y = y.unwrap();
        assert_eq!(y.dtype(), dtype);
        let grads = (y * matrix(4, m, n, &ad).cast(dtype)).backward();
        let (dx, dw, db) = (
            x.grad(&grads).unwrap(),
            w.grad(&grads).unwrap(),
            b.grad(&grads).unwrap(),
        );
        assert_eq!(
            (dx.dtype(), dw.dtype(), db.dtype()),
            (dtype, DType::F32, dtype)
        );

        // Half precision rounds dY and the results, not the sums in between.
        let reference = reference();
        let (codes, scales) = ops::quantize_weight(matrix(2, n, k, &reference), &layout).unwrap();
        let dense = ops::unpack_weight(codes, scales, &layout, DType::F32).unwrap();
        let dy = matrix(4, m, n, &reference);
        let error = relative_error(&to_vec(dx), &to_vec(dy.clone().matmul(dense)));
        assert!(error < 2e-2, "dx on {device:?}: {error}");
        let x = matrix(1, m, k, &reference);
        let error = relative_error(&to_vec(dw), &to_vec(dy.transpose().matmul(x)));
        assert!(error < 2e-2, "dw on {device:?}: {error}");
    }
}

/// The quantisers are steps, so that only the bias has a derivative to compare with.
#[test]
fn the_bias_gradient_equals_a_finite_difference() {
    let layout = PackedLayout::new(5, 20, WeightCode::Ternary, ScaleGranularity::Tensor).unwrap();
    for device in devices() {
        let loss = |bias: Tensor<1>, device: &Device| {
            let x = matrix(8, 4, 20, device);
            let w = matrix(9, 5, 20, device);
            let y = ops::bit_linear(x, w, Some(bias), &layout, InputPrecision::Int8).unwrap();
            y.powf_scalar(2.0).sum()
        };
        let ad = device.clone().autodiff();
        let bias = matrix(10, 1, 5, &ad).flatten::<1>(0, 1).require_grad();
        let grads = loss(bias.clone(), &ad).backward();
        let found = to_vec(bias.grad(&grads).unwrap());
        for (i, found) in found.iter().enumerate() {
            let step = |h: f32| {
                let mut values = to_vec(bias.clone());
                values[i] += h;
                loss(Tensor::from_floats(values.as_slice(), &device), &device).into_scalar::<f32>()
            };
            let numeric = (step(0.05) - step(-0.05)) / 0.1;
            assert!(
                (numeric - found).abs() < 2e-2 * numeric.abs().max(1.0),
                "{numeric} {found}"
            );
        }
    }
}
