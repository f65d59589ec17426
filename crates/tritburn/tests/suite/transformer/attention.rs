//! Attention over caches of rows and of blocks.

use burn::tensor::{DType, Device, Tensor, TensorData};
use rstest::rstest;
use tritburn::Error;
use tritburn::transformer::{self, Heads, LayerCache, Tokens, rotary_table};

use super::{devices, words};
use crate::common::{matrix, relative_error, to_vec, values};

/// One sequence a row: what attention over rotated queries and keys must give, in f64.
struct Reference {
    heads: Heads,
    theta: f64,
}

impl Reference {
    /// Queries, keys or values of one token and head, rotated if they are the first two.
    fn part(&self, qkv: &[f32], offset: usize, position: Option<usize>) -> Vec<f64> {
        let size = self.heads.size;
        let x: Vec<f64> = qkv[offset..offset + size]
            .iter()
            .map(|&v| v.into())
            .collect();
        let Some(position) = position else { return x };
        let half = size / 2;
        (0..size)
            .map(|i| {
                let pair = i % half;
                let angle = position as f64 / self.theta.powf(2.0 * pair as f64 / size as f64);
                let (sin, cos) = angle.sin_cos();
                match i < half {
                    true => x[pair] * cos - x[pair + half] * sin,
                    false => x[pair + half] * cos + x[pair] * sin,
                }
            })
            .collect()
    }

    /// `qkv` rows of one whole sequence.
    fn attend(&self, qkv: &[f32]) -> Vec<f32> {
        let Heads {
            query,
            key_value,
            size,
        } = self.heads;
        let rows: Vec<&[f32]> = qkv.chunks(self.heads.fused_width()).collect();
        let mut out = Vec::new();
        for (t, token) in rows.iter().enumerate() {
            for head in 0..query {
                let q = self.part(token, head * size, Some(t));
                let shared = query + head / (query / key_value);
                let scores: Vec<f64> = (0..=t)
                    .map(|s| {
                        let k = self.part(rows[s], shared * size, Some(s));
                        let dot: f64 = q.iter().zip(&k).map(|(a, b)| a * b).sum();
                        (dot / (size as f64).sqrt()).exp()
                    })
                    .collect();
                let total: f64 = scores.iter().sum();
                out.extend((0..size).map(|i| {
                    let sum: f64 = (0..=t)
                        .map(|s| {
                            let offset = (shared + key_value) * size;
                            scores[s] * self.part(rows[s], offset, None)[i]
                        })
                        .sum();
                    (sum / total) as f32
                }));
            }
        }
        out
    }
}

#[rstest]
fn attention_sees_what_came_before_in_its_own_row(
    #[values(Heads { query: 4, key_value: 2, size: 32 }, Heads { query: 3, key_value: 3, size: 64 })]
    heads: Heads,
    #[values(1, 5, 40)] chunk: usize,
) {
    let (theta, capacity) = (10_000.0, 64);
    let reference = Reference {
        heads,
        theta: f64::from(theta),
    };
    // Ragged rows of a batch, run in chunks: whole, in parts, token by token.
    let lengths = [9, 40, 23];
    let sequence = |row: usize| values(row as u64, lengths[row] * heads.fused_width());
    for device in devices() {
        let table = rotary_table(theta, heads.size, capacity, &device);
        let mut cache = LayerCache::new(3, capacity, heads, DType::F32, &device).unwrap();
        let mut found = vec![Vec::new(); 3];
        let mut start = 0;
        while start < 40 {
            let runs: Vec<_> = (0..3)
                .filter(|&row| start < lengths[row])
                .map(|row| (row, start, chunk.min(lengths[row] - start)))
                .collect();
            let qkv: Vec<f32> = runs
                .iter()
                .flat_map(|&(row, start, len)| {
                    let width = heads.fused_width();
                    sequence(row)[start * width..(start + len) * width].to_vec()
                })
                .collect();
            let mut tokens = Tokens::runs(&runs, &device);
            if chunk == 1 {
                // As a decode step, whose positions only the device knows.
                tokens = Tokens::step(tokens.rows, tokens.positions);
            }
            let shape = [tokens.count(), heads.fused_width()];
            let qkv = Tensor::from_data(TensorData::new(qkv, shape), &device);
            let q = transformer::rotary_append(qkv, table.clone(), &tokens, &mut cache).unwrap();
            let out = to_vec(transformer::attention(q, &cache, &tokens).unwrap());
            let mut rest = &out[..];
            for (row, _, len) in runs {
                let (own, others) = rest.split_at(len * heads.query_width());
                found[row].extend_from_slice(own);
                rest = others;
            }
            start += chunk;
        }
        for (row, found) in found.iter().enumerate() {
            let error = relative_error(found, &reference.attend(&sequence(row)));
            assert!(error < 1e-5, "row {row} on {device:?}: {error}");
        }
    }
}

