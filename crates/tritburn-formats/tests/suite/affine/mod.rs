//! Weights of 2, 3 and 4 bits with scales and zero points per group.

mod header;
mod matrix;
mod quantize;
mod rows;
mod second_order;
mod words;

use tritburn_formats::affine::{
    AffineLayout, AffineMatrix, AffineParts, Bits, FloatType, Floats, pack_affine_codes,
};

use crate::common::noise;

pub const FLOATS: [FloatType; 3] = [FloatType::F32, FloatType::F16, FloatType::Bf16];

/// `[out, in]`: one weight, edges of a word, of a unit, of a group and of a task.
pub const SHAPES: [[usize; 2]; 8] = [
    [1, 1],
    [3, 7],
    [2, 16],
    [5, 33],
    [4, 64],
    [7, 100],
    [2, 1030],
    [33, 129],
];

/// Groups that fit every shape, shorter last ones included.
pub const GROUPS: [Option<usize>; 5] = [None, Some(16), Some(48), Some(128), Some(1 << 20)];

/// Row-major masks that keep 16 of 32 at random.
pub fn random_masks(count: usize, seed: u64) -> Vec<u32> {
    noise(32 * count, seed)
        .chunks(32)
        .map(|keys| {
            let rank = |l: usize| (0..32).filter(|&o| (keys[o], o) < (keys[l], l)).count();
            let kept = (0..32).filter(|&l| rank(l) < 16);
            kept.fold(0, |mask, l| mask | 1 << l)
        })
        .collect()
}

/// Random codes, row-major.
pub fn random_codes(layout: &AffineLayout, seed: u64) -> Vec<u8> {
    let levels = u32::from(layout.bits().max_code()) + 1;
    let code = |x: &f32| ((x + 1.0) * 500_000.0) as u32 % levels;
    let codes = noise(layout.weight_count(), seed);
    codes.iter().map(|x| code(x) as u8).collect()
}

/// A matrix of random codes, masks, scales, zero points and order, as the layout asks for.
pub fn random_matrix(layout: AffineLayout, seed: u64) -> AffineMatrix {
    let mask = random_masks(layout.mask_count(), seed ^ 1);
    let codes = random_codes(&layout, seed ^ 2);
    let floats = |salt: u64, map: fn(f32) -> f32| {
        let values = noise(layout.group_count(), seed ^ salt);
        let values: Vec<f32> = values.into_iter().map(map).collect();
        Floats::from_f32(&values, layout.floats())
    };
    let keys = noise(layout.in_features(), seed ^ 5);
    let mut order: Vec<u32> = (0..layout.in_features() as u32).collect();
    order.sort_by(|&a, &b| keys[a as usize].total_cmp(&keys[b as usize]));
    AffineMatrix::new(AffineParts {
        words: pack_affine_codes(&codes, &mask, &layout).expect("codes that fit"),
        mask,
        scales: floats(3, |x| x.abs() + 0.01),
        zeros: layout.has_zeros().then(|| floats(4, |x| 20.0 * x)),
        order: layout.is_permuted().then_some(order),
        layout,
    })
    .expect("a valid matrix")
}

/// Layouts of every kind for a shape.
pub fn layouts(shape: [usize; 2]) -> Vec<AffineLayout> {
    let mut all = vec![];
    for bits in Bits::ALL {
        for (i, group) in GROUPS.into_iter().enumerate() {
            let layout = AffineLayout::new(shape, bits, group).expect("a valid layout");
            let layout = layout.with_floats(FLOATS[i % 3]);
            all.push(layout.clone());
            all.push(layout.clone().with_zeros());
            all.push(layout.clone().with_zeros().with_order());
            all.extend(layout.with_zeros().sparse());
        }
    }
    all
}
