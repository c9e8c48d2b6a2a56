//! One cell of a sparse tensor.

use std::fmt;

/// Integer coordinates of an occupied cell. Order is by batch, then x, y, z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct Voxel {
    /// Index of the sample in its batch.
    pub batch: i32,
    /// Cells along the first axis; may be negative.
    pub x: i32,
    /// Cells along the second axis; may be negative.
    pub y: i32,
    /// Cells along the third axis; may be negative.
    pub z: i32,
}

impl Voxel {
    /// A voxel of a batch.
    #[must_use]
    pub const fn new(batch: i32, x: i32, y: i32, z: i32) -> Self {
        Self { batch, x, y, z }
    }

    /// The cell this far away in the same batch; `None` where a coordinate would overflow.
    #[must_use]
    pub fn checked_offset(self, [dx, dy, dz]: [i32; 3]) -> Option<Self> {
        Some(Self {
            batch: self.batch,
            x: self.x.checked_add(dx)?,
            y: self.y.checked_add(dy)?,
            z: self.z.checked_add(dz)?,
        })
    }
}

impl fmt::Display for Voxel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "(batch {}, x {}, y {}, z {})", self.batch, self.x, self.y, self.z)
    }
}
