//! How well a resolution fits.

use std::fmt;
use std::sync::Arc;

use voxtune_types::{DeviceIdentity, ShapeKey};

use crate::Algorithm;

/// Which cache answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// The user's folder, or bytes that the caller gave.
    User,
    /// The decisions in the binary.
    Embedded,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::User => "user",
            Self::Embedded => "embedded",
        })
    }
}

/// How a resolution was found, best first.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Grade {
    /// The program, a variable or a file names the algorithm.
    Pinned,
    /// This key was measured on this device.
    Exact {
        /// Which cache answered.
        source: Source,
    },
    /// This key was measured on another device of the architecture.
    Sibling {
        /// Which cache answered.
        source: Source,
        /// The device that was measured.
        device: Arc<DeviceIdentity>,
    },
    /// A key with the same operation and other row counts, density or pitch was measured.
    Near {
        /// Which cache answered.
        source: Source,
        /// The key that was measured.
        key: ShapeKey,
    },
    /// Nothing was measured: a model of cost finds it clearly faster than the default.
    Model,
    /// Nothing was measured: the default of the device.
    Default,
}

/// A grade without what it found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum GradeKind {
    /// [`Grade::Pinned`].
    Pinned,
    /// [`Grade::Exact`].
    Exact,
    /// [`Grade::Sibling`].
    Sibling,
    /// [`Grade::Near`].
    Near,
    /// [`Grade::Model`].
    Model,
    /// [`Grade::Default`].
    Default,
}

impl fmt::Display for GradeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pinned => "pinned",
            Self::Exact => "exact",
            Self::Sibling => "same architecture",
            Self::Near => "near",
            Self::Model => "model",
            Self::Default => "default",
        })
    }
}

impl Grade {
    /// The grade without what it found.
    #[must_use]
    pub const fn kind(&self) -> GradeKind {
        match self {
            Self::Pinned => GradeKind::Pinned,
            Self::Exact { .. } => GradeKind::Exact,
            Self::Sibling { .. } => GradeKind::Sibling,
            Self::Near { .. } => GradeKind::Near,
            Self::Model => GradeKind::Model,
            Self::Default => GradeKind::Default,
        }
    }

    /// Whether no cache held the exact key, and no algorithm was named.
    #[must_use]
    pub const fn is_miss(&self) -> bool {
        !matches!(self, Self::Pinned | Self::Exact { .. })
    }
}

impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pinned => f.write_str("pinned"),
            Self::Exact { source } => write!(f, "exact ({source})"),
            Self::Sibling { source, device } => write!(f, "same architecture ({source}: {device})"),
            Self::Near { source, key } => {
                write!(f, "near ({source}: {} density {})", key.bucket_out, key.density)
            }
            Self::Model => f.write_str("model"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// The algorithm that a call runs, with the reason.
#[derive(Clone, Debug)]
pub struct Resolution {
    pub(super) algorithm: Arc<dyn Algorithm>,
    pub(super) grade: Grade,
    pub(super) key: ShapeKey,
}

impl Resolution {
    /// The algorithm.
    #[must_use]
    pub fn algorithm(&self) -> &dyn Algorithm {
        &*self.algorithm
    }

    /// How it was found.
    #[must_use]
    pub const fn grade(&self) -> &Grade {
        &self.grade
    }

    /// What was looked up.
    #[must_use]
    pub const fn key(&self) -> &ShapeKey {
        &self.key
    }
}

impl fmt::Display for Resolution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} → {} [{}]", self.key, self.algorithm.id(), self.grade)
    }
}
