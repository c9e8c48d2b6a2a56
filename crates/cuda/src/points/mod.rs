//! Finding the voxels of points on the device, and the means of their points.
//!
//! Everything is queued but one wait, for the number of voxels. Their order and every sum follow
//! from the points alone, so that results repeat to the bit.

mod grid;
mod samples;

use voxtune_types::Voxel;

use crate::buffer::{DeviceBuffer, DeviceSlice};
use crate::code::Compiled;
use crate::device::CudaDevice;
use crate::error::{CudaError, Result};
use crate::map::{MAX_ROWS, ReportPages};
use crate::module::{Grid, Kernel, LoadedInstance, arguments};
use crate::ops::{DeviceRowGroups, DeviceTables};
use grid::GridParams;
pub use grid::PointGrid;
pub use samples::{SamplesReport, StrayRow};

/// Threads of all blocks but those of a single one.
const THREADS: u32 = 256;
/// Threads of `points_scan` and `points_samples`.
const SCAN_THREADS: u32 = 1024;
/// Rows of a block of `points_mean`: a row is a warp.
const MEAN_ROWS: u32 = THREADS / 32;
/// Points of a block that sorts.
const TILE: usize = 8 * THREADS as usize;
/// Digits of a pass of the sort, and their bits.
const DIGITS: usize = 256;
const DIGIT_BITS: u32 = 8;
/// Bytes of a `Slot`.
const SLOT_BYTES: usize = 16;
/// Bytes of a row and a point.
const PAIR_BYTES: usize = 8;
/// Most rows of a group that are reduced at once.
const PIECE: usize = 512;

/// Which sample each point belongs to, in the device's memory.
#[derive(Debug)]
pub struct DevicePointBatches {
    points: usize,
    samples: usize,
    of_point: DeviceBuffer,
    begins: Option<DeviceBuffer>,
}

impl DevicePointBatches {
    /// Copies the batch number of each point, and where the points of each sample begin if they lie
    /// together in the order of batches. Waits for that. A point whose batch number is not below
    /// `samples` does not exist.
    ///
    /// # Errors
    /// [`CudaError::Length`] if there are not `samples` and one beginnings, ascending from 0 to the
    /// number of points; if the device cannot hold them.
    pub fn new(
        device: &CudaDevice,
        of_point: &[i32],
        samples: usize,
        begins: Option<&[i32]>,
    ) -> Result<Self> {
        let points = of_point.len();
        within("the number of points", points, MAX_ROWS)?;
        within("the number of samples", samples, MAX_ROWS)?;
        if let Some(begins) = begins {
            let found = begins.last().map_or(0, |&last| last as usize);
            let fits = begins.len() == samples + 1 && begins[0] == 0 && begins.is_sorted();
            if !fits || found != points {
                return Err(CudaError::Length { what: "samples", expected: points, found });
            }
        }
        let begins = begins.map(|begins| DeviceBuffer::from_host(device, begins)).transpose()?;
        Ok(Self { points, samples, of_point: DeviceBuffer::from_host(device, of_point)?, begins })
    }
}

/// Points in the device's memory.
#[derive(Clone, Copy, Debug)]
pub struct DevicePoints<'a> {
    /// `(rows, columns)` float32: x, y, z and further columns.
    pub values: DeviceSlice<'a>,
    /// Number of points.
    pub rows: usize,
    /// Columns, at least 3.
    pub columns: usize,
    /// The sample of each; without, all are of batch 0.
    pub batches: Option<&'a DevicePointBatches>,
}

impl DevicePoints<'_> {
    fn check(&self) -> Result<()> {
        let Self { values, rows, columns, batches } = *self;
        within("the number of points", rows, MAX_ROWS)?;
        within("the number of columns", columns, i32::MAX as usize)?;
        let length = |what, expected, found| Err(CudaError::Length { what, expected, found });
        let expected = rows.saturating_mul(columns).saturating_mul(size_of::<f32>());
        match batches {
            _ if columns < 3 => length("columns of points", 3, columns),
            _ if values.len_bytes() != expected => length("points", expected, values.len_bytes()),
            Some(batches) if batches.points != rows => {
                length("batch numbers of points", rows, batches.points)
            }
            _ => Ok(()),
        }
    }
}

