//! Random operands for the kernel tests.

use tritburn_cpu::{GatedActivation, Isa};
use tritburn_formats::matrix::pack_codes;
use tritburn_formats::{PackedLayout, PackedMatrix, ScaleGranularity, WeightCode};

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// In [-1, 1).
    pub fn float(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    pub fn floats(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.float()).collect()
    }
}

/// A matrix of random codes and scales, its padding fields scribbled on.
pub fn random_matrix(rng: &mut Random, layout: PackedLayout) -> PackedMatrix {
    let levels = layout.code().levels() as usize;
    let codes: Vec<u8> = (0..layout.out_features() * layout.in_features())
        .map(|_| rng.below(levels) as u8)
        .collect();
    matrix_of(rng, layout, &codes)
}

/// A matrix of these codes with random scales, its padding fields scribbled on.
pub fn matrix_of(rng: &mut Random, layout: PackedLayout, codes: &[u8]) -> PackedMatrix {
    let mut words = pack_codes(codes, &layout).unwrap();
    let used = 2 * (layout.in_features() % 16) as u32;
    if used > 0 {
        for word in words.chunks_mut(layout.words_per_row()) {
            *word.last_mut().unwrap() ^= (rng.next() as u32) << used;
        }
    }
    let scales = (0..layout.scale_count())
        .map(|_| 0.01 + rng.float().abs())
        .collect();
    PackedMatrix::new(layout, words, scales).unwrap()
}

/// A random matrix `[n, k]` for `m` tokens, and the generator that goes on to make its operands.
pub fn random_weights(
    [m, n, k]: [usize; 3],
    code: WeightCode,
    scale: ScaleGranularity,
) -> (Random, PackedMatrix) {
    let mut rng = Random((m + 100 * n + 10_000 * k) as u64);
    let layout = PackedLayout::new(n, k, code, scale).unwrap();
    let matrix = random_matrix(&mut rng, layout);
    (rng, matrix)
}

/// Random int8 rows `[m, 16·ceil(k / 16)]`, all values of i8, the bytes past `k` scribbled on.
pub fn random_bytes(rng: &mut Random, m: usize, k: usize) -> Vec<i8> {
    (0..m * k.next_multiple_of(16))
        .map(|_| rng.next() as i8)
        .collect()
}

/// int8 as words of four.
pub fn words_of(bytes: &[i8]) -> Vec<u32> {
    bytes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|b| u32::from_le_bytes(b.map(|b| b as u8)))
        .collect()
}

/// Both code tables.
pub const CODES: [WeightCode; 2] = [WeightCode::Ternary, WeightCode::Int2];

/// Every granularity that a matrix of `n` rows can have, groups of several sizes included.
pub fn granularities(n: usize) -> Vec<ScaleGranularity> {
    let mut all = vec![ScaleGranularity::Tensor, ScaleGranularity::Row];
    all.extend([16, 32, 48, 128, 1024].map(|size| ScaleGranularity::Group { size }));
    let rows = match n {
        1 => vec![1],
        2 => vec![1, 1],
        n => vec![n / 2, 1, n - n / 2 - 1],
    };
    all.push(ScaleGranularity::Segments {
        rows: rows.into_iter().filter(|&r| r > 0).collect(),
    });
    all
}

/// The same on one thread and on three.
pub fn on_threads<T: Send>(mut body: impl FnMut() -> T + Send) -> [T; 2] {
    [1, 3].map(|threads| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(&mut body)
    })
}

/// The bits of floats: equal where `==` would say that NaN is not NaN.
pub fn bits(floats: &[f32]) -> Vec<u32> {
    floats.iter().map(|v| v.to_bits()).collect()
}

/// Row `nan` of the outputs `[m, n]` is NaN, and no other is.
pub fn assert_nan_row(y: &[f32], n: usize, nan: usize, isa: Isa) {
    for (row, y) in y.chunks(n).enumerate() {
        assert!(
            y.iter().all(|y| y.is_nan() == (row == nan)),
            "{isa} row {row}"
        );
    }
}

/// A gate of f64, by its definition; Φ by its power series.
pub fn gate(activation: GatedActivation, x: f64) -> f64 {
    match activation {
        GatedActivation::SquaredRelu => x.max(0.0).powi(2),
        GatedActivation::Silu => x / (1.0 + (-x).exp()),
        GatedActivation::Gelu => {
            let (mut term, mut sum) = (x, x);
            for k in 1..200 {
                term *= x * x / f64::from(2 * k + 1);
                sum += term;
            }
            x * (0.5 + sum * (-x * x / 2.0).exp() / std::f64::consts::TAU.sqrt())
        }
        GatedActivation::GeluTanh => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
            0.5 * x * (1.0 + inner.tanh())
        }
    }
}

pub const ACTIVATIONS: [GatedActivation; 4] = [
    GatedActivation::SquaredRelu,
    GatedActivation::Silu,
    GatedActivation::Gelu,
    GatedActivation::GeluTanh,
];
