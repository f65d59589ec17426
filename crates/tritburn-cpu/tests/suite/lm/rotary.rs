//! Rotary embedding and the cache, embedding rows.

use half::{bf16, f16};
use tritburn_cpu::internals::*;
use tritburn_cpu::*;

use crate::common::*;

#[test]
fn the_table_holds_cosines_and_sines_of_f32_angles() {
    for (theta, dim) in [(10_000.0f32, 32), (500_000.0, 128), (1e6, 2)] {
        let table = rotary_table(theta, dim, 700).unwrap();
        assert_eq!(table.len(), 700 * dim);
        for (position, row) in table.chunks(dim).enumerate() {
            for i in 0..dim / 2 {
                let frequency = 1.0 / theta.powf((2 * i) as f32 / dim as f32);
                let angle = f64::from(position as f32 * frequency);
                assert!((f64::from(row[i]) - angle.cos()).abs() < 1e-6);
                assert!((f64::from(row[dim / 2 + i]) - angle.sin()).abs() < 1e-6);
            }
        }
    }
    assert!(rotary_table(1e4, 64, 0).unwrap().is_empty());
    assert!(matches!(
        rotary_table(1e4, 7, 10),
        Err(CpuError::Heads { dim: 7, .. })
    ));
    assert!(matches!(
        rotary_table(1e4, 4, usize::MAX / 2),
        Err(CpuError::TooLarge { .. })
    ));
}

struct Case {
    heads: Heads,
    batch: usize,
    capacity: usize,
    rows: Vec<u32>,
    positions: Vec<u32>,
}

/// One token after the other in plain code, the caches filled with a mark before.
fn check<E: Element + PartialEq + std::fmt::Debug>(case: &Case) {
    let mut rng = Random(7);
    let Case {
        heads,
        batch,
        capacity,
        rows,
        positions,
    } = case;
    let (hq, hkv, d) = (heads.query(), heads.kv(), heads.dim());
    let tokens = rows.len();
    let table = rotary_table(1e4, d, capacity + 3).unwrap();
    let qkv: Vec<f32> = rng
        .floats(tokens * (hq + 2 * hkv) * d)
        .iter()
        .map(|v| v * 50.0)
        .collect();
    let len = batch * hkv * capacity * d;
    let mark = E::from_f32(-77.0);
    let (mut keys, mut values) = (vec![mark; len], vec![mark; len]);
    let mut queries = vec![f32::NAN; tokens * hq * d];
    for t in 0..tokens {
        let (row, position) = (rows[t] as usize, positions[t] as usize);
        let turn = |x: &[f32]| -> Vec<f32> {
            let (cos, sin) = table[position * d..][..d].split_at(d / 2);
            let h = d / 2;
            let left = (0..h).map(|i| x[i] * cos[i] - x[h + i] * sin[i]);
            left.chain((0..h).map(|i| x[h + i] * cos[i] + x[i] * sin[i]))
                .collect()
        };
        let head = |i: usize| &qkv[(t * (hq + 2 * hkv) + i) * d..][..d];
        for h in 0..hq {
            queries[(t * hq + h) * d..][..d].copy_from_slice(&turn(head(h)));
        }
        for h in 0..hkv {
            let at = ((row * hkv + h) * capacity + position) * d;
            for (i, v) in turn(head(hq + h)).into_iter().enumerate() {
                keys[at + i] = E::from_f32(v);
            }
            for (i, v) in head(hq + hkv + h).iter().enumerate() {
                values[at + i] = E::from_f32(*v);
            }
        }
    }
    for isa in Isa::available() {
        for found in on_threads(|| {
            let mut found = (
                vec![f32::NAN; queries.len()],
                vec![mark; len],
                vec![mark; len],
            );
            rotary_append_with(
                isa,
                &qkv,
                TokenView::new(rows, positions).unwrap(),
                &table,
                &mut found.0,
                KvViewMut::new(&mut found.1, &mut found.2, *batch, *capacity, *heads).unwrap(),
            )
            .unwrap();
            found
        }) {
            assert_eq!(bits(&found.0), bits(&queries), "{isa} {heads:?}");
            assert!(found.1 == keys, "{isa} {heads:?}");
            assert!(found.2 == values, "{isa} {heads:?}");
        }
    }
}

#[test]
fn tokens_are_turned_and_stored_where_they_stand() {
    let case = |heads: (usize, usize, usize), batch, capacity, rows: &[u32], positions: &[u32]| {
        let case = Case {
            heads: Heads::new(heads.0, heads.1, heads.2).unwrap(),
            batch,
            capacity,
            rows: rows.to_vec(),
            positions: positions.to_vec(),
        };
        check::<f32>(&case);
        check::<f16>(&case);
        check::<bf16>(&case);
    };
    case((4, 2, 32), 1, 5, &[], &[]);
    case((4, 1, 64), 2, 5, &[1], &[4]);
    case((3, 3, 6), 3, 9, &[2, 0, 0], &[8, 0, 1]);
    // Two tokens at one place: the later one stays.
    case((2, 1, 128), 2, 4, &[0, 1, 0, 1], &[3, 3, 3, 2]);
    // Enough work for several threads.
    let positions: Vec<u32> = (0..300).collect();
    case((4, 1, 80), 2, 300, &[1; 300], &positions);
}

