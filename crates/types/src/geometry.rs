//! Where the rows of a layer meet.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{KernelSize, LayerKind};

/// Everything that a kernel map follows from but the voxels.
///
/// Fine cell `f` and coarse cell `c` meet at offset `r` of the kernel, from 0 to extent − 1 along
/// each axis, where `f = c · stride − padding + r · dilation`. Inputs are the fine cells, but of
/// [upsampling](LayerKind::is_upsampling) layers, whose inputs are the coarse ones. This is the
/// rule of spconv 2 (`spconv/csrc/sparse/indices.py`) and of dense convolutions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Geometry {
    /// Which rows there are.
    pub kind: LayerKind,
    /// Spatial extent of the weights.
    pub kernel: KernelSize,
    /// Fine cells between neighbouring coarse ones along x, y and z; 1 of submanifold layers.
    pub stride: [u8; 3],
    /// Fine cells by which a window begins before its coarse cell's; behind it if negative.
    pub padding: [i16; 3],
    /// Fine cells between neighbouring offsets.
    pub dilation: [u8; 3],
    /// Fine cells that the shape of a transposed layer's outputs has more.
    pub output_padding: [u8; 3],
}

/// A geometry that no layer can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GeometryError {
    /// Outputs have to be some way apart.
    #[error("stride {0:?} is not one: expected at least 1 along each axis")]
    ZeroStride([u8; 3]),
    /// Offsets have to be some way apart.
    #[error("dilation {0:?} is not one: expected at least 1 along each axis")]
    ZeroDilation([u8; 3]),
    /// Submanifold kernels are centred.
    #[error(
        "kernel size {0} has no centre: a submanifold convolution needs odd extents, such as 1, 3 \
         or 5; even ones are those of strided layers"
    )]
    NotCentred(KernelSize),
}

impl Geometry {
    /// That of a submanifold layer: the window is centred, whatever padding a checkpoint names.
    #[must_use]
    pub fn submanifold(kernel: KernelSize, dilation: [u8; 3]) -> Self {
        let extents = kernel.extents();
        let padding =
            std::array::from_fn(|axis| i16::from(extents[axis] / 2) * i16::from(dilation[axis]));
        Self {
            kind: LayerKind::Submanifold,
            kernel,
            stride: [1; 3],
            padding,
            dilation,
            output_padding: [0; 3],
        }
    }

    /// That of a strided layer with the padding `⌊(extent − 1) / 2⌋`, by which windows of odd
    /// extents are centred.
    #[must_use]
    pub fn strided(kernel: KernelSize, stride: [u8; 3]) -> Self {
        let padding = kernel.extents().map(|extent| i16::from((extent - 1) / 2));
        Self {
            kind: LayerKind::Sparse,
            kernel,
            stride,
            padding,
            dilation: [1; 3],
            output_padding: [0; 3],
        }
    }

    /// That of a layer of any kind whose windows are centred and not dilated.
    #[must_use]
    pub fn centred(kind: LayerKind, kernel: KernelSize, stride: [u8; 3]) -> Self {
        match kind {
            LayerKind::Submanifold => Self::submanifold(kernel, [1; 3]),
            kind => Self::strided(kernel, stride).with_kind(kind),
        }
    }

    /// The same meetings as those of a layer of another kind.
    #[must_use]
    pub const fn with_kind(self, kind: LayerKind) -> Self {
        Self { kind, ..self }
    }

    /// Refuses what no layer can have.
    ///
    /// # Errors
    /// If a stride or a dilation is zero, or a submanifold kernel has no centre.
    pub fn check(&self) -> Result<(), GeometryError> {
        if self.stride.contains(&0) {
            return Err(GeometryError::ZeroStride(self.stride));
        }
        if self.dilation.contains(&0) {
            return Err(GeometryError::ZeroDilation(self.dilation));
        }
        if self.kind == LayerKind::Submanifold && !self.kernel.is_centred() {
            return Err(GeometryError::NotCentred(self.kernel));
        }
        Ok(())
    }

