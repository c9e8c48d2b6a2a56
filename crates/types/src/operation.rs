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

    /// Number of weights, `volume · c_in · c_out / groups`.
    #[must_use]
    pub const fn weight_len(&self) -> usize {
        self.kernel.volume() * self.c_in as usize * self.c_out as usize / self.groups as usize
    }

    /// Floating-point operations for this many pairs, a multiply-add counted as two. The same in
    /// every direction.
    #[must_use]
    pub const fn flops(&self, pairs: usize) -> u64 {
        2 * pairs as u64 * self.c_in as u64 * self.c_out as u64 / self.groups as u64
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} {}→{} k{}",
            self.direction, self.dtype, self.c_in, self.c_out, self.kernel
        )?;
        if self.stride != [1; 3] {
            let [x, y, z] = self.stride;
            write!(f, " s{x}x{y}x{z}")?;
        }
        if self.transposed {
            f.write_str(" transposed")?;
        }
        if self.groups != 1 {
            write!(f, " g{}", self.groups)?;
        }
        Ok(())
    }
}
