//! Rows of a table.

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use rstest::rstest;
use tritburn::Error;
use tritburn::training::embedding;

use super::{TRAINED, half_types, leaf, tensor, weighed};
use crate::common::{device as reference, devices, relative_error, to_vec};

fn ids<const D: usize>(ids: &[u32], shape: [usize; D], device: &Device) -> Tensor<D, Int> {
    Tensor::from_data(TensorData::new(ids.to_vec(), shape), (device, DType::U32))
}

#[rstest]
#[case([1, 1], vec![0], 1, 3)]
#[case([2, 3], vec![4, 0, 4, 4, 1, 0], 5, 20)]
#[case([1, 100], (0..100).map(|i| i * i % 7).collect(), 9, 33)]
fn rows_and_their_gradient_equal_a_selection(
    #[case] shape: [usize; 2],
    #[case] tokens: Vec<u32>,
    #[case] vocabulary: usize,
    #[case] k: usize,
) {
    let table = |device: &Device| leaf(1, [vocabulary, k], TRAINED, &device.clone().autodiff());
    let plain = table(&reference());
    let flat = ids(&tokens, [tokens.len()], &plain.device()).cast(DType::I32);
    let rows = plain
        .clone()
        .select(0, flat)
        .reshape([shape[0], shape[1], k]);
    let grads = weighed(rows.clone(), 2).backward();
    let (rows, expected) = (to_vec(rows), to_vec(plain.grad(&grads).unwrap()));
    for device in devices() {
        let run = || {
            let table = table(&device);
            let ids = ids(&tokens, shape, &table.device());
            let found = embedding(table.clone(), ids, DType::F32).unwrap();
            let grads = weighed(found.clone(), 2).backward();
            (to_vec(found), to_vec(table.grad(&grads).unwrap()))
        };
        let found = run();
        assert_eq!(found.0, rows, "{device:?}");
        assert!(relative_error(&found.1, &expected) < 1e-6, "{device:?}");
        assert_eq!(found, run(), "{device:?}");
    }
}

#[test]
fn hidden_states_in_half_precision_leave_an_f32_gradient() {
    for device in devices() {
        for dtype in half_types(&device) {
            let table = leaf(1, [4, 16], TRAINED, &device.clone().autodiff());
            let ids = ids(&[3, 1, 3], [1, 3], &table.device());
            let x = embedding(table.clone(), ids, dtype).unwrap();
            assert_eq!(x.dtype(), dtype);
            let grads = weighed(x, 2).backward();
            let gradient = table.grad(&grads).unwrap();
            assert_eq!(gradient.dtype(), DType::F32);
            let gradient = to_vec(gradient);
            assert!(gradient[..16].iter().all(|&g| g == 0.0));
            assert!(gradient[16..32].iter().all(|&g| g != 0.0));
        }
    }
}

#[test]
fn a_frozen_table_needs_no_gradient_and_an_unknown_id_is_nan() {
    for device in devices() {
        let table = tensor(1, [4, 8], &device.clone().autodiff());
        let ids = ids(&[0, 4], [1, 2], &table.device());
        let x = to_vec(embedding(table.clone(), ids, DType::F32).unwrap());
        assert_eq!(x[..8], to_vec(table)[..8]);
        assert!(x[8..].iter().all(|x| x.is_nan()));
    }
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    for device in devices() {
        let table = || tensor(1, [4, 8], &device);
        let signed = ids(&[0, 1], [1, 2], &device).cast(DType::I32);
        assert!(matches!(
            embedding(table(), signed, DType::F32),
            Err(Error::DType {
                operand: "token ids",
                ..
            })
        ));
        assert!(matches!(
            embedding(table(), ids(&[0], [1, 1], &device), DType::I32),
            Err(Error::DType {
                operand: "embedding",
                ..
            })
        ));
        let none = embedding(table(), ids(&[], [2, 0], &device), DType::F32).unwrap();
        assert_eq!(none.dims(), [2, 0, 8]);
    }
}
