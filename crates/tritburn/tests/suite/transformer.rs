//! The fused operations of a decoder against plain host arithmetic.

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use rstest::rstest;
use tritburn::formats::QuantizedActivations;
use tritburn::transformer::{
    self, GatedActivation, Heads, LayerCache, Norm, Tokens, rotary_frequencies, rotary_table,
    scaled_rotary_table,
};
use tritburn::{Error, ops};

use crate::common::{matrix, relative_error, to_vec, values};

const EPSILON: f32 = 1e-5;

/// Flex; what runs on CubeCL devices is tested in the kernel crate.
fn devices() -> Vec<Device> {
    #[cfg(feature = "flex")]
    return vec![Device::flex()];
    #[cfg(not(feature = "flex"))]
    Vec::new()
}

fn vector(seed: u64, len: usize, device: &Device) -> Tensor<1> {
    Tensor::from_data(TensorData::new(values(seed, len), [len]), device)
}

fn words(values: &[u32], device: &Device) -> Tensor<1, Int> {
    Tensor::from_data(
        TensorData::new(values.to_vec(), [values.len()]),
        (device, DType::U32),
    )
}

fn word_vec(tensor: Tensor<1, Int>) -> Vec<u32> {
    tensor.into_data().convert::<u32>().try_into_vec().unwrap()
}

fn norm(x: &[f32], gamma: &[f32]) -> Vec<f32> {
    let mean = x.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / x.len() as f64;
    let factor = 1.0 / (mean + f64::from(EPSILON)).sqrt();
    x.iter()
        .zip(gamma)
        .map(|(&x, &g)| (f64::from(g) * f64::from(x) * factor) as f32)
        .collect()
}

/// Int8 activations may differ by one where a value lies next to a rounding tie.
fn assert_quantized(codes: Tensor<1, Int>, scales: Tensor<1>, expected: &[f32], cols: usize) {
    let expected = QuantizedActivations::quantize(expected, cols).unwrap();
    let found = word_vec(codes);
    let bytes = |words: &[u32]| -> Vec<i8> {
        words
            .iter()
            .flat_map(|w| w.to_le_bytes())
            .map(|b| b as i8)
            .collect()
    };
    let (found, wanted) = (bytes(&found), bytes(expected.words()));
    assert_eq!(found.len(), wanted.len());
    let off = found
        .iter()
        .zip(&wanted)
        .filter(|(a, b)| a != b)
        .inspect(|(a, b)| assert!(a.abs_diff(**b) <= 1, "{a} against {b}"))
        .count();
    assert!(off * 100 <= found.len(), "{off} of {} codes", found.len());
    assert!(relative_error(&to_vec(scales), expected.scales()) < 1e-5);
}

#[rstest]
fn norms_add_the_residual_and_quantise(
    #[values((1, 2560), (3, 100), (17, 48))] shape: (usize, usize),
    #[values(false, true)] with_residual: bool,
) {
    let (tokens, cols) = shape;
    for device in devices() {
        let (x, residual) = (values(1, tokens * cols), values(2, tokens * cols));
        let gamma = values(3, cols);
        let sum: Vec<f32> = match with_residual {
            true => x.iter().zip(&residual).map(|(a, b)| a + b).collect(),
            false => x,
        };
        let expected: Vec<f32> = sum.chunks(cols).flat_map(|row| norm(row, &gamma)).collect();
        let operands = || {
            let residual = with_residual.then(|| matrix(2, tokens, cols, &device));
            (matrix(1, tokens, cols, &device), residual)
        };
        let gamma = || vector(3, cols, &device);
        let (x, residual) = operands();
        let (h, y) = transformer::rms_norm(x, residual, gamma(), EPSILON).unwrap();
        assert_eq!(to_vec(h), sum, "{device:?}");
        assert!(relative_error(&to_vec(y), &expected) < 1e-5);
        let (x, residual) = operands();
        let (h, codes, scales) =
            transformer::rms_norm_quantize(x, residual, gamma(), EPSILON).unwrap();
        assert_eq!(to_vec(h), sum, "{device:?}");
        assert_quantized(codes, scales, &expected, cols);
    }
}

