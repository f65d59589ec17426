//! Rotary embeddings, caches and attention over them.

use cubecl::client::Client;
use tritburn_kernels::decoder::attention::{self, AttentionScratch};
use tritburn_kernels::decoder::rotary::{self, Placement};
use tritburn_kernels::{BlockTable, FloatMatrix, KernelError, KvCache};

use crate::bench::{Bench, DIM, HEADS, KV_HEADS, POSITIONS, TYPE};
use crate::harness::*;
use crate::reference;

type Run = fn(
    &Client,
    &FloatMatrix,
    &KvCache,
    Placement<'_>,
    &FloatMatrix,
    f32,
    &AttentionScratch,
) -> Result<(), KernelError>;

impl Bench {
    pub fn cache(&self, rows: usize, positions: usize, seed: usize) -> (KvCache, [Vec<f32>; 2]) {
        let shape = [rows, KV_HEADS, positions, DIM];
        let len = shape.iter().product();
        let mut rng = rng(seed);
        let host = [(); 2].map(|()| floats(&mut rng, len, TYPE));
        let keys = upload(&self.client, &host[0], TYPE);
        let values = upload(&self.client, &host[1], TYPE);
        let cache = KvCache::new(keys, values, shape, TYPE).expect("a cache");
        (cache, host)
    }

    pub fn rotary(&mut self, tokens: usize) {
        let client = self.client.clone();
        let all = (HEADS + 2 * KV_HEADS) * DIM;
        let (qkv, qkv_matrix) = self.floats(1, [tokens, all]);
        let q = Out::new(&client, [tokens, HEADS * DIM], HEADS * DIM, TYPE);
        let (cache, _) = self.cache(1, POSITIONS, 2);
        let table = rotary::table(POSITIONS, DIM, 500_000.0);
        let device_table = scales(&client, &table);
        let rows = words(&client, &vec![0; tokens]);
        let first = 1000;
        let positions: Vec<u32> = (0..tokens as u32).map(|t| first + t).collect();
        let device_positions = words(&client, &positions);
        let place = Placement {
            rows: &rows,
            positions: &device_positions,
        };
        self.case(
            &format!("rotary {tokens}x{all}"),
            40,
            tokens * all * 4,
            |_| {
                rotary::launch(
                    &client,
                    &qkv_matrix,
                    &device_table,
                    place,
                    &q.matrix,
                    1.0,
                    &cache,
                )
                .expect("a launch");
            },
            || {
                let found = q.read(&client);
                for (t, position) in positions.iter().enumerate() {
                    let angles = &table[*position as usize * DIM..][..DIM];
                    for head in 0..HEADS {
                        let x = &qkv[t * all + head * DIM..][..DIM];
                        let expected = reference::rotate(x, angles);
                        let bounds: Vec<f64> =
                            expected.iter().map(|y| 0.008 * y.abs() + 1e-5).collect();
                        let found = &found[(t * HEADS + head) * DIM..][..DIM];
                        assert_within(found, &expected, &bounds, "q");
                    }
                }
            },
        );
    }