/// What a voxelisation leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PointLimits {
    /// Most points that a mean is of: a voxel's first ones.
    pub points: usize,
    /// Most voxels of a sample: its first ones.
    pub voxels: Option<usize>,
}

/// Voxels of points, in the device's memory.
#[derive(Debug)]
pub struct PointVoxels {
    /// As many [`Voxel`]s as there are, in the order of their first points.
    pub coords: DeviceBuffer,
    /// `(rows, columns)` float32: the mean of each voxel's points.
    pub means: DeviceBuffer,
    /// How many voxels there are.
    pub rows: usize,
    /// The voxel of each point, and the points of each voxel.
    pub groups: DeviceRowGroups,
}

/// Pairs that were sorted, in one half of the memory that this took.
struct SortedPairs {
    pairs: DeviceBuffer,
    at: usize,
}

impl SortedPairs {
    fn address(&self) -> u64 {
        self.pairs.as_ref().address() + self.at as u64
    }
}

/// Makes voxels of points with the compiled [`crate::Instance::points`].
#[derive(Debug)]
pub struct PointsBuilder {
    device: CudaDevice,
    pages: ReportPages,
    insert: Kernel,
    count: Kernel,
    scan: Kernel,
    before: Kernel,
    samples: Kernel,
    rows: Kernel,
    index: Kernel,
    sort_count: Kernel,
    sort_scan: Kernel,
    sort_move: Kernel,
    starts: Kernel,
    mean: Kernel,
    pieces: Kernel,
    batches: Kernel,
    sample_starts: Kernel,
    sample_pieces: Kernel,
}

impl PointsBuilder {
    /// Loads the kernels.
    ///
    /// # Errors
    /// If the cubin cannot be loaded.
    pub fn new(device: &CudaDevice, compiled: &Compiled) -> Result<Self> {
        let loaded = LoadedInstance::load(device, compiled)?;
        let kernel = |name| loaded.kernel(name);
        Ok(Self {
            device: device.clone(),
            pages: ReportPages::new(device),
            insert: kernel("points_insert")?,
            count: kernel("points_count")?,
            scan: kernel("points_scan")?,
            before: kernel("points_before")?,
            samples: kernel("points_samples")?,
            rows: kernel("points_rows")?,
            index: kernel("points_index")?,
            sort_count: kernel("points_sort_count")?,
            sort_scan: kernel("points_sort_scan")?,
            sort_move: kernel("points_sort_move")?,
            starts: kernel("points_starts")?,
            mean: kernel("points_mean")?,
            pieces: kernel("points_pieces")?,
            batches: kernel("points_batches")?,
            sample_starts: kernel("points_sample_starts")?,
            sample_pieces: kernel("points_sample_pieces")?,
        })
    }

