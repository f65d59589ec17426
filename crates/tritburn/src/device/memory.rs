//! How much memory a run takes.
//!
//! On GPUs that capture graphs (CUDA, ROCm) the device's pools say it, elsewhere the resident set of
//! the process, from Linux's `/proc`. `None` is for where the system does not say.

use std::fs;

use burn::tensor::Device;

/// Where Linux says it.
const STATUS: &str = "/proc/self/status";

/// Memory of one stretch of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Bytes in use at its end.
    pub held: Option<u64>,
    /// Most bytes during it.
    pub peak: Option<u64>,
}

/// Watches the memory of one stretch of work.
#[derive(Debug)]
pub struct Watch {
    device: Device,
    /// Whether the peak is that of this stretch alone.
    from_here: bool,
}

impl Watch {
    /// Starts here, with what pools do not need given back and the peak so far forgotten.
    pub fn start(device: &Device) -> Self {
        give_back(device);
        Self {
            device: device.clone(),
            from_here: has_pools(device) || forget_peak(),
        }
    }

    /// What is held now, and the most that has been held since the start.
    pub fn read(&self) -> Memory {
        let (held, peak) = match has_pools(&self.device) {
            true => match self.device.memory_pool_usage() {
                Some(usage) => (Some(usage.bytes_in_use), Some(usage.bytes_reserved)),
                None => (None, None),
            },
            // Of one moment, so that the peak is not below what is held.
            false => match fs::read_to_string(STATUS) {
                Ok(status) => (field(&status, "VmRSS:"), field(&status, "VmHWM:")),
                Err(_) => (None, None),
            },
        };
        let peak = peak.filter(|_| self.from_here);
        Memory { held, peak }
    }
}

/// Lets the device's pools give back what nothing uses.
pub fn give_back(device: &Device) {
    // What was dropped a moment ago may still be used by work under way. A device that fails here
    // will say so when it is used next.
    let _ = device.sync();
    device.memory_cleanup();
}

/// Most bytes held so far: what a GPU's memory pools have reserved, else the largest resident set
/// of the process.
pub fn peak_bytes(device: &Device) -> Option<u64> {
    match device.memory_pool_usage() {
        Some(usage) if usage.bytes_reserved > 0 && has_pools(device) => Some(usage.bytes_reserved),
        _ => field(&fs::read_to_string(STATUS).ok()?, "VmHWM:"),
    }
}

/// Whether tensors live in memory that the device's pools alone know about.
fn has_pools(device: &Device) -> bool {
    crate::ops::captures_graphs(device)
}

/// A line of [`STATUS`], in bytes.
fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

/// Makes the largest resident set start from the present one; false where the system does not.
fn forget_peak() -> bool {
    fs::write("/proc/self/clear_refs", "5").is_ok()
}

#[cfg(all(test, target_os = "linux", feature = "flex"))]
mod tests {
    use super::*;

    #[test]
    fn a_watch_sees_what_is_held_and_what_was_let_go() {
        const SIZE: u64 = 256 << 20;
        let device = Device::flex();
        let watch = Watch::start(&device);
        let before = watch.read().held.unwrap();
        let block = vec![1u8; SIZE as usize];
        let during = watch.read().held.unwrap();
        assert!(during >= before + SIZE / 2, "{before} to {during}");
        drop(std::hint::black_box(block));
        let after = watch.read();
        assert!(after.held.unwrap() < during - SIZE / 2, "{after:?}");
        // Not every system lets a process forget its peak; there is none to tell then.
        let Some(peak) = after.peak else { return };
        assert!(peak >= before + SIZE / 2, "{after:?}");
        let again = Watch::start(&device).read();
        assert!(again.peak.unwrap() < during - SIZE / 2, "{again:?}");
    }
}
