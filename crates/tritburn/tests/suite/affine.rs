//! Affine weights on a device, against sums in f64.

use burn::module::Module;
use burn::nn::LinearConfig;
use burn::tensor::{DType, Tensor, TensorData};
use tritburn::formats::affine::{
    AffineLayout, AffineMatrix, AffineParts, Bits, FloatType, Floats, pack_affine_codes,
};
use tritburn::formats::quantize::affine::{
    AffineMethod, AffineQuantizer, HalfQuadratic, weight_report,
};
use tritburn::ops::FrozenAffineWeight;
use tritburn::{AffineLinear, Error, PackError, store};

use crate::common::{device, devices, matrix, to_vec, values};

/// A matrix of made-up codes, scales, zero points, masks and order.
fn made_up(layout: AffineLayout) -> AffineMatrix {
    let levels = usize::from(layout.bits().max_code()) + 1;
    let codes: Vec<u8> = (0..layout.weight_count())
        .map(|i| (i * 37 / 5 % levels) as u8)
        .collect();
    let mask: Vec<u32> = (0..layout.mask_count() as u32)
        .map(|i| 0x3c5a_96f0u32.rotate_left(i))
        .collect();
    let floats = |seed, map: fn(f32) -> f32| {
        let values = values(seed, layout.group_count());
        let values: Vec<f32> = values.into_iter().map(map).collect();
        Floats::from_f32(&values, layout.floats())
    };
    let k = layout.in_features();
    AffineMatrix::new(AffineParts {
        words: pack_affine_codes(&codes, &mask, &layout).unwrap(),
        mask,
        scales: floats(1, |x| x.abs() + 0.01),
        zeros: layout.has_zeros().then(|| floats(2, |x| 4.0 * x)),
        order: layout
            .is_permuted()
            .then(|| (0..k).map(|c| (c * 7 % k) as u32).collect()),
        layout,
    })
    .unwrap()
}

fn layouts() -> Vec<AffineLayout> {
    let layout = |shape, bits, group| AffineLayout::new(shape, bits, group).unwrap();
    vec![
        layout([5, 100], Bits::Two, None),
        layout([5, 100], Bits::Three, Some(48))
            .with_zeros()
            .with_order(),
        layout([33, 64], Bits::Four, Some(16)).with_floats(FloatType::Bf16),
        layout([33, 96], Bits::Four, Some(32))
            .with_zeros()
            .sparse()
            .unwrap(),
        layout([7, 130], Bits::Three, Some(64))
            .with_zeros()
            .with_floats(FloatType::F32),
    ]
}

/// `x · Wᵀ + bias` in f64, and what f32 sums may be off by.
fn exact(x: &[f32], weights: &[f32], bias: &[f32], k: usize) -> Vec<(f64, f64)> {
    let rows = x
        .chunks(k)
        .flat_map(|x| weights.chunks(k).zip(bias).map(move |w| (x, w)));
    rows.map(|(x, (w, &bias))| {
        let bias = f64::from(bias);
        let terms = x.iter().zip(w).map(|(&x, &w)| f64::from(x) * f64::from(w));
        let (sum, size) = terms.fold((bias, bias.abs()), |(s, a), t| (s + t, a + t.abs()));
        (sum, size * (k + 4) as f64 * f64::from(f32::EPSILON))
    })
    .collect()
}

#[test]
fn products_are_those_of_the_dequantised_weights() {
    for device in devices() {
        for layout in layouts() {
            let [n, k] = [layout.out_features(), layout.in_features()];
            let weights = made_up(layout.clone());
            let frozen = FrozenAffineWeight::from_matrix(&weights, &device).unwrap();
            let bias = values(5, n);
            // Columns of another matrix: not contiguous.
            let x = matrix(4, k, 6, &device).transpose();
            let expected = exact(&to_vec(x.clone()), &weights.dequantize(), &bias, k);
            let bias: Tensor<1> = Tensor::from_data(TensorData::new(bias, [n]), &device);
            let found = frozen.forward(x.reshape([2, 3, k]), Some(bias)).unwrap();
            assert_eq!(found.dims(), [2, 3, n]);
            for (found, (expected, bound)) in to_vec(found).into_iter().zip(expected) {
                let off = (f64::from(found) - expected).abs();
                assert!(
                    off <= bound,
                    "{device:?} {layout:?}: {found}, not {expected}"
                );
            }
            let none = frozen.forward(matrix(4, 0, k, &device), None).unwrap();
            assert_eq!(none.dims(), [0, n]);
        }
    }
}

#[test]
fn half_precision_inputs_give_half_precision_outputs() {
    let layout = layouts().swap_remove(1);
    let weights = made_up(layout.clone());
    for device in devices() {
        if !device.supports_dtype(DType::F16) {
            continue;
        }
        let frozen = FrozenAffineWeight::from_matrix(&weights, &device).unwrap();
        let x = matrix(6, 3, 100, &device).cast(DType::F16);
        let expected = exact(&to_vec(x.clone()), &weights.dequantize(), &[0.0; 5], 100);
        let found = frozen.forward(x, None).unwrap();
        assert_eq!(found.dtype(), DType::F16);
        for (found, (expected, bound)) in to_vec(found).into_iter().zip(expected) {
            let off = (f64::from(found) - expected).abs();
            assert!(
                off <= bound + expected.abs() / 2048.0,
                "{found}, not {expected}"
            );
        }
    }
}

