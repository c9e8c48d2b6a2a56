//! What packs are made for.

use std::fmt;
use std::str::FromStr;

use voxtune::Arch;
use voxtune_cuda::Code;
use voxtune_types::ComputeCapability;

/// An architecture, or all later ones by way of PTX.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// Machine code for GPUs of this capability, and for unknown later ones of its major version.
    Cubin(ComputeCapability),
    /// PTX for architectures that no pack knows.
    Ptx,
}

/// A text that names no target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{why}unknown target `{0}`: expected sm_80, sm_86, sm_89, sm_90, sm_100, sm_120 or ptx",
    why = unsupported(&self.0)
)]
pub struct UnknownTarget(pub String);

/// What is to be said of an architecture that no kernel runs on.
fn unsupported(text: &str) -> String {
    let why = text.parse().ok().and_then(|arch: Arch| arch.supported().err());
    why.map_or_else(String::new, |why| format!("{why}; "))
}

impl Target {
    /// Everything that ships.
    pub const ALL: [Self; 7] = [
        Self::sm(8, 0),
        Self::sm(8, 6),
        Self::sm(8, 9),
        Self::sm(9, 0),
        Self::sm(10, 0),
        Self::sm(12, 0),
        Self::Ptx,
    ];

    const fn sm(major: u8, minor: u8) -> Self {
        Self::Cubin(ComputeCapability { major, minor })
    }

    /// What nvcc makes for it.
    #[must_use]
    pub const fn code(self) -> Code {
        match self {
            Self::Cubin(_) => Code::Cubin,
            Self::Ptx => Code::Ptx,
        }
    }

    /// What nvcc compiles for. PTX is for the oldest architecture, so that every other takes it.
    #[must_use]
    pub const fn capability(self) -> ComputeCapability {
        match self {
            Self::Cubin(capability) => capability,
            Self::Ptx => ComputeCapability::LEAST,
        }
    }

    /// The architecture whose caches name its winners; PTX has none.
    #[must_use]
    pub const fn arch(self) -> Option<Arch> {
        match self {
            Self::Cubin(capability) => Some(Arch::Cuda(capability)),
            Self::Ptx => None,
        }
    }

    /// The name of its pack, such as `sm_90.kernels`.
    #[must_use]
    pub fn file_name(self) -> String {
        format!("{self}.{}", voxtune_pack::EXTENSION)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.arch() {
            Some(arch) => arch.fmt(f),
            None => f.pad(voxtune_pack::PTX),
        }
    }
}

impl FromStr for Target {
    type Err = UnknownTarget;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named = |target: &Self| target.to_string() == text;
        Self::ALL.into_iter().find(named).ok_or_else(|| UnknownTarget(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f15_packs_begin_at_the_least_architecture() {
        let least = Target::ALL.into_iter().map(Target::capability).min();
        assert_eq!(least, Some(ComputeCapability::LEAST));
        assert_eq!(Target::Ptx.capability(), ComputeCapability::LEAST);
        let error = "sm_70".parse::<Target>().unwrap_err().to_string();
        assert!(error.starts_with("no kernel runs on sm_70: expected sm_80"), "{error}");
    }

    #[test]
    fn text_round_trips() {
        for target in Target::ALL {
            assert_eq!(target.to_string().parse(), Ok(target));
        }
        for text in ["sm_75", "sm_90a", "ptx80", ""] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
        assert_eq!("sm_120".parse::<Target>().unwrap().file_name(), "sm_120.kernels");
    }
}
