//! Classes that no voxel's own features tell.

use std::collections::HashSet;

use voxtune::Voxel;

/// How many classes there are.
pub(crate) const CLASSES: usize = 16;

/// Cells along the edge of a tile. Only the coarsest level of four tells one tile from the next.
const TILE: i32 = 8;

/// The class of each voxel, by its neighbours and its place. There is one above it or none, and one
/// below it or none. It lies in an even or an odd tile along x and along y.
pub(crate) fn labels(cells: &[Voxel]) -> Vec<u32> {
    let occupied: HashSet<&Voxel> = cells.iter().collect();
    let label = |cell: &Voxel| {
        let has = |z| occupied.contains(&Voxel { z, ..*cell });
        let is_odd = |place: i32| place.div_euclid(TILE).rem_euclid(2) == 1;
        let bits = [has(cell.z + 1), has(cell.z - 1), is_odd(cell.x), is_odd(cell.y)];
        bits.iter().fold(0, |label, bit| 2 * label + u32::from(*bit))
    };
    cells.iter().map(label).collect()
}
