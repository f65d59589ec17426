//! All layers in one launch.

use tritburn_formats::WeightCode;
use tritburn_kernels::decoder::glu::GatedActivation;
use tritburn_kernels::decoder::stack::StackShape;

use crate::bench::{Bench, DIM, HEADS, HIDDEN, INNER, KV_HEADS, POSITIONS, TYPE};
use crate::decoder_layers::Layers;
use crate::harness::*;

const SHAPE: StackShape = StackShape {
    hidden: HIDDEN,
    inner: INNER,
    heads: HEADS,
    kv_heads: KV_HEADS,
    dim: DIM,
    activation: GatedActivation::SquaredRelu,
    sub_norms: true,
    code: WeightCode::Ternary,
    dtype: TYPE,
};

impl Bench {
    /// A token at `position`, over contiguous rows or blocks. Over blocks, its bits are those of the separate
    /// kernels.
    pub fn stack(&mut self, position: u32, block: Option<usize>) {
        let client = self.client.clone();
        let layers = Layers::new(&client, SHAPE, self.layers, POSITIONS, block);
        let recorded = layers.recorded();
        let positions = words(&client, &[position]);
        let weights =
            (HIDDEN * (HEADS + 2 * KV_HEADS) * DIM + HIDDEN * HEADS * DIM + 3 * HIDDEN * INNER) / 4;
        let cached = (position as usize + 1) * KV_HEADS * DIM * 4;
        let place = if block.is_some() { "blocks" } else { "rows" };
        self.case(
            &format!("stack of {} layers at {position}, {place}", self.layers),
            1,
            self.layers * (weights + cached),
            |_| layers.launch(&positions, &recorded),
            || {
                let (found, expected) = (layers.stacked(position), layers.separate(position));
                if block.is_some() {
                    assert_bits(&found.stream, &expected.stream, "stream");
                }
                assert!(found.stream.iter().all(|x| x.is_finite()));
            },
        );
    }
}
