//! Outputs by the rows that reach them: of layers of any geometry.

use std::sync::Arc;

use voxtune_types::{Geometry, Voxel};

use super::{Outputs, OutputsReport, check_rows, with_table};
use crate::buffer::DeviceBuffer;
use crate::code::Compiled;
use crate::device::CudaDevice;
use crate::error::{CudaError, Result};
use crate::map::cloud::Cloud;
use crate::map::counts::{Report, ReportPages};
use crate::map::index::{SLOT_BYTES, VoxelIndex, by_row_bytes, ranks_at};
use crate::map::kernels::ROW_THREADS;
use crate::map::{MAX_ROWS, MapBuilder};
use crate::module::{Grid, Kernel, LoadedInstance, arguments};

/// Threads of `reached_scan`.
const SCAN_THREADS: u32 = 1024;
/// A byte that repeated makes an owner past every key.
const NO_OWNER: u8 = 0x7f;
const MOST_KEYS: usize = 0x7f7f_7f7f;
/// `Tally` of the kernels.
const TALLY_BYTES: usize = 40;

/// `Reach` of the kernels: which outputs an input meets.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reach {
    low: [i32; 3],
    first: [i32; 3],
    last: [i32; 3],
    /// Most bricks that the outputs of an input lie in.
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
    /// Within a shape that has cells, or anywhere.
    fn new(geometry: &Geometry, shape: Option<[u32; 3]>) -> Self {
        let Geometry { kernel, stride, dilation, .. } = *geometry;
        let (first, last) = match shape {
            None => ([i32::MIN; 3], [i32::MAX; 3]),
            Some(shape) => {
                let last = |size: u32| i32::try_from(i64::from(size) - 1).unwrap_or(i32::MAX);
                ([0; 3], shape.map(last))
            }
        };
        // Extents are below 8 and dilations below 256, so none leaves 16 bits.
        let bricks: [usize; 3] = std::array::from_fn(|axis| bricks_along(geometry, axis));
        let of_a_row: usize = bricks.iter().product();
        Self {
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
        }
    }

    /// Bricks that inputs could reach, each with a key of its own.
    fn keys(&self, cloud: Cloud<'_>) -> Result<usize> {
        let keys = cloud.capacity().saturating_mul(self.bricks_of_a_row as usize);
        if keys >= MOST_KEYS {
            let (what, limit) = ("the number of bricks of outputs", MOST_KEYS);
            return Err(CudaError::TooLarge { what, found: keys, limit });
        }
        Ok(keys)
    }
}

/// The most bricks of four cells along an axis from the first to the last that the outputs of an
/// input lie in.
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

/// The kernels of `coordinates.cu`.
#[derive(Debug)]
pub(super) struct ByRows {
    device: CudaDevice,
    pages: ReportPages,
    insert: Kernel,
    count: Kernel,
    sums: Kernel,
    scan: Kernel,
    write: Kernel,
}

