//! Grids of points as the kernels number their cells.

use super::within;
use crate::error::Result;

/// A grid that is fixed by where it begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PointGrid {
    /// Where the first cell begins, along x, y and z.
    pub low: [f32; 3],
    /// The size of a cell.
    pub size: [f32; 3],
    /// How many cells there are, at most 2²⁴ along an axis.
    pub cells: [u32; 3],
    /// Whether coordinates are written z, y, x.
    pub reversed: bool,
}

/// `VoxelGrid` of the kernels.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct GridParams {
    low: [f32; 3],
    size: [f32; 3],
    cells: [i32; 3],
    reversed: i32,
}

impl PointGrid {
    /// Refuses what the kernels cannot number.
    pub(super) fn params(&self, samples: usize) -> Result<GridParams> {
        let Self { low, size, cells, reversed } = *self;
        for along in cells {
            within("the number of cells along an axis", along as usize, 1 << 24)?;
        }
        let all = cells.iter().fold(samples, |all, &along| all.saturating_mul(along as usize));
        within("the number of cells", all, i64::MAX as usize)?;
        let cells = cells.map(|along| along as i32);
        Ok(GridParams { low, size, cells, reversed: i32::from(reversed) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grids_are_as_the_kernels_read_them() {
        assert_eq!((size_of::<GridParams>(), align_of::<GridParams>()), (40, 4));
    }

    #[test]
    fn grids_that_cannot_be_numbered_are_refused() {
        let grid = |cells| PointGrid { low: [0.0; 3], size: [1.0; 3], cells, reversed: false };
        assert!(grid([1 << 24, 1 << 24, 1]).params(1 << 14).is_ok());
        assert!(grid([1 << 24, 1 << 24, 1]).params(1 << 15).is_err());
        assert!(grid([(1 << 24) + 1, 1, 1]).params(1).is_err());
    }
}
