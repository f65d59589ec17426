//! Packed layers inside of captured graphs.

use std::cell::RefCell;

use burn::tensor::{DType, Device, Int, Tensor, TensorData, capture};
use tritburn::{BitLinear, BitLinearConfig, InputPrecision, Pack, ops, transformer};

use crate::common::{devices, matrix, to_vec};

const ROWS: usize = 9;

fn layer(precision: InputPrecision, device: &Device) -> BitLinear {
    device.seed(7);
    BitLinearConfig::new(256, 70)
        .with_input_precision(precision)
        .init(device)
        .pack()
        .unwrap()
}

fn ids(ids: &[u32], device: &Device) -> Tensor<1, Int> {
    let data = TensorData::new(ids.to_vec(), [ids.len()]);
    Tensor::from_data(data, (device, DType::U32))
}

/// The graph reads its input by ids that stand in a buffer: other ids, other rows, no argument.
#[test]
fn a_captured_layer_follows_its_input() {
    for device in devices() {
        for precision in [InputPrecision::Int8, InputPrecision::Float] {
            for tokens in [1, 3, 24] {
                let layer = layer(precision, &device);
                let table = matrix(5, ROWS, 256, &device);
                let buffer = RefCell::new(ids(&vec![0; tokens], &device));
                let eager = |wanted: &[u32]| {
                    let x = transformer::embedding(table.clone(), ids(wanted, &device), DType::F32);
                    to_vec(layer.forward(x.unwrap()))
                };
                let mut graph = capture(&device, || {
                    let ids = buffer.borrow().clone();
                    let x = transformer::embedding(table.clone(), ids, DType::F32);
                    layer.forward(x.unwrap())
                });
                assert_eq!(graph.is_hardware(), ops::captures_graphs(&device));
                for round in 0..3u32 {
                    let wanted: Vec<u32> = (0..tokens as u32)
                        .map(|t| (t * 2 + round * 3 + 1) % ROWS as u32)
                        .collect();
                    let expected = eager(&wanted);
                    let old = buffer.borrow().clone();
                    *buffer.borrow_mut() =
                        transformer::overwrite(old, ids(&wanted, &device)).unwrap();
                    // SAFETY: layer, table and buffer live as long as the graph, and this thread
                    // alone uses them.
                    let found = unsafe { graph.replay() }.clone();
                    let what = format!("{tokens} tokens, {precision:?} on {device:?}");
                    assert_eq!(to_vec(found), expected, "{what}, round {round}");
                }
            }
        }
    }
}
