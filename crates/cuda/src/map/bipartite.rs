//! Row maps between two clouds: rows of one gather rows of the other.

use std::sync::Arc;

use voxtune_types::Geometry;

use super::MAX_VOLUME;
use super::index::VoxelIndex;
use crate::code::Compiled;
use crate::device::CudaDevice;
use crate::error::Result;
use crate::module::{Kernel, LoadedInstance};

/// Every kernel of `strided_map.cu`.
#[derive(Debug)]
pub(super) struct BipartiteKernels {
    pub(super) bases: Kernel,
    pub(super) masks: Kernel,
    pub(super) table: Kernel,
    pub(super) pairs: Kernel,
}

impl BipartiteKernels {
    pub(super) fn new(device: &CudaDevice, compiled: &Compiled) -> Result<Self> {
        let loaded = LoadedInstance::load(device, compiled)?;
        Ok(Self {
            bases: loaded.kernel("map_bases")?,
            masks: loaded.kernel("across_masks")?,
            table: loaded.kernel("across_table")?,
            pairs: loaded.kernel("across_pairs")?,
        })
    }
}

/// `Steps` of the kernels: where a row's gathered rows lie in the other cloud.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Steps {
    low: [i32; 3],
    extent: [u8; 3],
    stride: [u8; 3],
    dilation: [u8; 3],
    volume: u8,
    divided: u8,
    /// The size is a multiple of the alignment.
    unused: u8,
}

impl Steps {
    /// From coarse cells to fine ones: `c · stride + offset`. For a kernel of at most
    /// [`MAX_VOLUME`].
    pub(super) fn multiplied(geometry: &Geometry) -> Self {
        let Geometry { kernel, stride, dilation, .. } = *geometry;
        let volume = kernel.volume().min(MAX_VOLUME) as u8;
        let (low, extent) = (geometry.low(), kernel.extents());
        Self { low, extent, stride, dilation, volume, divided: 0, unused: 0 }
    }

    /// The way back: `(f - offset) / stride`, where that is whole.
    pub(super) const fn divided(self) -> Self {
        Self { divided: 1, ..self }
    }

    pub(super) const fn volume(self) -> usize {
        self.volume as usize
    }
}

/// One direction of a map between two clouds.
#[derive(Debug)]
pub(super) struct Bipartite {
    pub(super) kernels: Arc<BipartiteKernels>,
    /// The rows' own voxels.
    pub(super) own: Arc<VoxelIndex>,
    /// The voxels that they gather from.
    pub(super) gathered: Arc<VoxelIndex>,
    pub(super) steps: Steps,
}

#[cfg(test)]
mod tests {
    use voxtune_types::KernelSize;

    use super::*;

    /// The walk of the kernels along an axis, for each offset the cell gathered.
    fn walk(steps: Steps, axis: usize, own: i32) -> Vec<Option<i64>> {
        let (low, stride) = (i64::from(steps.low[axis]), i64::from(steps.stride[axis]));
        let (from, dilation) = (i64::from(own) - low, i64::from(steps.dilation[axis]));
        let (mut at, mut rest, step, step_rest) = match steps.divided {
            0 => (i64::from(own) * stride + low, 0, dilation, 0),
            _ => {
                let (at, rest) = (from.div_euclid(stride), from.rem_euclid(stride));
                (at, rest, -(dilation / stride), dilation % stride)
            }
        };
        let mut cells = Vec::new();
        for _ in 0..steps.extent[axis] {
            cells.push((rest == 0).then_some(at));
            (at, rest) = (at + step, rest - step_rest);
            if rest < 0 {
                (at, rest) = (at - 1, rest + stride);
            }
        }
        cells
    }

    #[test]
    fn both_ways_meet_at_the_same_offsets() {
        for extents in [[1, 1, 1], [2, 3, 4], [5, 7, 3]] {
            for stride in [[1, 2, 3], [2, 2, 2], [5, 1, 255]] {
                for dilation in [[1, 1, 1], [2, 3, 5], [7, 2, 255]] {
                    let kernel = KernelSize::try_from(extents).unwrap();
                    let geometry = Geometry { dilation, ..Geometry::strided(kernel, stride) };
                    let steps = Steps::multiplied(&geometry);
                    for (axis, own) in (0..3).flat_map(|axis| (-12..12).map(move |own| (axis, own)))
                    {
                        assert_both_ways(steps, axis, own);
                    }
                }
            }
        }
    }

    fn assert_both_ways(steps: Steps, axis: usize, own: i32) {
        for (offset, cell) in walk(steps.divided(), axis, own).iter().enumerate() {
            let low = i64::from(steps.low[axis]);
            let step = offset as i64 * i64::from(steps.dilation[axis]);
            let of_offset = i64::from(own) - low - step;
            let stride = i64::from(steps.stride[axis]);
            let whole = of_offset % stride == 0;
            assert_eq!(*cell, whole.then_some(of_offset.div_euclid(stride)));
            let back = cell.map(|cell| walk(steps, axis, cell as i32)[offset]);
            assert!(back.is_none_or(|back| back == Some(own.into())));
        }
    }

    #[test]
    fn steps_are_as_the_kernels_read_them() {
        assert_eq!((size_of::<Steps>(), align_of::<Steps>()), (24, 4));
    }
}
