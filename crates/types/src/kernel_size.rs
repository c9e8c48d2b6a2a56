//! Spatial extent of a kernel and the order of its offsets.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Extent of a kernel along x, y and z, each between 1 and 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "[u8; 3]", into = "[u8; 3]")]
pub struct KernelSize([u8; 3]);

/// A kernel extent that no layer can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KernelSizeError {
    /// Zero, or more than the families support.
    #[error("kernel size {0} is out of range: expected 1 to {max}", max = KernelSize::MAX_EXTENT)]
    OutOfRange(u32),
    /// Submanifold kernels are centred, so their extents are odd; more than 5 is not built.
    #[error("kernel size {0} does not fit a submanifold convolution: expected 1, 3 or 5")]
    NotSubmanifold(u32),
}

impl KernelSize {
    /// The largest extent along one axis.
    pub const MAX_EXTENT: u8 = 7;

    /// A cubic kernel of this extent along each axis.
    ///
    /// # Errors
    /// If the extent is not between 1 and [`Self::MAX_EXTENT`].
    pub fn cubic(extent: u32) -> Result<Self, KernelSizeError> {
        let narrow = u8::try_from(extent).map_err(|_| KernelSizeError::OutOfRange(extent))?;
        Self::try_from([narrow; 3])
    }

    /// A cubic kernel for a submanifold convolution: 1, 3 or 5.
    ///
    /// # Errors
    /// If the extent is anything else.
    pub fn submanifold(extent: u32) -> Result<Self, KernelSizeError> {
        match extent {
            1 | 3 | 5 => Self::cubic(extent),
            _ => Err(KernelSizeError::NotSubmanifold(extent)),
        }
    }

    /// Extents along x, y and z.
    #[must_use]
    pub const fn extents(self) -> [u8; 3] {
        self.0
    }

    /// Number of offsets, such as 27 for 3×3×3.
    #[must_use]
    pub const fn volume(self) -> usize {
        self.0[0] as usize * self.0[1] as usize * self.0[2] as usize
    }

    /// Whether every extent is odd, so that offset `volume - 1 - k` is the mirror image of `k`.
    #[must_use]
    pub const fn is_centred(self) -> bool {
        self.0[0] % 2 == 1 && self.0[1] % 2 == 1 && self.0[2] % 2 == 1
    }

    /// The offsets `(dx, dy, dz)` in the order of the weights: x slowest, z fastest, each from
    /// `-⌊(extent - 1) / 2⌋` up. Output row `o` meets the input row at `o + offset`.
    #[must_use]
    pub fn offsets(self) -> Vec<[i32; 3]> {
        let axis = |extent: u8| {
            let low = -((i32::from(extent) - 1) / 2);
            low..low + i32::from(extent)
        };
        let mut offsets = Vec::with_capacity(self.volume());
        for dx in axis(self.0[0]) {
            for dy in axis(self.0[1]) {
                for dz in axis(self.0[2]) {
                    offsets.push([dx, dy, dz]);
                }
            }
        }
        offsets
    }
}

impl TryFrom<[u8; 3]> for KernelSize {
    type Error = KernelSizeError;

    fn try_from(extents: [u8; 3]) -> Result<Self, Self::Error> {
        for extent in extents {
            if extent == 0 || extent > Self::MAX_EXTENT {
                return Err(KernelSizeError::OutOfRange(extent.into()));
            }
        }
        Ok(Self(extents))
    }
}

impl From<KernelSize> for [u8; 3] {
    fn from(kernel: KernelSize) -> Self {
        kernel.0
    }
}

impl fmt::Display for KernelSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [x, y, z] = self.0;
        if x == y && y == z { f.pad(&x.to_string()) } else { f.pad(&format!("{x}x{y}x{z}")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn centred_offsets_mirror() {
        for extent in [1, 3, 5] {
            let offsets = KernelSize::submanifold(extent).unwrap().offsets();
            for (k, offset) in offsets.iter().enumerate() {
                assert_eq!(offsets[offsets.len() - 1 - k], offset.map(|d| -d));
            }
        }
    }

    #[test]
    fn even_large_and_zero_extents_are_refused() {
        for extent in [0, 2, 4, 6, 7, 300] {
            assert!(KernelSize::submanifold(extent).is_err());
        }
        assert!(KernelSize::try_from([3, 0, 3]).is_err());
    }
}
