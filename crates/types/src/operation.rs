//! What a layer computes, apart from how many rows it meets.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{DType, Direction, KernelSize};

/// One direction of one layer: everything that decides which algorithms are applicable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operation {
    /// Which product is computed.
    pub direction: Direction,
    /// Storage type of features, weights and their gradients.
    pub dtype: DType,
    /// Input channels of the layer, in every direction.
    pub c_in: u32,
    /// Output channels of the layer, in every direction.
    pub c_out: u32,
    /// Spatial extent of the weights.
    pub kernel: KernelSize,
    /// Step between output cells along x, y and z.
    pub stride: [u8; 3],
    /// Whether the layer undoes a strided one, of this stride.
    pub transposed: bool,
    /// Channel groups.
    pub groups: u32,
}

impl Operation {
    /// A submanifold convolution: stride 1, outputs where inputs are, one group.
    #[must_use]
    pub const fn submanifold(
        direction: Direction,
        dtype: DType,
        c_in: u32,
        c_out: u32,
        kernel: KernelSize,
    ) -> Self {
        Self { direction, dtype, c_in, c_out, kernel, stride: [1; 3], transposed: false, groups: 1 }
    }

    /// A strided convolution: output `o` covers the inputs at `o · stride + offset`. One group.
    #[must_use]
    pub const fn strided(
        direction: Direction,
        dtype: DType,
        c_in: u32,
        c_out: u32,
        kernel: KernelSize,
        stride: [u8; 3],
    ) -> Self {
        Self { stride, ..Self::submanifold(direction, dtype, c_in, c_out, kernel) }
    }

    /// The layer that undoes a strided one: its inputs lie where that one's outputs do.
    #[must_use]
    pub const fn into_transposed(self) -> Self {
        Self { transposed: true, ..self }
    }

    /// Whether outputs may lie just where inputs do, and every row meets itself: stride 1, not
    /// transposed.
    #[must_use]
    pub const fn is_submanifold(&self) -> bool {
        matches!(self.stride, [1, 1, 1]) && !self.transposed
    }

    /// The same layer in another direction.
    #[must_use]
    pub const fn with_direction(self, direction: Direction) -> Self {
        Self { direction, ..self }
    }

    /// Where rows of the layer meet, in every direction.
    #[must_use]
    pub const fn geometry(&self) -> Geometry {
        Geometry { kernel: self.kernel, stride: self.stride, transposed: self.transposed }
    }

    /// Number of weights, `volume · c_in · c_out / groups`; [`usize::MAX`], which no slice has,
    /// where [`Self::checked_weight_len`] has no answer.
    #[must_use]
    pub const fn weight_len(&self) -> usize {
        match self.checked_weight_len() {
            Some(len) => len,
            None => usize::MAX,
        }
    }

    /// Number of weights; `None` where there are no groups, or a float32 gradient of so many
    /// weights takes more bytes than an allocation can have.
    #[must_use]
    pub const fn checked_weight_len(&self) -> Option<usize> {
        // Extents are at most 7, so the product fits.
        let all = self.kernel.volume() as u128 * self.c_in as u128 * self.c_out as u128;
        let most = isize::MAX as u128 / DType::Float32.bytes() as u128;
        match all.checked_div(self.groups as u128) {
            Some(len) if len <= most => Some(len as usize),
            _ => None,
        }
    }

    /// Floating-point operations for this many pairs, a multiply-add counted as two. The same in
    /// every direction. [`u64::MAX`] if they are more.
    #[must_use]
    pub const fn flops(&self, pairs: usize) -> u64 {
        let of_channels = self.c_in as u128 * self.c_out as u128;
        let all = of_channels.saturating_mul(2 * pairs as u128);
        let groups = if self.groups == 0 { 1 } else { self.groups };
        let flops = all / groups as u128;
        if flops > u64::MAX as u128 { u64::MAX } else { flops as u64 }
    }
}

/// Where rows of a layer meet: what its kernel map is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Geometry {
    /// Spatial extent of the weights.
    pub kernel: KernelSize,
    /// Step between output cells along x, y and z.
    pub stride: [u8; 3],
    /// Whether the layer undoes a strided one, of this stride.
    pub transposed: bool,
}

impl Geometry {
    /// That of submanifold layers, and of layers of stride 1 between two clouds.
    #[must_use]
    pub const fn of_stride_one(kernel: KernelSize) -> Self {
        Self { kernel, stride: [1; 3], transposed: false }
    }
}

impl fmt::Display for Geometry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "k{}", self.kernel)?;
        if self.stride != [1; 3] {
            let [x, y, z] = self.stride;
            write!(f, " s{x}x{y}x{z}")?;
        }
        if self.transposed { f.write_str(" transposed") } else { Ok(()) }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { direction, dtype, c_in, c_out, groups, .. } = self;
        write!(f, "{direction} {dtype} {c_in}→{c_out} {}", self.geometry())?;
        if *groups == 1 { Ok(()) } else { write!(f, " g{groups}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(c_in: u32, c_out: u32, extent: u32, groups: u32) -> Operation {
        let kernel = KernelSize::cubic(extent).unwrap();
        let op = Operation::submanifold(Direction::Forward, DType::Float32, c_in, c_out, kernel);
        Operation { groups, ..op }
    }

    #[test]
    fn n07_weights_are_counted_without_wrapping() {
        assert_eq!(operation(32, 64, 3, 1).checked_weight_len(), Some(27 * 32 * 64));
        assert_eq!(operation(32, 64, 3, 2).checked_weight_len(), Some(27 * 32 * 32));
        for absurd in [
            operation(1 << 31, 1 << 31, 2, 1),
            operation(1 << 29, 1 << 29, 4, 1),
            operation(u32::MAX, u32::MAX, 7, 1),
            operation(8, 8, 3, 0),
        ] {
            assert_eq!(absurd.checked_weight_len(), None, "{absurd}");
            assert_eq!(absurd.weight_len(), usize::MAX, "{absurd}");
        }
        assert_eq!(operation(u32::MAX, u32::MAX, 1, u32::MAX).weight_len(), u32::MAX as usize);
    }

    #[test]
    fn n07_flops_saturate() {
        assert_eq!(operation(32, 64, 3, 1).flops(10), 2 * 10 * 32 * 64);
        // Beyond 64 bits, and beyond 128, whose lowest 64 are all ones.
        for pairs in [1 << 40, usize::MAX] {
            assert_eq!(operation(u32::MAX, u32::MAX, 3, 1).flops(pairs), u64::MAX);
        }
        assert_eq!(operation(8, 8, 3, 0).flops(1), 128);
    }

    #[test]
    fn geometry_is_the_end_of_an_operations_text() {
        let op = operation(4, 8, 3, 1);
        assert_eq!(op.to_string(), "forward float32 4→8 k3");
        let strided = Operation { stride: [2, 1, 3], groups: 2, ..op }.into_transposed();
        assert_eq!(strided.to_string(), "forward float32 4→8 k3 s2x1x3 transposed g2");
        assert_eq!(strided.geometry().to_string(), "k3 s2x1x3 transposed");
    }
}
