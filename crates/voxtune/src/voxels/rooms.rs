//! What the levels of a capacity class have room for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use voxtune_types::Geometry;

use super::at_once::Recipe;
use super::expected::with_margin;
use super::frame::{MapPath, Path, Room};

/// Rows and pairs that a network has counted over one input, and what it has made of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct FrameCounts {
    pub(crate) input_rows: usize,
    pub(crate) rows: BTreeMap<Path, usize>,
    pub(crate) pairs: BTreeMap<MapPath, usize>,
    pub(crate) made: Recipe,
}

impl FrameCounts {
    /// The maps, by inputs, outputs and pairs.
    pub(crate) fn maps(&self) -> impl Iterator<Item = (Geometry, [usize; 3])> {
        let rows = |path: &Path| match path.is_empty() {
            true => Some(self.input_rows),
            false => self.rows.get(path).copied(),
        };
        self.pairs.iter().filter_map(move |((from, to, geometry), &pairs)| {
            Some((*geometry, [rows(from)?, rows(to)?, pairs]))
        })
    }
}

/// Room for every level of a network over inputs of at most so many voxels.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rooms {
    pub(crate) input: Room,
    rows: BTreeMap<Path, Room>,
    pairs: BTreeMap<MapPath, usize>,
}

/// Rows and pairs for each voxel of the input.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Proportions {
    pub(super) rows: BTreeMap<Path, f64>,
    pub(super) pairs: BTreeMap<MapPath, f64>,
}

impl Proportions {
    /// The most that frames which were seen ask for, for an input of so many voxels. Inputs much
    /// smaller count only where there are no others: the coarser the voxels beside their extent,
    /// the more of them each makes.
    pub(super) fn most(seen: &[FrameCounts], input_rows: usize) -> Self {
        let near = |counts: &&FrameCounts| counts.input_rows * 4 >= input_rows;
        let near: Vec<&FrameCounts> = seen.iter().filter(near).collect();
        let all: Vec<&FrameCounts> = if near.is_empty() { seen.iter().collect() } else { near };
        let mut most = Self::default();
        for counts in all {
            let per_input_row = |count: usize| count as f64 / counts.input_rows.max(1) as f64;
            for (path, &count) in &counts.rows {
                let most = most.rows.entry(path.clone()).or_default();
                *most = most.max(per_input_row(count));
            }
            for (path, &count) in &counts.pairs {
                let most = most.pairs.entry(path.clone()).or_default();
                *most = most.max(per_input_row(count));
            }
        }
        most
    }
}

impl Rooms {
    /// The most that frames which were seen ask for, in proportion to their inputs, with a margin.
    pub(crate) fn new(input: Room, seen: &[FrameCounts], margin: f64) -> Self {
        let Proportions { rows, pairs } = Proportions::most(seen, input.capacity);
        let of = |ratio: f64, input: usize| (ratio * input as f64).round() as usize;
        let room = |ratio: f64| Room {
            expected: of(ratio, input.expected),
            capacity: with_margin(of(ratio, input.capacity), margin),
        };
        Self {
            input,
            rows: rows.into_iter().map(|(path, ratio)| (path, room(ratio))).collect(),
            pairs: pairs
                .into_iter()
                .map(|(path, ratio)| (path, of(ratio, input.expected)))
                .collect(),
        }
    }

    /// Of a level that a layer made.
    pub(crate) fn room(&self, path: &Path) -> Option<Room> {
        self.rows.get(path).copied()
    }

    /// Pairs that a map is expected to have.
    pub(crate) fn pairs(&self, path: &MapPath) -> Option<usize> {
        self.pairs.get(path).copied()
    }

    /// The levels with their room.
    pub(crate) fn levels(&self) -> impl Iterator<Item = (&Path, Room)> {
        self.rows.iter().map(|(path, room)| (path, *room))
    }
}

#[cfg(test)]
mod tests {
    use voxtune_types::{Geometry, KernelSize};

    use super::*;

    fn path(stride: u8) -> Path {
        vec![Geometry::strided(KernelSize::cubic(3).unwrap(), [stride; 3])]
    }

    fn counted(input_rows: usize, rows: usize, pairs: usize) -> FrameCounts {
        let map = (Path::new(), path(2), path(2)[0]);
        FrameCounts {
            input_rows,
            rows: BTreeMap::from([(path(2), rows)]),
            pairs: BTreeMap::from([(map, pairs)]),
            made: Recipe::default(),
        }
    }

    #[test]
    fn a_class_has_room_for_the_frame_that_asked_for_most() {
        let seen = [counted(10_000, 5_000, 40_000), counted(20_000, 12_000, 60_000)];
        let input = Room { expected: 17_000, capacity: 20_000 };
        let rooms = Rooms::new(input, &seen, 1.25);
        let room = rooms.room(&path(2)).unwrap();
        assert_eq!(room.expected, 10_200);
        assert!((15_000..15_600).contains(&room.capacity), "{room:?}");
        assert_eq!(rooms.pairs(&(Path::new(), path(2), path(2)[0])), Some(68_000));
        assert_eq!(rooms.room(&path(3)), None);
    }

    #[test]
    fn small_frames_say_little_of_large_classes() {
        // The small frame makes eight outputs of each voxel.
        let seen = [counted(10, 80, 80), counted(100_000, 50_000, 400_000)];
        let room = |capacity| {
            let input = Room { expected: capacity, capacity };
            Rooms::new(input, &seen, 1.0).room(&path(2)).unwrap().expected
        };
        assert_eq!(room(100_000), 50_000);
        assert_eq!(room(40), 320);
        let alone = Rooms::new(Room { expected: 1_000, capacity: 1_000 }, &seen[..1], 1.0);
        assert_eq!(alone.room(&path(2)).unwrap().expected, 8_000);
    }
}
