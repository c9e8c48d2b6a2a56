//! Finding rows by their coordinates: a hash of bricks of 4×4×4 cells.

use std::collections::HashSet;
use std::sync::Arc;

use voxtune_types::Voxel;

use super::cloud::Cloud;
use super::counts::{Report, ReportPages};
use super::kernels::{MapKernels, ROW_THREADS, Window};
use super::mask_words;
use super::order::meeting_bytes;
use crate::buffer::DeviceBuffer;
use crate::error::Result;
use crate::module::{Grid, Kernel, arguments};
use crate::row_count::RowCount;

/// `Slot` of the kernels.
pub(super) const SLOT_BYTES: usize = 32;
/// Words after the slots that start as zeros: the cursor of `ranks`, whether a cell occurs twice,
/// and the pairs of each offset.
const CONTROL_BYTES: usize = 512;
const DUPLICATE: u64 = 4;
const COUNTS: u64 = 8;
/// Cell numbers have six bits; the bit above says who made the slot.
const CELL_MASK: u64 = 63;
/// Blocks per SM of kernels that loop over the rows.
const BLOCKS_PER_SM: u32 = 8;

/// Bricks by hash, the place of each row, and the rows by brick. One buffer.
#[derive(Debug)]
pub(super) struct Search {
    /// How many there are, or may be where `counted` says how many there are.
    rows: usize,
    counted: Option<Arc<DeviceBuffer>>,
    capacity: usize,
    buffer: DeviceBuffer,
    /// What building it tells the host.
    report: Arc<Report>,
}

impl Search {
    pub(super) const fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn count(&self) -> RowCount {
        RowCount::new(self.rows, self.counted.as_deref())
    }

    pub(super) const fn report(&self) -> &Arc<Report> {
        &self.report
    }

    /// Slots for the worst case, every voxel a brick of its own, at a load of four fifths. Scans
    /// fill a sixth of them.
    const fn capacity(rows: usize) -> usize {
        rows + rows / 4 + 32
    }

    const fn control(&self) -> usize {
        self.capacity * SLOT_BYTES
    }

    /// Meeting words of a sort by segments, of the forward map and of the reverse.
    const fn meetings(&self, reverse: bool) -> usize {
        self.control() + CONTROL_BYTES + if reverse { meeting_bytes(self.rows) } else { 0 }
    }

    const fn places(&self) -> usize {
        (self.meetings(true) + meeting_bytes(self.rows)).next_multiple_of(8)
    }

    fn ranks(&self) -> usize {
        self.places() + self.rows * 8
    }

    fn len_bytes(&self) -> usize {
        self.ranks() + self.rows * 4
    }

    fn address(&self, at: usize) -> u64 {
        self.buffer.as_ref().address() + at as u64
    }

    /// Addresses of the slots, their number, and the addresses of places and ranks, as the kernels
    /// take them.
    pub(super) fn parts(&self) -> (u64, u32, u64, u64) {
        let slots = self.address(0);
        (slots, self.capacity as u32, self.address(self.places()), self.address(self.ranks()))
    }

    /// Zeros for one sort by segments of the rows, and, `reverse`, for one more.
    pub(super) fn meeting_words(&self, reverse: bool) -> u64 {
        self.address(self.meetings(reverse))
    }

    /// Where the pairs of each offset are counted.
    pub(super) fn counts(&self) -> u64 {
        self.address(self.control()) + COUNTS
    }

    /// Hashes the voxels.
    pub(super) fn insert(
        kernels: &MapKernels,
        pages: &ReportPages,
        cloud: Cloud<'_>,
    ) -> Result<Self> {
        let (device, n) = (&kernels.device, cloud.capacity());
        let (capacity, buffer) = (Self::capacity(n), DeviceBuffer::alloc(device, 0)?);
        let (counted, report) = (cloud.count_on_device(), Arc::new(pages.take()?));
        let mut search = Self { rows: n, counted, capacity, buffer, report };
        search.buffer = DeviceBuffer::alloc(device, search.len_bytes())?;
        let zeros = 0..search.places();
        search.buffer.as_mut().get(zeros).expect("zeros lie in the buffer").fill(0)?;
        if n > 0 {
            let (slots, capacity, places, _) = search.parts();
            let duplicate = search.address(search.control()) + DUPLICATE;
            let (coords, rows) = (cloud.read_by(device)?, search.count());
            // SAFETY: (int4*, RowCount, Slot*, u32, uint2*, int*); the cloud holds as many voxels,
            // and there are more slots than bricks, so probing ends.
            unsafe {
                kernels.insert.launch(
                    Grid::covering(n, ROW_THREADS)?,
                    arguments![coords, rows, slots, capacity, places, duplicate],
                )?;
            }
        }
        Ok(search)
    }

