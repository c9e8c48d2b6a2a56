//! What a layer computes, apart from how many rows it meets.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::geometry::write_shape;
use crate::{DType, Direction, Geometry, KernelSize, LayerKind, PitchClass};

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
    /// Fine cells between neighbouring coarse ones along x, y and z.
    pub stride: [u8; 3],
    /// Which rows the layer makes.
    pub kind: LayerKind,
    /// How far apart the rows of its operands lie.
    pub pitch: PitchClass,
    /// Groups of channels that do not meet: output channel `o` of `c_out` reads the `c_in / groups`
    /// inputs of group `o / (c_out / groups)`. Weights are `(volume, c_in / groups, c_out)`.
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
        Self {
            direction,
            dtype,
            c_in,
            c_out,
            kernel,
            stride: [1; 3],
            kind: LayerKind::Submanifold,
            pitch: PitchClass::Dense,
            groups: 1,
        }
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
        let kind = LayerKind::Sparse;
        Self { stride, kind, ..Self::submanifold(direction, dtype, c_in, c_out, kernel) }
    }

    /// The operation of a layer of another kind.
    #[must_use]
    pub const fn with_kind(self, kind: LayerKind) -> Self {
        Self { kind, ..self }
    }

    /// Whether outputs lie where inputs do, and every row meets itself.
    #[must_use]
    pub const fn is_submanifold(&self) -> bool {
        matches!(self.kind, LayerKind::Submanifold)
    }

    /// The same layer with its channels in groups.
    #[must_use]
    pub const fn with_groups(self, groups: u32) -> Self {
        Self { groups, ..self }
    }

    /// Whether the channels of either side divide into the groups.
    #[must_use]
    pub const fn has_whole_groups(&self) -> bool {
        let Self { c_in, c_out, groups, .. } = *self;
        groups > 0 && c_in.is_multiple_of(groups) && c_out.is_multiple_of(groups)
    }

    /// Whether each channel has weights of its own and meets no other: as many groups as inputs and
    /// as outputs.
    #[must_use]
    pub const fn is_depthwise(&self) -> bool {
        self.groups == self.c_in && self.groups == self.c_out
    }

    /// Input and output channels of a group; none where there are no groups.
    #[must_use]
    pub const fn group_channels(&self) -> (u32, u32) {
        let Self { c_in, c_out, groups, .. } = *self;
        match (c_in.checked_div(groups), c_out.checked_div(groups)) {
            (Some(own_in), Some(own_out)) => (own_in, own_out),
            _ => (0, 0),
        }
    }

    /// Rows of the weights as a matrix of `c_out` columns: `volume · c_in / groups`. [`usize::MAX`]
    /// if they are more.
    #[must_use]
    pub const fn weight_rows(&self) -> usize {
        let (of_group, _) = self.group_channels();
        self.kernel.volume().saturating_mul(of_group as usize)
    }

    /// The same layer in another direction.
    #[must_use]
    pub const fn with_direction(self, direction: Direction) -> Self {
        Self { direction, ..self }
    }

    /// Whether a map of this geometry is one of the operation's layers. Padding and dilation are
    /// the map's alone.
    #[must_use]
    pub fn is_over(&self, geometry: &Geometry) -> bool {
        let Geometry { kind, kernel, stride, .. } = *geometry;
        (self.kind, self.kernel, self.stride) == (kind, kernel, stride)
    }

    /// A geometry of the operation's layers: the one whose windows are centred.
    #[must_use]
    pub fn typical_geometry(&self) -> Geometry {
        Geometry::centred(self.kind, self.kernel, self.stride)
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

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { direction, dtype, c_in, c_out, kernel, stride, kind, pitch, groups } = *self;
        write!(f, "{direction} {dtype} {c_in}→{c_out} ")?;
        write_shape(f, kernel, stride, kind)?;
        if groups != 1 {
            write!(f, " g{groups}")?;
        }
        if pitch == PitchClass::Dense { Ok(()) } else { f.write_str(" pitched") }
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
    fn weights_of_groups_are_rows_of_their_inputs() {
        let grouped = operation(32, 64, 3, 4);
        assert_eq!((grouped.group_channels(), grouped.weight_rows()), ((8, 16), 27 * 8));
        assert_eq!(grouped.weight_rows() * 64, grouped.weight_len());
        assert!(grouped.has_whole_groups() && !grouped.is_depthwise());
        assert!(operation(32, 32, 3, 32).is_depthwise());
        // Several outputs of each input.
        assert!(!operation(16, 32, 3, 16).is_depthwise());
        for broken in [operation(32, 64, 3, 0), operation(32, 63, 3, 2), operation(31, 64, 3, 2)] {
            assert!(!broken.has_whole_groups(), "{broken}");
        }
        assert_eq!(operation(8, 8, 3, 0).weight_rows(), 0);
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
    fn texts_name_what_is_no_submanifold_layers() {
        let op = operation(4, 8, 3, 1);
        assert_eq!(op.to_string(), "forward float32 4→8 k3");
        let strided = Operation { stride: [2, 1, 3], groups: 2, ..op };
        let inverse = strided.with_kind(LayerKind::Inverse);
        assert_eq!(inverse.to_string(), "forward float32 4→8 k3 s2x1x3 inverse g2");
        let sparse = strided.with_kind(LayerKind::Sparse);
        assert_eq!(sparse.to_string(), "forward float32 4→8 k3 s2x1x3 g2");
        let pitched = Operation { pitch: PitchClass::Pitched, ..op };
        assert_eq!(pitched.to_string(), "forward float32 4→8 k3 pitched");
    }

    #[test]
    fn a_typical_geometry_is_the_operations() {
        for kind in LayerKind::ALL {
            let op = operation(4, 8, 3, 1).with_kind(kind);
            assert!(op.is_over(&op.typical_geometry()), "{kind}");
            for other in LayerKind::ALL {
                let geometry = op.typical_geometry().with_kind(other);
                assert_eq!(op.is_over(&geometry), kind == other, "{kind} over {other}");
            }
        }
    }
}
