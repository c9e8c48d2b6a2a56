//! One tile of the surface world: rolling ground with buildings, walls, domes and trees on it.
//!
//! Every surface is one cell thick and leaves no gap. A plane of any tilt then has the 9 neighbours
//! of 27 of a flat one, and seams and curved shells some more. As in a scan there is nothing inside
//! the objects and no ground below them, and some cells got no return.

use crate::random::Random;

/// Cells without a return, of 1000.
const LOST_OF_1000: u64 = 40;

/// The smallest piece of land that gets an object, in cells.
const SMALLEST_LOT: i32 = 16;

/// Which tile of which world.
pub(crate) struct TilePosition {
    pub(crate) seed: u64,
    pub(crate) batch: usize,
    pub(crate) tile_x: i32,
    pub(crate) tile_y: i32,
    /// Cells along x and y: a power of two, at most 64.
    pub(crate) edge: i32,
}

impl TilePosition {
    /// Random numbers of a corner of the grid of tiles.
    fn random(&self, purpose: [u8; 8], x: i32, y: i32) -> Random {
        let corner = u64::from(x as u32) << 32 | u64::from(y as u32);
        Random::new(purpose, self.seed, self.batch as u64, corner)
    }
}

/// The cells of a tile: distinct, x and y in `0..edge`, z in `0..65536`.
pub(crate) fn cells(place: &TilePosition) -> Vec<[i32; 3]> {
    let mut random = place.random(*b"objects\0", place.tile_x, place.tile_y);
    let mut scene = Scene::of_ground(place);
    scene.build_up(Lot { x: 0, y: 0, edge: place.edge }, &mut random);
    scene.lay_ground();
    scene.keys.sort_unstable();
    scene.keys.dedup();
    let returned = scene.keys.into_iter().filter(|_| random.below(1000) >= LOST_OF_1000);
    returned.map(unpack).collect()
}

fn pack([x, y, z]: [i32; 3]) -> u32 {
    (x << 22 | y << 16 | z) as u32
}

fn unpack(key: u32) -> [i32; 3] {
    [key >> 22, key >> 16 & 63, key & 0xffff].map(|coordinate| coordinate as i32)
}

/// A square piece of a tile.
#[derive(Clone, Copy)]
struct Lot {
    x: i32,
    y: i32,
    edge: i32,
}

/// What stands on a lot.
const OBJECTS: [fn(&mut Scene, Lot, &mut Random); 6] =
    [|_, _, _| {}, Scene::building, Scene::building, Scene::leaning_wall, Scene::dome, Scene::tree];

struct Scene {
    edge: i32,
    /// The ground's height per column, z of its cell.
    ground: Vec<i32>,
    /// Columns whose ground an object hides.
    hidden: Vec<bool>,
    /// Packed cells, not yet distinct.
    keys: Vec<u32>,
}

impl Scene {
    /// Heights between the random heights of the tile's corners. Neighbouring tiles share corners,
    /// so the ground goes on across the seam; it rises by 1 cell in 8 at most.
    fn of_ground(place: &TilePosition) -> Self {
        let edge = place.edge;
        let corner = |x, y| {
            place.random(*b"ground\0\0", place.tile_x + x, place.tile_y + y).between(0, edge / 8)
        };
        let (low_low, low_high, high_low, high_high) =
            (corner(0, 0), corner(0, 1), corner(1, 0), corner(1, 1));
        let columns = (0..edge).flat_map(|x| (0..edge).map(move |y| (x, y)));
        let ground = columns
            .map(|(x, y)| {
                let low = low_low * (edge - y) + low_high * y;
                let high = high_low * (edge - y) + high_high * y;
                (low * (edge - x) + high * x) / (edge * edge)
            })
            .collect::<Vec<_>>();
        let hidden = vec![false; ground.len()];
        Self { edge, hidden, keys: Vec::with_capacity(4 * ground.len()), ground }
    }

    fn column(&self, x: i32, y: i32) -> Option<usize> {
        let inside = (0..self.edge).contains(&x) && (0..self.edge).contains(&y);
        inside.then_some((x * self.edge + y) as usize)
    }

