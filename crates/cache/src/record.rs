//! What a measurement said about one algorithm.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use voxtune_types::AlgoId;

use crate::invalid::InvalidRecord;
use crate::timing::Timing;

/// Hash of the code that ran: sources, parameters and compiler of a kernel. A measurement says
/// nothing about another hash.
///
/// Its text, and its form in JSON, is 16 hexadecimal digits; in a cache file it is an integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KernelHash(u64);

/// A text that is no kernel hash.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a kernel hash: expected 16 lower-case hexadecimal digits")]
pub struct MalformedKernelHash(pub String);

impl KernelHash {
    /// The hash of this value.
    #[must_use]
    pub const fn new(hash: u64) -> Self {
        Self(hash)
    }

    /// The value.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for KernelHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:016x}", self.0))
    }
}

impl FromStr for KernelHash {
    type Err = MalformedKernelHash;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = || MalformedKernelHash(text.to_owned());
        let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != 16 || !text.bytes().all(digit) {
            return Err(malformed());
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| malformed())
    }
}

impl Serialize for KernelHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_u64(self.0)
        }
    }
}

impl<'de> Deserialize<'de> for KernelHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
        } else {
            u64::deserialize(deserializer).map(Self)
        }
    }
}

/// Why an algorithm may not win.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reason {
    /// Its kernel could not be compiled.
    CompileError,
    /// It could not be launched, or went astray on the device, such as to an illegal address.
    LaunchFailure,
    /// Its result differs from the reference by more than rounding.
    WrongResult,
    /// It asked for more memory than there is.
    OutOfMemory,
    /// It did not finish in time.
    Timeout,
    /// It took its process down.
    Crash,
}

impl Reason {
    /// The permanent text of this reason.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CompileError => "compile_error",
            Self::LaunchFailure => "launch_failure",
            Self::WrongResult => "wrong_result",
            Self::OutOfMemory => "out_of_memory",
            Self::Timeout => "timeout",
            Self::Crash => "crash",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How a candidate's measurement ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Outcome {
    /// It was verified and timed.
    Measured(Timing),
    /// It was right on a smaller problem, and at full size so slow that it was not verified there.
    /// It may not win.
    Beaten(Timing),
    /// It failed, and may not win.
    Quarantined {
        /// The class of the failure.
        reason: Reason,
        /// What the compiler, the driver or the comparison said.
        detail: String,
    },
}

impl Outcome {
    /// The timing, unless it is a quarantine.
    #[must_use]
    pub const fn timing(&self) -> Option<&Timing> {
        match self {
            Self::Measured(timing) | Self::Beaten(timing) => Some(timing),
            Self::Quarantined { .. } => None,
        }
    }
}

/// An optional library, beyond the driver, that an algorithm needs at run time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Requirement {
    /// NVIDIA's cuBLAS.
    Cublas,
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cublas => f.pad("cublas"),
        }
    }
}

/// Versions of the software around a measurement. A file stores each environment once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// This tool's version.
    pub tool: String,
    /// The driver's version; the operating system's for a CPU.
    pub driver: String,
    /// The version of what compiled the kernels.
    pub toolkit: String,
}

/// One algorithm's result on one entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Which algorithm.
    pub algo: AlgoId,
    /// Which version of its code.
    pub kernel_hash: KernelHash,
    /// Whether the runtime falls back to this algorithm where nothing is known.
    pub default: bool,
    /// Whether the tool that measured it ships it as the winner of the key. It wins ties.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shipped: bool,
    /// The optional library that it needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requires: Option<Requirement>,
    /// The software around it.
    pub environment: Environment,
    /// How its measurement ended.
    pub outcome: Outcome,
}

impl Record {
    /// The timing, unless the algorithm is quarantined.
    #[must_use]
    pub const fn timing(&self) -> Option<&Timing> {
        self.outcome.timing()
    }

    /// Whether a file may hold this record.
    pub(crate) fn validate(&self) -> Result<(), InvalidRecord> {
        self.timing().map_or(Ok(()), Timing::validate)
    }

    /// The order of trust between two records of one version of an algorithm on one entry: the
    /// lesser is kept.
    ///
    /// A quarantine goes before a measurement, since what fails now and then has failed. Then comes
    /// what raced beside the default, whose time alone is of another hour than the default's. Then
    /// come the larger number of samples, the smaller spread and the smaller encoding. The last
    /// makes the order total, and so merging associative, commutative and idempotent.
    pub(crate) fn trust_order(&self, other: &Self) -> Ordering {
        let by_outcome = match (self.timing(), other.timing()) {
            (Some(ours), Some(theirs)) => theirs
                .met_default()
                .cmp(&ours.met_default())
                .then_with(|| theirs.samples.cmp(&ours.samples))
                .then_with(|| ours.spread_ns.cmp(&theirs.spread_ns)),
            (Some(_), None) => Ordering::Greater,
            (None, Some(_)) => Ordering::Less,
            (None, None) => Ordering::Equal,
        };
        by_outcome.then_with(|| self.encoding().cmp(&other.encoding()))
    }

    /// The order of preference between two versions of an algorithm on one entry: the lesser stands
    /// for it. What failed in one version says nothing about another, so here a measurement goes
    /// first.
    pub(crate) fn version_order(&self, other: &Self) -> Ordering {
        let is_quarantine = |record: &Self| record.timing().is_none();
        is_quarantine(self).cmp(&is_quarantine(other)).then_with(|| self.trust_order(other))
    }

    fn encoding(&self) -> Vec<u8> {
        rmp_serde::to_vec_named(self).expect("a record holds only what MessagePack can hold")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_text_for_people_and_a_number_in_files() {
        let hash = KernelHash::new(0x0123_4567_89AB_CDEF);
        assert_eq!(hash.to_string(), "0123456789abcdef");
        assert_eq!(hash.to_string().parse(), Ok(hash));
        assert_eq!(serde_json::to_string(&hash).unwrap(), "\"0123456789abcdef\"");
        assert_eq!(serde_json::from_str::<KernelHash>("\"0123456789abcdef\"").unwrap(), hash);
        let bytes = rmp_serde::to_vec(&hash).unwrap();
        assert_eq!(bytes, b"\xCF\x01\x23\x45\x67\x89\xAB\xCD\xEF");
        assert_eq!(rmp_serde::from_slice::<KernelHash>(&bytes).unwrap(), hash);
    }

    #[test]
    fn malformed_hashes_are_refused() {
        for text in ["", "0", "0123456789ABCDEF", "+123456789abcdef", "0123456789abcdef0"] {
            assert!(text.parse::<KernelHash>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn reasons_are_written_as_they_are_shown() {
        for reason in [
            Reason::CompileError,
            Reason::LaunchFailure,
            Reason::WrongResult,
            Reason::OutOfMemory,
            Reason::Timeout,
            Reason::Crash,
        ] {
            assert_eq!(serde_json::to_string(&reason).unwrap(), format!("\"{reason}\""));
        }
        assert_eq!(serde_json::to_string(&Requirement::Cublas).unwrap(), "\"cublas\"");
    }
}
