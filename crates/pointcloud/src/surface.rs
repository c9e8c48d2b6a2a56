//! The surface cloud: what a scanner sees of ground, walls and objects around it.
//!
//! A world of square tiles without end has its sensor in the middle of tile (0, 0). A sample is the
//! `rows` nearest cells of that world. Its extent thus grows with the count while cell size and
//! density stay, as when a scanner sees farther. A cut at one distance meets every count exactly,
//! and costs no neighbours but those along the cut.

use rayon::prelude::*;
use voxtune_types::Voxel;

use crate::tile::{self, TilePosition};

/// The cells of one sample, exactly `rows` of them.
pub(crate) fn sample(rows: usize, batch: usize, seed: u64) -> Vec<Voxel> {
    let tile_edge = tile_edge(rows);
    let mut cells: Vec<Cell> = Vec::with_capacity(rows);
    for ring in 0.. {
        let tiles: Vec<Vec<Cell>> = ring_tiles(ring)
            .into_par_iter()
            .map(|[tile_x, tile_y]| {
                let place = TilePosition { seed, batch, tile_x, tile_y, edge: tile_edge };
                let (x_start, y_start) = (tile_x * tile_edge, tile_y * tile_edge);
                let scene = tile::cells(&place).into_iter();
                scene.map(|[x, y, z]| Cell::new(x_start + x, y_start + y, z)).collect()
            })
            .collect();
        let mut seen = tiles.concat();
        let missing = rows - cells.len();
        if seen.len() < missing {
            cells.append(&mut seen);
            continue;
        }
        if seen.len() > missing {
            seen.select_nth_unstable_by_key(missing, |cell| (cell.distance(tile_edge), cell.0));
            seen.truncate(missing);
        }
        cells.append(&mut seen);
        break;
    }
    cells.par_sort_unstable_by_key(|cell| cell.0);
    let mut voxels: Vec<Voxel> =
        cells.iter().map(|cell| Voxel::new(batch as i32, cell.x(), cell.y(), cell.z())).collect();
    crate::voxelize::shift_to_zero(&mut voxels);
    voxels
}

/// Large tiles hold large objects; a sample of a few voxels need not build one.
fn tile_edge(rows: usize) -> i32 {
    match rows {
        0..=64 => 8,
        65..=256 => 16,
        257..=1024 => 32,
        _ => 64,
    }
}

/// The tiles whose distance from tile (0, 0) is `ring` along x or y and no more along the other.
fn ring_tiles(ring: i32) -> Vec<[i32; 2]> {
    (-ring..=ring)
        .flat_map(|x| (-ring..=ring).map(move |y| [x, y]))
        .filter(|[x, y]| x.abs().max(y.abs()) == ring)
        .collect()
}

/// A cell of the world in one word that sorts by x, y, z.
#[derive(Clone, Copy)]
struct Cell(u64);

impl Cell {
    /// Of x and y; [`crate::MAX_VOXELS`] cells reach nowhere near `2^23` cells from the sensor.
    const BIAS: i32 = 1 << 23;

    fn new(x: i32, y: i32, z: i32) -> Self {
        let biased = |coordinate: i32| u64::from((coordinate + Self::BIAS) as u32);
        Self(biased(x) << 40 | biased(y) << 16 | u64::from(z as u16))
    }

    fn x(self) -> i32 {
        (self.0 >> 40) as i32 - Self::BIAS
    }

    fn y(self) -> i32 {
        (self.0 >> 16 & 0xff_ffff) as i32 - Self::BIAS
    }

    fn z(self) -> i32 {
        (self.0 & 0xffff) as i32
    }

    /// Twice the distance from the sensor's axis along x or y, whichever is larger. By it every
    /// cell of a ring of tiles is farther than every cell of the rings within.
    fn distance(self, tile_edge: i32) -> i32 {
        let from_middle = |coordinate: i32| (2 * coordinate - (tile_edge - 1)).abs();
        from_middle(self.x()).max(from_middle(self.y()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_keep_their_coordinates_and_sort_by_them() {
        let near = Cell::new(-700, 12, 103);
        assert_eq!([near.x(), near.y(), near.z()], [-700, 12, 103]);
        assert!(near.0 < Cell::new(-699, -5, 0).0);
        assert!(near.0 < Cell::new(-700, 13, 0).0);
        assert!(near.0 < Cell::new(-700, 12, 104).0);
    }

    #[test]
    fn rings_tile_the_plane_from_near_to_far() {
        let mut seen: Vec<[i32; 2]> = (0..4).flat_map(ring_tiles).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 49);
        let farthest = |ring| {
            let corners = ring_tiles(ring).into_iter().map(|[x, y]| {
                let ends = [[0, 0], [0, 7], [7, 0], [7, 7]];
                ends.map(|[dx, dy]| Cell::new(x * 8 + dx, y * 8 + dy, 0).distance(8))
            });
            corners.flatten().fold((i32::MAX, 0), |(low, high), d| (low.min(d), high.max(d)))
        };
        assert!(farthest(1).1 < farthest(2).0);
    }
}
