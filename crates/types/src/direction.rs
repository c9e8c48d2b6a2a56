//! The three products of a convolution layer.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Which product of a convolution is computed.
///
/// With features `x`, weights `w`, kernel map `(i, o, k)` and output gradient `g`:
///
/// | direction | result |
/// |---|---|
/// | forward | `y[o] += x[i] · w[k]` |
/// | dgrad | `dx[i] += g[o] · w[k]ᵀ` |
/// | wgrad | `dw[k] += x[i]ᵀ · g[o]` |
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Direction {
    /// Features times weights.
    Forward,
    /// Gradient of the features ("backward data").
    Dgrad,
    /// Gradient of the weights ("backward weights").
    Wgrad,
}

/// The products of this library's kernels. Its own crates match over these, so the compiler names
/// every place that a new one concerns. A program of a user's, which a new one must not break,
/// matches over [`Direction`], with a wildcard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// Features times weights.
    Forward,
    /// Gradient of the features.
    Dgrad,
    /// Gradient of the weights.
    Wgrad,
}

impl Direction {
    /// The product that it computes, for a `match` that the compiler finds complete.
    #[must_use]
    pub const fn product(self) -> Product {
        match self {
            Self::Forward => Product::Forward,
            Self::Dgrad => Product::Dgrad,
            Self::Wgrad => Product::Wgrad,
        }
    }

    /// All directions, in the order in which a training step runs them.
    pub const ALL: [Self; 3] = [Self::Forward, Self::Dgrad, Self::Wgrad];

    /// The permanent text of this direction.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Dgrad => "dgrad",
            Self::Wgrad => "wgrad",
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that names no direction.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown direction `{0}`: expected forward, dgrad or wgrad")]
pub struct UnknownDirection(pub String);

impl FromStr for Direction {
    type Err = UnknownDirection;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|direction| direction.as_str() == text)
            .ok_or_else(|| UnknownDirection(text.to_owned()))
    }
}
