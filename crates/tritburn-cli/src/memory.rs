//! How much memory a run took.

use burn::tensor::Device;

/// Most bytes held so far: what a GPU's memory pools have reserved, else the largest resident set
/// of the process. `None` where the system does not say.
pub fn peak_bytes(device: &Device) -> Option<u64> {
    match device.memory_pool_usage() {
        Some(usage) if usage.bytes_reserved > 0 && tritburn::ops::captures_graphs(device) => {
            Some(usage.bytes_reserved)
        }
        _ => peak_resident_bytes(),
    }
}

/// The largest resident set of this process, from Linux's `/proc`.
fn peak_resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

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

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_has_used_memory() {
        assert!(peak_resident_bytes().is_some_and(|bytes| bytes > 1_000_000));
    }
}
