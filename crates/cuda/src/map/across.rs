//! Rows of one cloud that gather rows of another.

use std::sync::Arc;

use voxtune_types::KernelSize;

use super::kernels::MapKernels;
use super::search::{Search, looping_grid};
use super::{MAX_VOLUME, mask_words};
use crate::buffer::DeviceBuffer;
use crate::code::Compiled;
use crate::device::CudaDevice;
use crate::error::Result;
use crate::module::{Kernel, LoadedInstance, arguments};

/// Every kernel of `strided_map.cu`.
#[derive(Debug)]
pub(super) struct AcrossKernels {
    pub(super) bases: Kernel,
    masks: Kernel,
    pub(super) table: Kernel,
    pub(super) pairs: Kernel,
}

impl AcrossKernels {
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
    low: [i8; 3],
    extent: [u8; 3],
    stride: [u8; 3],
    volume: u8,
    divided: u8,
}

impl Steps {
    /// From outputs to inputs: `o · stride + offset`. For a kernel of at most [`MAX_VOLUME`].
    pub(super) fn multiplied(kernel: KernelSize, stride: [u8; 3]) -> Self {
        let extent = kernel.extents();
        let low = extent.map(|extent| -((extent as i8 - 1) / 2));
        Self { low, extent, stride, volume: kernel.volume().min(MAX_VOLUME) as u8, divided: 0 }
    }

    /// The way back: `(i - offset) / stride`, where that is whole.
    pub(super) const fn divided(self) -> Self {
        Self { divided: 1, ..self }
    }

    pub(super) const fn volume(self) -> usize {
        self.volume as usize
    }
}

/// One direction between two clouds.
#[derive(Debug)]
pub(super) struct Across {
    pub(super) kernels: Arc<AcrossKernels>,
    /// The rows' own cloud.
    pub(super) own: Arc<Search>,
    /// The cloud that they gather from.
    pub(super) gathered: Arc<Search>,
    pub(super) steps: Steps,
}

impl Across {
    /// Addresses as the kernels take them: the gathered cloud's slots, their number and its ranks, then
    /// the own cloud's slots and places.
    pub(super) fn parts(&self) -> ((u64, u32, u64), (u64, u64)) {
        let (slots, capacity, _, ranks) = self.gathered.parts();
        let (own_slots, _, places, _) = self.own.parts();
        ((slots, capacity, ranks), (own_slots, places))
    }

    /// Masks of all rows; counts the own cloud's pairs. To be made once.
    pub(super) fn masks(&self, kernels: &MapKernels) -> Result<DeviceBuffer> {
        let (rows, words) = (self.own.rows(), mask_words(self.steps.volume()));
        let mut masks = DeviceBuffer::alloc(&kernels.device, rows * words * 4)?;
        if rows == 0 {
            return Ok(masks);
        }
        let ((slots, capacity, _), (own_slots, places)) = self.parts();
        let (n, words, steps) = (rows as i32, words as i32, self.steps);
        let (masks_at, counts) = (masks.as_mut().address(), self.own.counts());
        // SAFETY: (Slot*, u32, Slot*, uint2*, int, int, Steps, u32*, int*); every row has its place, and
        // there are as many counts as a kernel has offsets.
        unsafe {
            self.kernels.masks.launch(
                looping_grid(kernels, rows)?,
                arguments![slots, capacity, own_slots, places, n, words, steps, masks_at, counts],
            )?;
        }
        Ok(masks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The walk of the kernels along an axis, for each offset the cell gathered.
    fn walk(steps: Steps, axis: usize, own: i32) -> Vec<Option<i64>> {
        let (low, stride) = (i64::from(steps.low[axis]), i64::from(steps.stride[axis]));
        let from = i64::from(own) - low;
        let (mut at, mut wait, period, step) = match steps.divided {
            0 => (i64::from(own) * stride + low, 0, 1, 1),
            _ => (from.div_euclid(stride), from.rem_euclid(stride), stride, -1),
        };
        let mut cells = Vec::new();
        for _ in 0..steps.extent[axis] {
            cells.push((wait == 0).then_some(at));
            if wait == 0 {
                (at, wait) = (at + step, period);
            }
            wait -= 1;
        }
        cells
    }

    #[test]
    fn both_ways_meet_at_the_same_offsets() {
        for extents in [[1, 1, 1], [2, 3, 4], [5, 7, 3]] {
            for stride in [[1, 2, 3], [2, 2, 2], [5, 1, 255]] {
                let kernel = KernelSize::try_from(extents).unwrap();
                let steps = Steps::multiplied(kernel, stride);
                for axis in 0..3 {
                    for own in -12..12 {
                        for (offset, cell) in walk(steps.divided(), axis, own).iter().enumerate() {
                            let low = i64::from(steps.low[axis]);
                            let of_offset = i64::from(own) - low - offset as i64;
                            let stride = i64::from(steps.stride[axis]);
                            let whole = of_offset % stride == 0;
                            let expected = of_offset.div_euclid(stride);
                            assert_eq!(*cell, whole.then_some(expected));
                            let back = cell.map(|cell| walk(steps, axis, cell as i32)[offset]);
                            assert!(back.is_none_or(|back| back == Some(own.into())));
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn steps_are_as_the_kernels_read_them() {
        assert_eq!((size_of::<Steps>(), align_of::<Steps>()), (11, 1));
    }
}
