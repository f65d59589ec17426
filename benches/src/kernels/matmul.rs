//! The decode and prefill suites: products of packed weights.

use anyhow::{Context, Result};
use tritburn_formats::{PackedMatrix, WeightCode, reference};
use tritburn_kernels::product::{self, ActivationType, MatmulProblem, Strategy};
use tritburn_kernels::{Buffer, FloatMatrix, FloatType, FragmentOrder, QuantizedActivations};

use super::Bench;
use super::operands::{Copies, Output, read, words};
use crate::check::close;
use crate::data::{Activations, some_rows, spread, weights};
use crate::row::{Case, PeerTimes, Row};
use crate::shapes::{INT2, Shape};
use crate::suite::{Input, Suite};

/// Tokens and outputs that are compared with the reference.
const CHECKED_TOKENS: usize = 4;
const CHECKED_OUTPUTS: usize = 64;
/// Largest i32 output that is made for the check of the integer sums.
const CHECKED_BYTES: usize = 1 << 30;

/// What to measure at each shape.
pub struct Options<'a> {
    /// Decode or prefill.
    pub suite: Suite,
    /// The shapes.
    pub shapes: &'a [Shape],
    /// Kinds of activations.
    pub inputs: &'a [Input],
}

/// Runs every shape. `peers` measures the other implementations at a shape, once for all rows of
/// it; `done` receives each row as soon as it is there.
///
/// # Errors
/// A result that differs from the reference, or a device that refuses.
pub fn run(
    bench: &Bench,
    options: &Options,
    mut peers: impl FnMut([usize; 3]) -> PeerTimes,
    mut done: impl FnMut(Row),
) -> Result<()> {
    for shape in options.shapes {
        let peers: Vec<PeerTimes> = shape
            .tokens
            .iter()
            .map(|&m| peers([m, shape.n, shape.k]))
            .collect();
        let int2 = INT2.contains(&(shape.n, shape.k));
        let codes = [WeightCode::Ternary, WeightCode::Int2];
        for code in codes.into_iter().take(1 + usize::from(int2)) {
            let matrix = weights(1, shape.n, shape.k, code)?;
            for order in [FragmentOrder::Int8, FragmentOrder::Half] {
                let kinds = options
                    .inputs
                    .iter()
                    .filter(|input| order_of(**input) == order);
                let kinds: Vec<Input> = kinds.copied().collect();
                if kinds.is_empty() {
                    continue;
                }
                let copies = bench.copies(&matrix, order)?;
                for (&m, peers) in shape.tokens.iter().zip(&peers) {
                    let product = Product::new(bench, &matrix, &copies, m)?;
                    for &input in &kinds {
                        let row = product.row(options.suite, input, peers.clone());
                        let what = || format!("{m} x {} x {}, {input:?}", shape.n, shape.k);
                        done(row.with_context(what)?);
                    }
                }
            }
        }
    }
    Ok(())
}

fn order_of(input: Input) -> FragmentOrder {
    match input {
        Input::Int8 | Input::Quantised => FragmentOrder::Int8,
        Input::Float => FragmentOrder::Half,
    }
}

/// One product with its operands.
struct Product<'a> {
    bench: &'a Bench,
    matrix: &'a PackedMatrix,
    copies: &'a Copies,
    tokens: Activations,
    floats: FloatMatrix,
    given: QuantizedActivations,
    y: Output,
}

impl<'a> Product<'a> {
    fn new(
        bench: &'a Bench,
        matrix: &'a PackedMatrix,
        copies: &'a Copies,
        m: usize,
    ) -> Result<Self> {
        let (n, k) = (
            matrix.layout().out_features(),
            matrix.layout().in_features(),
        );
        let tokens = Activations::random(2, m, k)?;
        Ok(Self {
            floats: bench.floats(&tokens, k)?,
            given: bench.quantized(&tokens, k)?,
            y: bench.output([m, n])?,
            bench,
            matrix,
            copies,
            tokens,
        })
    }

    fn shape(&self) -> [usize; 3] {
        let layout = self.matrix.layout();
        [
            self.tokens.rows(),
            layout.out_features(),
            layout.in_features(),
        ]
    }

    fn call(&self, input: Input, copy: usize) -> Result<()> {
        let (client, y) = (&self.bench.client, &self.y.matrix);
        let (weights, strategy) = (self.copies.at(copy), Strategy::default());
        match input {
            Input::Int8 => product::w2a8(client, &self.given, weights, None, y, strategy)?,
            Input::Quantised => {
                product::w2a8_quantizing(client, &self.floats, weights, None, y, strategy)?;
            }
            Input::Float => product::w2a16(client, &self.floats, weights, None, y, strategy)?,
        }
        Ok(())
    }

