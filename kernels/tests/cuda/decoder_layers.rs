//! Layers of a decoder with random weights, run kernel by kernel or as a stack.

use cubecl::client::Client;
use cubecl::server::Handle;
use rand::RngExt;
use tritburn_formats::{PackedLayout, ScaleGranularity, WeightCode};
use tritburn_kernels::decoder::attention::{self, AttentionScratch};
use tritburn_kernels::decoder::glu;
use tritburn_kernels::decoder::norm::{self, Residual, RowOutput};
use tritburn_kernels::decoder::rotary::{self, Placement};
use tritburn_kernels::decoder::stack::{self, ENTRIES, StackLayer, StackScratch, StackShape};
use tritburn_kernels::product::{self, Strategy, Weights};
use tritburn_kernels::{
    BlockTable, Buffer, FloatMatrix, FloatVector, FragmentOrder, KvCache, PrepackedWeights,
    QuantizedActivations, quantize,
};

use crate::harness::*;

pub const EPS: f32 = 1e-5;

/// One layer on the device.
struct Layer {
    qkv: PrepackedWeights,
    output: PrepackedWeights,
    gate_up: PrepackedWeights,
    down: PrepackedWeights,
    /// Input, attention sub-norm, post-attention, feed-forward sub-norm.
    norms: [FloatVector; 4],
    cache: KvCache,
    /// Keys and values.
    cached: [Handle; 2],
}

/// Layers, and a token that goes through them.
pub struct Layers {
    client: Client,
    pub shape: StackShape,
    layers: Vec<Layer>,
    rotary: Buffer,
    positions: usize,
    x: FloatMatrix,
    scratch: StackScratch,
    attention: AttentionScratch,
    rows: Buffer,
}

/// Addresses and outputs of a stack.
pub struct Recorded {
    table: Buffer,
    sum: Out,
    delta: Out,
    _graph: Box<dyn std::any::Any>,
}

/// The sum and what the last layer adds, and keys and values of all layers.
#[derive(Debug, PartialEq)]
pub struct Found {
    pub stream: Vec<f32>,
    pub caches: Vec<f32>,
}

/// Random ternary weights on the host: prepacked words, of which none is the code that no weight has, and scales.
struct Weight {
    layout: PackedLayout,
    codes: Vec<u32>,
    gains: Vec<f32>,
}

fn weight(seed: usize, shape: [usize; 2], code: WeightCode) -> Weight {
    let layout = PackedLayout::new(shape[0], shape[1], code, ScaleGranularity::Row);
    let layout = layout.expect("a valid layout");
    let fragments = PrepackedWeights::fragments(&layout, FragmentOrder::Int8).expect("fragments");
    let mut rng = rng(seed);
    let codes: Vec<u32> = (0..fragments.word_count())
        .map(|_| {
            let bits: u32 = rng.random();
            let lone = (bits >> 1) & !bits & 0x5555_5555;
            bits & !(lone << 1)
        })
        .collect();
    let gains: Vec<f32> = (0..shape[0])
        .map(|_| rng.random_range(0.5f32..1.5) / 64.0 / (shape[1] as f32).sqrt())
        .collect();
    Weight {
        layout,
        codes,
        gains,
    }
}

impl Weight {
    fn upload(&self, client: &Client) -> PrepackedWeights {
        PrepackedWeights::new(
            self.layout.clone(),
            FragmentOrder::Int8,
            words(client, &self.codes),
            scales(client, &self.gains),
        )
        .expect("weights")
    }
}

