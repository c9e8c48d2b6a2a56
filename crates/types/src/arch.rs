//! Architectures and devices: what a measurement is valid for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::printable::printable;

/// CUDA compute capability, such as 9.0 for an H100.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ComputeCapability {
    /// The digits before the point.
    pub major: u8,
    /// The digit after the point.
    pub minor: u8,
}

impl ComputeCapability {
    /// The least that kernels run on: they copy to shared memory asynchronously and multiply
    /// bfloat16 on tensor cores, which Ampere was the first to do.
    pub const LEAST: Self = Self { major: 8, minor: 0 };

    /// Whether kernels run on such a GPU.
    #[must_use]
    pub fn is_supported(self) -> bool {
        self >= Self::LEAST
    }
}

impl fmt::Display for ComputeCapability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("sm_{}{}", self.major, self.minor))
    }
}

/// The widest vector instructions that the host kernels use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CpuIsa {
    /// x86-64 with AVX-512 F.
    X86Avx512,
    /// x86-64 with AVX2, FMA and F16C.
    X86Avx2,
    /// Any other x86-64.
    X86Baseline,
    /// 64-bit Arm.
    Aarch64Neon,
    /// Any other processor.
    Portable,
}

impl CpuIsa {
    const ALL: [Self; 5] =
        [Self::X86Avx512, Self::X86Avx2, Self::X86Baseline, Self::Aarch64Neon, Self::Portable];

    const fn as_str(self) -> &'static str {
        match self {
            Self::X86Avx512 => "cpu-x86_64-avx512",
            Self::X86Avx2 => "cpu-x86_64-avx2",
            Self::X86Baseline => "cpu-x86_64-sse2",
            Self::Aarch64Neon => "cpu-aarch64-neon",
            Self::Portable => "cpu-portable",
        }
    }
}

/// An architecture: the unit in which caches are shipped. Its text is the stem of the cache file,
/// such as `sm_90` or `cpu-x86_64-avx512`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Arch {
    /// An NVIDIA GPU.
    Cuda(ComputeCapability),
    /// A host processor.
    Cpu(CpuIsa),
}

impl Arch {
    /// The architecture of an NVIDIA GPU of this compute capability.
    #[must_use]
    pub const fn sm(major: u8, minor: u8) -> Self {
        Self::Cuda(ComputeCapability { major, minor })
    }

    /// Whether this is an NVIDIA GPU.
    #[must_use]
    pub const fn is_cuda(self) -> bool {
        matches!(self, Self::Cuda(_))
    }

    /// The architecture itself, if kernels run on it.
    ///
    /// # Errors
    /// For GPUs below [`ComputeCapability::LEAST`].
    pub fn supported(self) -> Result<Self, UnsupportedArch> {
        match self {
            Self::Cuda(capability) if !capability.is_supported() => {
                Err(UnsupportedArch(capability))
            }
            other => Ok(other),
        }
    }
}

/// A GPU that no kernel runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no kernel runs on {0}: expected {least} or later, or the CPU", least = ComputeCapability::LEAST)]
pub struct UnsupportedArch(pub ComputeCapability);

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cuda(capability) => capability.fmt(f),
            Self::Cpu(isa) => f.pad(isa.as_str()),
        }
    }
}

/// A text that names no architecture.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown architecture `{0}`: expected sm_90, sm_120, cpu-x86_64-avx512 or the like")]
pub struct UnknownArch(pub String);

impl FromStr for Arch {
    type Err = UnknownArch;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || UnknownArch(text.to_owned());
        if let Some(digits) = text.strip_prefix("sm_") {
            let split = digits.len().checked_sub(1).filter(|&at| at > 0).ok_or_else(unknown)?;
            if !digits.bytes().all(|byte| byte.is_ascii_digit()) || digits.starts_with('0') {
                return Err(unknown());
            }
            let major = digits[..split].parse().map_err(|_| unknown())?;
            let minor = digits[split..].parse().map_err(|_| unknown())?;
            return Ok(Self::sm(major, minor));
        }
        CpuIsa::ALL.into_iter().find(|isa| isa.as_str() == text).map(Self::Cpu).ok_or_else(unknown)
    }
}

impl Serialize for Arch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Arch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// One model of device: a measurement holds for exactly this, and is a guess for its siblings.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceIdentity {
    /// The architecture, which names the file.
    pub arch: Arch,
    /// The name that the driver or the processor gives itself.
    pub name: String,
    /// Parallel units: SMs of a GPU, worker threads of a CPU.
    pub units: u32,
}

impl fmt::Display for DeviceIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = if self.arch.is_cuda() { "SMs" } else { "threads" };
        // A name may come out of a file of any origin.
        write!(f, "{} ({}, {} {unit})", printable(&self.name), self.arch, self.units)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips() {
        for text in ["sm_80", "sm_90", "sm_120", "cpu-x86_64-avx512", "cpu-portable"] {
            assert_eq!(text.parse::<Arch>().unwrap().to_string(), text);
        }
        assert_eq!("sm_120".parse::<Arch>().unwrap(), Arch::sm(12, 0));
    }

    #[test]
    fn f15_what_no_kernel_runs_on_is_told_with_the_least_that_is() {
        for (arch, runs) in [("sm_70", false), ("sm_75", false), ("sm_80", true), ("sm_121", true)]
        {
            let arch: Arch = arch.parse().unwrap();
            assert_eq!(arch.supported().is_ok(), runs, "{arch}");
        }
        assert_eq!(Arch::Cpu(CpuIsa::Portable).supported(), Ok(Arch::Cpu(CpuIsa::Portable)));
        let error = Arch::sm(7, 0).supported().unwrap_err().to_string();
        assert!(error.contains("sm_70") && error.contains("sm_80"), "{error}");
    }

    #[test]
    fn f19_a_device_cannot_forge_lines() {
        let name = "a GPU\n\u{1b}[2Jforged".to_owned();
        let text = DeviceIdentity { arch: Arch::sm(9, 0), name, units: 1 }.to_string();
        assert_eq!(text, r"a GPU\n\u{1b}[2Jforged (sm_90, 1 SMs)");
    }

    #[test]
    fn malformed_text_is_refused() {
        for text in ["", "sm_", "sm_9", "sm_09", "sm_9x", "sm_90a", "SM_90", "sm_99999", "gfx90a"] {
            assert!(text.parse::<Arch>().is_err(), "{text}");
        }
    }
}
