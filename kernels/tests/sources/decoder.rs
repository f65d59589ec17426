//! Kernels around the products of a decoder, for heads that BitNet 2B-4T does not have.

use cubecl::client::Client;
use tritburn_kernels::decoder::attention::{self, AttentionScratch};
use tritburn_kernels::decoder::norm::{self, HeadNorm};
use tritburn_kernels::decoder::rotary::{self, Placement};
use tritburn_kernels::{BlockTable, FloatType, KvCache};

use crate::device::Device;
use crate::{HOPPER, buffer, keep, matrix};

fn cache(client: &Client, dim: usize, dtype: FloatType) -> KvCache {
    let handle = || client.empty(2 * 64 * dim * dtype.size());
    KvCache::new(handle(), handle(), [1, 2, 64, dim], dtype).expect("a valid cache")
}

#[test]
fn caches_of_blocks_have_kernels() {
    let device = Device::new(HOPPER, 41);
    let (dim, heads, dtype) = (128, 20, FloatType::BF16);
    let sources = device.compile(|client| {
        let handle = || client.empty(9 * 5 * 64 * dim * dtype.size());
        let table = BlockTable {
            blocks: buffer(client, 32),
            per_row: 8,
        };
        let shape = [9, 5, 64, dim];
        let cache = KvCache::paged(handle(), handle(), shape, table, dtype).expect("a cache");
        let scratch = AttentionScratch::with_slots(client, 4096);
        for tokens in [4, 100] {
            let (rows, positions) = (buffer(client, tokens), buffer(client, tokens));
            let place = Placement {
                rows: &rows,
                positions: &positions,
            };
            let qkv = matrix(client, [tokens, (heads + 10) * dim], dtype);
            let q = matrix(client, [tokens, heads * dim], dtype);
            let out = matrix(client, [tokens, heads * dim], dtype);
            let angles = buffer(client, 512 * dim);
            rotary::launch(client, &qkv, &angles, place, &q, 1.0, &cache).expect("rotary");
            let launch = match tokens {
                4 => attention::launch,
                _ => attention::prefill,
            };
            launch(client, &q, &cache, place, &out, 0.1, &scratch).expect("attention");
        }
        // 20 counters; the sums of 40 cubes take less room.
        assert_eq!(attention::slots(client, 4, heads, &cache), 20);
    });
    // The rotary kernel is compiled for both: few items have addresses of 32 bits.
    assert_eq!(sources.len(), 4);
    keep(HOPPER, "blocks", &sources);
}

#[test]
fn heads_of_any_width_have_kernels() {
    let device = Device::new(HOPPER, 40);
    for (dim, dtype) in [
        (6, FloatType::F32),
        (80, FloatType::BF16),
        (128, FloatType::BF16),
        (256, FloatType::BF16),
        (256, FloatType::F32),
    ] {
        let sources = device.compile(|client| {
            let (tokens, heads) = (3, 6);
            let (rows, positions) = (buffer(client, tokens), buffer(client, tokens));
            let place = Placement {
                rows: &rows,
                positions: &positions,
            };
            let qkv = matrix(client, [tokens, (heads + 4) * dim], dtype);
            let normed = matrix(client, [tokens, (heads + 4) * dim], dtype);
            let norm = HeadNorm {
                heads,
                kv_heads: 2,
                dim,
                eps: 1e-6,
            };
            norm::heads(client, &qkv, &buffer(client, 2 * dim), norm, &normed).expect("norms");
            let q = matrix(client, [tokens, heads * dim], dtype);
            let out = matrix(client, [tokens, heads * dim], dtype);
            let cache = cache(client, dim, dtype);
            let table = buffer(client, 64 * dim);
            rotary::launch(client, &normed, &table, place, &q, 1.0, &cache).expect("rotary");
            let scratch = AttentionScratch::new(client);
            attention::launch(client, &q, &cache, place, &out, 0.1, &scratch).expect("attention");
        });
        assert_eq!(sources.len(), 3, "{dim} {dtype}");
        keep(HOPPER, &format!("heads-{dim}-{dtype}"), &sources);
    }
}