    /// Occupies the cells of a column from one height to another that lie on or above the ground.
    fn raise(&mut self, x: i32, y: i32, from_z: i32, to_z: i32) {
        if let Some(column) = self.column(x, y) {
            let from_z = from_z.max(self.ground[column]);
            self.keys.extend((from_z..=to_z).map(|z| pack([x, y, z])));
        }
    }

    fn hide(&mut self, x: i32, y: i32) {
        if let Some(column) = self.column(x, y) {
            self.hidden[column] = true;
        }
    }

    fn ground_at(&self, x: i32, y: i32) -> i32 {
        self.column(x, y).map_or(0, |column| self.ground[column])
    }

    fn lay_ground(&mut self) {
        for x in 0..self.edge {
            for y in 0..self.edge {
                let column = (x * self.edge + y) as usize;
                if !self.hidden[column] {
                    self.keys.push(pack([x, y, self.ground[column]]));
                }
            }
        }
    }

    /// Puts an object on a lot, or parts the lot into four.
    fn build_up(&mut self, lot: Lot, random: &mut Random) {
        if lot.edge < SMALLEST_LOT {
            return;
        }
        if lot.edge > SMALLEST_LOT && random.below(3) > 0 {
            let edge = lot.edge / 2;
            for [dx, dy] in [[0, 0], [0, edge], [edge, 0], [edge, edge]] {
                self.build_up(Lot { x: lot.x + dx, y: lot.y + dy, edge }, random);
            }
            return;
        }
        let object = OBJECTS[random.below(OBJECTS.len() as u64) as usize];
        object(self, lot, random);
    }

    /// Four walls under a roof that is flat or has a ridge along y.
    fn building(&mut self, lot: Lot, random: &mut Random) {
        let mut span = |start: i32| {
            (
                start + random.between(1, lot.edge / 4),
                start + lot.edge - random.between(2, lot.edge / 4),
            )
        };
        let ((x_first, x_last), (y_first, y_last)) = (span(lot.x), span(lot.y));
        let eaves = self.ground_at(x_first, y_first) + random.between(lot.edge / 3, lot.edge / 2);
        let ridged = random.below(2) == 0;
        for x in x_first..=x_last {
            let rise = if ridged { (x - x_first).min(x_last - x) / 2 } else { 0 };
            for y in y_first..=y_last {
                let on_wall = x == x_first || x == x_last || y == y_first || y == y_last;
                let from_z = if on_wall { 0 } else { eaves + rise };
                self.raise(x, y, from_z, eaves + rise);
                self.hide(x, y);
            }
        }
    }

    /// A free wall that runs askew and leans.
    fn leaning_wall(&mut self, lot: Lot, random: &mut Random) {
        let middle = lot.edge / 2;
        // Sixteenths of a cell. Together they stay below 16, so that one step along the wall and
        // one up move it by at most one cell: no gap.
        let (skew, lean) = (random.between(-10, 10), random.between(-4, 4));
        let along_x = random.below(2) == 0;
        let height = random.between(lot.edge / 3, lot.edge / 2);
        for along in 1..lot.edge - 1 {
            for up in 0..=height {
                let across = middle + ((along - middle) * skew + up * lean).div_euclid(16);
                if !(1..lot.edge - 1).contains(&across) {
                    continue;
                }
                let (x, y) = if along_x { (along, across) } else { (across, along) };
                self.raise(lot.x + x, lot.y + y, up, up);
            }
        }
    }

    /// The part of a sphere above the ground.
    fn dome(&mut self, lot: Lot, random: &mut Random) {
        let radius = random.between(lot.edge / 3, lot.edge / 2 - 2);
        let (x, y) = (lot.x + lot.edge / 2, lot.y + lot.edge / 2);
        let z = self.ground_at(x, y) + random.between(0, radius / 2);
        self.sphere([x, y, z], radius);
    }

