//! Classes of kernel-map density.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The class of a kernel map's density: `⌊log₂ m⌋` of its mean pairs per output row `m`.
///
/// A submanifold row always meets itself, so `m ≥ 1`. For a 3×3×3 kernel, scans at fine voxels fall
/// into class 1 (2 to 4 of 27). Uniform clouds at the occupancy of the grid and sparse scans fall
/// into class 2 (4 to 8). Surfaces fall into class 3 (8 to 16), solid volumes into class 4. The
/// classes are octaves, which measured regret confirms: a neighbouring class's choice loses about a
/// percent more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Density(u8);

/// A number past the classes of the kernel volumes that exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no class of density: expected 0 to {max}", max = Density::CLASSES - 1)]
pub struct NoSuchDensity(pub u8);

impl TryFrom<u8> for Density {
    type Error = NoSuchDensity;

    fn try_from(index: u8) -> Result<Self, Self::Error> {
        Self::from_index(index).ok_or(NoSuchDensity(index))
    }
}

impl From<Density> for u8 {
    fn from(density: Density) -> Self {
        density.0
    }
}

impl Density {
    /// Number of classes: more than kernels of volume 343 can fill.
    const CLASSES: u8 = 16;

    /// The class of a map with this many pairs and output rows. An empty map is of class 0.
    #[must_use]
    pub const fn of(pairs: usize, rows: usize) -> Self {
        if rows == 0 || pairs < rows {
            return Self(0);
        }
        // ⌊log₂(p / r)⌋ = ⌊log₂⌊p / r⌋⌋, since powers of two are integers.
        let class = (pairs / rows).ilog2() as u8;
        Self(if class < Self::CLASSES { class } else { Self::CLASSES - 1 })
    }

    /// The class's number.
    #[must_use]
    pub const fn index(self) -> u8 {
        self.0
    }

    /// The class of this number; `None` past the kernel volumes that exist.
    #[must_use]
    pub const fn from_index(index: u8) -> Option<Self> {
        if index < Self::CLASSES { Some(Self(index)) } else { None }
    }

    /// How many classes lie between the two: 0 for the same, 1 for neighbours.
    #[must_use]
    pub const fn distance(self, other: Self) -> u8 {
        self.0.abs_diff(other.0)
    }
}

impl fmt::Display for Density {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}-{}", 1_u32 << self.0, 2_u32 << self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octaves_of_mean_pairs() {
        for (pairs, rows, class) in
            [(0, 0, 0), (5, 5, 0), (199, 100, 0), (200, 100, 1), (628, 100, 2), (840, 100, 3)]
        {
            assert_eq!(Density::of(pairs, rows).index(), class, "{pairs}/{rows}");
        }
        assert_eq!(Density::of(628, 100).to_string(), "4-8");
        // No kernel has as many offsets as that.
        assert_eq!(Density::of(usize::MAX, 1).to_string(), "32768-65536");
        assert_eq!(Density::try_from(16), Err(NoSuchDensity(16)));
    }
}