    /// Masks of all rows for a window. The first time, which `counted` says, also counts pairs and
    /// gives every brick its place among the ranks.
    pub(super) fn masks(
        &self,
        kernels: &MapKernels,
        window: Window,
        counted: bool,
    ) -> Result<DeviceBuffer> {
        let words = mask_words(window.volume());
        let mut masks = DeviceBuffer::alloc(&kernels.device, self.rows * words * 4)?;
        if self.rows == 0 {
            return Ok(masks);
        }
        let (slots, capacity, places, _) = self.parts();
        let (rows, words, masks_at) = (self.count(), words as i32, masks.as_mut().address());
        let cursor = if counted { self.address(self.control()) } else { 0 };
        let counts = self.counts();
        let grid = looping_grid(kernels, self.rows)?;
        // SAFETY: (Slot*, u32, uint2*, RowCount, int, Window, u32*, int*, int*); every row has its
        // place, and the control words hold a cursor and as many counts as a window has offsets.
        unsafe {
            kernels.masks.of(window).launch(
                grid,
                arguments![slots, capacity, places, rows, words, window, masks_at, cursor, counts],
            )?;
        }
        Ok(masks)
    }

    /// Gives every brick its place among the ranks, where no masks are made that do.
    pub(super) fn place_bricks(&self, kernel: &Kernel) -> Result<()> {
        if self.rows == 0 {
            return Ok(());
        }
        let (slots, _, places, _) = self.parts();
        let (rows, cursor) = (self.count(), self.address(self.control()));
        // SAFETY: (Slot*, uint2*, RowCount, int*); every row has its place, and the first control
        // word is the cursor.
        unsafe {
            kernel.launch(
                Grid::covering(self.rows, ROW_THREADS)?,
                arguments![slots, places, rows, cursor],
            )
        }
    }

    /// Lists the rows by brick, and reports duplicates and counts.
    pub(super) fn rank(&self, kernels: &MapKernels, volume: usize) -> Result<()> {
        if self.rows == 0 {
            return Ok(());
        }
        let (slots, _, places, ranks) = self.parts();
        let (rows, length) = (self.count(), 1 + volume as i32);
        let (counted, report) = (self.address(self.control()) + DUPLICATE, self.report.address());
        // SAFETY: (Slot*, uint2*, RowCount, int*, int*, int, int*); the bricks' places among the
        // ranks add up to at most n; the report holds a flag, the counts and the number of rows.
        unsafe {
            kernels.ranks.launch(
                Grid::covering(self.rows.max(2 + volume), ROW_THREADS)?,
                arguments![slots, places, rows, ranks, counted, length, report],
            )?;
        }
        self.report.queued()
    }

    /// The first row whose voxel an earlier row has. Slow: every place is read back.
    pub(super) fn find_duplicate(&self) -> Result<Option<(Voxel, usize)>> {
        let places: Vec<u64> = self.buffer.download(self.places(), self.rows)?;
        let mut seen = HashSet::with_capacity(self.rows);
        let (slot_of, cell_of) =
            (|place: u64| place & 0xffff_ffff, |place: u64| place >> 32 & CELL_MASK);
        let repeated =
            places.iter().position(|&place| !seen.insert((slot_of(place), cell_of(place))));
        let Some(row) = repeated else { return Ok(None) };
        let (slot, cell) = (slot_of(places[row]) as usize, cell_of(places[row]) as i32);
        let words: Vec<u32> = self.buffer.download(slot * SLOT_BYTES, SLOT_BYTES / 4)?;
        Ok(Some((voxel(&words, cell), row)))
    }
}

/// A grid of kernels that loop over the rows.
pub(super) fn looping_grid(kernels: &MapKernels, rows: usize) -> Result<Grid> {
    let most = kernels.device.identity().units * BLOCKS_PER_SM;
    let mut grid = Grid::covering(rows, ROW_THREADS)?;
    grid.blocks[0] = grid.blocks[0].min(most);
    Ok(grid)
}

/// The voxel in a cell of the brick that a slot's words describe: the key, the cells that have
/// rows, the place of its rows, then x, y and z.
fn voxel(slot: &[u32], cell: i32) -> Voxel {
    const WIDE: u32 = 1 << 31;
    const BATCH: u32 = (1 << 13) - 1;
    let batch = if slot[1] & WIDE == 0 { (slot[1] & BATCH) as i32 - 1 } else { slot[0] as i32 };
    let axis = |word: usize, shift: i32| (slot[word] as i32) << 2 | cell >> shift & 3;
    Voxel::new(batch, axis(5, 4), axis(6, 2), axis(7, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slots_words_name_its_voxels() {
        let packed = [0, 7 << 13 | 3, 0, 0, 9, 5, -2_i32 as u32, 1];
        assert_eq!(voxel(&packed, 0b01_10_11), Voxel::new(2, 21, -6, 7));
        let wide = [-4_i32 as u32, 1 << 31 | 77, 0, 0, 9, i32::MAX as u32 >> 2, 0, 0];
        assert_eq!(voxel(&wide, 0b11_00_00), Voxel::new(-4, i32::MAX, 0, 0));
    }

    #[test]
    fn there_are_always_more_slots_than_voxels() {
        for rows in [0, 1, 2, 1000, super::super::MAX_ROWS] {
            let capacity = Search::capacity(rows);
            assert!(capacity > rows && u32::try_from(capacity).is_ok());
        }
    }
}
