//! Caches of blocks against caches of contiguous rows.

use tritburn_kernels::decoder::attention::{self, AttentionScratch};
use tritburn_kernels::decoder::rotary::{self, Placement};
use tritburn_kernels::{BlockTable, FloatType, KernelError, KvCache};

use crate::device::{client, runs};
use crate::harness::*;

const HEADS: usize = 4;
const KV_HEADS: usize = 2;
/// Positions of a block, blocks of a row, rows.
const BLOCK: usize = 16;
const PER_ROW: usize = 40;
const ROWS: usize = 2;

/// Blocks of the rows, in no order; 3 of them belong to nobody.
fn table() -> Vec<u32> {
    let count = (ROWS * PER_ROW) as u32 + 3;
    (0..(ROWS * PER_ROW) as u32)
        .map(|i| i * 29 % count)
        .collect()
}

/// Where element `d` of head `head` at `position` of `row` is, in rows and in blocks.
fn places(row: usize, head: usize, position: usize, dim: usize) -> [usize; 2] {
    let whole = (row * KV_HEADS + head) * BLOCK * PER_ROW + position;
    let block = table()[row * PER_ROW + position / BLOCK] as usize;
    let paged = (block * KV_HEADS + head) * BLOCK + position % BLOCK;
    [whole * dim, paged * dim]
}

/// A cache of contiguous rows and one of blocks that hold the same.
fn caches(dim: usize, dtype: FloatType) -> [KvCache; 2] {
    let client = client();
    let blocks = ROWS * PER_ROW + 3;
    let held = [5, 6].map(|seed| {
        let rows = floats(
            &mut rng(seed),
            ROWS * PER_ROW * BLOCK * KV_HEADS * dim,
            dtype,
        );
        let mut paged = vec![0.0; blocks * BLOCK * KV_HEADS * dim];
        for row in 0..ROWS {
            for head in 0..KV_HEADS {
                for position in 0..BLOCK * PER_ROW {
                    let [from, to] = places(row, head, position, dim);
                    paged[to..to + dim].copy_from_slice(&rows[from..from + dim]);
                }
            }
        }
        [
            upload(&client, &rows, dtype),
            upload(&client, &paged, dtype),
        ]
    });
    let [[keys, paged_keys], [values, paged_values]] = held;
    let shape = [ROWS, KV_HEADS, BLOCK * PER_ROW, dim];
    let blocks = [blocks, KV_HEADS, BLOCK, dim];
    let table = BlockTable {
        blocks: words(&client, &table()),
        per_row: PER_ROW,
    };
    [
        KvCache::new(keys, values, shape, dtype).unwrap(),
        KvCache::paged(paged_keys, paged_values, blocks, table, dtype).unwrap(),
    ]
}

/// Queries that depend on the token alone.
fn queries(tokens: &[(u32, u32)], dim: usize, dtype: FloatType) -> Vec<f32> {
    let width = HEADS * dim;
    let of = |&(row, position): &(u32, u32)| {
        floats(&mut rng((1000 * row + position) as usize), width, dtype)
    };
    tokens.iter().flat_map(of).collect()
}

fn attend(cache: &KvCache, tokens: &[(u32, u32)], prefill: bool) -> Vec<f32> {
    let client = client();
    let (dim, dtype) = (cache.dim(), cache.dtype());
    let width = HEADS * dim;
    let q = queries(tokens, dim, dtype);
    let q = float_matrix(&client, &q, [tokens.len(), width], width, dtype);
    let out = Out::new(&client, [tokens.len(), width], width, dtype);
    let (rows, positions): (Vec<u32>, Vec<u32>) = tokens.iter().copied().unzip();
    let place = Placement {
        rows: &words(&client, &rows),
        positions: &words(&client, &positions),
    };
    let slots = attention::slots(&client, tokens.len(), HEADS, cache);
    let scratch = match slots {
        0 => AttentionScratch::new(&client),
        slots => AttentionScratch::with_slots(&client, slots),
    };
    let run = match prefill {
        true => attention::prefill,
        false => attention::launch,
    };
    let scale = 1.0 / (dim as f32).sqrt();
    run(&client, &q, cache, place, &out.matrix, scale, &scratch).unwrap();
    out.read(&client)
}

#[test]
fn attention_over_blocks_equals_that_over_rows() {
    let single = [(0, 0), (1, 15), (0, 16), (1, 300), (0, 639)];
    let prompt: Vec<(u32, u32)> = (0..150).map(|i| (1, 100 + i)).collect();
    for (dim, dtype) in [
        (32, FloatType::F32),
        (64, FloatType::F16),
        (128, FloatType::BF16),
        (80, FloatType::BF16),
        (6, FloatType::F32),
    ] {
        if !runs(dtype) {
            continue;
        }
        let [rows, blocks] = caches(dim, dtype);
        for (tokens, prefill) in [(&single[..], false), (&prompt[..], true)] {
            let expected = attend(&rows, tokens, prefill);
            let found = attend(&blocks, tokens, prefill);
            // Only the number of cubes that share the positions of a token may differ.
            let expected: Vec<f64> = expected.iter().map(|&y| y as f64).collect();
            let step = 2.0 * epsilon(dtype) + 1e-5;
            let bounds: Vec<f64> = expected.iter().map(|y| step * (y.abs() + 0.5)).collect();
            let what = format!("{dim} {dtype} prefill {prefill}");
            assert_within(&found, &expected, &bounds, &what);
        }
    }
}