impl Layers {
    /// `count` layers of `shape` with room for `positions` positions, in blocks of `block` if given: as many
    /// as there are positions, in another order. Caches hold random numbers.
    pub fn new(
        client: &Client,
        shape: StackShape,
        count: usize,
        positions: usize,
        block: Option<usize>,
    ) -> Self {
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
        let width = heads * dim;
        let gains = |seed: usize, len: usize| {
            let mut rng = rng(seed);
            let gains: Vec<f32> = (0..len).map(|_| rng.random_range(0.5f32..1.5)).collect();
            float_vector(client, &gains, tritburn_kernels::FloatType::F32)
        };
        let cells = kv_heads * positions * dim;
        // Two kinds of layers, in buffers of their own: what is there takes as long to make as to check.
        let kinds = [0, 100].map(|seed| {
            let caches = [1, 2].map(|n| floats(&mut rng(seed + n), cells, dtype));
            let weights = [
                weight(seed + 3, [width + 2 * kv_heads * dim, hidden], code),
                weight(seed + 4, [hidden, width], code),
                weight(seed + 5, [2 * inner, hidden], code),
                weight(seed + 6, [hidden, inner], code),
            ];
            (caches, weights)
        });
        let layers = (0..count)
            .map(|i| {
                let seed = 100 * i;
                let (caches, weights) = &kinds[i % 2];
                let cached = [0, 1].map(|n| upload(client, &caches[n], dtype));
                let [qkv, output, gate_up, down] = [0, 1, 2, 3].map(|n| weights[n].upload(client));
                let [keys, values] = cached.clone();
                let cache = match block {
                    None => KvCache::new(keys, values, [1, kv_heads, positions, dim], dtype),
                    Some(size) => {
                        let blocks = positions / size;
                        let table: Vec<u32> = (0..blocks as u32).rev().collect();
                        let table = BlockTable {
                            blocks: words(client, &table),
                            per_row: blocks,
                        };
                        KvCache::paged(keys, values, [blocks, kv_heads, size, dim], table, dtype)
                    }
                };
                Layer {
                    qkv,
                    output,
                    gate_up,
                    down,
                    norms: [
                        gains(seed + 7, hidden),
                        gains(seed + 8, width),
                        gains(seed + 9, hidden),
                        gains(seed + 10, inner),
                    ],
                    cache: cache.expect("a cache"),
                    cached,
                }
            })
            .collect();
        let x = floats(&mut rng(1), hidden, dtype);
        Self {
            client: client.clone(),
            shape,
            layers,
            rotary: scales(client, &rotary::table(positions, dim, 10_000.0)),
            positions,
            x: float_matrix(client, &x, [1, hidden], hidden, dtype),
            scratch: StackScratch::new(client, &shape),
            attention: AttentionScratch::with_slots(client, 256),
            rows: words(client, &[0]),
        }
    }

    fn quantized(&self, cols: usize) -> QuantizedActivations {
        let (codes, _) = empty(&self.client, QuantizedActivations::words_per_row(cols));
        let (scales, _) = empty(&self.client, 1);
        QuantizedActivations::new(1, cols, codes, scales).expect("activations")
    }

    fn row(&self, cols: usize) -> Out {
        Out::new(&self.client, [1, cols], cols, self.shape.dtype)
    }

    fn multiply(&self, x: &QuantizedActivations, weights: &PrepackedWeights) -> Out {
        let y = self.row(weights.layout().out_features());
        let weights = Weights::Prepacked(weights);
        product::w2a8(&self.client, x, weights, None, &y.matrix, Strategy::Auto)
            .expect("a product");
        y
    }

