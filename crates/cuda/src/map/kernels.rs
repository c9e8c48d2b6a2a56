//! The kernels that build maps, loaded, and what their launches share.

use voxtune_types::KernelSize;

use super::MAX_VOLUME;
use crate::code::Compiled;
use crate::device::CudaDevice;
use crate::error::Result;
use crate::module::{Kernel, LoadedInstance};

/// Threads of kernels that take a row each.
pub(super) const ROW_THREADS: u32 = 256;
/// Threads of `map_table`.
pub(super) const TABLE_THREADS: u32 = 128;
/// Rows and threads of a block that counts or writes pairs.
pub(super) const PAIR_ROWS: u32 = 256;

/// A kernel for windows of 3×3×3 and one for all others.
#[derive(Debug)]
pub(super) struct ByWindow {
    near: Kernel,
    far: Kernel,
}

impl ByWindow {
    pub(super) fn of(&self, window: Window) -> &Kernel {
        if window.extent == [3; 3] && window.low == [-1; 3] { &self.near } else { &self.far }
    }
}

/// Every kernel of `kernel_map.cu`.
#[derive(Debug)]
pub(super) struct MapKernels {
    pub(super) device: CudaDevice,
    pub(super) insert: Kernel,
    pub(super) masks: ByWindow,
    pub(super) ranks: Kernel,
    pub(super) table: ByWindow,
    pub(super) pair_count: Kernel,
    pub(super) pair_scan: Kernel,
    pub(super) pair_lists: ByWindow,
    pub(super) order_segments: Kernel,
    pub(super) order_keys: Kernel,
    pub(super) order_pass: Kernel,
    pub(super) tile_plans: Kernel,
}

impl MapKernels {
    pub(super) fn new(device: &CudaDevice, compiled: &Compiled) -> Result<Self> {
        let loaded = LoadedInstance::load(device, compiled)?;
        let both = |near, far| -> Result<ByWindow> {
            Ok(ByWindow { near: loaded.kernel(near)?, far: loaded.kernel(far)? })
        };
        Ok(Self {
            device: device.clone(),
            insert: loaded.kernel("map_insert")?,
            masks: both("map_masks_3", "map_masks")?,
            ranks: loaded.kernel("map_ranks")?,
            table: both("map_table_3", "map_table")?,
            pair_count: loaded.kernel("pair_count")?,
            pair_scan: loaded.kernel("pair_scan")?,
            pair_lists: both("pair_lists_3", "pair_lists")?,
            order_segments: loaded.kernel("order_segments")?,
            order_keys: loaded.kernel("order_keys")?,
            order_pass: loaded.kernel("order_pass")?,
            tile_plans: loaded.kernel("tile_plans")?,
        })
    }
}

/// `Window` of the kernels: the box of offsets around a row.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    low: [i8; 3],
    extent: [u8; 3],
    volume: u8,
    flip: u8,
}

impl Window {
    /// The offsets of a kernel of at most [`MAX_VOLUME`].
    pub(super) fn new(kernel: KernelSize) -> Self {
        let extent = kernel.extents();
        let low = extent.map(|extent| -((extent as i8 - 1) / 2));
        Self { low, extent, volume: kernel.volume().min(MAX_VOLUME) as u8, flip: 0 }
    }

    /// The offsets from the input row's side: the same numbers, each negated.
    pub(super) fn reversed(self) -> Self {
        let low = std::array::from_fn(|axis| 1 - self.low[axis] - self.extent[axis] as i8);
        Self { low, flip: 1 - self.flip, ..self }
    }

    pub(super) const fn volume(self) -> usize {
        self.volume as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offsets(window: Window) -> Vec<[i32; 3]> {
        let axis = |axis: usize| {
            let low = i32::from(window.low[axis]);
            low..low + i32::from(window.extent[axis])
        };
        let mut offsets = Vec::new();
        for x in axis(0) {
            for y in axis(1) {
                offsets.extend(axis(2).map(|z| [x, y, z]));
            }
        }
        if window.flip == 1 {
            offsets.reverse();
        }
        offsets
    }

    #[test]
    fn windows_list_a_kernels_offsets_and_their_opposites() {
        for extents in [[1, 1, 1], [3, 3, 3], [5, 5, 5], [2, 3, 4], [7, 1, 2]] {
            let kernel = KernelSize::try_from(extents).unwrap();
            let window = Window::new(kernel);
            assert_eq!(offsets(window), kernel.offsets());
            let opposite: Vec<[i32; 3]> =
                kernel.offsets().into_iter().map(|offset| offset.map(|step| -step)).collect();
            assert_eq!(offsets(window.reversed()), opposite);
            assert_eq!(window.reversed().reversed(), window);
        }
    }
}
