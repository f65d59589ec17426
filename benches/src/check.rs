//! A product is compared with a reference before it is timed.

use anyhow::{Result, ensure};
use burn::tensor::Tensor;
use tritburn::PackedLinear;
use tritburn::formats::{PackedMatrix, QuantizedActivations, reference};

/// Compares `layer.forward(x)` with the slow reference product of the same codes, on the first
/// tokens.
pub fn packed(layer: &PackedLinear, x: Tensor<2>) -> Result<()> {
    let rows = x.dims()[0].min(2);
    let x = x.narrow(0, 0, rows);
    let matrix = PackedMatrix::new(
        layer.layout().clone(),
        layer.codes()?.into_data().try_into_vec::<u32>()?,
        layer.scales()?.into_data().try_into_vec::<f32>()?,
    )?;
    let host = x.clone().into_data().try_into_vec::<f32>()?;
    let quantized = QuantizedActivations::quantize(&host, layer.layout().in_features())?;
    let expected = reference::matmul_w2a8(quantized.bytes(), quantized.scales(), &matrix, None);
    let found = layer.forward(x).into_data().try_into_vec::<f32>()?;
    let largest = expected.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let error = (found - expected).abs() / largest;
        ensure!(
            error < 1e-5,
            "output {i} is {found}, the reference gives {expected}"
        );
    }
    Ok(())
}
