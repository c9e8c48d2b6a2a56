//! Clouds as the deeper levels of networks have them.

use voxtune_types::Voxel;

use crate::surface;

/// So many of the outputs of a strided layer over a surface, of kernel 3, stride 2 and padding 1.
/// They are the first in order, moved so that they start at 0.
pub(crate) fn sample(rows: usize, batch: usize, seed: u64) -> Vec<Voxel> {
    // Four fine voxels reach some three coarse ones.
    let mut fine = rows + rows / 2 + 8;
    loop {
        let mut cells = coarser(&surface::sample(fine, batch, seed));
        if cells.len() >= rows {
            cells.truncate(rows);
            return from_origin(cells);
        }
        fine += fine / 2;
    }
}

fn coarser(fine: &[Voxel]) -> Vec<Voxel> {
    let reached = |at: i32| at.div_euclid(2)..=(at + 1).div_euclid(2);
    let mut cells: Vec<Voxel> = fine
        .iter()
        .flat_map(|cell| {
            reached(cell.x).flat_map(move |x| {
                reached(cell.y).flat_map(move |y| {
                    reached(cell.z).map(move |z| Voxel::new(cell.batch, x, y, z))
                })
            })
        })
        .collect();
    cells.sort_unstable();
    cells.dedup();
    cells
}

fn from_origin(mut cells: Vec<Voxel>) -> Vec<Voxel> {
    let least = cells.iter().fold([i32::MAX; 3], |least, cell| {
        [least[0].min(cell.x), least[1].min(cell.y), least[2].min(cell.z)]
    });
    for cell in &mut cells {
        (cell.x, cell.y, cell.z) = (cell.x - least[0], cell.y - least[1], cell.z - least[2]);
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::mean_neighbours;

    #[test]
    fn rows_have_as_many_pairs_as_deep_levels_of_networks() {
        for rows in [3_000, 10_000, 30_000, 100_000] {
            let pairs = mean_neighbours(&sample(rows, 0, 1));
            assert!((13.0..=18.0).contains(&pairs), "{rows} rows: {pairs}");
        }
    }
}
