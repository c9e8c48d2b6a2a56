//! What a scan file holds.

use voxtune_types::Voxel;

use crate::Points;

/// What a scan file holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Contents {
    /// Coordinates in a length unit.
    Points(Points),
    /// Cells, in the order of the file.
    Voxels(Vec<Voxel>),
}

impl Contents {
    /// Takes what was read as x, y, z for z, y, x.
    pub(crate) fn reverse_axes(&mut self) {
        match self {
            Self::Points(points) => points.xyz.iter_mut().for_each(|point| point.reverse()),
            Self::Voxels(voxels) => {
                for Voxel { x, z, .. } in voxels {
                    std::mem::swap(x, z);
                }
            }
        }
    }
}
