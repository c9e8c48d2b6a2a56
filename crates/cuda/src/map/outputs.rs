//! Finding the outputs of strided and transposed layers on the device.

use voxtune_types::{Geometry, Voxel};

use super::MAX_ROWS;
use super::counts::{Report, ReportPages};
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
/// A byte that repeated makes an owner past every key.
const NO_OWNER: u8 = 0x7f;
const MOST_KEYS: usize = 0x7f7f_7f7f;
/// How often a larger table is tried. Tables are twice as large as bricks are many from the second on, so
/// it is the last in all likelihood.
const TRIES: u32 = 4;

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
    /// That the outputs of an input lie in at most.
    bricks_of_a_row: i32,
    /// The same along y and z.
    bricks: [u16; 2],
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
        // Extents are below 8 and dilations below 256, so none leaves 16 bits.
        let bricks: [usize; 3] = std::array::from_fn(|axis| bricks_along(geometry, axis));
        let of_a_row: usize = bricks.iter().product();
        Some(Self {
            low: geometry.low(),
            first,
            last,
            extent: kernel.extents(),
            stride,
            dilation,
            up: u8::from(geometry.kind.is_upsampling()),
            bricks: [bricks[1] as u16, bricks[2] as u16],
            bricks_of_a_row: i32::try_from(of_a_row).unwrap_or(i32::MAX),
            unused: [0; 2],
        })
    }
}

/// The most bricks of four cells along an axis from the first to the last that the outputs of an input
/// lie in.
fn bricks_along(geometry: &Geometry, axis: usize) -> usize {
    let extent = usize::from(geometry.kernel.extents()[axis]);
    let span = (extent - 1) * usize::from(geometry.dilation[axis]) + 1;
    let cells = match geometry.kind.is_upsampling() {
        true => span,
        false => (span - 1) / usize::from(geometry.stride[axis]) + 1,
    };
    // Cells in a row begin anywhere in a brick.
    1 + (cells - 1).div_ceil(4)
}

