//! The decode and prefill suites on Flex, which is no CubeCL device: products through Burn.

use anyhow::{Context, Result, bail};
use burn::tensor::{DType, Device, Tensor, TensorData};
use tritburn::{BitLinear, InputPrecision, WeightCode};
use tritburn_formats::reference;

use crate::check::{close, floats};
use crate::data::{Activations, some_rows, spread, weights};
use crate::row::{Case, PeerTimes, Row};
use crate::shapes::Shape;
use crate::suite::{Input, Suite};
use crate::timing::Plan;

/// Outputs that are compared with the reference.
const CHECKED_OUTPUTS: usize = 64;

/// Where and how to measure.
pub struct Bench<'a> {
    /// The device.
    pub device: &'a Device,
    /// The plan.
    pub plan: Plan,
    /// Bytes of weights that rotate.
    pub cold_bytes: usize,
    /// Whether results are compared with a reference first.
    pub check: bool,
}

/// Runs every shape; as the suites on CubeCL devices, without int8 activations given.
///
/// # Errors
/// A result that differs from the reference.
pub fn run(
    bench: &Bench,
    suite: Suite,
    shapes: &[Shape],
    inputs: &[Input],
    mut peers: impl FnMut([usize; 3]) -> PeerTimes,
    mut done: impl FnMut(Row),
) -> Result<()> {
    for shape in shapes {
        let (n, k) = (shape.n, shape.k);
        let matrix = weights(1, n, k, WeightCode::Ternary)?;
        let part = some_rows(&matrix, &spread(n, CHECKED_OUTPUTS))?;
        let peers: Vec<_> = shape.tokens.iter().map(|&m| peers([m, n, k])).collect();
        for &input in inputs {
            let (precision, label) = match input {
                Input::Int8 => continue,
                Input::Quantised => (InputPrecision::Int8, "int8+quant"),
                Input::Float => (InputPrecision::Float, "f32"),
            };
            let copies = (0..bench.cold_bytes.div_ceil(n * k / 4).max(1))
                .map(|_| Ok(BitLinear::from_matrix(&matrix, precision, bench.device)?))
                .collect::<Result<Vec<_>>>()?;
            for (&m, peers) in shape.tokens.iter().zip(&peers) {
                let tokens = Activations::random(2, m, k)?;
                let data = TensorData::new(tokens.floats(), [m, k]);
                let x = Tensor::<2>::from_data(data, (bench.device, DType::F32));
                if bench.check {
                    let y = floats(copies[copies.len() - 1].forward(x.clone()))?;
                    let found: Vec<f32> = spread(n, CHECKED_OUTPUTS)
                        .iter()
                        .map(|&output| y[(m - 1) * n + output])
                        .collect();
                    check(&tokens, &part, input, &found)
                        .with_context(|| format!("{m} x {n} x {k}, {label}"))?;
                }
                let timing = bench.plan.time(bench.device, |i| {
                    drop(copies[i % copies.len()].forward(x.clone()));
                });
                let case = Case {
                    suite,
                    op: "matmul",
                    format: "ternary",
                    activations: label.into(),
                    shape: [m, n, k],
                    products: 1,
                    reads_weights: true,
                };
                done(case.row("tritburn-cpu".into(), timing, peers.clone()));
            }
        }
    }
    Ok(())
}

/// Compares outputs of the last token with the reference.
fn check(
    tokens: &Activations,
    part: &tritburn_formats::PackedMatrix,
    input: Input,
    found: &[f32],
) -> Result<()> {
    let last = tokens.rows() - 1;
    let expected = match input {
        Input::Int8 => bail!("int8 activations do not pass through Burn's float tensors"),
        Input::Quantised => {
            let (x, scale) = tokens.quantized_row(last);
            reference::matmul_w2a8(x, &[scale], part, None)
        }
        Input::Float => reference::matmul_w2a16(tokens.row(last), part, None),
    };
    let largest = expected.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    close(found, &expected, |_| 1e-5 * largest)
}
