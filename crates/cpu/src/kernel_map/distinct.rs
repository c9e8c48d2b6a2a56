//! Whether no two rows hold one cell.

use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;
use voxtune_types::Voxel;

use super::build::{Side, Sorted, sort_keyed, sort_linear};
use super::keys::{Keys, NO_REACH};
use super::{KernelMapError, check_rows};
use crate::zeroed::zeroed;

/// Cells of the bounding box a voxel up to which each cell has a bit: as much memory as twice the
/// voxels'.
const CELLS_A_VOXEL: u64 = 256;

/// Checks that no two rows are one voxel.
///
/// Where the cloud's bounding box is small enough, each cell of it has a bit, which its first row
/// sets. Elsewhere the cells are sorted, unless they already are. Runs on rayon's current pool.
///
/// # Errors
/// If two rows are the same voxel, or there are too many rows.
pub fn check_distinct(voxels: &[Voxel]) -> Result<(), KernelMapError> {
    check_rows(voxels.len())?;
    match Keys::of(voxels, NO_REACH) {
        Keys::Linear(keys, grid) => {
            let affordable = CELLS_A_VOXEL.saturating_mul(keys.len() as u64);
            let bits = (grid.cells() <= affordable).then(|| zeroed(words(grid.cells()))).flatten();
            if bits.is_some_and(|bits| all_first(&keys, &bits)) {
                return Ok(());
            }
            // Which two rows they are is told by the sorted keys.
            Sorted::new(keys, |keys| sort_linear(keys, grid.bits))
                .check_distinct(voxels, Side::Input)
        }
        Keys::Wide(keys) => Sorted::new(keys, sort_keyed).check_distinct(voxels, Side::Input),
    }
}

/// Words that have a bit for each of so many cells.
const fn words(cells: u64) -> usize {
    cells.div_ceil(u64::BITS as u64) as usize
}

/// Whether each key is the first of its value. There is a bit for each, none of which is set.
fn all_first(keys: &[u64], bits: &[AtomicU64]) -> bool {
    let width = u64::from(u64::BITS);
    keys.par_iter().all(|key| {
        let bit = 1 << (key % width);
        // The bits alone are shared: they publish nothing.
        bits[(key / width) as usize].fetch_or(bit, Ordering::Relaxed) & bit == 0
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The check by its definition.
    fn has_duplicate(voxels: &[Voxel]) -> bool {
        let mut sorted = voxels.to_vec();
        sorted.sort_unstable();
        sorted.windows(2).any(|pair| pair[0] == pair[1])
    }

    proptest! {
        /// Boxes with a bit for each cell, boxes that are sorted, and coordinates that no box
        /// holds.
        #[test]
        fn duplicates_are_found_wherever_they_lie(
            cells in prop::collection::vec((0..3_i32, 0..6_i32, -3..3_i32, 0..4_i32), 0..60),
            spread in prop::sample::select(vec![1, 1_000, 700_000_000]),
        ) {
            let at = |(batch, x, y, z): (i32, i32, i32, i32)| {
                Voxel::new(batch, x.wrapping_mul(spread), y * spread, z)
            };
            let voxels: Vec<Voxel> = cells.into_iter().map(at).collect();
            match check_distinct(&voxels) {
                Ok(()) => prop_assert!(!has_duplicate(&voxels)),
                Err(KernelMapError::Duplicate { voxel, first_row, second_row }) => {
                    prop_assert!(first_row < second_row);
                    prop_assert_eq!([voxels[first_row], voxels[second_row]], [voxel; 2]);
                }
                Err(other) => prop_assert!(false, "{other}"),
            }
        }
    }
}
