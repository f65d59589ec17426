//! Dense products on Hopper.

use tritburn_kernels::dense::{self, DenseOperand, Depth};

use super::*;

#[test]
fn both_operands_are_read_from_shared_memory_in_both_orders() {
    let device = Device::new(HOPPER, 7);
    for (left, right, dtype) in [
        (Depth::Columns, Depth::Columns, FloatType::BF16),
        (Depth::Columns, Depth::Rows, FloatType::BF16),
        (Depth::Rows, Depth::Rows, FloatType::F32),
    ] {
        let found = device.compile(|client| {
            let operand = |rows: usize, depth: usize, order| match order {
                Depth::Columns => matrix(client, [rows, depth], FloatType::BF16),
                Depth::Rows => matrix(client, [depth, rows], FloatType::BF16),
            };
            let (a, b) = (operand(768, 16_384, left), operand(256, 16_384, right));
            let [a, b] =
                [(&a, left), (&b, right)].map(|(matrix, depth)| DenseOperand { matrix, depth });
            let out = matrix(client, [768, 256], dtype);
            dense::launch(client, a, b, &out, false).expect("a launch");
        });
        keep(
            device.gpu,
            &format!("dense-{left:?}-{right:?}-{dtype}"),
            &found,
        );
        let [left, right] = [left, right].map(|order| u32::from(order == Depth::Rows));
        assert!(have(&found, &format!("a, b, p, 1, 1, {left}, {right};")));
    }
}