#[test]
fn tokens_outside_the_cache_or_the_table_are_refused() {
    let heads = Heads::new(2, 1, 4).unwrap();
    let (mut keys, mut values) = (vec![0.0f32; 2 * 3 * 4], vec![0.0f32; 2 * 3 * 4]);
    let qkv = vec![0.0; 2 * 16];
    let mut q = vec![0.0; 2 * 8];
    let table = rotary_table(1e4, 4, 3).unwrap();
    let mut run = |rows: [u32; 2], positions: [u32; 2], table: &[f32]| {
        let tokens = TokenView::new(&rows, &positions)?;
        let cache = KvViewMut::new(&mut keys, &mut values, 2, 3, heads)?;
        rotary_append(&qkv, tokens, table, &mut q, cache)
    };
    let outside = |operand, at, found, limit| {
        Err(CpuError::Index {
            operand,
            at,
            found,
            limit,
        })
    };
    assert_eq!(run([0, 1], [2, 0], &table), Ok(()));
    assert_eq!(run([0, 2], [0, 0], &table), outside("rows", 1, 2, 2));
    assert_eq!(run([0, 1], [3, 0], &table), outside("positions", 0, 3, 3));
    assert_eq!(
        run([0, 1], [2, 0], &table[..8]),
        outside("positions", 0, 2, 2)
    );
    assert_eq!(
        run([0, 1], [0, 0], &table[..7]),
        Err(CpuError::Length {
            operand: "table",
            found: 7,
            expected: 4
        })
    );
    assert!(TokenView::new(&[0, 1], &[0]).is_err());
    assert!(KvViewMut::new(&mut [0.0f32; 7], &mut [0.0; 8], 1, 2, heads).is_err());
    assert!(KvViewMut::new(&mut [0.0f32; 8], &mut [0.0; 9], 1, 2, heads).is_err());
    assert!(KvView::<f32>::new(&[], &[], usize::MAX, 2, heads).is_err());
    for (query, kv, dim) in [
        (0, 1, 4),
        (3, 2, 4),
        (2, 0, 4),
        (2, 1, 0),
        (2, 1, 5),
        (usize::MAX - 1, 1, 2),
    ] {
        assert_eq!(
            Heads::new(query, kv, dim),
            Err(CpuError::Heads { query, kv, dim })
        );
    }
}

fn check_embedding<E: Element>() {
    let mut rng = Random(11);
    for (vocabulary, k, count) in [
        (1, 1, 1),
        (7, 15, 3),
        (5, 64, 0),
        (9, 33, 17),
        (50, 2560, 300),
    ] {
        let table: Vec<E> = rng
            .floats(vocabulary * k)
            .into_iter()
            .map(E::from_f32)
            .collect();
        let ids: Vec<u32> = (0..count).map(|_| rng.below(vocabulary) as u32).collect();
        let expected: Vec<f32> = ids
            .iter()
            .flat_map(|&id| table[id as usize * k..][..k].iter().map(|v| v.to_f32()))
            .collect();
        for isa in Isa::available() {
            let mut out = vec![f32::NAN; count * k];
            embedding_with(isa, &table, k, &ids, &mut out).unwrap();
            assert_eq!(out, expected, "{isa}");
        }
    }
}

#[test]
fn embedding_rows_are_exact() {
    check_embedding::<f32>();
    check_embedding::<f16>();
    check_embedding::<bf16>();
    let table = [1.0f32; 6];
    assert_eq!(embedding(&table, 0, &[], &mut []), Err(CpuError::EmptyRow));
    assert!(embedding(&table, 4, &[0], &mut [0.0; 4]).is_err());
    assert!(embedding(&table, 3, &[0], &mut [0.0; 4]).is_err());
}

#[test]
fn the_row_of_an_id_outside_of_the_table_is_nan_and_no_other_is() {
    let table = [1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0];
    for isa in Isa::available() {
        let mut out = [0.0; 12];
        embedding_with(isa, &table, 3, &[1, 2, u32::MAX, 0], &mut out).unwrap();
        assert_eq!(out[..3], [4.0, 5.0, 6.0], "{isa}");
        assert!(out[3..9].iter().all(|value| value.is_nan()), "{isa}");
        assert_eq!(out[9..], [1.0, 2.0, 3.0], "{isa}");
    }
}
