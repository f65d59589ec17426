//! What the numbers were measured on.

use std::process::Command;

/// Name of the processor, from the kernel.
pub fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    name.map(|name| name.trim_start_matches(['\t', ' ', ':']).to_string())
        .unwrap_or_else(|| std::env::consts::ARCH.to_string())
}

/// Name, driver and clock of the first NVIDIA GPU, where there is one.
pub fn nvidia(query: &str) -> Option<String> {
    let output = Command::new("nvidia-smi")
        .args([&format!("--query-gpu={query}"), "--format=csv,noheader"])
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines()
        .next()
        .map(|line| line.trim().to_string())
        .filter(|line| !line.is_empty())
}

/// The command line, the program without its folder.
pub fn command() -> String {
    let mut args = std::env::args();
    let program = args.next().unwrap_or_default();
    let name = std::path::Path::new(&program)
        .file_name()
        .map_or(program.clone(), |name| name.to_string_lossy().into_owned());
    std::iter::once(name)
        .chain(args)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Dense int8 and bf16 tensor-core rates of a card in 10¹² operations a second, from the vendor's
/// data sheets (without sparsity).
pub fn tensor_core_rates(device: &str) -> Option<(f64, f64)> {
    const RATES: [(&str, (f64, f64)); 6] = [
        ("H200", (1979.0, 989.5)),
        ("H100 PCIe", (1513.0, 756.5)),
        ("H100", (1979.0, 989.5)),
        ("A100", (624.0, 312.0)),
        ("L40S", (733.0, 362.0)),
        ("RTX 4090", (660.6, 165.2)),
    ];
    let found = RATES.iter().find(|(name, _)| device.contains(name));
    found.map(|(_, rates)| *rates)
}

/// Today, `YYYY-MM-DD` in UTC.
pub fn date() -> String {
    let seconds = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_secs());
    let (year, month, day) = civil(seconds / 86_400);
    format!("{year:04}-{month:02}-{day:02}")
}

/// Gregorian date of a day counted from 1970-01-01.
fn civil(mut days: u64) -> (u64, u64, u64) {
    let leap = |y: u64| y.is_multiple_of(4) && !y.is_multiple_of(100) || y.is_multiple_of(400);
    let mut year = 1970;
    loop {
        let length = if leap(year) { 366 } else { 365 };
        if days < length {
            break;
        }
        days -= length;
        year += 1;
    }
    let february = if leap(year) { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

#[cfg(test)]
mod tests {
    use super::{civil, tensor_core_rates};

    #[test]
    fn a_card_is_found_by_the_most_specific_name() {
        let rate = |name| tensor_core_rates(name).map(|(int8, _)| int8);
        assert_eq!(rate("NVIDIA H200"), Some(1979.0));
        assert_eq!(rate("NVIDIA H100 PCIe"), Some(1513.0));
        assert_eq!(rate("AMD EPYC"), None);
    }

    #[test]
    fn days_become_dates() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(59), (1970, 3, 1));
        assert_eq!(civil(11_016), (2000, 2, 29));
        assert_eq!(civil(20_819), (2027, 1, 1));
    }
}
