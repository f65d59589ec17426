//! The shapes that are measured: `tokens × out × in`.

use crate::suite::Suite;

/// A weight matrix `[n, k]` and the numbers of tokens to multiply it with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Where it comes from.
    pub set: Set,
    /// Outputs.
    pub n: usize,
    /// Inputs.
    pub k: usize,
    /// Tokens, ascending.
    pub tokens: Vec<usize>,
}

/// Where a shape comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Set {
    /// Shapes that the published low-bit kernels are measured at
    Peers,
    /// Layers of BitNet b1.58 2B-4T
    #[value(name = "2b4t")]
    Bitnet2b4t,
    /// Layers of Llama-3 8B
    #[value(name = "llama3-8b")]
    Llama8b,
    /// Layers of Llama-3 70B
    #[value(name = "llama3-70b")]
    Llama70b,
}

/// Tokens of a decode step.
const DECODE: [usize; 5] = [1, 2, 4, 8, 16];
/// Tokens of a prompt, where no published number asks for others.
const PREFILL: [usize; 3] = [32, 128, 512];

/// `(out, in)` of the GEMV comparisons: the BitNet GPU kernel's eight, then gemlite's four.
const PEER_GEMV: [(usize, usize); 12] = [
    (2560, 2560),
    (3840, 2560),
    (13824, 2560),
    (2560, 6912),
    (3200, 3200),
    (4800, 3200),
    (3200, 10240),
    (20480, 3200),
    (4096, 4096),
    (14336, 4096),
    (8192, 8192),
    (28672, 8192),
];

/// `(tokens, out, in)` of the GEMM comparisons: gemlite's and bitnet-triton's, BitMedViT's, and
/// those of the int4 kernels.
const PEER_GEMM: [(usize, usize, usize); 20] = [
    (16, 4096, 4096),
    (16, 11008, 4096),
    (128, 4096, 4096),
    (128, 11008, 4096),
    (512, 4096, 4096),
    (512, 11008, 4096),
    (2048, 4096, 4096),
    (2048, 11008, 4096),
    (8192, 4096, 4096),
    (8192, 11008, 4096),
    (512, 2560, 2560),
    (512, 13824, 2560),
    (2048, 13824, 2560),
    (8192, 8192, 8192),
    (1024, 512, 2048),
    (1024, 2048, 512),
    (2048, 1024, 1024),
    (2048, 5120, 5120),
    (2048, 5120, 20480),
    (2048, 20480, 5120),
];

/// q|k|v, o, gate|up, down of BitNet b1.58 2B-4T.
const BITNET_2B4T: [(usize, usize); 5] = [
    (3840, 2560),
    (2560, 2560),
    (6912, 2560),
    (13824, 2560),
    (2560, 6912),
];
/// q|k|v, o, gate or up, down of Llama-3 8B.
const LLAMA_8B: [(usize, usize); 4] = [(6144, 4096), (4096, 4096), (14336, 4096), (4096, 14336)];
/// q|k|v, o, gate or up, down of Llama-3 70B.
const LLAMA_70B: [(usize, usize); 4] = [(10240, 8192), (8192, 8192), (28672, 8192), (8192, 28672)];

/// `(tokens, out, in)` of the train suite.
pub const TRAIN: [(usize, usize, usize); 3] =
    [(8192, 4096, 4096), (8192, 11008, 4096), (2048, 512, 512)];

/// Shapes measured in int2 as well.
pub const INT2: [(usize, usize); 2] = [(4096, 4096), (13824, 2560)];

/// The shapes of `suite` from `sets`, each weight matrix once, restricted to `tokens` and `only`
/// (`(out, in)`) unless those are empty.
pub fn of(suite: Suite, sets: &[Set], tokens: &[usize], only: &[(usize, usize)]) -> Vec<Shape> {
    let wanted = |m: &usize| match suite {
        Suite::Prefill => *m > 16,
        _ => *m <= 16,
    };
    let usual: &[usize] = match suite {
        Suite::Prefill => &PREFILL,
        _ => &DECODE,
    };
    let mut shapes: Vec<Shape> = Vec::new();
    let mut add = |set, n, k, ms: &[usize]| {
        let ms = ms.iter().copied().filter(wanted);
        match shapes.iter_mut().find(|shape| (shape.n, shape.k) == (n, k)) {
            Some(shape) => shape.tokens.extend(ms),
            None => shapes.push(Shape {
                set,
                n,
                k,
                tokens: ms.collect(),
            }),
        }
    };
    for &set in sets {
        match set {
            Set::Peers => {
                if suite != Suite::Prefill {
                    PEER_GEMV.iter().for_each(|&(n, k)| add(set, n, k, usual));
                }
                for &(m, n, k) in &PEER_GEMM {
                    add(set, n, k, &[m]);
                }
            }
            Set::Bitnet2b4t => BITNET_2B4T.iter().for_each(|&(n, k)| add(set, n, k, usual)),
            Set::Llama8b => LLAMA_8B.iter().for_each(|&(n, k)| add(set, n, k, usual)),
            Set::Llama70b => LLAMA_70B.iter().for_each(|&(n, k)| add(set, n, k, usual)),
        }
    }
    for shape in &mut shapes {
        shape.tokens.sort_unstable();
        shape.tokens.dedup();
        if !tokens.is_empty() {
            shape.tokens = tokens.iter().copied().filter(wanted).collect();
        }
    }
    shapes.retain(|shape| {
        let chosen = only.is_empty() || only.contains(&(shape.n, shape.k));
        chosen && !shape.tokens.is_empty()
    });
    shapes
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Set; 4] = [Set::Peers, Set::Bitnet2b4t, Set::Llama8b, Set::Llama70b];

    #[test]
    fn every_published_product_is_in_one_of_the_suites() {
        let decode = of(Suite::Decode, &ALL, &[], &[]);
        let prefill = of(Suite::Prefill, &ALL, &[], &[]);
        let has = |shapes: &[Shape], m, n, k| {
            shapes
                .iter()
                .any(|s| (s.n, s.k) == (n, k) && s.tokens.contains(&m))
        };
        for (n, k) in PEER_GEMV {
            assert!(has(&decode, 1, n, k), "1x{n}x{k}");
        }
        for (m, n, k) in PEER_GEMM {
            let suite = if m <= 16 { &decode } else { &prefill };
            assert!(has(suite, m, n, k), "{m}x{n}x{k}");
        }
    }

    #[test]
    fn a_suite_holds_each_matrix_once_and_only_its_tokens() {
        for (suite, range) in [(Suite::Decode, 1..=16), (Suite::Prefill, 17..=1 << 20)] {
            let shapes = of(suite, &ALL, &[], &[]);
            for (i, shape) in shapes.iter().enumerate() {
                assert!(shape.tokens.iter().all(|m| range.contains(m)), "{shape:?}");
                assert!(shape.tokens.is_sorted_by(|a, b| a < b), "{shape:?}");
                let again = shapes[..i].iter().any(|s| (s.n, s.k) == (shape.n, shape.k));
                assert!(!again, "{shape:?} twice");
            }
        }
    }

    #[test]
    fn shapes_and_tokens_can_be_chosen() {
        let shapes = of(Suite::Decode, &ALL, &[3, 200], &[(4096, 4096)]);
        assert_eq!(shapes.len(), 1);
        assert_eq!(shapes[0].tokens, [3]);
        assert_eq!(of(Suite::Prefill, &ALL, &[3], &[]), []);
    }
}
