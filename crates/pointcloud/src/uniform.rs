//! The uniform cloud: independent cells of a box.

use voxtune_types::Voxel;

use crate::random::Random;

/// Occupied cells of 20 cells of the box.
///
/// WarpConvNet's tool, whose clouds this one succeeds, draws `1.3 n` cells of a cube of edge `2
/// ⌈∛n⌉`. A share of `1 - exp(-1.3 / 8) = 15.0 %` is then occupied, by a number of voxels that is
/// not n. Here the share is the same and the number is n.
const OCCUPIED_OF_20: usize = 3;

/// The cells of one sample, exactly `rows` of them.
pub(crate) fn sample(rows: usize, batch: usize, seed: u64) -> Vec<Voxel> {
    let [x_edge, y_edge, z_edge] = edges(rows);
    let cells = x_edge * y_edge * z_edge;
    let mut random = Random::new(*b"uniform\0", seed, batch as u64, 0);
    let mut occupied = vec![0_u64; cells.div_ceil(64)];
    // At 15 % occupancy a draw hits a cell that is taken already in 1 of 13 cases.
    let mut missing = rows;
    while missing > 0 {
        let cell = random.below(cells as u64) as usize;
        let bit = 1 << (cell % 64);
        if occupied[cell / 64] & bit == 0 {
            occupied[cell / 64] |= bit;
            missing -= 1;
        }
    }
    let mut voxels = Vec::with_capacity(rows);
    for (index, &word) in occupied.iter().enumerate() {
        let mut rest = word;
        while rest != 0 {
            let cell = index * 64 + rest.trailing_zeros() as usize;
            rest &= rest - 1;
            let (column, z) = (cell / z_edge, cell % z_edge);
            let (x, y) = (column / y_edge, column % y_edge);
            voxels.push(Voxel::new(batch as i32, x as i32, y as i32, z as i32));
        }
    }
    crate::voxelize::shift_to_zero(&mut voxels);
    voxels
}

/// Edges of a box that is as good as a cube and has `rows` cells at the share above, or a few more.
fn edges(rows: usize) -> [usize; 3] {
    let cells = (rows * 20).div_ceil(OCCUPIED_OF_20);
    let x_edge = root(cells, 3);
    let y_edge = root(cells / x_edge, 2);
    [x_edge, y_edge, cells.div_ceil(x_edge * y_edge)]
}

/// The largest integer whose power does not exceed a positive number. In integers, because the
/// last bit of a float root differs between platforms.
fn root(number: usize, power: u32) -> usize {
    let mut root = 1;
    while (root + 1_usize).pow(power) <= number {
        root += 1;
    }
    root
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_hold_the_voxels_at_15_percent_and_are_nearly_cubes() {
        for rows in (1..3000).chain([130_000, 2_000_000]) {
            let [x, y, z] = edges(rows);
            let occupancy = rows as f64 / (x * y * z) as f64;
            assert!(occupancy <= 0.15, "{rows}: {occupancy}");
            // Less than a layer of x and y is too many.
            assert!(occupancy > 0.15 * (1.0 - 1.0 / z as f64), "{rows}: {occupancy}");
            if rows >= 1000 {
                assert!(occupancy > 0.14, "{rows}: {occupancy}");
                assert!(z - x.min(y) <= 3, "{rows}: {x} {y} {z}");
            }
        }
    }
}
