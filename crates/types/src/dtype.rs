//! Storage types.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How features and weights are stored. Products are always accumulated in float32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum DType {
    /// IEEE 754 binary16.
    Float16,
    /// The upper half of a binary32.
    BFloat16,
    /// IEEE 754 binary32.
    Float32,
}

impl DType {
    /// All storage types.
    pub const ALL: [Self; 3] = [Self::Float16, Self::BFloat16, Self::Float32];

    /// Its place in [`DType::ALL`], for tables with a row per storage type.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The permanent text of this type.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Float16 => "float16",
            Self::BFloat16 => "bfloat16",
            Self::Float32 => "float32",
        }
    }

    /// Size of one element.
    ///
    /// # Units
    /// Bytes.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::Float16 | Self::BFloat16 => 2,
            Self::Float32 => 4,
        }
    }

    /// Largest error of one element against the float64 result that is rounding and not a defect.
    /// It is divided by the larger of the element's magnitude and the root mean square of the
    /// result.
    ///
    /// Two units of rounding of the storage type for the 16-bit types. For float32 the error of the
    /// accumulation dominates and is bounded in practice by 1e-5 of the root mean square.
    #[must_use]
    pub const fn tolerance(self) -> f64 {
        match self {
            Self::Float16 => 1e-3,
            Self::BFloat16 => 8e-3,
            Self::Float32 => 1e-5,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that names no storage type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown dtype `{0}`: expected float16, bfloat16 or float32")]
pub struct UnknownDType(pub String);

impl FromStr for DType {
    type Err = UnknownDType;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|dtype| dtype.as_str() == text)
            .ok_or_else(|| UnknownDType(text.to_owned()))
    }
}
