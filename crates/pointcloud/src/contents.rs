//! What a scan file holds.

use voxtune_types::Voxel;

use crate::Points;

/// What a scan file holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Contents {
    /// Coordinates in a length unit.
    Points(Points),
    /// Cells, in the order of the file.
    Voxels(Vec<Voxel>),
}