    /// The step from a coarse cell's first fine cell, `c · stride`, to the cell of the first
    /// offset.
    #[must_use]
    pub fn low(&self) -> [i32; 3] {
        self.padding.map(|padding| -i32::from(padding))
    }

    /// The steps `r · dilation − padding` in the order of the weights: x slowest, z fastest.
    #[must_use]
    pub fn offsets(&self) -> Vec<[i32; 3]> {
        let (low, extents) = (self.low(), self.kernel.extents());
        let steps = |axis: usize| {
            let (low, dilation) = (low[axis], i32::from(self.dilation[axis]));
            (0..i32::from(extents[axis])).map(move |r| low + r * dilation)
        };
        let mut offsets = Vec::with_capacity(self.kernel.volume());
        for dx in steps(0) {
            for dy in steps(1) {
                offsets.extend(steps(2).map(|dz| [dx, dy, dz]));
            }
        }
        offsets
    }

    /// Writes what acts on the map alone and is not as in most layers: padding, dilation and output
    /// padding, such as ` p0x1x1 d2x2x2`.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write_meetings(&self, f: &mut impl fmt::Write) -> fmt::Result {
        let Self { kind, kernel, stride, padding, dilation, output_padding } = *self;
        let usual = match kind {
            LayerKind::Submanifold => Self::submanifold(kernel, dilation).padding,
            _ => Self::strided(kernel, stride).padding,
        };
        if padding != usual {
            let [x, y, z] = padding;
            write!(f, " p{x}x{y}x{z}")?;
        }
        if dilation != [1; 3] {
            let [x, y, z] = dilation;
            write!(f, " d{x}x{y}x{z}")?;
        }
        if output_padding != [0; 3] {
            let [x, y, z] = output_padding;
            write!(f, " o{x}x{y}x{z}")?;
        }
        Ok(())
    }

    /// The longest step along each axis.
    #[must_use]
    pub fn reach(&self) -> [i32; 3] {
        let (low, extents) = (self.low(), self.kernel.extents());
        std::array::from_fn(|axis| {
            let last = (i32::from(extents[axis]) - 1) * i32::from(self.dilation[axis]);
            low[axis].abs().max((low[axis] + last).abs())
        })
    }

    /// The extent of a layer's outputs, given that of its inputs: outputs at or past it, and below
    /// zero, do not exist. As spconv computes it (`spconv/pytorch/ops.py`, `get_conv_output_size`
    /// and `get_deconv_output_size`); an axis of which nothing is left has extent 0.
    #[must_use]
    pub fn output_shape(&self, shape: [u32; 3]) -> [u32; 3] {
        let extents = self.kernel.extents();
        std::array::from_fn(|axis| {
            let (size, extent) = (i64::from(shape[axis]), i64::from(extents[axis]));
            let (stride, padding) = (i64::from(self.stride[axis]), i64::from(self.padding[axis]));
            let span = i64::from(self.dilation[axis]) * (extent - 1) + 1;
            let found = match self.kind {
                LayerKind::Submanifold | LayerKind::Given => size,
                LayerKind::Sparse => (size + 2 * padding - span).div_euclid(stride.max(1)) + 1,
                LayerKind::Inverse | LayerKind::Transposed => {
                    let more = i64::from(self.output_padding[axis]);
                    (size - 1) * stride - 2 * padding + extent + more
                }
            };
            u32::try_from(found.max(0)).unwrap_or(u32::MAX)
        })
    }
}

impl fmt::Display for Geometry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_shape(f, self.kernel, self.stride, self.kind)?;
        self.write_meetings(f)
    }
}