#[test]
fn a_device_holds_the_bytes_of_the_layout() {
    let layout = AffineLayout::new([128, 256], Bits::Three, Some(128)).unwrap();
    let weights = made_up(layout.with_zeros());
    for device in devices() {
        let frozen = FrozenAffineWeight::from_matrix(&weights, &device).unwrap();
        let float = frozen.layout().floats().size();
        assert_eq!(frozen.byte_count(), 128 * 256 * 3 / 8 + 128 * 2 * 2 * float);
    }
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    let weights = made_up(layouts().swap_remove(0));
    for device in devices() {
        let frozen = FrozenAffineWeight::from_matrix(&weights, &device).unwrap();
        let narrow = frozen.forward(matrix(5, 2, 99, &device), None);
        assert!(matches!(
            narrow,
            Err(Error::InputFeatures {
                found: 99,
                expected: 100,
                ..
            })
        ));
        let bias: Tensor<1> = Tensor::zeros([6], &device);
        let long = frozen.forward(matrix(5, 2, 100, &device), Some(bias));
        assert!(matches!(
            long,
            Err(Error::Shape {
                operand: "bias",
                ..
            })
        ));
        if device.supports_dtype(DType::F64) {
            let double = matrix(5, 2, 100, &device).cast(DType::F64);
            assert!(matches!(
                frozen.forward(double, None),
                Err(Error::DType { .. })
            ));
        }
    }
}

#[test]
fn a_trained_linear_becomes_a_layer_that_a_record_brings_back() {
    for device in devices() {
        let linear = LinearConfig::new(96, 40).init(&device);
        let weights = to_vec(linear.weight.val().transpose());
        for (method, bits) in [
            (AffineMethod::Round, Bits::Four),
            (AffineMethod::RoundSymmetric, Bits::Three),
            (
                AffineMethod::HalfQuadratic(HalfQuadratic::default()),
                Bits::Two,
            ),
        ] {
            let quantizer = AffineQuantizer::new(bits, Some(32)).with_method(method);
            let (layer, report) = AffineLinear::from_linear(&linear, &quantizer).unwrap();
            let quantised = quantizer.quantize(&weights, [40, 96]).unwrap();
            assert_eq!(report, weight_report(&weights, &quantised).unwrap());
            let x = matrix(7, 5, 96, &device);
            let bias = to_vec(linear.bias.as_ref().unwrap().val());
            let found = to_vec(layer.forward(x.clone()));
            let expected = exact(&to_vec(x.clone()), &quantised.dequantize(), &bias, 96);
            for (found, (expected, bound)) in found.iter().zip(expected) {
                let off = (f64::from(*found) - expected).abs();
                assert!(
                    off <= bound,
                    "{device:?} {method:?}: {found}, not {expected}"
                );
            }
            let other = LinearConfig::new(96, 40).init(&device);
            let (blank, _) = AffineLinear::from_linear(&other, &quantizer).unwrap();
            assert_ne!(to_vec(blank.forward(x.clone())), found);
            let loaded = blank.clone().load_record(layer.clone().into_record());
            assert_eq!(to_vec(loaded.forward(x.clone())), found, "{device:?}");
            let folder = tempfile::tempdir().unwrap();
            for name in ["layer.bpk", "layer.safetensors"] {
                let path = folder.path().join(name);
                store::save(&layer, &path).unwrap();
                let loaded = store::load(&blank, &path).unwrap();
                assert_eq!(
                    to_vec(loaded.forward(x.clone())),
                    found,
                    "{device:?} {name}"
                );
            }
        }
    }
}

#[test]
fn weights_that_cannot_be_quantised_and_parts_that_do_not_fit_are_refused() {
    let device = device();
    let mut linear = LinearConfig::new(64, 4).init(&device);
    let int4 = |group| AffineQuantizer::new(Bits::Four, Some(group));
    let refused = AffineLinear::from_linear(&linear, &int4(40)).err();
    assert!(
        matches!(refused, Some(PackError::Matrix { .. })),
        "{refused:?}"
    );
    let (by_16, _) = AffineLinear::from_linear(&linear, &int4(16)).unwrap();
    let (by_32, _) = AffineLinear::from_linear(&linear, &int4(32)).unwrap();
    let mut mixed = by_16;
    mixed.scales = by_32.scales;
    let refused = mixed.try_forward(matrix(1, 2, 64, &device)).err();
    assert!(
        matches!(
            &refused,
            Some(Error::Shape {
                operand: "group scales",
                ..
            })
        ),
        "{refused:?}"
    );
    linear.weight = linear.weight.map(|weight| weight * f32::NAN);
    let refused = AffineLinear::from_linear(&linear, &int4(32)).err();
    assert!(
        matches!(refused, Some(PackError::Matrix { .. })),
        "{refused:?}"
    );
}