/// Finds outputs with the compiled [`crate::Instance::coordinates`].
#[derive(Debug)]
pub struct OutputsBuilder {
    device: CudaDevice,
    pages: ReportPages,
    insert: Kernel,
    count: Kernel,
    sums: Kernel,
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
            sums: loaded.kernel("reached_sums")?,
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
        let keys = n.saturating_mul(reach.bricks_of_a_row as usize);
        if keys >= MOST_KEYS {
            let (what, limit) = ("the number of bricks of outputs", MOST_KEYS);
            return Err(CudaError::TooLarge { what, found: keys, limit });
        }
        // Scans have a brick for some four rows; rows far apart one or two.
        let mut capacity = 2 * n + 64;
        for _ in 0..TRIES {
            let attempt = self.attempt(coords, n, &reach, capacity)?;
            let (full, counted) = attempt.report.wait(1)?;
            if full {
                capacity = (2 * keys + 64).max(2 * capacity);
                continue;
            }
            return self.write(&attempt, counted[0]);
        }
        let (what, limit) = ("the size of a table of outputs", capacity / 2);
        Err(CudaError::TooLarge { what, found: capacity, limit })
    }

    /// Queues everything up to the number of outputs, with a table of so many slots.
    fn attempt(
        &self,
        coords: &DeviceBuffer,
        n: usize,
        reach: &Reach,
        capacity: usize,
    ) -> Result<Attempt> {
        let keys = n * reach.bricks_of_a_row as usize;
        let blocks = keys.div_ceil(ROW_THREADS as usize);
        let Ok(slot_count) = u32::try_from(capacity) else {
            let (what, limit) = ("the size of a table of outputs", u32::MAX as usize);
            return Err(CudaError::TooLarge { what, found: capacity, limit });
        };
        let layout = Layout { capacity, keys, blocks };
        let mut buffer = DeviceBuffer::alloc(&self.device, layout.len_bytes())?;
        for (part, byte) in [
            (0..layout.owners(), 0),
            (layout.owners()..layout.totals(), NO_OWNER),
            (layout.totals()..layout.blocks(), 0),
        ] {
            buffer.as_mut().get(part).expect("parts lie in the buffer").fill(byte)?;
        }
        let report = self.pages.take()?;
        let slots = buffer.as_mut().address();
        let [owners, totals, full, blocks_at] =
            [layout.owners(), layout.totals(), layout.full(), layout.blocks()]
                .map(|at| slots + at as u64);
        let (coords, rows, reach) = (coords.as_ref().address(), n as i32, *reach);
        // SAFETY: (int4*, int, Reach, Slot*, u32, int*, int*); `coords` holds n voxels, slots and
        // owners are as many as the kernel is told, and it probes a bounded number of them.
        unsafe {
            self.insert.launch(
                Grid::covering(n, ROW_THREADS)?,
                arguments![coords, rows, reach, slots, slot_count, owners, full],
            )?;
        }
        // SAFETY: (Slot*, u32, int*, int*); the owner of a brick is a key, each of which has a total.
        unsafe {
            self.count.launch(
                Grid::covering(capacity, ROW_THREADS)?,
                arguments![slots, slot_count, owners, totals],
            )?;
        }
        let (key_count, block_count) = (keys as i32, blocks as i32);
        // SAFETY: (int*, int, int*); there are as many totals, and a sum for each block.
        unsafe {
            let grid = Grid::covering(keys, ROW_THREADS)?;
            self.sums.launch(grid, arguments![totals, key_count, blocks_at])?;
        }
        let scan = Grid { blocks: [1, 1], threads: SCAN_THREADS, shared_bytes: 0 };
        let report_at = report.address();
        // SAFETY: (int*, int, int*, int*); there are as many sums, and the report has more than two
        // words.
        unsafe { self.scan.launch(scan, arguments![blocks_at, block_count, full, report_at])? };
        report.queued()?;
        Ok(Attempt { layout, buffer, report })
    }

    /// Queues the writing of so many outputs.
    fn write(&self, attempt: &Attempt, found: usize) -> Result<Outputs> {
        if found > MAX_ROWS {
            return Err(CudaError::TooLarge {
                what: "the number of outputs",
                found,
                limit: MAX_ROWS,
            });
        }
        let Attempt { layout, buffer, .. } = attempt;
        let mut outputs = DeviceBuffer::alloc(&self.device, found * size_of::<Voxel>())?;
        let slots = buffer.as_ref().address();
        let [owners, totals, blocks] =
            [layout.owners(), layout.totals(), layout.blocks()].map(|at| slots + at as u64);
        let (outputs_at, room, slot_count) =
            (outputs.as_mut().address(), found as i32, layout.capacity as u32);
        // SAFETY: (Slot*, u32, int*, int*, int*, int4*, int); as above, and the outputs have the room
        // that the kernel is told of.
        unsafe {
            self.write.launch(
                Grid::covering(layout.capacity, ROW_THREADS)?,
                arguments![slots, slot_count, owners, totals, blocks, outputs_at, room],
            )?;
        }
        Ok(Outputs { coords: outputs, rows: found })
    }
}

/// What finding outputs works with, and where its parts begin: slots, owners, totals with a word that
/// says whether the table was full, and sums of blocks.
struct Layout {
    capacity: usize,
    keys: usize,
    blocks: usize,
}

impl Layout {
    const fn owners(&self) -> usize {
        self.capacity * SLOT_BYTES
    }

    const fn totals(&self) -> usize {
        self.owners() + self.capacity * 4
    }

    const fn full(&self) -> usize {
        self.totals() + self.keys * 4
    }

    const fn blocks(&self) -> usize {
        self.full() + 4
    }

    const fn len_bytes(&self) -> usize {
        self.blocks() + self.blocks * 4
    }
}

/// A table with its outputs counted.
struct Attempt {
    layout: Layout,
    buffer: DeviceBuffer,
    report: Report,
}

#[cfg(test)]
mod tests {
    use voxtune_types::{KernelSize, LayerKind};

    use super::*;

    #[test]
    fn reach_is_as_the_kernels_read_it() {
        assert_eq!((size_of::<Reach>(), align_of::<Reach>()), (56, 4));
    }

    /// Counted over all places in a brick.
    #[test]
    fn no_input_reaches_more_bricks_than_there_are_keys_for() {
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
                    let bricks: Vec<i64> = cells.map(|cell| cell.div_euclid(4)).collect();
                    let ends = bricks.iter().max().zip(bricks.iter().min());
                    ends.map_or(0, |(last, first)| (last - first + 1) as usize)
                });
                assert!(most.max().unwrap() <= bricks_along(&geometry, 0), "{geometry}");
            }
        }
    }
}
