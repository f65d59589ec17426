//! The output layer and its largest logit.

use tritburn_kernels::decoder::argmax::{self, ArgmaxScratch};
use tritburn_kernels::decoder::dense::{self, DenseWeights};
use tritburn_kernels::{FloatType, QuantizedActivations, quantize};

use crate::bench::{Bench, HIDDEN, TYPE};
use crate::harness::*;
use crate::reference;
use crate::replay::sync;

impl Bench {
    pub fn dense(&mut self, tokens: usize, int8: bool) {
        let client = self.client.clone();
        let vocabulary = self.vocabulary;
        let (x, x_matrix) = self.floats(1, [tokens, HIDDEN]);
        let y = Out::new(&client, [tokens, vocabulary], vocabulary, FloatType::F32);
        let block = floats(&mut rng(2), (1 << 16).min(vocabulary) * HIDDEN, TYPE);
        let w: Vec<f32> = block
            .iter()
            .copied()
            .cycle()
            .take(vocabulary * HIDDEN)
            .collect();
        let matrix = float_matrix(&client, &w, [vocabulary, HIDDEN], HIDDEN, TYPE);
        let (codes, handles) = self.codes(if int8 { vocabulary } else { 1 }, HIDDEN);
        if int8 {
            quantize::activation::launch(&client, &matrix, &codes).expect("a launch");
            sync(&client);
        }
        let weights = match int8 {
            true => DenseWeights::Int8(&codes),
            false => DenseWeights::Float(&matrix),
        };
        let name = if int8 { "int8" } else { "bf16" };
        self.case(
            &format!("dense {name} {tokens}x{vocabulary}x{HIDDEN}"),
            4,
            vocabulary * HIDDEN * if int8 { 1 } else { 2 },
            |_| dense::launch(&client, &x_matrix, weights, &y.matrix).expect("a launch"),
            || {
                let found = y.read(&client);
                let scales = read_f32(&client, &handles[1]);
                let words = read_u32(&client, &handles[0]);
                let per_row = QuantizedActivations::words_per_row(HIDDEN);
                for row in (0..vocabulary).step_by(97).chain([vocabulary - 1]) {
                    let mut w = w[row * HIDDEN..(row + 1) * HIDDEN].to_vec();
                    if int8 {
                        let codes = words[row * per_row..(row + 1) * per_row].iter();
                        let codes = codes.flat_map(|word| word.to_le_bytes());
                        w = codes
                            .map(|q| q as i8 as f32 * scales[row])
                            .take(HIDDEN)
                            .collect();
                    }
                    let (expected, sizes) = reference::product(&x, &w, HIDDEN);
                    let bounds: Vec<f64> = sizes.iter().map(|size| 2e-5 * size).collect();
                    let found: Vec<f32> =
                        (0..tokens).map(|t| found[t * vocabulary + row]).collect();
                    assert_within(&found, &expected, &bounds, &format!("row {row}"));
                }
            },
        );
    }

    pub fn argmax(&mut self, tokens: usize) {
        let client = self.client.clone();
        let shape = [tokens, self.vocabulary];
        let host = floats(&mut rng(1), shape[0] * shape[1], FloatType::F32);
        let x = float_matrix(&client, &host, shape, shape[1], FloatType::F32);
        let (ids, handle) = empty(&client, tokens);
        let scratch = ArgmaxScratch::new(&client, tokens);
        self.case(
            &format!("argmax {tokens}x{}", shape[1]),
            40,
            tokens * shape[1] * 4,
            |_| argmax::launch(&client, &x, &ids, &scratch).expect("a launch"),
            || {
                let expected = host.chunks(shape[1]).map(reference::argmax);
                assert_eq!(read_u32(&client, &handle), expected.collect::<Vec<_>>());
            },
        );
    }
}