    /// The voxels of points, in the order of their first points, and the means of their points. A
    /// point outside the grid, and one with a column that is no finite number, is in no voxel.
    ///
    /// Waits once, for the number of voxels.
    ///
    /// # Errors
    /// [`CudaError::Length`] if lengths do not fit, or samples are mixed where their voxels are
    /// limited. [`CudaError::TooLarge`] past a billion points or 2⁶³ cells; whatever the driver
    /// fails with.
    pub fn voxelize(
        &self,
        points: DevicePoints<'_>,
        grid: PointGrid,
        limits: PointLimits,
    ) -> Result<PointVoxels> {
        points.check()?;
        let samples = points.batches.map_or(1, |batches| batches.samples);
        let grid = grid.params(samples)?;
        let n = points.rows;
        if n == 0 {
            return self.nothing();
        }
        let mut index = DeviceBuffer::alloc(&self.device, n * size_of::<i32>())?;
        let report = self.pages.take()?;
        self.number(points, grid, limits, samples, (&mut index, report.address()))?;
        report.queued()?;
        // The device sorts while the host waits.
        let (order, starts) = self.sort(&index, n)?;
        let report_words = report.wait(3)?;
        let [_, rows, longest] = std::array::from_fn(|word| report_words[word] as usize);

        let columns = points.columns;
        let mut coords = DeviceBuffer::alloc(&self.device, rows * size_of::<Voxel>())?;
        let mut means = DeviceBuffer::alloc(&self.device, rows * columns * size_of::<f32>())?;
        if rows > 0 {
            let (batches, _) = addresses(&self.device, points.batches, false)?;
            let (order_at, starts_at) = (order.as_ref().address(), starts.as_ref().address());
            let (values, columns) = (points.values.read_by(&self.device)?, columns as i32);
            let (count, most) = (rows as i32, clamped(limits.points));
            let (coords, means) = (coords.as_mut().address(), means.as_mut().address());
            let blocks = Grid { threads: THREADS, ..Grid::covering(rows, MEAN_ROWS)? };
            let arguments = arguments![
                values, batches, columns, grid, order_at, starts_at, count, most, coords, means
            ];
            // SAFETY: (float*, int*, int, VoxelGrid, int*, int*, int, int, int4*, float*). The
            // device has counted the rows, each with a start and at least one point in the order,
            // and there is room for a voxel and a mean of each.
            unsafe { self.mean.launch(blocks, arguments) }?;
        }
        let pieces = match longest > PIECE && rows > 0 {
            true => Some(self.cut(&starts, rows, n)?),
            false => None,
        };
        let tables = DeviceTables { group_of_row: index, starts, order, pieces };
        let groups = DeviceRowGroups::from_kernels(&self.device, n, rows, tables)?;
        Ok(PointVoxels { coords, means, rows, groups })
    }

    fn nothing(&self) -> Result<PointVoxels> {
        let empty = || DeviceBuffer::alloc(&self.device, 0);
        let tables = DeviceTables {
            group_of_row: empty()?,
            starts: DeviceBuffer::zeroed(&self.device, size_of::<i32>())?,
            order: empty()?,
            pieces: None,
        };
        let groups = DeviceRowGroups::from_kernels(&self.device, 0, 0, tables)?;
        Ok(PointVoxels { coords: empty()?, means: empty()?, rows: 0, groups })
    }

    /// Queues the finding of each point's row, and a report of the number of rows and the most
    /// points of one.
    fn number(
        &self,
        points: DevicePoints<'_>,
        grid: GridParams,
        limits: PointLimits,
        samples: usize,
        (index, report): (&mut DeviceBuffer, u64),
    ) -> Result<()> {
        let n = points.rows;
        let (batches, begins) = addresses(&self.device, points.batches, limits.voxels.is_some())?;
        // A sample of all points, where no sample has a limit of its own.
        let ranges = if begins == 0 { 1 } else { samples };
        let blocks = n.div_ceil(THREADS as usize);
        // At a load of a half at most.
        let capacity = 2 * n as u32;
        let slots = DeviceBuffer::zeroed(&self.device, capacity as usize * SLOT_BYTES)?;
        let words = DeviceBuffer::zeroed(&self.device, (1 + blocks + n + 1 + ranges) * 4)?;
        let most = words.as_ref().address();
        let sums = most + 4;
        let before = sums + blocks as u64 * 4;
        let bases = before + (n as u64 + 1) * 4;
        let (slots, index) = (slots.as_ref().address(), index.as_mut().address());
        let values = points.values.read_by(&self.device)?;
        let (columns, rows) = (points.columns as i32, n as i32);
        let (batch_count, cap) = (samples as i32, limits.voxels.map_or(i32::MAX, clamped));
        let (blocks, ranges) = (blocks as i32, ranges as i32);

        let each = Grid::covering(n, THREADS)?;
        let alone = Grid { blocks: [1, 1], threads: SCAN_THREADS, shared_bytes: 0 };
        let arguments =
            arguments![values, batches, rows, columns, batch_count, grid, slots, capacity, index];
        // SAFETY: (float*, int*, int, int, int, VoxelGrid, Slot*, u32, int*); lengths have been
        // compared, and there are more slots than points, so probing ends.
        unsafe { self.insert.launch(each, arguments) }?;
        // SAFETY: (Slot*, int*, int, int*, int*); the index names slots that there are, and there
        // is a sum for each block.
        unsafe { self.count.launch(each, arguments![slots, index, rows, sums, most]) }?;
        // SAFETY: (int*, int); as many sums as blocks.
        unsafe { self.scan.launch(alone, arguments![sums, blocks]) }?;
        // SAFETY: (Slot*, int*, int, int*, int*); as above, with room for a number a point and one.
        unsafe { self.before.launch(each, arguments![slots, index, rows, sums, before]) }?;
        let arguments = arguments![before, rows, begins, ranges, cap, most, bases, report];
        // SAFETY: (int*, int, int*, int, int, int*, int*, int*). Beginnings were found to be of
        // points that there are, each sample has a base, and the report has more than three words.
        unsafe { self.samples.launch(alone, arguments) }?;
        let arguments = arguments![slots, index, rows, before, batches, begins, bases, cap];
        // SAFETY: (Slot*, int*, int, int*, int*, int*, int*, int). A point that lies in a slot is
        // of a batch below the number of samples, which has a beginning and a base.
        unsafe { self.rows.launch(each, arguments) }?;
        // SAFETY: (Slot*, int, int*); the index names slots that there are.
        unsafe { self.index.launch(each, arguments![slots, rows, index]) }
    }

