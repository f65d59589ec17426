//! Conversion to and from Burn's own 2-bit quantisation.

use crate::common::{device, devices, to_vec};
use burn::tensor::quantization::{QuantScheme, QuantStore, QuantValue, ScaleDtype};
use burn::tensor::{DType, Device, Tensor, TensorData};
use rstest::rstest;
use tritburn::{
    BitLinear, BitLinearConfig, Error, InputPrecision, Pack, Q2sError, ScaleGranularity, WeightCode,
};

fn layer(device: &Device, scale: ScaleGranularity) -> BitLinear {
    device.seed(5);
    BitLinearConfig::new(64, 24)
        .with_scale(scale)
        .init(device)
        .pack()
        .unwrap()
}

#[rstest]
#[case(ScaleGranularity::Tensor)]
#[case(ScaleGranularity::Group { size: 32 })]
fn a_layer_survives_the_way_through_burns_format(#[case] scale: ScaleGranularity) {
    for device in devices() {
        let layer = layer(&device, scale.clone());
        let data = layer.to_q2s().unwrap();
        let back = BitLinear::from_q2s(data, InputPrecision::Int8, &device).unwrap();
        assert_eq!(back.layout(), layer.layout());
        back.codes()
            .unwrap()
            .into_data()
            .assert_eq(&layer.codes().unwrap().into_data(), true);
        back.scales()
            .unwrap()
            .into_data()
            .assert_eq(&layer.scales().unwrap().into_data(), true);
    }
}

#[rstest]
#[case(ScaleGranularity::Tensor)]
#[case(ScaleGranularity::Group { size: 32 })]
fn burn_reads_the_same_weights(#[case] scale: ScaleGranularity) {
    for device in devices() {
        let layer = layer(&device, scale.clone());
        let quantized = Tensor::<2>::from_data(layer.to_q2s().unwrap(), &device);
        assert!(matches!(quantized.dtype(), DType::QFloat(_)));
        assert_eq!(
            to_vec(quantized.dequantize()),
            to_vec(layer.dense_weight().unwrap())
        );
    }
}

#[test]
fn a_tensor_that_burn_quantised_becomes_a_layer() {
    let device = device();
    let scheme = QuantScheme::default()
        .with_value(QuantValue::Q2S)
        .with_store(QuantStore::Native)
        .per_tensor(ScaleDtype::F32);
    let values: Vec<i8> = (0..3 * 20).map(|i| (i % 3) as i8 - 1).collect();
    let data = TensorData::quantized(values.clone(), [3, 20], scheme, &[0.25], None);
    let layer = BitLinear::from_q2s(data, InputPrecision::Float, &device).unwrap();
    let expected: Vec<f32> = values.iter().map(|&v| f32::from(v) * 0.25).collect();
    assert_eq!(to_vec(layer.dense_weight().unwrap()), expected);
}

#[test]
fn what_the_other_form_cannot_hold_is_refused() {
    let device = device();
    let pack = |config: BitLinearConfig| config.init(&device).pack().unwrap().to_q2s().unwrap_err();
    let error = pack(BitLinearConfig::new(64, 4).with_code(WeightCode::Int2));
    assert!(matches!(error, Q2sError::Code(WeightCode::Int2)));
    assert!(matches!(
        pack(BitLinearConfig::new(63, 4)),
        Q2sError::InFeatures(63)
    ));
    let error = pack(BitLinearConfig::new(64, 4).with_scale(ScaleGranularity::Row));
    assert!(matches!(
        error,
        Q2sError::Scale {
            in_features: 64,
            ..
        }
    ));

    let latent = BitLinearConfig::new(64, 4).init(&device);
    assert!(matches!(
        latent.to_q2s(),
        Err(Q2sError::Layer(Error::NotPacked))
    ));

    let float = TensorData::new(vec![0.0f32; 4], [2, 2]);
    let error = BitLinear::from_q2s(float, InputPrecision::Int8, &device).unwrap_err();
    assert!(matches!(
        error,
        Q2sError::Scheme {
            dtype: DType::F32,
            ..
        }
    ));

    let scheme = QuantScheme::default()
        .with_value(QuantValue::Q2S)
        .with_store(QuantStore::Native);
    let data = TensorData::quantized(vec![0i8, 1, -2, 0], [1, 4], scheme, &[1.0], None);
    let error = BitLinear::from_q2s(data, InputPrecision::Int8, &device).unwrap_err();
    assert!(
        matches!(
            error,
            Q2sError::Value {
                row: 0,
                col: 2,
                value: -2
            }
        ),
        "{error}"
    );

    let scheme = scheme.with_store(QuantStore::PackedU32(0));
    let short = TensorData::from_bytes_vec(vec![0; 8], [2, 16], DType::QFloat(scheme));
    let error = BitLinear::from_q2s(short, InputPrecision::Int8, &device).unwrap_err();
    assert!(
        matches!(
            error,
            Q2sError::Length {
                found: 8,
                expected: 12
            }
        ),
        "{error}"
    );
}
