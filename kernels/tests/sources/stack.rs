//! All layers in one launch, on Hopper.

use tritburn_kernels::decoder::glu::GatedActivation;
use tritburn_kernels::decoder::rotary::Placement;
use tritburn_kernels::decoder::stack::{self, ENTRIES, StackLayer, StackScratch, StackShape};
use tritburn_kernels::{BlockTable, KvCache};

use super::*;

const BITNET: StackShape = StackShape {
    hidden: 2560,
    inner: 6912,
    heads: 20,
    kv_heads: 5,
    dim: 128,
    activation: GatedActivation::SquaredRelu,
    sub_norms: true,
    code: WeightCode::Ternary,
    dtype: FloatType::BF16,
};

fn compile(device: &Device, shape: StackShape, block: Option<usize>) -> Vec<Source> {
    let StackShape {
        hidden,
        inner,
        heads,
        kv_heads,
        dim,
        code,
        dtype,
        ..
    } = shape;
    device.compile(|client| {
        let width = heads * dim;
        let weight = |n, k| prepacked(client, &layout(n, k, code), FragmentOrder::Int8);
        let (qkv, output) = (
            weight(width + 2 * kv_heads * dim, hidden),
            weight(hidden, width),
        );
        let (gate_up, down) = (weight(2 * inner, hidden), weight(hidden, inner));
        let gains = |len: usize| {
            FloatVector::new(client.empty(4 * len), len, FloatType::F32).expect("gains")
        };
        let (of_hidden, of_width, of_inner) = (gains(hidden), gains(width), gains(inner));
        let positions = 1024;
        let cells = || client.empty(kv_heads * positions * dim * dtype.size());
        let cache = match block {
            None => KvCache::new(cells(), cells(), [1, kv_heads, positions, dim], dtype),
            Some(size) => {
                let per_row = positions / size;
                let table = BlockTable {
                    blocks: buffer(client, per_row),
                    per_row,
                };
                KvCache::paged(
                    cells(),
                    cells(),
                    [per_row, kv_heads, size, dim],
                    table,
                    dtype,
                )
            }
        };
        let (cache, rotary) = (cache.expect("a cache"), buffer(client, positions * dim));
        let layer = StackLayer {
            qkv: &qkv,
            output: &output,
            gate_up: &gate_up,
            down: &down,
            input_norm: &of_hidden,
            attention_sub_norm: &of_width,
            post_attention_norm: &of_hidden,
            ffn_sub_norm: &of_inner,
            rotary: &rotary,
            cache: &cache,
        };
        let table = buffer(client, 2 * ENTRIES);
        stack::record(client, &shape, &layer, 0, &table).expect("addresses");
        let row = || matrix(client, [1, hidden], dtype);
        let (rows, position) = (buffer(client, 1), buffer(client, 1));
        let place = Placement {
            rows: &rows,
            positions: &position,
        };
        let scratch = StackScratch::new(client, &shape);
        stack::launch(
            client,
            &shape,
            1,
            &row(),
            &table,
            positions,
            place,
            &cache,
            1e-5,
            0.1,
            &scratch,
            &row(),
            &row(),
        )
        .expect("a stack");
    })
}

#[test]
fn stacks_compile_and_hand_on_words_with_their_serial_numbers() {
    let device = Device::new(HOPPER, 50);
    let llama = StackShape {
        hidden: 4096,
        inner: 14_336,
        heads: 32,
        kv_heads: 8,
        activation: GatedActivation::Silu,
        sub_norms: false,
        dtype: FloatType::F16,
        ..BITNET
    };
    for (name, shape) in [("bitnet", BITNET), ("llama", llama)] {
        for block in [None, Some(64)] {
            let found = compile(&device, shape, block);
            let case = format!("stack-{name}-{}", block.unwrap_or(0));
            keep(HOPPER, &case, &found);
            assert_eq!(found.len(), 2, "{case}");
            assert!(have(&found, "st.relaxed.gpu.global.b64"), "{case}");
            assert!(have(&found, "mma.sync.aligned.m16n8k32"), "{case}");
        }
    }
}
