//! The tile loops around emulated tiles, and around real ones where there are any.

use tritburn_formats::matrix::pack_codes;
use tritburn_formats::{PackedLayout, PackedMatrix, ScaleGranularity, WeightCode, reference};

use super::super::job::Output;
use super::*;
use crate::parallel::OutPtr;
use crate::{Isa, QuantizedView, WeightView};

/// What `tdpbusd` is documented to do, for machines without it.
unsafe fn emulate(weights: &[Tile], groups: [&[Tile]; 2], sums: &mut [Tile]) {
    for (at, sums) in sums.iter_mut().enumerate() {
        for (step, tokens) in groups[at / 2].iter().enumerate() {
            let weights = &weights[2 * step + at % 2].0;
            for (cell, sum) in sums.0.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                let (row, token) = (cell / SIDE, cell % SIDE);
                let dot: i32 = (0..PLANE)
                    .map(|k| {
                        let x = tokens.0[k / 4 * PLANE + token * 4 + k % 4] as i8;
                        i32::from(weights[row * PLANE + k]) * i32::from(x)
                    })
                    .sum();
                *sum = (i32::from_le_bytes(*sum) + dot).to_le_bytes();
            }
        }
    }
}

fn product(matrix: &PackedMatrix, codes: &[u32], m: usize, multiply: Multiply) -> Vec<i32> {
    let layout = matrix.layout();
    let scales = vec![1.0; m];
    let x = QuantizedView::new(codes, &scales, layout.in_features()).unwrap();
    let w = WeightView::of(matrix);
    let planes = Planes::new(&x, None);
    let mut acc = vec![i32::MIN; m * layout.out_features()];
    let job = W2A8Job::new(&w, &planes, Output::Int(OutPtr::new(&mut acc)));
    let cut = m / 2;
    for tokens in [0..cut, cut..m] {
        // SAFETY: the callers check the sets; `acc` has room for all outputs.
        unsafe { run_with(&job, tokens, m.is_multiple_of(2), multiply) };
    }
    acc
}

fn check(multiply: Multiply) {
    for (m, n, k) in [
        (2, 1, 5),
        (33, 40, 256),
        (34, 33, 300),
        (65, 31, 1040),
        (96, 129, 2600),
        (130, 7, 4100),
    ] {
        for code in [WeightCode::Ternary, WeightCode::Int2] {
            let layout = PackedLayout::new(n, k, code, ScaleGranularity::Tensor).unwrap();
            let stored: Vec<u8> = (0..n * k)
                .map(|i| (i * i / 7 % code.levels() as usize) as u8)
                .collect();
            let words = pack_codes(&stored, &layout).unwrap();
            let matrix = PackedMatrix::new(layout, words, vec![1.0]).unwrap();
            let bytes: Vec<i8> = (0..m * k.next_multiple_of(16))
                .map(|i| (i * 97 + i / 251) as u8 as i8)
                .collect();
            let words = bytes.as_chunks::<4>().0.iter();
            let codes: Vec<u32> = words
                .map(|b| u32::from_le_bytes(b.map(|b| b as u8)))
                .collect();
            let expected = reference::matmul_i32(&bytes, &matrix);
            let found = product(&matrix, &codes, m, multiply);
            assert!(found == expected, "[{m}, {k}] x [{n}, {k}] {code:?}");
        }
    }
}

// Names that xtask runs where the processor has what they need.

#[test]
#[ignore = "needs AVX-512 VNNI"]
fn tile_loops_around_emulated_tiles_equal_the_reference() {
    // Decoding is vector code.
    assert!(Isa::Avx512Vnni.is_available());
    check(emulate);
}

#[test]
#[ignore = "needs AMX"]
fn tiles_equal_the_reference() {
    assert!(Isa::Amx.is_available());
    check(multiply);
}
