//! Caches of blocks: the same bits as rows that are contiguous.

use half::bf16;
use tritburn_cpu::internals::*;
use tritburn_cpu::*;

use crate::common::*;

/// Tokens of two rows of up to `CAPACITY` positions.
const CAPACITY: usize = 320;

/// Which blocks the rows have, all different and in no order.
fn table(block: usize) -> (Vec<u32>, usize) {
    let per_row = CAPACITY.div_ceil(block);
    let mut ids: Vec<u32> = (0..2 * per_row as u32 + 3).collect();
    let mut random = Random(block as u64);
    for i in (1..ids.len()).rev() {
        let at = ((random.float() + 1.0) * 1e6) as usize % (i + 1);
        ids.swap(i, at);
    }
    ids.truncate(2 * per_row);
    (ids, per_row)
}

/// Appends runs of tokens one after the other and attends to them; contiguous rows, and blocks.
fn run<E: Element>(heads: Heads, runs: &[&[(u32, u32)]], block: Option<usize>) -> Vec<f32> {
    let (ids, per_row) = table(block.unwrap_or(CAPACITY));
    let stored = match block {
        None => 2 * CAPACITY,
        Some(block) => (2 * per_row + 3) * block,
    };
    let mut keys = vec![E::from_f32(f32::NAN); stored * heads.kv() * heads.dim()];
    let mut values = keys.clone();
    let angles = rotary_table(1e4, heads.dim(), CAPACITY).unwrap();
    let mut random = Random(3);
    let mut all = Vec::new();
    for tokens in runs {
        let (rows, positions): (Vec<u32>, Vec<u32>) = tokens.iter().copied().unzip();
        let place = TokenView::new(&rows, &positions).unwrap();
        let width = (heads.query() + 2 * heads.kv()) * heads.dim();
        let qkv = random.floats(tokens.len() * width);
        let mut q = vec![0.0; tokens.len() * heads.query() * heads.dim()];
        let blocks = |positions| BlockTable {
            blocks: &ids,
            per_row,
            positions,
        };
        let cache = match block {
            None => KvViewMut::new(&mut keys, &mut values, 2, CAPACITY, heads),
            Some(block) => KvViewMut::paged(&mut keys, &mut values, blocks(block), heads),
        };
        rotary_append(&qkv, place, &angles, &mut q, cache.unwrap()).unwrap();
        let cache = match block {
            None => KvView::new(&keys, &values, 2, CAPACITY, heads),
            Some(block) => KvView::paged(&keys, &values, blocks(block), heads),
        };
        let mut out = vec![0.0; q.len()];
        attention(&q, place, cache.unwrap(), 0.2, &mut out).unwrap();
        all.extend(out);
    }
    all
}

fn check<E: Element>(heads: (usize, usize, usize)) {
    let heads = Heads::new(heads.0, heads.1, heads.2).unwrap();
    let row = |row, positions: std::ops::Range<u32>| -> Vec<(u32, u32)> {
        positions.map(|position| (row, position)).collect()
    };
    // Prompts, a part of one beside a single token, single tokens.
    let mixed = [row(0, 200..230), row(1, 70..71)].concat();
    let runs = [
        row(0, 0..200),
        row(1, 0..70),
        mixed,
        vec![(1, 71), (0, 230)],
        row(1, 72..75),
    ];
    let runs: Vec<&[(u32, u32)]> = runs.iter().map(Vec::as_slice).collect();
    let expected = run::<E>(heads, &runs, None);
    assert!(expected.iter().all(|y| y.is_finite()));
    for block in [1, 5, 16, 64, 100, 320] {
        let found = run::<E>(heads, &runs, Some(block));
        assert_eq!(bits(&found), bits(&expected), "blocks of {block}");
    }
}

#[test]
fn blocks_give_the_bits_of_contiguous_rows() {
    check::<f32>((4, 2, 32));
    check::<f32>((3, 1, 80));
    check::<bf16>((5, 1, 128));
    // Not whole vectors.
    check::<f32>((2, 2, 6));
}

#[test]
fn tables_that_name_no_block_are_refused() {
    let heads = Heads::new(2, 1, 4).unwrap();
    let stored = vec![0.0f32; 3 * 8 * 4];
    let view = |blocks: &'static [u32], per_row, positions| {
        let table = BlockTable {
            blocks,
            per_row,
            positions,
        };
        KvView::paged(&stored, &stored, table, heads).err()
    };
    assert_eq!(view(&[0, 2, 1, 1], 2, 8), None);
    let index = CpuError::Index {
        operand: "block table",
        at: 2,
        found: 3,
        limit: 3,
    };
    assert_eq!(view(&[0, 2, 3, 1], 2, 8), Some(index));
    assert!(
        matches!(view(&[0, 2, 1], 2, 8), Some(CpuError::Length { .. })),
        "half a row"
    );
    assert!(
        matches!(view(&[0, 1], 2, 7), Some(CpuError::Length { .. })),
        "half a block"
    );
    assert!(
        matches!(view(&[0], 0, 8), Some(CpuError::Length { .. })),
        "rows without blocks"
    );
    assert!(
        matches!(view(&[0], 1, 0), Some(CpuError::Length { .. })),
        "blocks without positions"
    );
}
