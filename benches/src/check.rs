//! A product is compared with a reference before it is timed.

use anyhow::{Result, ensure};
use burn::tensor::{DType, Tensor};
use tritburn::BitLinear;
use tritburn::formats::{PackedMatrix, QuantizedActivations, reference};

/// Compares `layer.forward(x)` with the slow reference product of the same codes, on the first
/// tokens.
///
/// # Errors
/// The first output that is off.
pub fn packed(layer: &BitLinear, x: Tensor<2>) -> Result<()> {
    let rows = x.dims()[0].min(2);
    let x = x.narrow(0, 0, rows);
    let matrix = PackedMatrix::new(
        layer.layout().clone(),
        layer.codes()?.into_data().try_into_vec::<u32>()?,
        layer.scales()?.into_data().try_into_vec::<f32>()?,
    )?;
    let host = floats(x.clone())?;
    let quantized = QuantizedActivations::quantize(&host, layer.layout().in_features())?;
    let expected = reference::matmul_w2a8(quantized.bytes(), quantized.scales(), &matrix, None);
    let found = floats(layer.forward(x))?;
    let largest = expected.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    close(&found, &expected, |_| 1e-5 * largest)
}

/// Compares element by element; `bound` gives the largest distance for an expected value.
///
/// # Errors
/// The first element that is further off, or NaN.
pub fn close(found: &[f32], expected: &[f32], bound: impl Fn(f32) -> f32) -> Result<()> {
    ensure!(
        found.len() == expected.len(),
        "{} outputs, the reference has {}",
        found.len(),
        expected.len()
    );
    for (i, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        let near = (found - expected).abs() <= bound(expected);
        ensure!(
            near,
            "output {i} is {found}, the reference gives {expected}"
        );
    }
    Ok(())
}

/// The elements as f32, whatever the type.
///
/// # Errors
/// If the device fails.
pub fn floats(x: Tensor<2>) -> Result<Vec<f32>> {
    Ok(x.cast(DType::F32).into_data().try_into_vec::<f32>()?)
}

#[cfg(test)]
mod tests {
    use super::close;

    #[test]
    fn what_is_off_or_not_a_number_is_refused() {
        assert!(close(&[1.0, 2.0], &[1.0, 2.01], |e| 0.01 * e).is_ok());
        assert!(close(&[1.0, 2.0], &[1.0, 2.1], |e| 0.01 * e).is_err());
        assert!(close(&[f32::NAN], &[1.0], |_| f32::INFINITY).is_err());
        assert!(close(&[1.0], &[1.0, 1.0], |_| 0.0).is_err());
    }
}
