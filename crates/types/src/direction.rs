//! The three products of a convolution layer.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Which product of a convolution is computed.
///
/// A bilinear product has these three and no fourth. So the type is exhaustive, unlike
/// [`DType`](crate::DType) and [`LayerKind`](crate::LayerKind): a `match` that forgets one does not
/// compile.
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
pub enum Direction {
    /// Features times weights.
    Forward,
    /// Gradient of the features ("backward data").
    Dgrad,
    /// Gradient of the weights ("backward weights").
    Wgrad,
}

impl Direction {
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