    /// `tokens` rows of a cache of blocks, each at position `position`, with room for `capacity`.
    pub fn paged(&mut self, tokens: usize, position: usize, capacity: usize) {
        let client = self.client.clone();
        let (width, size) = (HEADS * DIM, 64);
        let (_, q_matrix) = self.floats(1, [tokens, width]);
        let out = Out::new(&client, [tokens, width], width, TYPE);
        let used = (position + 1).div_ceil(size);
        let (blocks, per_row) = (tokens * used, capacity / size);
        let caches: Vec<KvCache> = (0..3)
            .map(|_| {
                let handle = || client.empty(blocks * KV_HEADS * size * DIM * TYPE.size());
                let mut table = vec![0; tokens * per_row];
                for (row, table) in table.chunks_exact_mut(per_row).enumerate() {
                    // No two neighbours are neighbours in memory.
                    (0..used).for_each(|i| table[i] = ((i * tokens + row) % blocks) as u32);
                }
                let table = BlockTable {
                    blocks: words(&client, &table),
                    per_row,
                };
                let shape = [blocks, KV_HEADS, size, DIM];
                KvCache::paged(handle(), handle(), shape, table, TYPE).expect("a cache")
            })
            .collect();
        let place = Placement {
            rows: &words(&client, &(0..tokens as u32).collect::<Vec<_>>()),
            positions: &words(&client, &vec![position as u32; tokens]),
        };
        let slots = attention::slots(&client, tokens, HEADS, &caches[0]);
        let scratch = AttentionScratch::with_slots(&client, slots.max(1));
        let scale = 1.0 / (DIM as f32).sqrt();
        self.case(
            &format!("attention of blocks, {tokens} tokens at {position} of {capacity}"),
            30,
            tokens * (position + 1) * KV_HEADS * DIM * 4,
            |i| {
                let cache = &caches[i % caches.len()];
                attention::launch(
                    &client,
                    &q_matrix,
                    cache,
                    place,
                    &out.matrix,
                    scale,
                    &scratch,
                )
                .expect("a launch");
            },
            || (),
        );
    }

    /// `tokens` rows, each at position `position`; or one row up to it, if `prompt`.
    pub fn attention(&mut self, tokens: usize, position: usize, prompt: bool) {
        let client = self.client.clone();
        let width = HEADS * DIM;
        let (q, q_matrix) = self.floats(1, [tokens, width]);
        let out = Out::new(&client, [tokens, width], width, TYPE);
        let rows = if prompt { 1 } else { tokens };
        let count = if tokens == 1 { self.layers } else { 1 };
        let (first, host) = self.cache(rows, POSITIONS, 2);
        let others = (1..count).map(|i| self.cache(rows, POSITIONS, 2 + i).0);
        let caches: Vec<KvCache> = [first].into_iter().chain(others).collect();
        let (row_of, position_of): (Vec<u32>, Vec<u32>) = (0..tokens)
            .map(|t| match prompt {
                true => (0, (position + 1 - tokens + t) as u32),
                false => (t as u32, position as u32),
            })
            .unzip();
        let place = Placement {
            rows: &words(&client, &row_of),
            positions: &words(&client, &position_of),
        };
        let scratch = AttentionScratch::new(&client);
        let scale = 1.0 / (DIM as f32).sqrt();
        let (name, run): (_, Run) = match prompt {
            true => ("prefill", attention::prefill),
            false => ("attention", attention::launch),
        };
        let bytes = rows * (position + 1) * KV_HEADS * DIM * 4 + tokens * width * 4;
        self.case(
            &format!("{name} {tokens} tokens to position {position}"),
            if tokens == 1 { 30 } else { 4 },
            bytes,
            |i| {
                let cache = &caches[i % caches.len()];
                run(
                    &client,
                    &q_matrix,
                    cache,
                    place,
                    &out.matrix,
                    scale,
                    &scratch,
                )
                .expect("a launch");
            },
            || {
                run(
                    &client,
                    &q_matrix,
                    &caches[0],
                    place,
                    &out.matrix,
                    scale,
                    &scratch,
                )
                .expect("a launch");
                let found = out.read(&client);
                for t in (0..tokens).step_by(tokens.div_ceil(40)).chain([tokens - 1]) {
                    let (row, len) = (row_of[t] as usize, position_of[t] as usize + 1);
                    for head in 0..HEADS {
                        let kv = row * KV_HEADS + head / (HEADS / KV_HEADS);
                        let start = kv * POSITIONS * DIM;
                        let at = (t * HEADS + head) * DIM;
                        let expected = reference::attend(
                            &q[at..at + DIM],
                            &host[0][start..start + len * DIM],
                            &host[1][start..start + len * DIM],
                            scale,
                        );
                        let bounds: Vec<f64> =
                            expected.iter().map(|y| 0.016 * (y.abs() + 0.1)).collect();
                        let what = format!("token {t} head {head}");
                        assert_within(&found[at..at + DIM], &expected, &bounds, &what);
                    }
                }
            },
        );
    }
}