impl ByRows {
    pub(super) fn new(maps: &MapBuilder, compiled: &Compiled) -> Result<Self> {
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

    /// All outputs. Waits for their number.
    pub(super) fn find(
        &self,
        cloud: Cloud<'_>,
        geometry: &Geometry,
        shape: Option<[u32; 3]>,
    ) -> Result<Outputs> {
        let reach = Reach::new(geometry, shape);
        let keys = reach.keys(cloud)?;
        // Scans have a brick for some four rows; rows far apart one or two.
        with_table(slots_for(cloud.capacity()), keys, |slots| {
            let attempt = self.attempt(cloud, &reach, slots, None)?;
            let counts = attempt.report().wait()?;
            let is_complete = !counts.incomplete;
            is_complete.then(|| self.write(attempt, counts.rows, None)).transpose()
        })
    }

    /// As many as there is room for.
    pub(super) fn find_at_most(
        &self,
        cloud: Cloud<'_>,
        geometry: &Geometry,
        shape: Option<[u32; 3]>,
        capacity: usize,
    ) -> Result<Outputs> {
        let reach = Reach::new(geometry, shape);
        let counted = Arc::new(DeviceBuffer::alloc(&self.device, size_of::<i32>())?);
        let room = Room { capacity, counted: &counted };
        let attempt = self.attempt(cloud, &reach, slots_for(cloud.capacity()), Some(room))?;
        self.write(attempt, capacity, Some(counted))
    }

    /// Queues everything up to the number of outputs, with a table of so many slots.
    fn attempt(
        &self,
        cloud: Cloud<'_>,
        reach: &Reach,
        capacity: usize,
        room: Option<Room<'_>>,
    ) -> Result<Attempt> {
        let keys = reach.keys(cloud)?;
        let blocks = keys.div_ceil(ROW_THREADS as usize);
        let Ok(slot_count) = u32::try_from(capacity) else {
            let (what, limit) = ("the size of a table of outputs", u32::MAX as usize);
            return Err(CudaError::TooLarge { what, found: capacity, limit });
        };
        let layout = Layout { capacity, keys, blocks };
        let table = DeviceBuffer::zeroed(&self.device, capacity * SLOT_BYTES)?;
        let mut scratch = DeviceBuffer::alloc(&self.device, layout.len_bytes())?;
        for (part, byte) in [(0..layout.totals(), NO_OWNER), (layout.totals()..layout.blocks(), 0)]
        {
            scratch.as_mut().get(part).expect("parts lie in the buffer").fill(byte)?;
        }
        let report = self.pages.take()?;
        let (slots, owners) = (table.as_ref().address(), scratch.as_mut().address());
        let [totals, tally, blocks_at] =
            [layout.totals(), layout.tally(), layout.blocks()].map(|at| owners + at as u64);
        let (coords, rows, reach) = (cloud.read_by(&self.device)?, cloud.count(), *reach);
        // SAFETY: (int4*, RowCount, Reach, Slot*, u32, int*, Tally*). The cloud holds as many
        // voxels, slots and owners are as many as the kernel is told, and it probes a bounded
        // number of them.
        unsafe {
            self.insert.launch(
                Grid::covering(cloud.capacity(), ROW_THREADS)?,
                arguments![coords, rows, reach, slots, slot_count, owners, tally],
            )?;
        }
        // SAFETY: (Slot*, u32, int*, int*, Tally*); the owner of a brick is a key, each of which
        // has a total.
        unsafe {
            self.count.launch(
                Grid::covering(capacity, ROW_THREADS)?,
                arguments![slots, slot_count, owners, totals, tally],
            )?;
        }
        let (key_count, block_count) = (keys as i32, blocks as i32);
        // SAFETY: (int*, int, int*); there are as many totals, and a sum for each block.
        unsafe {
            let grid = Grid::covering(keys, ROW_THREADS)?;
            self.sums.launch(grid, arguments![totals, key_count, blocks_at])?;
        }
        let scan = Grid { blocks: [1, 1], threads: SCAN_THREADS, shared_bytes: 0 };
        let (capacity, counted) = room.map_or((0, 0), |room| {
            (room.capacity.min(MAX_ROWS) as i32, room.counted.as_ref().address())
        });
        let report_at = report.address();
        // SAFETY: (int*, int, Tally*, int, int*, int*). There are as many sums, the count is an
        // int32 or not given, and the report has more than ten words.
        unsafe {
            let tail = arguments![blocks_at, block_count, tally, capacity, counted, report_at];
            self.scan.launch(scan, tail)?;
        }
        report.queued()?;
        Ok(Attempt { layout, table, scratch, report: Arc::new(report) })
    }

    /// Queues the writing of so many outputs.
    fn write(
        &self,
        attempt: Attempt,
        found: usize,
        counted: Option<Arc<DeviceBuffer>>,
    ) -> Result<Outputs> {
        check_rows(found)?;
        let Attempt { layout, table, scratch, report } = attempt;
        let mut outputs = DeviceBuffer::alloc(&self.device, found * size_of::<Voxel>())?;
        let mut by_row = DeviceBuffer::alloc(&self.device, by_row_bytes(found))?;
        let (slots, owners) = (table.as_ref().address(), scratch.as_ref().address());
        let [totals, blocks] = [layout.totals(), layout.blocks()].map(|at| owners + at as u64);
        let (outputs_at, room, slot_count) =
            (outputs.as_mut().address(), found as i32, layout.capacity as u32);
        let places = by_row.as_mut().address();
        let ranks = places + ranks_at(found) as u64;
        let counted_at = counted.as_deref().map_or(0, |counted| counted.as_ref().address());
        // SAFETY: (Slot*, u32, int*, int*, int*, int*, int4*, int, uint2*, int*); as above,
        // outputs, places and ranks have the room that the kernel is told of.
        unsafe {
            self.write.launch(
                Grid::covering(layout.capacity, ROW_THREADS)?,
                arguments![
                    slots, slot_count, owners, totals, blocks, counted_at, outputs_at, room,
                    places, ranks
                ],
            )?;
        }
        let report = OutputsReport::of(report);
        let index = VoxelIndex::of_outputs(
            (found, counted.clone()),
            (table, layout.capacity),
            by_row,
            report.clone(),
        );
        let index = Some(Arc::new(index));
        Ok(Outputs { coords: outputs, capacity: found, counted, report, index })
    }
}

/// Room for outputs that are not counted yet.
#[derive(Clone, Copy)]
struct Room<'a> {
    capacity: usize,
    /// Where their number goes.
    counted: &'a DeviceBuffer,
}

/// Slots of the first table that is tried.
const fn slots_for(inputs: usize) -> usize {
    2 * inputs + 64
}

/// What finding outputs works with beside the table, and where its parts begin: owners, totals,
/// what is counted on the way, and sums of blocks.
struct Layout {
    capacity: usize,
    keys: usize,
    blocks: usize,
}

impl Layout {
    const fn totals(&self) -> usize {
        self.capacity * 4
    }

    const fn tally(&self) -> usize {
        (self.totals() + self.keys * 4).next_multiple_of(8)
    }

    const fn blocks(&self) -> usize {
        self.tally() + TALLY_BYTES
    }

    const fn len_bytes(&self) -> usize {
        self.blocks() + self.blocks * 4
    }
}

/// A table with its outputs counted.
struct Attempt {
    layout: Layout,
    table: DeviceBuffer,
    scratch: DeviceBuffer,
    report: Arc<Report>,
}

impl Attempt {
    fn report(&self) -> OutputsReport {
        OutputsReport::of(Arc::clone(&self.report))
    }
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