/// Φ by its power series.
fn normal(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for k in 1..200 {
        term *= x * x / f64::from(2 * k + 1);
        sum += term;
    }
    0.5 + sum * (-x * x / 2.0).exp() / std::f64::consts::TAU.sqrt()
}

#[rstest]
fn gated_units_are_normed_in_f32(
    #[values((1, 6912), (5, 72))] shape: (usize, usize),
    #[values(
        GatedActivation::SquaredRelu,
        GatedActivation::Silu,
        GatedActivation::Gelu,
        GatedActivation::GeluTanh
    )]
    activation: GatedActivation,
) {
    let (tokens, cols) = shape;
    let apply = |gate: f32| match activation {
        GatedActivation::SquaredRelu => gate.max(0.0) * gate.max(0.0),
        GatedActivation::Silu => gate / (1.0 + (-gate).exp()),
        GatedActivation::Gelu => gate * normal(f64::from(gate)) as f32,
        GatedActivation::GeluTanh => {
            let root = (2.0 / std::f32::consts::PI).sqrt();
            0.5 * gate * (1.0 + (root * (gate + 0.044715 * gate.powi(3))).tanh())
        }
    };
    for device in devices() {
        let gate_up = values(4, tokens * 2 * cols);
        let gamma = values(5, cols);
        let plain: Vec<f32> = gate_up
            .chunks(2 * cols)
            .flat_map(|row| {
                let (gate, up) = row.split_at(cols);
                gate.iter().zip(up).map(|(&g, &u)| apply(g) * u)
            })
            .collect();
        let normed: Vec<f32> = plain.chunks(cols).flat_map(|x| norm(x, &gamma)).collect();
        let gate_up = || matrix(4, tokens, 2 * cols, &device);
        let norm = || Norm {
            gamma: vector(5, cols, &device),
            epsilon: EPSILON,
        };
        for (norm, expected) in [(None, &plain), (Some(norm()), &normed)] {
            let y = transformer::gated(gate_up(), activation, norm).unwrap();
            assert!(relative_error(&to_vec(y), expected) < 1e-5, "{device:?}");
        }
        let (codes, scales) =
            transformer::gated_norm_quantize(gate_up(), activation, norm()).unwrap();
        assert_quantized(codes, scales, &normed, cols);
    }
}

#[test]
fn heads_of_queries_and_keys_are_normed_each_by_itself() {
    let heads = Heads {
        query: 4,
        key_value: 2,
        size: 6,
    };
    for device in devices() {
        let (x, gains) = (values(6, 3 * heads.fused_width()), values(7, 12));
        let expected: Vec<f32> = x
            .chunks(6)
            .enumerate()
            .flat_map(|(index, x)| match index % 8 {
                0..4 => norm(x, &gains[..6]),
                4 | 5 => norm(x, &gains[6..]),
                _ => x.to_vec(),
            })
            .collect();
        let qkv = || matrix(6, 3, heads.fused_width(), &device);
        let gains = || vector(7, 12, &device);
        let y = transformer::norm_heads(qkv(), gains(), heads, EPSILON).unwrap();
        assert!(relative_error(&to_vec(y), &expected) < 1e-6, "{device:?}");
        let short = transformer::norm_heads(qkv(), vector(7, 11, &device), heads, EPSILON);
        assert!(matches!(short, Err(Error::Shape { .. })));
    }
}