/// What `batches` of runs see in a cache, of blocks where there is a table of them.
fn attended(
    batches: &[&[(usize, usize, usize)]],
    heads: Heads,
    blocks: Option<(usize, &[u32])>,
    device: &Device,
) -> Vec<f32> {
    let capacity = 70;
    let table = rotary_table(10_000.0, heads.size, capacity, device);
    let cache = match blocks {
        None => LayerCache::new(2, capacity, heads, DType::F32, device),
        Some((size, _)) => LayerCache::paged(24, size, capacity, heads, DType::F32, device),
    };
    let mut cache = cache.unwrap();
    let mut found = Vec::new();
    for (seed, runs) in batches.iter().enumerate() {
        let mut tokens = Tokens::runs(runs, device);
        if let Some((_, blocks)) = blocks {
            tokens = tokens.in_blocks(words(blocks, device));
        }
        let qkv = matrix(seed as u64, tokens.count(), heads.fused_width(), device);
        let q = transformer::rotary_append(qkv, table.clone(), &tokens, &mut cache).unwrap();
        found.extend(to_vec(transformer::attention(q, &cache, &tokens).unwrap()));
    }
    found
}

#[test]
fn blocks_hold_what_rows_do() {
    let heads = Heads {
        query: 4,
        key_value: 2,
        size: 32,
    };
    // Long runs between single tokens, as a step of an engine has them.
    let batches: [&[_]; 3] = [
        &[(0, 0, 40), (1, 0, 3)],
        &[(1, 3, 1), (0, 40, 9), (1, 4, 1)],
        &[(0, 49, 1), (1, 5, 1)],
    ];
    // 70 positions are four blocks of 16 and a part of one; the last of row 1 is not in use.
    let table = [7, 3, 20, 9, 11, 4, 2, 0, 0, 0];
    for device in devices() {
        let rows = attended(&batches, heads, None, &device);
        let blocks = attended(&batches, heads, Some((16, &table)), &device);
        assert_eq!(blocks, rows, "{device:?}");
    }
}

#[test]
fn a_cache_of_blocks_needs_a_table_of_whole_rows() {
    let heads = Heads {
        query: 2,
        key_value: 1,
        size: 32,
    };
    for device in devices() {
        let cache = LayerCache::paged(4, 16, 40, heads, DType::F32, &device).unwrap();
        assert_eq!((cache.rows(), cache.capacity()), (4, 40));
        assert_eq!(cache.byte_count(), 2 * 4 * 16 * 32 * 4);
        let q = || matrix(1, 1, heads.query_width(), &device);
        let run = || Tokens::runs(&[(0, 0, 1)], &device);
        for tokens in [run(), run().in_blocks(words(&[0, 1], &device))] {
            let refused = transformer::attention(q(), &cache, &tokens);
            assert!(matches!(refused, Err(Error::Shape { .. })), "{refused:?}");
        }
        let whole = run().in_blocks(words(&[0, 1, 2], &device));
        transformer::attention(q(), &cache, &whole).unwrap();
        let empty = LayerCache::paged(4, 0, 40, heads, DType::F32, &device);
        assert!(matches!(empty, Err(Error::EmptyCache { .. })), "{empty:?}");
    }
}

#[test]
fn a_cache_needs_room_and_floats() {
    let heads = |size| Heads {
        query: 2,
        key_value: 1,
        size,
    };
    for device in devices() {
        for (rows, capacity) in [(0, 4), (2, 0)] {
            let empty = LayerCache::new(rows, capacity, heads(32), DType::F32, &device);
            let Err(Error::EmptyCache {
                rows: r,
                capacity: c,
            }) = empty
            else {
                panic!("{rows} x {capacity} on {device:?}");
            };
            assert_eq!((r, c), (rows, capacity));
        }
        let integers = LayerCache::new(1, 4, heads(32), DType::U32, &device);
        assert!(matches!(integers, Err(Error::DType { .. })), "{device:?}");
        // Sizes that kernels are not made for are no matter on Flex, which is what runs here.
        let odd = LayerCache::new(1, 4, heads(80), DType::F16, &device).unwrap();
        assert_eq!(odd.byte_count(), 2 * 4 * 80 * 2);
    }
}
