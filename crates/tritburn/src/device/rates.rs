//! What a device can compute at most.

/// Dense rates of a device's tensor cores in operations a second, a multiplication and an addition being
/// two.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TensorCoreRates {
    /// With int8 operands.
    pub int8: f64,
    /// With bf16 operands.
    pub bf16: f64,
}

/// The rates of the card called `name`, from the vendor's data sheets (without sparsity); `None` for one
/// that the table lacks.
///
/// # Examples
///
/// ```
/// let rates = tritburn::device::tensor_core_rates("NVIDIA H200").unwrap();
/// assert_eq!(rates.bf16, 989.5e12);
/// ```
pub fn tensor_core_rates(name: &str) -> Option<TensorCoreRates> {
    // The most specific name first; 10¹² operations a second.
    const RATES: [(&str, f64, f64); 6] = [
        ("H200", 1979.0, 989.5),
        ("H100 PCIe", 1513.0, 756.5),
        ("H100", 1979.0, 989.5),
        ("A100", 624.0, 312.0),
        ("L40S", 733.0, 362.0),
        ("RTX 4090", 660.6, 165.2),
    ];
    let found = RATES.iter().find(|(known, ..)| name.contains(known));
    found.map(|&(_, int8, bf16)| TensorCoreRates {
        int8: int8 * 1e12,
        bf16: bf16 * 1e12,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_is_found_by_the_most_specific_name() {
        let rate = |name| tensor_core_rates(name).map(|rates| rates.int8);
        assert_eq!(rate("NVIDIA H200"), Some(1979e12));
        assert_eq!(rate("NVIDIA H100 PCIe"), Some(1513e12));
        assert_eq!(rate("AMD EPYC"), None);
    }
}
