//! Finding the outputs of strided and transposed layers on the device.

use voxtune_types::{Geometry, Voxel};

use super::MAX_ROWS;
use super::counts::ReportPages;
use super::kernels::ROW_THREADS;
use super::search::SLOT_BYTES;
use super::{MapBuilder, check_cloud};
use crate::buffer::DeviceBuffer;
use crate::code::Compiled;
use crate::device::CudaDevice;
use crate::error::{CudaError, Result};
use crate::module::{Grid, Kernel, LoadedInstance, arguments};

/// Threads of `reached_scan`.
const SCAN_THREADS: u32 = 1024;
/// A byte that repeated makes an owner past every row.
const NO_OWNER: u8 = 0x7f;

/// Voxels on a device.
#[derive(Debug)]
pub struct Outputs {
    /// As many [`Voxel`]s as there are, from the start.
    pub coords: DeviceBuffer,
    /// How many there are.
    pub rows: usize,
}

/// `Reach` of the kernels: which outputs an input meets.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reach {
    low: [i32; 3],
    first: [i32; 3],
    last: [i32; 3],
    extent: [u8; 3],
    stride: [u8; 3],
    dilation: [u8; 3],
    up: u8,
    /// The size is a multiple of the alignment.
    unused: [u8; 2],
}

impl Reach {
    /// Within a shape, or anywhere. `None` where the shape has no cell.
    fn new(geometry: &Geometry, shape: Option<[u32; 3]>) -> Option<Self> {
        let Geometry { kernel, stride, dilation, .. } = *geometry;
        let (first, last) = match shape {
            None => ([i32::MIN; 3], [i32::MAX; 3]),
            Some(shape) if shape.contains(&0) => return None,
            Some(shape) => ([0; 3], shape.map(|size| i32::try_from(size - 1).unwrap_or(i32::MAX))),
        };
        Some(Self {
            low: geometry.low(),
            first,
            last,
            extent: kernel.extents(),
            stride,
            dilation,
            up: u8::from(geometry.kind.is_upsampling()),
            unused: [0; 2],
        })
    }
}

/// The most bricks of four cells along an axis that the outputs of an input lie in.
fn bricks_along(geometry: &Geometry, axis: usize) -> usize {
    let extent = usize::from(geometry.kernel.extents()[axis]);
    let span = (extent - 1) * usize::from(geometry.dilation[axis]) + 1;
    let cells = match geometry.kind.is_upsampling() {
        true => span,
        false => (span - 1) / usize::from(geometry.stride[axis]) + 1,
    };
    // Cells in a row begin anywhere in a brick.
    (1 + (cells - 1).div_ceil(4)).min(extent)
}

/// Finds outputs with the compiled [`crate::Instance::coordinates`].
#[derive(Debug)]
pub struct OutputsBuilder {
    device: CudaDevice,
    pages: ReportPages,
    insert: Kernel,
    count: Kernel,
    scan: Kernel,
    write: Kernel,
}

impl OutputsBuilder {
    /// Loads the kernels.
    ///
    /// # Errors
    /// If the cubin cannot be loaded.
    pub fn new(maps: &MapBuilder, compiled: &Compiled) -> Result<Self> {
        let device = maps.kernels.device.clone();
        let loaded = LoadedInstance::load(&device, compiled)?;
        Ok(Self {
            device,
            pages: maps.pages.clone(),
            insert: loaded.kernel("reached_insert")?,
            count: loaded.kernel("reached_count")?,
            scan: loaded.kernel("reached_scan")?,
            write: loaded.kernel("reached_write")?,
        })
    }