#[test]
fn what_a_token_sees_over_blocks_does_not_depend_on_the_others() {
    for (dim, dtype) in [(128, FloatType::BF16), (64, FloatType::F32)] {
        if !runs(dtype) {
            continue;
        }
        let [_, cache] = caches(dim, dtype);
        let width = HEADS * dim;
        let tokens: Vec<(u32, u32)> = (0..60).map(|i| (i % 2, i * 97 % 640)).collect();
        let together = attend(&cache, &tokens, false);
        for count in [1, 2, 7, 33] {
            let few = attend(&cache, &tokens[60 - count..], false);
            let what = format!("{count} tokens, {dim} {dtype}");
            assert_bits(&few, &together[(60 - count) * width..], &what);
        }
        // A prompt, whole and in two parts.
        let prompt: Vec<(u32, u32)> = (0..130).map(|i| (0, i)).collect();
        let whole = attend(&cache, &prompt, true);
        for cut in [16, 50, 114] {
            let parts = [&prompt[..cut], &prompt[cut..]].map(|part| attend(&cache, part, true));
            assert_bits(
                &parts.concat(),
                &whole,
                &format!("cut at {cut}, {dim} {dtype}"),
            );
        }
    }
}

#[test]
fn keys_and_values_are_appended_to_blocks() {
    let client = client();
    let (dim, dtype) = (32, FloatType::F32);
    // The last two have no place; the block of the third from last does not exist.
    let tokens = [(0u32, 5u32), (1, 17), (0, 16), (0, 33), (0, 48), (2, 0)];
    let ids = [3, 0, 9, 1, 2, 7];
    let all = (HEADS + 2 * KV_HEADS) * dim;
    let qkv = floats(&mut rng(8), tokens.len() * all, dtype);
    let blocks = [8, KV_HEADS, BLOCK, dim];
    let held = [9, 10].map(|seed| floats(&mut rng(seed), 8 * KV_HEADS * BLOCK * dim, dtype));
    let handles = [0, 1].map(|i| upload(&client, &held[i], dtype));
    let [keys, values] = handles.clone();
    let table = BlockTable {
        blocks: words(&client, &ids),
        per_row: 3,
    };
    let cache = KvCache::paged(keys, values, blocks, table, dtype).unwrap();
    let input = float_matrix(&client, &qkv, [tokens.len(), all], all, dtype);
    let q = Out::new(&client, [tokens.len(), HEADS * dim], HEADS * dim, dtype);
    // No turn at all: cosines of 1.
    let angles: Vec<f32> = (0..64 * dim)
        .map(|i| (i % dim < dim / 2) as u8 as f32)
        .collect();
    let place = Placement {
        rows: &words(&client, &tokens.map(|token| token.0)),
        positions: &words(&client, &tokens.map(|token| token.1)),
    };
    let angles = scales(&client, &angles);
    rotary::launch(&client, &input, &angles, place, &q.matrix, 1.0, &cache).unwrap();
    for (which, handle) in handles.iter().enumerate() {
        let mut expected = held[which].clone();
        for (t, &(row, position)) in tokens.iter().enumerate() {
            let (row, position) = (row as usize, position as usize);
            if row > 1 || position >= 3 * BLOCK || ids[row * 3 + position / BLOCK] > 7 {
                continue;
            }
            let block = ids[row * 3 + position / BLOCK] as usize;
            for head in 0..KV_HEADS {
                let from = t * all + (HEADS + which * KV_HEADS + head) * dim;
                let to = ((block * KV_HEADS + head) * BLOCK + position % BLOCK) * dim;
                expected[to..to + dim].copy_from_slice(&qkv[from..from + dim]);
            }
        }
        assert_bits(
            &download(&client, handle, dtype),
            &expected,
            "keys, then values",
        );
    }
}

#[test]
fn tables_and_scratch_that_do_not_fit_are_refused() {
    let client = client();
    let handle = upload(&client, &[0.0; 4 * 16 * 32], FloatType::F32);
    let paged = |ids: &[u32], per_row| {
        let table = BlockTable {
            blocks: words(&client, ids),
            per_row,
        };
        let shape = [4, 1, 16, 32];
        KvCache::paged(handle.clone(), handle.clone(), shape, table, FloatType::F32)
    };
    let cache = paged(&[0, 1, 2, 3], 2).unwrap();
    assert_eq!((cache.batch(), cache.positions()), (2, 32));
    assert!(matches!(
        paged(&[0, 1, 2], 2),
        Err(KernelError::Length { .. })
    ));
    assert!(matches!(paged(&[0], 2), Err(KernelError::Length { .. })));
    assert!(paged(&[0], 0).is_err());
}
