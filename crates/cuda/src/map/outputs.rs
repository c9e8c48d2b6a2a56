//! Finding the outputs of strided and transposed layers on the device.

use std::sync::Arc;

use voxtune_types::{Geometry, KernelSize, Voxel};

use super::MAX_ROWS;
use super::MapBuilder;
use super::cloud::Cloud;
use super::counts::{Report, ReportPages};
use super::index::{SLOT_BYTES, VoxelIndex, by_row_bytes, ranks_at};
use super::kernels::ROW_THREADS;
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
/// `Tally` of the kernels.
const TALLY_BYTES: usize = 40;
/// How often a larger table is tried. Tables are twice as large as bricks are many from the second
/// on, so it is the last in all likelihood.
const TRIES: u32 = 4;

/// The outputs of a layer, on the device.
#[derive(Debug)]
pub struct Outputs {
    /// [`Voxel`]s, from the start.
    pub coords: DeviceBuffer,
    /// How many there are, or as many as there is room for where the device counts them.
    pub capacity: usize,
    /// How many there are, as [`Cloud::counted`](super::Cloud::counted) takes it; `None` where the
    /// host knows.
    pub counted: Option<Arc<DeviceBuffer>>,
    /// What was counted.
    pub report: OutputsReport,
    /// The outputs by hash, for kernel maps of them: what they were found in. `None` where there is
    /// no room for any.
    pub index: Option<Arc<VoxelIndex>>,
}

/// What was counted while outputs were found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputCounts {
    /// Outputs that there are, room or not.
    pub rows: usize,
    /// Pairs of an input and an output: those of the layer's map.
    pub pairs: usize,
    /// Whether the table of bricks was too small: some outputs were not found.
    pub incomplete: bool,
    /// Pairs of neighbours within bricks of four cells an axis, by the axes on which they differ:
    /// z, y, yz, x, xz, xy, xyz.
    neighbours: [usize; 7],
}

/// Words of [`OutputCounts`] in a report.
const COUNTED_WORDS: usize = 10;

impl OutputCounts {
    fn of(words: &[i32]) -> Self {
        let count = |at: usize| usize::try_from(words[at]).unwrap_or(0);
        Self {
            rows: usize::try_from(words[1]).unwrap_or(usize::MAX),
            pairs: count(2),
            incomplete: words[0] != 0,
            neighbours: std::array::from_fn(|axes| count(3 + axes)),
        }
    }

    /// About how many pairs a submanifold map of the outputs has.
    ///
    /// Counted are neighbours within bricks. Cells that differ by one on an axis share a brick with
    /// a chance of 3 in 4, whatever the cloud, if bricks lie anywhere: so their number is that of
    /// those counted over the chance. Offsets further apart are taken to be as frequent as the
    /// nearest in their direction.
    #[must_use]
    pub fn submanifold_pairs(&self, kernel: KernelSize) -> usize {
        let mut pairs = 0.0;
        for offset in kernel.offsets() {
            let differs = offset.map(|step| usize::from(step != 0));
            let [x, y, z] = differs;
            let Some(axes) = (4 * x + 2 * y + z).checked_sub(1) else {
                pairs += self.rows as f64;
                continue;
            };
            // Counted once and met from both sides, in as many directions as signs can be chosen.
            let count = differs.iter().sum::<usize>() as i32;
            let directions = f64::from(1 << count);
            let chance = 0.75_f64.powi(count);
            pairs += 2.0 * self.neighbours[axes] as f64 / (directions * chance);
        }
        pairs as usize
    }
}

/// Counts that may still be on their way from the device.
#[derive(Clone, Debug)]
pub struct OutputsReport(Option<Arc<Report>>);

impl OutputsReport {
    /// The counts. Waits until the outputs are found.
    ///
    /// # Errors
    /// Whatever work queued before has failed with.
    pub fn wait(&self) -> Result<OutputCounts> {
        let Some(report) = &self.0 else { return Ok(OutputCounts::default()) };
        Ok(OutputCounts::of(&report.wait(COUNTED_WORDS)?))
    }

