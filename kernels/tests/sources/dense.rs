//! Dense products on Hopper.

use tritburn_kernels::decoder::dense as head;
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

/// The output layer of a language model: kernels for few tokens, and tiles of `wgmma` for many.
#[test]
fn heads_of_many_tokens_run_in_tiles() {
    let device = Device::new(HOPPER, 43);
    let (rows, cols) = (1024, 2560);
    for (tokens, wide) in [(16, false), (64, false), (65, true)] {
        let found = device.compile(|client| {
            let x = matrix(client, [tokens, cols], FloatType::BF16);
            let table = matrix(client, [rows, cols], FloatType::BF16);
            let y = matrix(client, [tokens, rows], FloatType::F32);
            head::launch(client, &x, &table, &y).expect("a launch");
        });
        keep(device.gpu, &format!("head-bf16-{tokens}"), &found);
        assert_eq!(have(&found, "wgmma.mma_async"), wide, "bf16, {tokens}");

        let found = device.compile(|client| {
            let (x, table) = (codes(client, [tokens, cols]), codes(client, [rows, cols]));
            let y = matrix(client, [tokens, rows], FloatType::F32);
            head::launch_int8(client, &x, &table, &y).expect("a launch");
        });
        keep(device.gpu, &format!("head-int8-{tokens}"), &found);
        let instruction = match wide {
            true => "m64n256k32.s32.s8.s8",
            false => "m16n8k32.row.col.s32.s8.s8.s32",
        };
        assert!(have(&found, instruction), "int8, {tokens}");
    }
}