    /// Kernel by kernel.
    pub fn separate(&self, position: u32) -> Found {
        let (client, shape) = (&self.client, &self.shape);
        let (width, scale) = (shape.heads * shape.dim, 1.0 / (shape.dim as f32).sqrt());
        let positions = words(client, &[position]);
        let place = Placement {
            rows: &self.rows,
            positions: &positions,
        };
        let mut stream = self.x.clone();
        let mut kept = Vec::new();
        let mut delta: Option<Out> = None;
        for layer in &self.layers {
            let normed = |x: &FloatMatrix, add: Option<&Out>, gains: &FloatVector| {
                let out = self.quantized(shape.hidden);
                let sum = self.row(shape.hidden);
                let residual = match add {
                    Some(add) => Residual::Add {
                        add: &add.matrix,
                        sum: &sum.matrix,
                    },
                    None => Residual::None,
                };
                norm::launch(client, x, residual, gains, EPS, RowOutput::Int8(&out))
                    .expect("a norm");
                (if add.is_some() { Some(sum) } else { None }, out)
            };
            let (sum, x) = normed(&stream, delta.as_ref(), &layer.norms[0]);
            if let Some(sum) = sum {
                stream = sum.matrix.clone();
                kept.push(sum);
            }
            let qkv = self.multiply(&x, &layer.qkv);
            let q = self.row(width);
            rotary::launch(
                client,
                &qkv.matrix,
                &self.rotary,
                place,
                &q.matrix,
                1.0,
                &layer.cache,
            )
            .expect("rotary");
            let attended = self.row(width);
            attention::launch(
                client,
                &q.matrix,
                &layer.cache,
                place,
                &attended.matrix,
                scale,
                &self.attention,
            )
            .expect("attention");
            let x = self.quantized(width);
            match shape.sub_norms {
                true => norm::launch(
                    client,
                    &attended.matrix,
                    Residual::None,
                    &layer.norms[1],
                    EPS,
                    RowOutput::Int8(&x),
                ),
                false => quantize::activation::launch(client, &attended.matrix, &x),
            }
            .expect("a row");
            let added = self.multiply(&x, &layer.output);
            let (sum, x) = normed(&stream, Some(&added), &layer.norms[2]);
            let sum = sum.expect("a sum");
            stream = sum.matrix.clone();
            kept.push(sum);
            let gate_up = self.multiply(&x, &layer.gate_up);
            let x = self.quantized(shape.inner);
            match shape.sub_norms {
                true => glu::launch(
                    client,
                    &gate_up.matrix,
                    shape.activation,
                    Some((&layer.norms[3], EPS)),
                    RowOutput::Int8(&x),
                )
                .expect("a gated unit"),
                false => {
                    let y = self.row(shape.inner);
                    let out = RowOutput::Float(&y.matrix);
                    glu::launch(client, &gate_up.matrix, shape.activation, None, out).expect("glu");
                    quantize::activation::launch(client, &y.matrix, &x).expect("codes");
                }
            }
            delta = Some(self.multiply(&x, &layer.down));
        }
        self.found(kept.last().expect("a sum"), &delta.expect("a layer"))
    }

    /// The operands of the stack. A graph records the addresses: while it lives, nothing that it names moves.
    pub fn recorded(&self) -> Recorded {
        let (client, hidden) = (&self.client, self.shape.hidden);
        let (table, _) = empty(client, self.layers.len() * 2 * ENTRIES);
        cubecl::future::block_on(client.sync()).expect("the device finishes");
        client.graph_prepare().expect("a capture");
        self.record(&table);
        cubecl::future::block_on(client.sync()).expect("the device finishes");
        client.start_capture().expect("a capture");
        self.record(&table);
        let graph = client.stop_capture().expect("a graph");
        // SAFETY: the layers and the table outlive the replay.
        unsafe { graph.replay() }.expect("a replay");
        Recorded {
            table,
            sum: self.row(hidden),
            delta: self.row(hidden),
            _graph: Box::new(graph),
        }
    }

    fn record(&self, table: &Buffer) {
        for (i, layer) in self.layers.iter().enumerate() {
            let operands = StackLayer {
                qkv: &layer.qkv,
                output: &layer.output,
                gate_up: &layer.gate_up,
                down: &layer.down,
                input_norm: &layer.norms[0],
                attention_sub_norm: &layer.norms[1],
                post_attention_norm: &layer.norms[2],
                ffn_sub_norm: &layer.norms[3],
                rotary: &self.rotary,
                cache: &layer.cache,
            };
            stack::record(&self.client, &self.shape, &operands, i, table).expect("addresses");
        }
    }

    /// Launches the stack.
    pub fn launch(&self, positions: &Buffer, recorded: &Recorded) {
        let Recorded {
            table, sum, delta, ..
        } = recorded;
        let place = Placement {
            rows: &self.rows,
            positions,
        };
        stack::launch(
            &self.client,
            &self.shape,
            self.layers.len(),
            &self.x,
            table,
            self.positions,
            place,
            &self.layers[0].cache,
            EPS,
            1.0 / (self.shape.dim as f32).sqrt(),
            &self.scratch,
            &sum.matrix,
            &delta.matrix,
        )
        .expect("a stack");
    }

    /// As a stack.
    pub fn stacked(&self, position: u32) -> Found {
        let recorded = self.recorded();
        self.launch(&words(&self.client, &[position]), &recorded);
        self.found(&recorded.sum, &recorded.delta)
    }

    fn found(&self, sum: &Out, delta: &Out) -> Found {
        let mut stream = sum.read(&self.client);
        stream.extend(delta.read(&self.client));
        let caches = self.layers.iter().flat_map(|layer| &layer.cached);
        Found {
            stream,
            caches: caches
                .flat_map(|handle| download(&self.client, handle, self.shape.dtype))
                .collect(),
        }
    }
}