    fn row(&self, suite: Suite, input: Input, peers: PeerTimes) -> Result<Row> {
        if self.bench.check {
            self.check(input)?;
        }
        let timing = self
            .bench
            .time(self.copies.len(), |copy| self.call(input, copy))?;
        let case = Case {
            suite,
            op: "matmul",
            format: format_name(self.matrix),
            activations: match input {
                Input::Int8 => "int8".into(),
                Input::Quantised => "int8+quant".into(),
                Input::Float => self.bench.float.to_string(),
            },
            shape: self.shape(),
            products: 1,
            reads_weights: true,
        };
        Ok(case.row(self.plan(input), timing, peers))
    }

    /// The plan that the default strategy resolves to.
    fn plan(&self, input: Input) -> String {
        let activations = match input {
            Input::Int8 => ActivationType::Int8,
            Input::Float => ActivationType::Float(self.bench.float),
            Input::Quantised => ActivationType::Quantized(self.bench.float),
        };
        let (layout, order) = (self.matrix.layout(), self.copies.at(0).order());
        let problem = MatmulProblem::new(self.tokens.rows(), layout, activations, order);
        let schedule = Strategy::default().plan(&problem, &self.bench.facts);
        format!("{:?}", schedule.plan)
    }

    /// Compares some outputs of the last copy with the reference.
    fn check(&self, input: Input) -> Result<()> {
        let [m, n, k] = self.shape();
        let outputs = spread(n, CHECKED_OUTPUTS);
        let part = some_rows(self.matrix, &outputs)?;
        let last = self.copies.len() - 1;
        self.call(input, last)?;
        let sums = match input {
            Input::Int8 if 4 * m * n <= CHECKED_BYTES => Some(self.sums(last)?),
            _ => None,
        };
        for token in spread(m, CHECKED_TOKENS) {
            let row = self.y.row(self.bench, token)?;
            let found: Vec<f32> = outputs.iter().map(|&n| row[n]).collect();
            let rounding = rounding(self.bench.float);
            if input == Input::Float {
                let x = self.tokens.row(token);
                let expected = reference::matmul_w2a16(x, &part, None);
                // Far above the error of f32 sums, far below a wrong code.
                let largest = x.iter().map(|x| x.abs()).sum::<f32>() * self.matrix.scales()[0];
                let sums = largest * 2f32.powi(-16);
                close(&found, &expected, |e| e.abs() * rounding + sums)?;
                continue;
            }
            let (x, scale) = self.tokens.quantized_row(token);
            let expected = reference::matmul_i32(x, &part);
            if let Some(sums) = &sums {
                let bytes = read(self.bench, sums, 4 * token * n, 4 * n)?;
                let row: Vec<i32> = words(&bytes).map(|word| word as i32).collect();
                let found: Vec<i32> = outputs.iter().map(|&n| row[n]).collect();
                anyhow::ensure!(found == expected, "i32 sums of token {token} are wrong");
            }
            let expected = reference::rescale(&expected, &[scale], &part, None);
            // Where device and host quantise differently at a tie, one code of K is off by one.
            let tie = match input {
                Input::Quantised => scale * self.matrix.scales()[0] * (k as f32).sqrt() * 0.05,
                _ => 0.0,
            };
            close(&found, &expected, |e| e.abs() * rounding + tie)?;
        }
        Ok(())
    }

    /// The integer sums of one copy.
    fn sums(&self, copy: usize) -> Result<cubecl::server::Handle> {
        let len = self.tokens.rows() * self.matrix.layout().out_features();
        let handle = self.bench.client.empty(len * size_of::<i32>());
        let y = Buffer::new(handle.clone(), len);
        let (client, weights) = (&self.bench.client, self.copies.at(copy));
        product::w2a8_i32(client, &self.given, weights, &y, Strategy::default())?;
        Ok(handle)
    }
}

/// Name of the code table.
pub fn format_name(matrix: &PackedMatrix) -> &'static str {
    match matrix.layout().code() {
        WeightCode::Ternary => "ternary",
        _ => "int2",
    }
}

/// Relative distance that one rounding to `dtype` may leave.
pub fn rounding(dtype: FloatType) -> f32 {
    match dtype {
        FloatType::F32 => 4.0 * f32::EPSILON,
        FloatType::F16 => 2f32.powi(-10),
        FloatType::BF16 => 2f32.powi(-7),
    }
}
