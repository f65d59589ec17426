//! Which instruction set runs the kernels.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use crate::error::CpuError;

/// An instruction set with its own kernels. Every variant exists on every machine;
/// [`available`](Self::available) tells which can run.
///
/// # Examples
///
/// ```
/// use tritburn_cpu::Isa;
///
/// assert!(Isa::Portable.is_available());
/// assert!(Isa::available().contains(&Isa::detect()));
/// assert_eq!("avx512-vnni".parse::<Isa>()?, Isa::Avx512Vnni);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Isa {
    /// Plain Rust, everywhere.
    Portable,
    /// x86-64 with AVX2, FMA, F16C and POPCNT (int8 products through `vpmaddubsw`).
    Avx2,
    /// x86-64 with the 256-bit `vpdpbusd` of AVX-VNNI.
    AvxVnni,
    /// x86-64 with AVX-512 BW and VNNI.
    Avx512Vnni,
    /// AVX-512 VNNI, and AMX int8 tiles for products of many tokens.
    Amx,
    /// AArch64 with widening multiplies only.
    Neon,
    /// AArch64 with the `sdot` instruction.
    NeonDot,
}

/// Environment variable that forces an instruction set by name.
pub const ISA_VARIABLE: &str = "TRITBURN_CPU_ISA";

impl Isa {
    /// All variants, slowest first within an architecture.
    pub const ALL: [Isa; 7] = [
        Isa::Portable,
        Isa::Avx2,
        Isa::AvxVnni,
        Isa::Avx512Vnni,
        Isa::Amx,
        Isa::Neon,
        Isa::NeonDot,
    ];

    /// The fastest available set, or the one named by `TRITBURN_CPU_ISA`. Found once, then
    /// remembered. A name that is unknown or cannot run here is warned about once and ignored.
    pub fn detect() -> Isa {
        static DETECTED: OnceLock<Isa> = OnceLock::new();
        *DETECTED.get_or_init(|| choose(std::env::var(ISA_VARIABLE).ok().as_deref()))
    }

    /// Every set this machine can run, fastest last.
    pub fn available() -> Vec<Isa> {
        Self::ALL
            .into_iter()
            .filter(|isa| isa.is_available())
            .collect()
    }

    /// Whether this machine can run the set. Remembered after the first call.
    pub fn is_available(self) -> bool {
        static AVAILABLE: OnceLock<[bool; Isa::ALL.len()]> = OnceLock::new();
        AVAILABLE.get_or_init(|| Isa::ALL.map(probe))[self as usize]
    }

    /// Refuses a set that cannot run here.
    pub(crate) fn require(self) -> Result<(), CpuError> {
        match self.is_available() {
            true => Ok(()),
            false => Err(CpuError::Unavailable { isa: self }),
        }
    }

    /// The name that `TRITBURN_CPU_ISA` takes.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Portable => "portable",
            Isa::Avx2 => "avx2",
            Isa::AvxVnni => "avx-vnni",
            Isa::Avx512Vnni => "avx512-vnni",
            Isa::Amx => "amx",
            Isa::Neon => "neon",
            Isa::NeonDot => "neon-dot",
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no instruction set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown instruction set `{0}`")]
pub struct UnknownIsa(pub String);

impl FromStr for Isa {
    type Err = UnknownIsa;

    fn from_str(name: &str) -> Result<Self, UnknownIsa> {
        let wanted = name.trim().to_ascii_lowercase().replace('_', "-");
        Isa::ALL
            .into_iter()
            .find(|isa| isa.name() == wanted)
            .ok_or_else(|| UnknownIsa(name.to_string()))
    }
}

/// The set to use when the environment asks for `forced`.
fn choose(forced: Option<&str>) -> Isa {
    let best = Isa::ALL
        .into_iter()
        .rev()
        .find(|isa| isa.is_available())
        .unwrap_or(Isa::Portable);
    match forced.map(str::parse::<Isa>) {
        None if best == Isa::Portable => {
            tracing::warn!(
                "no known vector instruction set: 2-bit products run on slow plain code"
            );
            best
        }
        None => best,
        Some(Ok(isa)) if isa.is_available() => isa,
        Some(Ok(isa)) => {
            tracing::warn!("{ISA_VARIABLE}={isa} cannot run on this machine, using {best}");
            best
        }
        Some(Err(error)) => {
            tracing::warn!("{ISA_VARIABLE}: {error}, using {best}");
            best
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn probe(isa: Isa) -> bool {
    // Every processor with AVX2 has F16C and POPCNT; asking keeps the kernels sound on odd virtual
    // machines.
    let avx2 = is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c")
        && is_x86_feature_detected!("popcnt");
    let avx512 = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vnni");
    match isa {
        Isa::Portable => true,
        Isa::Avx2 => avx2,
        Isa::AvxVnni => avx2 && is_x86_feature_detected!("avxvnni"),
        Isa::Avx512Vnni => avx2 && avx512,
        Isa::Amx => avx2 && avx512 && crate::w2a8::amx::enable(),
        Isa::Neon | Isa::NeonDot => false,
    }
}

#[cfg(target_arch = "aarch64")]
fn probe(isa: Isa) -> bool {
    match isa {
        Isa::Portable | Isa::Neon => true,
        Isa::NeonDot => std::arch::is_aarch64_feature_detected!("dotprod"),
        _ => false,
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn probe(isa: Isa) -> bool {
    isa == Isa::Portable
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_back_in_any_case_and_with_underscores() {
        for isa in Isa::ALL {
            assert_eq!(isa.name().parse(), Ok(isa));
            assert_eq!(isa.name().to_uppercase().replace('-', "_").parse(), Ok(isa));
        }
        assert_eq!("sse9".parse::<Isa>(), Err(UnknownIsa("sse9".into())));
    }

    #[test]
    fn an_available_set_can_be_forced_and_others_are_ignored() {
        let available = Isa::available();
        let best = *available.last().unwrap();
        assert_eq!(choose(None), best);
        assert_eq!(choose(Some("nonsense")), best);
        for isa in Isa::ALL {
            let expected = if available.contains(&isa) { isa } else { best };
            assert_eq!(choose(Some(isa.name())), expected);
        }
        assert!(available.contains(&Isa::Portable));
    }
}
