//! Sizes in memory, for people.

/// `bytes` in the largest unit that leaves a whole number in front.
pub fn human(bytes: u64) -> String {
    const UNITS: [(&str, f64); 3] = [("GB", 1e9), ("MB", 1e6), ("kB", 1e3)];
    let bytes = bytes as f64;
    match UNITS.iter().find(|(_, size)| bytes >= *size) {
        Some((unit, size)) => format!("{:.2} {unit}", bytes / size),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_told_in_decimal_units() {
        assert_eq!(human(999), "999 B");
        assert_eq!(human(1_000), "1.00 kB");
        assert_eq!(human(1_180_000_000), "1.18 GB");
    }
}
