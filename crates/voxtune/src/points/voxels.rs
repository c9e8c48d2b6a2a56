//! The voxels of a cloud of points.

use crate::ops::RowGroups;
use crate::{ConvError, SparseTensor, Tensor};

/// The voxels of a cloud with the means of their points, and the way back to the points. Made by
/// [`PointCloud::voxelize`](crate::PointCloud::voxelize).
#[derive(Debug)]
pub struct PointVoxels {
    tensor: SparseTensor,
    groups: RowGroups,
    max_points: usize,
}

impl PointVoxels {
    pub(super) const fn new(tensor: SparseTensor, groups: RowGroups, max_points: usize) -> Self {
        Self { tensor, groups, max_points }
    }

    /// The voxels, within the shape of their grid, and the mean of each one's points.
    ///
    /// # Shapes
    /// Features: `(voxels, columns)` in float32.
    #[must_use]
    pub const fn tensor(&self) -> &SparseTensor {
        &self.tensor
    }

    /// The voxels and the means, without the way back to the points.
    #[must_use]
    pub fn into_tensor(self) -> SparseTensor {
        self.tensor
    }

    /// Which voxel each point belongs to: rows are points, groups are voxels. With hard voxels this
    /// counts points, too, that the mean leaves out.
    #[must_use]
    pub const fn groups(&self) -> &RowGroups {
        &self.groups
    }

    /// The row of each point's voxel, -1 for none. A GPU's are read back.
    ///
    /// # Errors
    /// If the device fails to hand them over.
    pub fn voxel_of_point(&self) -> Result<Vec<i32>, ConvError> {
        self.groups.group_of_row()
    }

    /// How many points each voxel's mean is of. A GPU's are read back.
    ///
    /// # Errors
    /// If the device fails to hand them over.
    pub fn counts(&self) -> Result<Vec<usize>, ConvError> {
        let sizes = self.groups.sizes()?;
        Ok(sizes.into_iter().map(|size| size.min(self.max_points)).collect())
    }

    /// The row of its voxel for each point, zeros for a point in none. Its gradient is the sum over
    /// each voxel's points, by [`RowGroups::reduce`] of [`Self::groups`].
    ///
    /// # Shapes
    /// `features`: `(voxels, channels)`. The result: `(points, channels)`.
    ///
    /// # Errors
    /// If there is not a row for each voxel, or the device fails.
    pub fn to_points(&self, features: &Tensor) -> Result<Tensor, ConvError> {
        self.groups.spread(self.tensor.voxels().device(), features)
    }
}