    /// The outputs of a layer over `n` voxels that are on the device, each once. Where outputs have a
    /// `shape`, those past it or below zero do not exist.
    ///
    /// Their order follows from that of the inputs alone: the same inputs have the same outputs, to
    /// the row. Waits once, for their number.
    ///
    /// # Errors
    /// [`CudaError::Geometry`]; [`CudaError::Length`] if the buffer is shorter than the voxels;
    /// [`CudaError::TooLarge`] past a billion rows; whatever the driver fails with.
    pub fn find(
        &self,
        coords: &DeviceBuffer,
        n: usize,
        geometry: &Geometry,
        shape: Option<[u32; 3]>,
    ) -> Result<Outputs> {
        geometry.check().map_err(CudaError::Geometry)?;
        check_cloud(coords, n)?;
        let none = || Ok(Outputs { coords: DeviceBuffer::alloc(&self.device, 0)?, rows: 0 });
        let Some(reach) = Reach::new(geometry, shape) else { return none() };
        if n == 0 {
            return none();
        }
        let bricks: usize = (0..3).map(|axis| bricks_along(geometry, axis)).product();
        // Slots for the worst case, at a load of four fifths.
        let capacity = n.saturating_mul(bricks).saturating_mul(5) / 4 + 32;
        let Ok(capacity) = u32::try_from(capacity) else {
            let (what, limit) = ("the number of bricks of outputs", u32::MAX as usize);
            return Err(CudaError::TooLarge { what, found: capacity, limit });
        };
        let slots_bytes = capacity as usize * SLOT_BYTES;
        let mut table = DeviceBuffer::alloc(&self.device, slots_bytes + capacity as usize * 4)?;
        let whole = 0..table.len_bytes();
        for (part, byte) in [(0..slots_bytes, 0), (slots_bytes..whole.end, NO_OWNER)] {
            table.as_mut().get(part).expect("the parts make up the table").fill(byte)?;
        }
        let grid = Grid::covering(n, ROW_THREADS)?;
        let blocks = n.div_ceil(ROW_THREADS as usize);
        let mut sums = DeviceBuffer::alloc(&self.device, (n + blocks) * 4)?;
        let report = self.pages.take()?;

        let (coords, rows) = (coords.as_ref().address(), n as i32);
        let slots = table.as_mut().address();
        let owners = slots + slots_bytes as u64;
        let totals = sums.as_mut().address();
        let begins = totals + n as u64 * 4;
        // SAFETY: (int4*, int, Reach, Slot*, u32, int*); `coords` holds n voxels, and there are more
        // slots than bricks of outputs, so probing ends.
        unsafe {
            let arguments = arguments![coords, rows, reach, slots, capacity, owners];
            self.insert.launch(grid, arguments)?;
        }
        // SAFETY: (int4*, int, Reach, Slot*, u32, int*, int*, int*); every brick is in the table, there
        // is a total for each row and a sum for each block.
        unsafe {
            self.count.launch(
                grid,
                arguments![coords, rows, reach, slots, capacity, owners, totals, begins],
            )?;
        }
        let scan = Grid { blocks: [1, 1], threads: SCAN_THREADS, shared_bytes: 0 };
        let (sums_count, report_at) = (blocks as i32, report.address());
        // SAFETY: (int*, int, int*); the report has more than two words.
        unsafe { self.scan.launch(scan, arguments![begins, sums_count, report_at])? };
        report.queued()?;

        let (_, counted) = report.wait(1)?;
        let found = counted[0];
        if found > MAX_ROWS {
            return Err(CudaError::TooLarge {
                what: "the number of outputs",
                found,
                limit: MAX_ROWS,
            });
        }
        let mut outputs = DeviceBuffer::alloc(&self.device, found * size_of::<Voxel>())?;
        let (outputs_at, room) = (outputs.as_mut().address(), found as i32);
        // SAFETY: (int4*, int, Reach, Slot*, u32, int*, int*, int*, int4*, int); as above, and the
        // outputs have the room that the kernel is told of.
        unsafe {
            self.write.launch(
                grid,
                arguments![
                    coords, rows, reach, slots, capacity, owners, totals, begins, outputs_at, room
                ],
            )?;
        }
        Ok(Outputs { coords: outputs, rows: found })
    }
}

#[cfg(test)]
mod tests {
    use voxtune_types::{KernelSize, LayerKind};

    use super::*;

    #[test]
    fn reach_is_as_the_kernels_read_it() {
        assert_eq!((size_of::<Reach>(), align_of::<Reach>()), (48, 4));
    }

    /// Counted over all places in a brick.
    #[test]
    fn no_input_reaches_more_bricks_than_there_are_slots_for() {
        for (extent, stride, dilation) in
            [(1, 1, 1), (2, 2, 1), (3, 2, 1), (3, 1, 1), (5, 1, 1), (7, 2, 3), (3, 2, 2), (5, 3, 9)]
        {
            let kernel = KernelSize::cubic(extent).unwrap();
            let down =
                Geometry { dilation: [dilation; 3], ..Geometry::strided(kernel, [stride; 3]) };
            for geometry in [down, down.with_kind(LayerKind::Transposed)] {
                let most = (0..64_i64).map(|at| {
                    let step = |r: i64| r * i64::from(dilation);
                    let cells = (0..i64::from(extent)).filter_map(|r| {
                        let stride = i64::from(stride);
                        match geometry.kind.is_upsampling() {
                            true => Some(at * stride + step(r)),
                            false => {
                                ((at - step(r)) % stride == 0).then_some((at - step(r)) / stride)
                            }
                        }
                    });
                    let mut bricks: Vec<i64> = cells.map(|cell| cell.div_euclid(4)).collect();
                    bricks.sort_unstable();
                    bricks.dedup();
                    bricks.len()
                });
                assert!(most.max().unwrap() <= bricks_along(&geometry, 0), "{geometry}");
            }
        }
    }
}
