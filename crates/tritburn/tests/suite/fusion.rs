//! The shapes and dtypes that Fusion is told are those that the kernels return.

use crate::common::{cube_devices, matrix};
use burn::tensor::{DType, Device, Tensor};
use rstest::rstest;
use tritburn::ops::{self, internals};
use tritburn::{InputPrecision, PackedLayout, ScaleGranularity, WeightCode};

#[rstest]
fn announced_and_returned_shapes_agree(
    #[values(ScaleGranularity::Tensor, ScaleGranularity::Group { size: 16 })]
    scale: ScaleGranularity,
    #[values(DType::F32, DType::BF16)] dtype: DType,
) {
    let (m, n, k) = (3, 10, 40);
    let layout = PackedLayout::new(n, k, WeightCode::Ternary, scale).unwrap();
    for device in cube_devices() {
        let bf16 = dtype == DType::BF16;
        if !device.supports_dtype(dtype) || bf16 && !internals::rounds_to_bf16(&device) {
            continue;
        }
        let x = matrix(1, m, k, &device).cast(dtype);
        let w = matrix(2, n, k, &device).cast(dtype);
        macro_rules! agree {
            ($tensor:expr) => {{
                let tensor = $tensor;
                let announced = (tensor.shape(), tensor.dtype());
                let data = tensor.into_data();
                assert_eq!(announced, (data.shape().clone(), data.dtype()));
            }};
        }
        let (codes, scales) = ops::quantize_weight(w.clone(), &layout).unwrap();
        agree!(codes.clone());
        agree!(scales.clone());
        let (x_codes, x_scales) = ops::quantize_activations(x.clone()).unwrap();
        agree!(x_codes);
        agree!(x_scales);
        agree!(ops::unpack_weight(codes.clone(), scales.clone(), &layout, dtype).unwrap());
        for precision in [InputPrecision::Int8, InputPrecision::Float] {
            let prepacked = internals::prepack(codes.clone(), scales.clone(), &layout, precision);
            if let Ok(prepacked) = prepacked {
                agree!(prepacked.words());
                agree!(prepacked.row_scales());
                agree!(internals::prepacked_linear(x.clone(), &prepacked, None).unwrap());
            }
            let (codes, scales) = (codes.clone(), scales.clone());
            agree!(ops::packed_linear(x.clone(), codes, scales, None, &layout, precision).unwrap());
            let ad = |t: Tensor<2>| t.autodiff().require_grad();
            let (x, w) = (ad(x.clone()), ad(w.clone()));
            let y = ops::bit_linear(x.clone(), w.clone(), None, &layout, precision).unwrap();
            let grads = y.backward();
            agree!(x.grad(&grads).unwrap());
            agree!(w.grad(&grads).unwrap());
        }
    }
}

/// Lazy operations before and after ours give what the same operations give one by one. Factors are powers
/// of two: where a compiler contracts a product and a sum, nothing is left to round between them.
#[test]
fn the_operations_run_in_order_with_fused_neighbours() {
    let layout = PackedLayout::new(10, 40, WeightCode::Ternary, ScaleGranularity::Row).unwrap();
    let run = |device: &Device, sync: bool| {
        let step = |t: Tensor<2>| {
            if sync {
                device.sync().unwrap();
            }
            t
        };
        let x = step(matrix(3, 4, 40, device) * 2.0 + 0.25);
        let w = step(matrix(4, 10, 40, device).exp() - 1.5);
        let y = step(ops::bit_linear(x, w, None, &layout, InputPrecision::Int8).unwrap());
        crate::common::to_vec(step(y * 4.0 - 1.0))
    };
    for device in cube_devices() {
        assert_eq!(run(&device, false), run(&device, true));
    }
}
