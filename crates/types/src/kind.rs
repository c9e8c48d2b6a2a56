//! Kinds of layers, and how rows of their operands lie in memory.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Which rows a layer makes, and how they meet those that it reads.
///
/// The kind is stored, and nothing infers it from a stride of 1. A [`Self::Sparse`] layer of stride
/// 1 has outputs where there are no inputs.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum LayerKind {
    /// Outputs are the inputs' voxels (spconv's `SubMConv3d`).
    #[default]
    Submanifold,
    /// Outputs are all voxels whose window holds an input (`SparseConv3d`).
    Sparse,
    /// Outputs are the inputs of an earlier sparse layer, over the same pairs
    /// (`SparseInverseConv3d`).
    Inverse,
    /// Outputs are all voxels that an input's window reaches (`SparseConvTranspose3d`).
    Transposed,
    /// Outputs are the caller's, as for [`Self::Sparse`] layers.
    Given,
}

impl LayerKind {
    /// All kinds.
    pub const ALL: [Self; 5] =
        [Self::Submanifold, Self::Sparse, Self::Inverse, Self::Transposed, Self::Given];

    /// The permanent text of this kind.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Submanifold => "submanifold",
            Self::Sparse => "sparse",
            Self::Inverse => "inverse",
            Self::Transposed => "transposed",
            Self::Given => "given",
        }
    }

    /// Whether inputs lie on the coarser grid: their windows reach outputs, instead of the other
    /// way.
    #[must_use]
    pub const fn is_upsampling(self) -> bool {
        matches!(self, Self::Inverse | Self::Transposed)
    }
}

impl fmt::Display for LayerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that names no kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown kind of layer `{0}`: expected submanifold, sparse, inverse, transposed or given")]
pub struct UnknownLayerKind(pub String);

impl std::str::FromStr for LayerKind {
    type Err = UnknownLayerKind;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| UnknownLayerKind(text.to_owned()))
    }
}

/// How far apart the rows of an operation's operands lie. Rows that are further apart and begin
/// elsewhere than at multiples of 16 bytes have no class: layers copy them to dense ones first.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum PitchClass {
    /// Each row begins where the one before ends.
    #[default]
    Dense,
    /// Rows of an operand are further apart, such as those of a part of concatenated channels.
    /// Each begins at a multiple of 16 bytes.
    Pitched,
}

impl PitchClass {
    /// All classes.
    pub const ALL: [Self; 2] = [Self::Dense, Self::Pitched];
}
