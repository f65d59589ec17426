//! Rotary embedding, the cache and attention over it.

use cubecl::server::Handle;
use tritburn_kernels::decoder::attention::{self, AttentionScratch};
use tritburn_kernels::decoder::rotary::{self, Placement};
use tritburn_kernels::{FloatType, KvCache};

use crate::device::{client, runs};
use crate::harness::*;
use crate::reference;

/// A cache and what it holds.
struct Cache {
    cache: KvCache,
    handles: [Handle; 2],
    host: [Vec<f32>; 2],
    shape: [usize; 4],
}

impl Cache {
    fn random(seed: usize, shape: [usize; 4], dtype: FloatType) -> Self {
        let client = client();
        let len = shape.iter().product();
        let mut rng = rng(seed);
        let host = [(); 2].map(|()| floats(&mut rng, len, dtype));
        let handles = [0, 1].map(|i| upload(&client, &host[i], dtype));
        let [keys, values] = handles.clone();
        Self {
            cache: KvCache::new(keys, values, shape, dtype).unwrap(),
            handles,
            host,
            shape,
        }
    }

    /// Elements of a head's positions `0..len`.
    fn head(&self, which: usize, row: usize, head: usize, len: usize) -> &[f32] {
        let [_, heads, positions, dim] = self.shape;
        let start = (row * heads + head) * positions * dim;
        &self.host[which][start..start + len * dim]
    }

    fn read(&self, which: usize) -> Vec<f32> {
        download(&client(), &self.handles[which], self.cache.dtype())
    }
}

fn assert_attention(
    shape: [usize; 4],
    heads: usize,
    tokens: &[(u32, u32)],
    dtype: FloatType,
    prefill: bool,
) {
    if !runs(dtype) {
        return;
    }
    let client = client();
    let cache = Cache::random(1, shape, dtype);
    let [_, kv_heads, _, dim] = shape;
    let (count, width) = (tokens.len(), heads * dim);
    let q = floats(&mut rng(2), count * width, dtype);
    let scale = 1.0 / (dim as f32).sqrt();
    let rows: Vec<u32> = tokens.iter().map(|token| token.0).collect();
    let positions: Vec<u32> = tokens.iter().map(|token| token.1).collect();

    let input = float_matrix(&client, &q, [count, width], width, dtype);
    let out = Out::new(&client, [count, width], width + 16, dtype);
    let scratch = AttentionScratch::new(&client);
    let place = Placement {
        rows: &words(&client, &rows),
        positions: &words(&client, &positions),
    };
    let run = if prefill {
        attention::prefill
    } else {
        attention::launch
    };
    // Twice: the first launch leaves the scratch as it found it.
    for _ in 0..2 {
        run(
            &client,
            &input,
            &cache.cache,
            place,
            &out.matrix,
            scale,
            &scratch,
        )
        .unwrap();
    }
    let found = out.read(&client);
    for (t, (row, position)) in tokens.iter().enumerate() {
        for head in 0..heads {
            let len = *position as usize + 1;
            let kv = head / (heads / kv_heads);
            let (k, v) = (
                cache.head(0, *row as usize, kv, len),
                cache.head(1, *row as usize, kv, len),
            );
            let at = t * width + head * dim;
            let expected = reference::attend(&q[at..at + dim], k, v, scale);
            let step = if prefill { 4.0 } else { 1.0 } * epsilon(dtype) + 1e-5;
            let bounds: Vec<f64> = expected.iter().map(|y| step * (y.abs() + 0.5)).collect();
            let what = format!("{shape:?} {heads} {dtype}: token {t} {row} {position} head {head}");
            assert_within(&found[at..at + dim], &expected, &bounds, &what);
        }
    }
}

#[test]
fn attention_equals_the_reference_for_every_type_and_dimension() {
    let tokens = [(0, 0), (1, 69), (0, 12), (1, 3)];
    assert_attention([2, 2, 70, 32], 6, &tokens, FloatType::F32, false);
    assert_attention([2, 1, 70, 64], 4, &tokens, FloatType::F16, false);
    assert_attention([2, 2, 70, 128], 2, &tokens, FloatType::BF16, false);
}

#[test]
fn one_token_over_many_positions_and_an_odd_group() {
    assert_attention([2, 1, 1100, 64], 3, &[(1, 1033)], FloatType::BF16, false);
    // More query heads than a cube takes.
    assert_attention([1, 1, 300, 64], 11, &[(0, 257)], FloatType::BF16, false);
}

#[test]
fn heads_of_other_widths_attend_too() {
    for dim in [2, 6, 48, 80, 256] {
        assert_attention(
            [2, 2, 70, dim],
            4,
            &[(1, 66), (0, 3)],
            FloatType::F32,
            false,
        );
        assert_attention([1, 1, 40, dim], 3, &[(0, 37)], FloatType::BF16, false);
        let tokens: Vec<(u32, u32)> = (0..19).map(|i| (0, i)).collect();
        assert_attention([1, 1, 20, dim], 2, &tokens, FloatType::BF16, true);
    }
}

