//! The output layer and its largest logit.

use tritburn_kernels::decoder::argmax::{self, ArgmaxScratch};
use tritburn_kernels::decoder::dense;
use tritburn_kernels::{FloatType, QuantizedActivations, quantize};

use crate::bench::{Bench, HIDDEN, TYPE};
use crate::harness::*;
use crate::reference;
use crate::replay::sync;

impl Bench {
    pub fn dense(&mut self, tokens: usize) {
        let client = self.client.clone();
        let vocabulary = self.vocabulary;
        let (x, x_matrix) = self.floats(1, [tokens, HIDDEN]);
        let y = Out::new(&client, [tokens, vocabulary], vocabulary, FloatType::F32);
        let w = self.table();
        let matrix = float_matrix(&client, &w, [vocabulary, HIDDEN], HIDDEN, TYPE);
        self.case(
            &format!("dense bf16 {tokens}x{vocabulary}x{HIDDEN}"),
            4,
            vocabulary * HIDDEN * 2,
            |_| dense::launch(&client, &x_matrix, &matrix, &y.matrix).expect("a launch"),
            || {
                let found = y.read(&client);
                for row in (0..vocabulary).step_by(97).chain([vocabulary - 1]) {
                    let w = &w[row * HIDDEN..(row + 1) * HIDDEN];
                    let (expected, sizes) = reference::product(&x, w, HIDDEN);
                    let bounds: Vec<f64> = sizes.iter().map(|size| 2e-5 * size).collect();
                    let found: Vec<f32> =
                        (0..tokens).map(|t| found[t * vocabulary + row]).collect();
                    assert_within(&found, &expected, &bounds, &format!("row {row}"));
                }
            },
        );
    }

    /// Tokens are quantised in the launch, as the model does.
    pub fn dense_int8(&mut self, tokens: usize) {
        let client = self.client.clone();
        let vocabulary = self.vocabulary;
        let (_, x_matrix) = self.floats(1, [tokens, HIDDEN]);
        let y = Out::new(&client, [tokens, vocabulary], vocabulary, FloatType::F32);
        let w = self.table();
        let matrix = float_matrix(&client, &w, [vocabulary, HIDDEN], HIDDEN, TYPE);
        let (table, table_handles) = self.codes(vocabulary, HIDDEN);
        let (rounded, handles) = self.codes(tokens, HIDDEN);
        quantize::activation::launch(&client, &matrix, &table).expect("a launch");
        sync(&client);
        self.case(
            &format!("dense int8 {tokens}x{vocabulary}x{HIDDEN}"),
            4,
            vocabulary * HIDDEN,
            |_| {
                quantize::activation::launch(&client, &x_matrix, &rounded).expect("a launch");
                dense::launch_int8(&client, &rounded, &table, &y.matrix).expect("a launch");
            },
            || {
                let found = y.read(&client);
                let [table, x] = [&table_handles, &handles].map(|handles| {
                    let words = read_u32(&client, &handles[0]);
                    let bytes = words.into_iter().flat_map(|word| word.to_le_bytes());
                    let codes: Vec<i32> = bytes.map(|code| i32::from(code as i8)).collect();
                    (codes, read_f32(&client, &handles[1]))
                });
                let pitch = 4 * QuantizedActivations::words_per_row(HIDDEN);
                for row in (0..vocabulary).step_by(97).chain([vocabulary - 1]) {
                    for token in 0..tokens {
                        let codes = table.0[row * pitch..][..HIDDEN].iter();
                        let products = codes.zip(&x.0[token * pitch..][..HIDDEN]);
                        let sum: i32 = products.map(|(a, b)| a * b).sum();
                        let expected = sum as f32 * (table.1[row] * x.1[token]);
                        assert_eq!(found[token * vocabulary + row], expected, "{token}, {row}");
                    }
                }
            },
        );
    }

    /// The table, whose rows repeat after some thousands.
    fn table(&self) -> Vec<f32> {
        let block = floats(&mut rng(2), (1 << 16).min(self.vocabulary) * HIDDEN, TYPE);
        let values = block.iter().copied().cycle();
        values.take(self.vocabulary * HIDDEN).collect()
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
