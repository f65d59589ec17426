//! Kernels that work row by row.

use tritburn_formats::quantize as codec;
use tritburn_kernels::decoder::glu::GatedActivation;
use tritburn_kernels::decoder::norm::{self, Residual, RowOutput};
use tritburn_kernels::decoder::{embedding, glu, step};
use tritburn_kernels::{Buffer, quantize};

use crate::bench::{Bench, EPS, HIDDEN, INNER, TYPE};
use crate::harness::*;
use crate::reference;

impl Bench {
    pub fn norm(&mut self, tokens: usize) {
        let client = self.client.clone();
        let shape = [tokens, HIDDEN];
        let (x, x_matrix) = self.floats(1, shape);
        let (stream, _) = self.floats(2, shape);
        let h = reference::sum(&x, &stream, TYPE);
        let gamma = floats(&mut rng(3), HIDDEN, TYPE);
        let gamma_vector = float_vector(&client, &gamma, TYPE);
        let add = float_matrix(&client, &stream, shape, HIDDEN, TYPE);
        let sum = Out::new(&client, shape, HIDDEN, TYPE);
        let (codes, handles) = self.codes(tokens, HIDDEN);
        let y = || {
            let h: Vec<f64> = h.iter().map(|&h| h as f64).collect();
            reference::rms_norm(&h, &gamma, EPS)
        };
        let residual = Residual::Add {
            add: &add,
            sum: &sum.matrix,
        };
        let bytes = tokens * HIDDEN * 7;
        let this = Self {
            client: client.clone(),
            names: vec![],
            ..*self
        };
        self.case(
            &format!("norm residual+int8 {tokens}x{HIDDEN}"),
            40,
            bytes,
            |_| {
                let out = RowOutput::Int8(&codes);
                norm::launch(&client, &x_matrix, residual, &gamma_vector, EPS, out)
                    .expect("a launch");
            },
            || {
                assert_bits(&sum.read(&client), &h, "sum");
                this.assert_codes(&handles, &y(), HIDDEN);
            },
        );
        // In place the sum grows with every call: timed only.
        let moving = Out::filled(&client, &stream, shape, HIDDEN, TYPE);
        self.case(
            &format!("norm in-place+int8 {tokens}x{HIDDEN}"),
            40,
            bytes,
            |_| {
                let out = RowOutput::Int8(&codes);
                let residual = Residual::InPlace(&moving.matrix);
                norm::launch(&client, &x_matrix, residual, &gamma_vector, EPS, out)
                    .expect("a launch");
            },
            || {
                assert_bits(&moving.read(&client), &h, "sum");
                this.assert_codes(&handles, &y(), HIDDEN);
            },
        );
        let floats = Out::new(&client, shape, HIDDEN, TYPE);
        self.case(
            &format!("norm plain+bf16 {tokens}x{HIDDEN}"),
            40,
            tokens * HIDDEN * 4,
            |_| {
                let out = RowOutput::Float(&floats.matrix);
                norm::launch(&client, &add, Residual::None, &gamma_vector, EPS, out)
                    .expect("a launch");
            },
            || {
                let x: Vec<f64> = stream.iter().map(|&x| x as f64).collect();
                let y = reference::rms_norm(&x, &gamma, EPS);
                let bounds: Vec<f64> = y.iter().map(|y| 0.008 * y.abs() + 1e-6).collect();
                assert_within(&floats.read(&client), &y, &bounds, "y");
            },
        );
        self.case(
            &format!("norm (quantiser alone) {tokens}x{HIDDEN}"),
            40,
            tokens * HIDDEN * 3,
            |_| quantize::activation::launch(&client, &x_matrix, &codes).expect("a launch"),
            || {
                let expected = codec::QuantizedActivations::quantize(&x, HIDDEN);
                let found = read_u32(&client, &handles[0]);
                assert_eq!(found, expected.expect("rows").words());
            },
        );
    }

    pub fn glu(&mut self, tokens: usize) {
        let client = self.client.clone();
        let (x, x_matrix) = self.floats(1, [tokens, 2 * INNER]);
        let gamma = floats(&mut rng(3), INNER, TYPE);
        let gamma_vector = float_vector(&client, &gamma, TYPE);
        let (codes, handles) = self.codes(tokens, INNER);
        let this = Self {
            client: client.clone(),
            names: vec![],
            ..*self
        };
        self.case(
            &format!("glu int8 {tokens}x{INNER}"),
            40,
            tokens * INNER * 5,
            |_| {
                glu::launch(
                    &client,
                    &x_matrix,
                    GatedActivation::SquaredRelu,
                    Some((&gamma_vector, EPS)),
                    RowOutput::Int8(&codes),
                )
                .expect("a launch");
            },
            || {
                let y = reference::rms_norm(&reference::relu2(&x, INNER), &gamma, EPS);
                this.assert_codes(&handles, &y, INNER);
            },
        );
    }

    pub fn embedding(&mut self, tokens: usize) {
        let client = self.client.clone();
        let rows = 5000;
        let (table, matrix) = self.floats(1, [rows, HIDDEN]);
        let ids: Vec<u32> = (0..tokens as u32)
            .map(|t| (t * 37 + 11) % rows as u32)
            .collect();
        let device_ids = words(&client, &ids);
        let out = Out::new(&client, [tokens, HIDDEN], HIDDEN, TYPE);
        self.case(
            &format!("embedding {tokens}x{HIDDEN}"),
            40,
            tokens * HIDDEN * 4,
            |_| {
                embedding::launch(&client, &matrix, &device_ids, &out.matrix).expect("a launch");
            },
            || {
                let rows = ids
                    .iter()
                    .map(|&id| &table[id as usize * HIDDEN..][..HIDDEN]);
                assert_bits(
                    &out.read(&client),
                    &rows.collect::<Vec<_>>().concat(),
                    "rows",
                );
            },
        );
    }

    pub fn step(&mut self, tokens: usize) {
        let client = self.client.clone();
        let zeros = |len| words(&client, &vec![0; len]);
        let positions = zeros(tokens);
        let ids = words(&client, &vec![7; tokens]);
        let (next, handle) = empty(&client, tokens);
        self.case(
            &format!("step advance {tokens}"),
            40,
            0,
            |_| step::advance(&client, &ids, &next, &positions).expect("a launch"),
            || assert_eq!(read_u32(&client, &handle), vec![7; tokens]),
        );
        let copy: Buffer = zeros(tokens);
        self.case(
            &format!("step copy {tokens}"),
            40,
            0,
            |_| step::copy_u32(&client, &ids, &copy).expect("a launch"),
            || {},
        );
    }
}