#[test]
fn a_prompt_attends_causally() {
    let tokens: Vec<(u32, u32)> = (0..37).map(|i| (1, 5 + i)).collect();
    assert_attention([2, 1, 64, 64], 2, &tokens, FloatType::BF16, true);
}

#[test]
fn rotary_rotates_queries_and_appends_to_the_cache() {
    let client = client();
    for (dtype, dim, spare) in [
        (FloatType::F32, 32, 1),
        (FloatType::BF16, 64, 0),
        (FloatType::F16, 128, 8),
        (FloatType::F32, 6, 0),
        (FloatType::BF16, 80, 0),
        (FloatType::F32, 256, 0),
    ] {
        if !runs(dtype) {
            continue;
        }
        let (heads, kv_heads, positions) = (3, 1, 9);
        let shape = [2, kv_heads, positions, dim];
        let cache = Cache::random(3, shape, dtype);
        // The last two have no place in the cache.
        let tokens = [(0u32, 4u32), (1, 8), (1, 0), (0, 9), (2, 1)];
        let all = (heads + 2 * kv_heads) * dim;
        let qkv = floats(&mut rng(4), tokens.len() * all, dtype);
        let table = rotary::table(16, dim, 10_000.0);
        let q_scale = 0.125;

        let input = float_matrix(&client, &qkv, [tokens.len(), all], all + spare, dtype);
        let q = Out::new(
            &client,
            [tokens.len(), heads * dim],
            heads * dim + spare,
            dtype,
        );
        let place = Placement {
            rows: &words(&client, &tokens.map(|token| token.0)),
            positions: &words(&client, &tokens.map(|token| token.1)),
        };
        let device_table = scales(&client, &table);
        rotary::launch(
            &client,
            &input,
            &device_table,
            place,
            &q.matrix,
            q_scale,
            &cache.cache,
        )
        .unwrap();

        let found = q.read(&client);
        let mut keys = cache.host[0].iter().map(|&x| x as f64).collect::<Vec<_>>();
        let mut values = cache.host[1].iter().map(|&x| x as f64).collect::<Vec<_>>();
        let mut expected = Vec::new();
        for (t, (row, position)) in tokens.into_iter().enumerate() {
            let (row, position) = (row as usize, position as usize);
            let angles = &table[position * dim..(position + 1) * dim];
            let mut parts = qkv[t * all..(t + 1) * all].chunks(dim);
            for _ in 0..heads {
                let rotated = reference::rotate(parts.next().unwrap(), angles);
                expected.extend(rotated.into_iter().map(|x| x * q_scale as f64));
            }
            let key = reference::rotate(parts.next().unwrap(), angles);
            let value = parts.next().unwrap();
            if row < 2 && position < positions {
                let at = (row * positions + position) * dim;
                keys[at..at + dim].copy_from_slice(&key);
                let value: Vec<f64> = value.iter().map(|&x| x as f64).collect();
                values[at..at + dim].copy_from_slice(&value);
            }
        }
        let check = |found: &[f32], expected: &[f64], what: &str| {
            let step = epsilon(dtype) + 1e-6;
            // Without fused multiplication both products of a sum are rounded, and what they cancel stays
            // as an error. Operands are below 3.
            let products = 3.0 * f32::EPSILON as f64;
            let bounds: Vec<f64> = expected.iter().map(|y| step * y.abs() + products).collect();
            assert_within(found, expected, &bounds, &format!("{dtype} {what}"));
        };
        check(&found, &expected, "q");
        check(&cache.read(0), &keys, "keys");
        check(&cache.read(1), &values, "values");
    }
}

#[test]
fn the_table_has_cosines_before_sines() {
    let table = rotary::table(3, 4, 100.0);
    let expected: [f64; 4] = [2f64.cos(), 0.2f64.cos(), 2f64.sin(), 0.2f64.sin()];
    for (found, expected) in table[8..].iter().zip(expected) {
        assert!((*found as f64 - expected).abs() < 1e-7);
    }
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    let client = client();
    let handle = upload(&client, &[0.0; 2 * 4 * 32], FloatType::F32);
    let cache = |shape| KvCache::new(handle.clone(), handle.clone(), shape, FloatType::F32);
    assert_eq!(
        cache([1, 1, 4, 47]).unwrap_err().to_string(),
        "head dimension is 47, kernels take even numbers up to 256"
    );
    assert!(cache([1, 3, 4, 32]).is_err() && cache([1, 0, 4, 32]).is_err());
    let cache = cache([1, 2, 4, 32]).unwrap();
    let q = float_matrix(&client, &[0.0; 96], [1, 96], 96, FloatType::F32);
    let one = words(&client, &[0]);
    let place = Placement {
        rows: &one,
        positions: &one,
    };
    let scratch = AttentionScratch::new(&client);
    let error = attention::launch(&client, &q, &cache, place, &q, 1.0, &scratch);
    assert_eq!(
        error.unwrap_err().to_string(),
        "number of query heads is 3, kernels take multiples of the key heads"
    );
}