/// Kernel, stride and kind, as far as they are not those of a submanifold layer or follow from
/// each other.
pub(crate) fn write_shape(
    f: &mut fmt::Formatter<'_>,
    kernel: KernelSize,
    stride: [u8; 3],
    kind: LayerKind,
) -> fmt::Result {
    write!(f, "k{kernel}")?;
    if stride != [1; 3] {
        let [x, y, z] = stride;
        write!(f, " s{x}x{y}x{z}")?;
    }
    match kind {
        LayerKind::Submanifold => Ok(()),
        // A stride says that a layer is no submanifold one.
        LayerKind::Sparse if stride != [1; 3] => Ok(()),
        other => write!(f, " {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(extents: [u8; 3]) -> KernelSize {
        KernelSize::try_from(extents).unwrap()
    }

    #[test]
    fn the_usual_offsets_are_those_of_the_kernel() {
        for extents in [[1, 1, 1], [3, 3, 3], [2, 3, 4], [5, 1, 7]] {
            let kernel = kernel(extents);
            assert_eq!(Geometry::strided(kernel, [2; 3]).offsets(), kernel.offsets());
        }
        let centred = kernel([3, 5, 1]);
        assert_eq!(Geometry::submanifold(centred, [1; 3]).offsets(), centred.offsets());
        let doubled: Vec<[i32; 3]> =
            centred.offsets().into_iter().map(|offset| offset.map(|step| 2 * step)).collect();
        assert_eq!(Geometry::submanifold(centred, [2; 3]).offsets(), doubled);
    }

    /// Levels of the networks whose shapes their papers and configurations name.
    #[test]
    fn shapes_are_those_of_known_networks() {
        let half = Geometry { padding: [1; 3], ..Geometry::strided(kernel([3; 3]), [2; 3]) };
        assert_eq!(half.output_shape([41, 1440, 1440]), [21, 720, 720]);
        let conv4 = Geometry { padding: [0, 1, 1], ..half };
        assert_eq!(conv4.output_shape([11, 360, 360]), [5, 180, 180]);
        let last = Geometry { padding: [0; 3], ..Geometry::strided(kernel([3, 1, 1]), [2, 1, 1]) };
        assert_eq!(last.output_shape([5, 180, 180]), [2, 180, 180]);
        let up = Geometry { padding: [0; 3], ..Geometry::strided(kernel([2; 3]), [2; 3]) }
            .with_kind(LayerKind::Transposed);
        assert_eq!(up.output_shape([11, 16, 14]), [22, 32, 28]);
        let wide = Geometry { dilation: [2; 3], ..half };
        assert_eq!(wide.output_shape([11, 16, 14]), [5, 7, 6]);
        assert_eq!(last.output_shape([2, 5, 5]), [0, 5, 5]);
    }

    #[test]
    fn texts_name_what_is_unusual() {
        let down = Geometry::strided(kernel([3; 3]), [2; 3]);
        assert_eq!(down.to_string(), "k3 s2x2x2");
        let odd = Geometry { padding: [0, 1, 1], dilation: [2, 1, 1], ..down };
        assert_eq!(odd.to_string(), "k3 s2x2x2 p0x1x1 d2x1x1");
        assert_eq!(Geometry::submanifold(kernel([3; 3]), [1; 3]).to_string(), "k3");
        assert_eq!(Geometry::strided(kernel([3; 3]), [1; 3]).to_string(), "k3 sparse");
        assert_eq!(down.with_kind(LayerKind::Inverse).to_string(), "k3 s2x2x2 inverse");
        let up = Geometry { output_padding: [0, 0, 1], ..down }.with_kind(LayerKind::Transposed);
        assert_eq!(up.to_string(), "k3 s2x2x2 transposed o0x0x1");
    }

    #[test]
    fn what_no_layer_can_have_is_refused() {
        let down = Geometry::strided(kernel([3; 3]), [2, 0, 2]);
        assert_eq!(down.check(), Err(GeometryError::ZeroStride([2, 0, 2])));
        let even = Geometry::submanifold(kernel([2; 3]), [1; 3]);
        assert_eq!(even.check(), Err(GeometryError::NotCentred(kernel([2; 3]))));
        let still = Geometry::submanifold(kernel([3; 3]), [0, 1, 1]);
        assert_eq!(still.check(), Err(GeometryError::ZeroDilation([0, 1, 1])));
    }
}