    /// A round trunk with a round crown.
    fn tree(&mut self, lot: Lot, random: &mut Random) {
        let crown = random.between(lot.edge / 4, lot.edge / 2 - 2);
        let (x, y) = (lot.x + lot.edge / 2, lot.y + lot.edge / 2);
        let crown_z = self.ground_at(x, y) + crown + random.between(4, lot.edge / 2);
        let trunk = random.between(2, 2 + lot.edge / 16);
        let inside = |dx: i32, dy: i32| dx * dx + dy * dy <= trunk * trunk;
        for dx in -trunk..=trunk {
            for dy in (-trunk..=trunk).filter(|&dy| inside(dx, dy)) {
                self.hide(x + dx, y + dy);
                let sides = [[-1, 0], [1, 0], [0, -1], [0, 1]];
                if sides.iter().any(|[side_x, side_y]| !inside(dx + side_x, dy + side_y)) {
                    self.raise(x + dx, y + dy, 0, crown_z - crown);
                }
            }
        }
        self.sphere([x, y, crown_z], crown);
    }

    /// The cells of a ball that share a face with one outside it.
    fn sphere(&mut self, [x, y, z]: [i32; 3], radius: i32) {
        // Half of the ball's extent in a column; -1 outside.
        let half = |dx: i32, dy: i32| {
            let rest = radius * radius - dx * dx - dy * dy;
            if rest < 0 { -1 } else { rest.isqrt() }
        };
        for dx in -radius..=radius {
            for dy in -radius..=radius {
                let top = half(dx, dy);
                if top < 0 {
                    continue;
                }
                let beside = half(dx - 1, dy).min(half(dx + 1, dy));
                let beside = beside.min(half(dx, dy - 1)).min(half(dx, dy + 1));
                let open = (beside + 1).min(top);
                self.raise(x + dx, y + dy, z + open, z + top);
                self.raise(x + dx, y + dy, z - top, z - open);
                if (self.ground_at(x + dx, y + dy) - z).abs() < top {
                    self.hide(x + dx, y + dy);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(tile_x: i32, edge: i32) -> TilePosition {
        TilePosition { seed: 3, batch: 0, tile_x, tile_y: -1, edge }
    }

    #[test]
    fn cells_lie_in_the_tile_and_are_distinct() {
        for edge in [8, 16, 32, 64] {
            for tile_x in -3..=3 {
                let cells = cells(&place(tile_x, edge));
                assert!(cells.is_sorted_by(|a, b| a < b));
                let inside = |[x, y, z]: [i32; 3]| x < edge && y < edge && z < 3 * edge;
                assert!(cells.iter().all(|&cell| inside(cell)));
                let least = (edge * edge) as usize / 4;
                assert!(cells.len() > least, "{} cells in a tile of edge {edge}", cells.len());
            }
        }
    }

    #[test]
    fn the_ground_goes_on_across_seams() {
        let (here, next) = (Scene::of_ground(&place(0, 64)), Scene::of_ground(&place(1, 64)));
        for y in 0..64 {
            let step = here.ground_at(63, y) - next.ground_at(0, y);
            assert!(step.abs() <= 1, "a step of {step} at {y}");
        }
    }

    #[test]
    fn spheres_have_no_hole() {
        let mut scene = Scene::of_ground(&place(0, 64));
        scene.ground.fill(0);
        scene.sphere([32, 32, 32], 20);
        scene.keys.sort_unstable();
        scene.keys.dedup();
        let mut reached = vec![[32, 32, 32]];
        let mut seen = std::collections::BTreeSet::from([[32, 32, 32]]);
        while let Some([x, y, z]) = reached.pop() {
            let faces = [[-1, 0, 0], [1, 0, 0], [0, -1, 0], [0, 1, 0], [0, 0, -1], [0, 0, 1]];
            for [dx, dy, dz] in faces {
                let cell = [x + dx, y + dy, z + dz];
                assert!(cell.iter().all(|c| (11..=53).contains(c)), "a leak at {cell:?}");
                if scene.keys.binary_search(&pack(cell)).is_err() && seen.insert(cell) {
                    reached.push(cell);
                }
            }
        }
    }
}