    /// Queues the sorting of points by row: their order, and where the rows begin in it.
    fn sort(&self, index: &DeviceBuffer, n: usize) -> Result<(DeviceBuffer, DeviceBuffer)> {
        let pairs = self.sort_pairs(index, n)?;
        let (from, rows) = (pairs.address(), n as i32);
        let mut order = DeviceBuffer::alloc(&self.device, n * 4)?;
        let mut starts = DeviceBuffer::alloc(&self.device, (n + 1) * 4)?;
        let (order_at, starts_at) = (order.as_mut().address(), starts.as_mut().address());
        let each = Grid::covering(n + 1, THREADS)?;
        // SAFETY: (int2*, int, int*, int*); there are no more rows than points, and one start more.
        unsafe { self.starts.launch(each, arguments![from, rows, order_at, starts_at]) }?;
        Ok((order, starts))
    }

    /// Queues the stable sorting of pairs of an index's entry and where it stands. What is negative
    /// comes last.
    fn sort_pairs(&self, index: &DeviceBuffer, n: usize) -> Result<SortedPairs> {
        let tiles = n.div_ceil(TILE);
        let counts = DeviceBuffer::alloc(&self.device, DIGITS * (tiles + 1) * 4)?;
        let pairs = DeviceBuffer::alloc(&self.device, 2 * n * PAIR_BYTES)?;
        let (index, rows) = (index.as_ref().address(), n as i32);
        let counts = counts.as_ref().address();
        let totals = counts + (DIGITS * tiles * 4) as u64;
        let halves = [0, n * PAIR_BYTES].map(|at| pairs.as_ref().address() + at as u64);
        let by_tile = Grid { threads: THREADS, ..Grid::covering(n, TILE as u32)? };
        let by_digit = Grid { blocks: [DIGITS as u32, 1], threads: THREADS, shared_bytes: 0 };
        let tile_count = tiles as i32;
        // The first pass reads the index. Keys are rows, and the number of points for those of
        // none.
        let passes = (i32::BITS - rows.leading_zeros()).div_ceil(DIGIT_BITS);
        let mut from = 0_u64;
        for pass in 0..passes {
            let (shift, to) = ((pass * DIGIT_BITS) as i32, halves[pass as usize % 2]);
            // SAFETY: (int*, int2*, int, int, int*); there is a count for each digit and tile.
            unsafe {
                self.sort_count.launch(by_tile, arguments![index, from, rows, shift, counts])
            }?;
            // SAFETY: (int*, int, int*); as above, and there is a total for each digit.
            unsafe { self.sort_scan.launch(by_digit, arguments![counts, tile_count, totals]) }?;
            let arguments = arguments![index, from, rows, shift, counts, totals, to];
            // SAFETY: (int*, int2*, int, int, int*, int*, int2*). Counts and totals are of the same
            // pairs, so each has a place of its own in the other half.
            unsafe { self.sort_move.launch(by_tile, arguments) }?;
            from = to;
        }
        let half = usize::from(from == halves[1]);
        Ok(SortedPairs { pairs, at: half * n * PAIR_BYTES })
    }