    /// The same if the outputs are found, without waiting.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub fn try_read(&self) -> Result<Option<OutputCounts>> {
        let Some(report) = &self.0 else { return Ok(Some(OutputCounts::default())) };
        Ok(report.try_read(COUNTED_WORDS)?.map(|words| OutputCounts::of(&words)))
    }
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

    /// The outputs of a layer over voxels that are on the device, each once. Where outputs have a
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
        cloud: Cloud<'_>,
        geometry: &Geometry,
        shape: Option<[u32; 3]>,
    ) -> Result<Outputs> {
        let Some(reach) = self.reach(cloud, geometry, shape)? else { return self.nothing() };
        // Scans have a brick for some four rows; rows far apart one or two.
        let (keys, mut slots) = (reach.keys(cloud)?, slots_for(cloud.capacity()));
        for _ in 0..TRIES {
            let attempt = self.attempt(cloud, &reach, slots, None)?;
            let counts = attempt.report().wait()?;
            if counts.incomplete {
                slots = (2 * keys + 64).max(2 * slots);
                continue;
            }
            return self.write(attempt, counts.rows, None);
        }
        let (what, limit) = ("the size of a table of outputs", slots / 2);
        Err(CudaError::TooLarge { what, found: slots, limit })
    }

    /// The same with room for so many outputs, and without waiting: how many there are the device
    /// knows, and the report tells later. Outputs that there is no room for are left out, and
    /// [`OutputCounts::rows`] counts them.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub fn find_at_most(
        &self,
        cloud: Cloud<'_>,
        geometry: &Geometry,
        shape: Option<[u32; 3]>,
        capacity: usize,
    ) -> Result<Outputs> {
        let Some(reach) = self.reach(cloud, geometry, shape)? else { return self.nothing() };
        let counted = Arc::new(DeviceBuffer::alloc(&self.device, size_of::<i32>())?);
        let room = Room { capacity, counted: &counted };
        let attempt = self.attempt(cloud, &reach, slots_for(cloud.capacity()), Some(room))?;
        self.write(attempt, capacity, Some(counted))
    }

    /// The most outputs that so many inputs can have.
    #[must_use]
    pub fn most_outputs(geometry: &Geometry, inputs: usize) -> usize {
        let cells = |axis: usize| {
            let extent = usize::from(geometry.kernel.extents()[axis]);
            let stride = usize::from(geometry.stride[axis]);
            match geometry.kind.is_upsampling() {
                true => extent,
                // Offsets that leave the same rest; dilation may leave them all one.
                false if geometry.dilation[axis] == 1 => extent.div_ceil(stride),
                false => extent,
            }
        };
        (0..3).map(cells).product::<usize>().saturating_mul(inputs)
    }

    /// Where outputs can be; `None` where there are none.
    fn reach(
        &self,
        cloud: Cloud<'_>,
        geometry: &Geometry,
        shape: Option<[u32; 3]>,
    ) -> Result<Option<Reach>> {
        geometry.check().map_err(CudaError::Geometry)?;
        cloud.check()?;
        Ok(Reach::new(geometry, shape).filter(|_| cloud.capacity() > 0))
    }

    fn nothing(&self) -> Result<Outputs> {
        let coords = DeviceBuffer::alloc(&self.device, 0)?;
        let report = OutputsReport(None);
        Ok(Outputs { coords, capacity: 0, counted: None, report, index: None })
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
        // SAFETY: (int4*, RowCount, Reach, Slot*, u32, int*, Tally*); the cloud holds as many
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
        // SAFETY: (int*, int, Tally*, int, int*, int*); there are as many sums, the count is an
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
        if found > MAX_ROWS {
            return Err(CudaError::TooLarge {
                what: "the number of outputs",
                found,
                limit: MAX_ROWS,
            });
        }
        let Attempt { layout, table, scratch, report } = attempt;
        let mut outputs = DeviceBuffer::alloc(&self.device, found * size_of::<Voxel>())?;
        let mut by_row = DeviceBuffer::alloc(&self.device, by_row_bytes(found))?;
        let (slots, owners) = (table.as_ref().address(), scratch.as_ref().address());
        let [totals, blocks] = [layout.totals(), layout.blocks()].map(|at| owners + at as u64);
        let (outputs_at, room, slot_count) =
            (outputs.as_mut().address(), found as i32, layout.capacity as u32);
        let places = by_row.as_mut().address();
        let ranks = places + ranks_at(found) as u64;
        // SAFETY: (Slot*, u32, int*, int*, int*, int4*, int, uint2*, int*); as above, and outputs,
        // places and ranks have the room that the kernel is told of.
        unsafe {
            self.write.launch(
                Grid::covering(layout.capacity, ROW_THREADS)?,
                arguments![
                    slots, slot_count, owners, totals, blocks, outputs_at, room, places, ranks
                ],
            )?;
        }
        let report = OutputsReport(Some(report));
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

/// Room for outputs that nobody has counted yet.
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

/// What finding outputs works with beside the table, and where its parts begin: owners, totals, what
/// is counted on the way, and sums of blocks.
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
        OutputsReport(Some(Arc::clone(&self.report)))
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

    /// What `reached_count` counts of a cloud.
    fn counted(cells: &std::collections::BTreeSet<[i32; 3]>) -> OutputCounts {
        let mut neighbours = [0; 7];
        for cell in cells {
            for axes in 1..8_usize {
                let differs = [axes >> 2 & 1, axes >> 1 & 1, axes & 1];
                // Upwards on the first axis that differs, either way on the others.
                let first = differs.iter().position(|differs| *differs == 1).unwrap();
                let signs = 1 << (differs.iter().sum::<usize>() - 1);
                for sign in 0..signs {
                    let mut bits = sign;
                    let other: [i32; 3] = std::array::from_fn(|axis| {
                        let step = differs[axis] as i32;
                        if axis == first || step == 0 {
                            return cell[axis] + step;
                        }
                        let down = bits & 1;
                        bits >>= 1;
                        cell[axis] + if down == 1 { -step } else { step }
                    });
                    let together = (0..3).all(|axis| other[axis] >> 2 == cell[axis] >> 2);
                    neighbours[axes - 1] += usize::from(together && cells.contains(&other));
                }
            }
        }
        OutputCounts { rows: cells.len(), neighbours, ..OutputCounts::default() }
    }

    /// A plane that lies aslant, a full box and a line, wherever bricks begin.
    #[test]
    fn pairs_of_a_submanifold_map_are_near_those_counted_in_bricks() {
        let plane = (0..60).flat_map(|x| (0..60).map(move |y| [x, y, (x + 2 * y) / 5]));
        let full = (0..21).flat_map(|x| (0..19).flat_map(move |y| (0..17).map(move |z| [x, y, z])));
        let line = (0..400).map(|x| [x, x / 3, -x / 7]);
        for cloud in [plane.collect(), full.collect(), line.collect::<Vec<_>>()] {
            let cells = cloud.into_iter().collect();
            let counts = counted(&cells);
            for extents in [[3, 3, 3], [3, 1, 1], [1, 3, 3], [1, 1, 1]] {
                let kernel = KernelSize::try_from(extents).unwrap();
                let meets = |cell: &[i32; 3], offset: &[i32; 3]| {
                    cells.contains(&std::array::from_fn(|axis| cell[axis] + offset[axis]))
                };
                let offsets = kernel.offsets();
                let exact: usize = cells
                    .iter()
                    .map(|cell| offsets.iter().filter(|offset| meets(cell, offset)).count())
                    .sum();
                let ratio = counts.submanifold_pairs(kernel) as f64 / exact as f64;
                assert!((0.93..1.07).contains(&ratio), "{kernel} of {} rows: {ratio}", cells.len());
            }
        }
    }

    /// Over all places of an input.
    #[test]
    fn no_input_has_more_outputs_than_there_is_room_for() {
        for (extent, stride, dilation) in
            [(1, 1, 1), (2, 2, 1), (3, 2, 1), (3, 1, 1), (5, 3, 1), (3, 2, 2), (7, 2, 3)]
        {
            let kernel = KernelSize::cubic(extent).unwrap();
            let down =
                Geometry { dilation: [dilation; 3], ..Geometry::strided(kernel, [stride; 3]) };
            for geometry in [down, down.with_kind(LayerKind::Transposed)] {
                let of_an_axis = (0..64_i64).map(|at| {
                    let met = |r: i64| {
                        geometry.kind.is_upsampling()
                            || (at - r * i64::from(dilation)) % i64::from(stride) == 0
                    };
                    (0..i64::from(extent)).filter(|r| met(*r)).count()
                });
                let most = of_an_axis.max().unwrap().pow(3);
                assert!(OutputsBuilder::most_outputs(&geometry, 5) >= 5 * most, "{geometry}");
            }
        }
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