/// Pairs of frequency 0 stand still; the factor is that of the others alone.
#[test]
fn scaled_tables_turn_by_their_own_frequencies() {
    for device in devices() {
        let table = to_vec(scaled_rotary_table(&[0.5, 0.0], 2.0, 3, &device));
        let (sin, cos) = 1.0f32.sin_cos();
        assert_eq!(table[8..], [2.0 * cos, 1.0, 2.0 * sin, 0.0]);
        let plain = scaled_rotary_table(&rotary_frequencies(100.0, 8), 1.0, 5, &device);
        assert_eq!(to_vec(plain), to_vec(rotary_table(100.0, 8, 5, &device)));
    }
}

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
fn tables_are_gathered_and_multiplied() {
    let (vocabulary, features) = (1000, 80);
    let table = values(6, vocabulary * features);
    let ids = [999, 0, 17];
    for device in devices() {
        let tensor = || matrix(6, vocabulary, features, &device);
        let rows = transformer::embedding(tensor(), words(&ids, &device), DType::F32).unwrap();
        let expected: Vec<f32> = ids
            .iter()
            .flat_map(|&id| &table[id as usize * features..][..features])
            .copied()
            .collect();
        assert_eq!(to_vec(rows), expected, "{device:?}");

        for tokens in [1, 3, 20] {
            let x = values(7, tokens * features);
            let expected: Vec<f32> = x
                .chunks(features)
                .flat_map(|x| {
                    table.chunks(features).map(|row| {
                        let dot = |a: f64, (x, w): (&f32, &f32)| a + f64::from(*x) * f64::from(*w);
                        x.iter().zip(row).fold(0.0, dot) as f32
                    })
                })
                .collect();
            let x = || matrix(7, tokens, features, &device);
            let logits = transformer::dense_head(x(), tensor()).unwrap();
            assert!(
                relative_error(&to_vec(logits), &expected) < 1e-5,
                "{device:?}"
            );

            let (codes, scales) = ops::quantize_activations(tensor()).unwrap();
            let logits = transformer::int8_head(x(), codes, scales).unwrap();
            let error = relative_error(&to_vec(logits), &expected);
            assert!(error < 0.02, "{device:?}: {error}");
        }
    }
}

#[test]
fn the_largest_logit_is_found_and_nan_told_apart() {
    for device in devices() {
        let columns = 1300;
        let mut logits = vec![-3.0f32; 4 * columns];
        logits[1299] = 2.0;
        logits[columns + 5] = 1.0;
        logits[columns + 700] = 1.0;
        logits[2 * columns + 9] = f32::NAN;
        let logits = Tensor::from_data(TensorData::new(logits, [4, columns]), &device);
        let ids = word_vec(transformer::argmax(logits).unwrap());
        assert_eq!(ids, [1299, 5, 1300, 0], "{device:?}");
    }
}

#[test]
fn a_step_moves_tokens_and_positions_on() {
    for device in devices() {
        let (tokens, positions) = (words(&[1, 2], &device), words(&[7, 0], &device));
        let ids = words(&[5, 6], &device);
        let (tokens, positions) = transformer::advance(tokens, positions, ids).unwrap();
        assert_eq!(word_vec(positions), [8, 1], "{device:?}");
        let tokens = transformer::overwrite(tokens.clone(), words(&[3, 4], &device)).unwrap();
        assert_eq!(word_vec(tokens), [3, 4], "{device:?}");
    }
}

#[test]
fn operands_of_other_shapes_are_refused() {
    for device in devices() {
        let gamma = || vector(8, 10, &device);
        let wide = transformer::rms_norm(matrix(1, 2, 11, &device), None, gamma(), EPSILON);
        assert!(matches!(wide, Err(Error::Shape { .. })));
        let residual = Some(matrix(1, 3, 10, &device));
        let long = transformer::rms_norm(matrix(1, 2, 10, &device), residual, gamma(), EPSILON);
        assert!(matches!(long, Err(Error::Shape { .. })));
        let odd = transformer::gated(matrix(1, 2, 21, &device), GatedActivation::Silu, None);
        assert!(matches!(odd, Err(Error::Shape { .. })));
        let (codes, _) = ops::quantize_activations(matrix(1, 2, 10, &device)).unwrap();
        let ids = transformer::overwrite(codes, words(&[1], &device));
        assert!(matches!(ids, Err(Error::Shape { .. })));
        let head = transformer::dense_head(matrix(1, 2, 10, &device), matrix(1, 5, 9, &device));
        assert!(matches!(head, Err(Error::Shape { .. })));
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