    /// Queues the cutting of the rows' points into pieces.
    fn cut(
        &self,
        starts: &DeviceBuffer,
        rows: usize,
        n: usize,
    ) -> Result<(usize, DeviceBuffer, DeviceBuffer)> {
        // As many as there may be; those that there are not are empty.
        let pieces = rows + (n - rows) / PIECE;
        let mut begins = DeviceBuffer::alloc(&self.device, (pieces + 1) * 4)?;
        let mut of_rows = DeviceBuffer::alloc(&self.device, (rows + 1) * 4)?;
        let (starts, count) = (starts.as_ref().address(), rows as i32);
        let (length, all) = (PIECE as i32, pieces as i32);
        let (begins_at, of_rows_at) = (begins.as_mut().address(), of_rows.as_mut().address());
        let arguments = arguments![starts, count, length, all, of_rows_at, begins_at];
        // SAFETY: (int*, int, int, int, int*, int*). Rows have no more pieces than were reckoned
        // with, and there is a beginning for each, and for each row, and one more.
        unsafe { self.pieces.launch(Grid::covering(rows + 1, THREADS)?, arguments) }?;
        Ok((pieces, begins, of_rows))
    }
}

/// Where the batch numbers lie, and where the samples' beginnings do if they are needed; 0 for
/// none. For launches of this context.
fn addresses(
    device: &CudaDevice,
    batches: Option<&DevicePointBatches>,
    begins: bool,
) -> Result<(u64, u64)> {
    let Some(batches) = batches else { return Ok((0, 0)) };
    let of_point = batches.of_point.as_ref().read_by(device)?;
    match &batches.begins {
        _ if !begins => Ok((of_point, 0)),
        Some(begins) => Ok((of_point, begins.as_ref().read_by(device)?)),
        None => {
            let (expected, what) = (batches.samples + 1, "beginnings of samples");
            Err(CudaError::Length { what, expected, found: 0 })
        }
    }
}

/// A limit as the kernels count.
fn clamped(limit: usize) -> i32 {
    i32::try_from(limit).unwrap_or(i32::MAX)
}

fn within(what: &'static str, found: usize, limit: usize) -> Result<()> {
    if found > limit { Err(CudaError::TooLarge { what, found, limit }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `points_pieces` as the host would compute it. No piece of a row is empty or much longer than
    /// the others, and there are no more than there is room for.
    #[test]
    fn pieces_cover_rows_of_any_length() {
        for lengths in [
            vec![1],
            vec![1_000_000],
            vec![511, 1, 512, 2, 513, 1, 1, 1_024, 1_025],
            (1..1_500).collect(),
            vec![1; 2_000],
            vec![2; 2_000],
        ] {
            let (mut starts, mut n) = (vec![0], 0);
            for length in &lengths {
                n += length;
                starts.push(n);
            }
            let rows = lengths.len();
            let first = |row: usize| row + (starts[row] - row) / PIECE;
            for (row, &length) in lengths.iter().enumerate() {
                let count = first(row + 1) - first(row);
                let begin = |piece: usize| piece * length / count;
                for piece in 0..count {
                    let own = begin(piece + 1) - begin(piece);
                    assert!((1..2 * PIECE).contains(&own), "{own} of {length} in {count}");
                }
            }
            assert!(first(rows) <= rows + (n - rows) / PIECE);
        }
    }
}
