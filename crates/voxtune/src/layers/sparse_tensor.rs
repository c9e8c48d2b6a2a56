//! Voxels with a row of features each.

use crate::{ConvError, Tensor, Voxels};

/// Features over voxels.
#[derive(Debug)]
pub struct SparseTensor {
    voxels: Voxels,
    features: Tensor,
}

impl SparseTensor {
    /// Features over voxels.
    ///
    /// # Shapes
    /// `features`: `(voxels.len(), channels)`.
    ///
    /// # Errors
    /// If there is not one row for each voxel.
    pub fn new(voxels: Voxels, features: Tensor) -> Result<Self, ConvError> {
        if features.rows() != voxels.len() {
            return Err(ConvError::Rows {
                what: "features",
                expected: voxels.len(),
                found: features.rows(),
            });
        }
        Ok(Self { voxels, features })
    }

    /// The voxels.
    #[must_use]
    pub const fn voxels(&self) -> &Voxels {
        &self.voxels
    }

    /// The features.
    ///
    /// # Shapes
    /// `(voxels.len(), channels)`.
    #[must_use]
    pub const fn features(&self) -> &Tensor {
        &self.features
    }

    /// The features, given up with their voxels.
    #[must_use]
    pub fn into_features(self) -> Tensor {
        self.features
    }
}
