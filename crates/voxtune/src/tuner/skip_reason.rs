//! Why resolution skipped a grade.

use std::fmt;

use super::near::{MAX_BUCKETS, MAX_DENSITIES};

/// Why resolution skipped a grade.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SkipReason {
    /// No mode names algorithms for this direction.
    NothingPinned,
    /// The cache holds no decision.
    NoDecisions,
    /// Nothing was measured on this device.
    DeviceUnknown,
    /// This key was not measured on this device.
    KeyUnknown,
    /// This key was not measured on another device of the architecture.
    NoSibling,
    /// No key of this operation was measured on the architecture.
    OperationUnknown,
    /// Keys of this operation were measured, all of them too far away.
    TooFar,
    /// What was measured on either side has no safe algorithm in common.
    Unsafe,
    /// None of the algorithms that the cache names can run here.
    Unusable,
    /// The model of cost finds nothing clearly faster than the default, or says nothing of the
    /// operation.
    NothingFaster,
    /// The policy takes nothing less than an exact key.
    Forbidden,
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NothingPinned => f.write_str("no mode names algorithms for this direction"),
            Self::NoDecisions => f.write_str("it holds no decision"),
            Self::DeviceUnknown => f.write_str("nothing was measured on this device"),
            Self::KeyUnknown => f.write_str("this key was not measured on this device"),
            Self::NoSibling => {
                f.write_str("this key was not measured on another device of the architecture")
            }
            Self::OperationUnknown => {
                f.write_str("this operation was not measured on the architecture")
            }
            Self::TooFar => write!(
                f,
                "this operation was measured more than {MAX_BUCKETS} buckets of rows or \
                 {MAX_DENSITIES} class of density away"
            ),
            Self::Unsafe => f.write_str(
                "the keys measured on either side have no algorithm in common that is safe on both",
            ),
            Self::Unusable => f.write_str(
                "no algorithm that it names can run here: retired, without its library, or for \
                 another operation",
            ),
            Self::NothingFaster => {
                f.write_str("nothing that can run is modelled clearly faster than the default")
            }
            Self::Forbidden => f.write_str("the policy takes nothing less than an exact key"),
        }
    }
}
