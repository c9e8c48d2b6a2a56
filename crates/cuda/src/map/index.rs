//! Voxels by hash.

use std::collections::HashSet;
use std::sync::Arc;

use voxtune_types::Voxel;

use super::cloud::Cloud;
use super::counts::{Report, ReportPages};
use super::kernels::{MapKernels, ROW_THREADS};
use super::lazy::Lazy;
use super::levels::{Keys, LevelKernels, Spread};
use super::outputs::OutputsReport;
use crate::buffer::DeviceBuffer;
use crate::device::CudaDevice;
use crate::error::{CudaError, Result};
use crate::module::{Grid, Kernel, arguments};
use crate::row_count::RowCount;

/// `Slot` of the kernels.
pub(super) const SLOT_BYTES: usize = 32;
/// What a place takes, and a rank.
const PLACE_BYTES: usize = 8;
const RANK_BYTES: usize = 4;
/// Words after the slots that start as zeros: the cursor of `ranks`, and whether a cell occurs
/// twice.
const CONTROL_BYTES: usize = 32;
const DUPLICATE: usize = 4;
/// Cell numbers have six bits; the bit above says who made the slot.
const CELL_MASK: u64 = 63;
/// Blocks per SM of kernels that loop over the rows.
const BLOCKS_PER_SM: u32 = 8;
/// Words that are reported of voxels that were inserted.
const REPORTED_WORDS: usize = 2;

/// Voxels by hash: bricks of cells, the place of each row, and the rows by brick. Made once for
/// voxels, and read by all maps of them.
#[derive(Debug)]
pub struct VoxelIndex {
    /// How many there are, or may be where `counted` says how many there are.
    rows: usize,
    counted: Option<Arc<DeviceBuffer>>,
    /// Bricks from its start.
    table: DeviceBuffer,
    slots: usize,
    /// Places, then ranks.
    by_row: DeviceBuffer,
    origin: Origin,
    /// Of the bricks, for levels that are made of them.
    keys: Lazy<Keys>,
}

/// How the voxels came into the table.
#[derive(Debug)]
enum Origin {
    /// One by one. The rows are listed by the first map.
    Inserted { report: Arc<Report>, is_ranked: Lazy<()> },
    /// By the layer that they are outputs of.
    Found(OutputsReport),
}

/// Addresses as kernels take them.
#[derive(Clone, Copy)]
pub(super) struct IndexParts {
    pub(super) slots: u64,
    pub(super) slot_count: u32,
    pub(super) places: u64,
    pub(super) ranks: u64,
}

/// Bytes of places and ranks of so many rows.
pub(super) const fn by_row_bytes(rows: usize) -> usize {
    rows * (PLACE_BYTES + RANK_BYTES)
}

/// Where the ranks of so many rows begin behind their places.
pub(super) const fn ranks_at(rows: usize) -> usize {
    rows * PLACE_BYTES
}

impl VoxelIndex {
    /// Those of outputs that were found, with their places and ranks.
    pub(super) fn of_outputs(
        (rows, counted): (usize, Option<Arc<DeviceBuffer>>),
        (table, slots): (DeviceBuffer, usize),
        by_row: DeviceBuffer,
        report: OutputsReport,
    ) -> Self {
        let (origin, keys) = (Origin::Found(report), Lazy::default());
        Self { rows, counted, table, slots, by_row, origin, keys }
    }

    /// Voxels that were inserted, and whose rows are listed.
    pub(super) fn ranked(
        (rows, counted): (usize, Option<Arc<DeviceBuffer>>),
        (table, slots): (DeviceBuffer, usize),
        by_row: DeviceBuffer,
        report: Arc<Report>,
    ) -> Self {
        let is_ranked = Lazy::default();
        is_ranked.set(());
        let origin = Origin::Inserted { report, is_ranked };
        Self { rows, counted, table, slots, by_row, origin, keys: Lazy::default() }
    }

    /// Hashes voxels.
    pub(super) fn insert(
        kernels: &MapKernels,
        pages: &ReportPages,
        cloud: Cloud<'_>,
    ) -> Result<Self> {
        cloud.check()?;
        let (device, n) = (&kernels.device, cloud.capacity());
        let (slots, report) = (slots_for(n), Arc::new(pages.take()?));
        let mut table = DeviceBuffer::alloc(device, slots * SLOT_BYTES + CONTROL_BYTES)?;
        table.fill(0)?;
        let by_row = DeviceBuffer::alloc(device, by_row_bytes(n))?;
        let origin = Origin::Inserted { report, is_ranked: Lazy::default() };
        let (counted, keys) = (cloud.count_on_device(), Lazy::default());
        let index = Self { rows: n, counted, table, slots, by_row, origin, keys };
        if n > 0 {
            let IndexParts { slots, slot_count, places, .. } = index.parts();
            let duplicate = index.control() + DUPLICATE as u64;
            let (coords, rows) = (cloud.read_by(device)?, index.count());
            // SAFETY: (int4*, RowCount, Slot*, u32, uint2*, int*); the cloud holds as many voxels,
            // and there are more slots than bricks, so probing ends.
            unsafe {
                kernels.insert.launch(
                    Grid::covering(n, ROW_THREADS)?,
                    arguments![coords, rows, slots, slot_count, places, duplicate],
                )?;
            }
        }
        Ok(index)
    }

    /// The same with the keys of the bricks.
    pub(super) fn with_keys(self, keys: Keys) -> Self {
        self.keys.set(keys);
        self
    }

    /// The keys of the bricks. Where they were not made, those of these voxels as an input.
    pub(super) fn keys(&self, device: &CudaDevice, kernels: &LevelKernels) -> Result<&Keys> {
        self.keys.get_or_try(|| {
            let mut owners = DeviceBuffer::zeroed(device, self.slots * 4)?;
            let (places, rows, owners_at) =
                (self.parts().places, self.count(), owners.as_mut().address());
            // SAFETY: (uint2*, RowCount, int*); every row has its place, which is a slot.
            unsafe {
                let grid = Grid::covering(self.rows, ROW_THREADS)?;
                kernels.owners.launch(grid, arguments![places, rows, owners_at])?;
            }
            Ok(Keys { owners, rows: self.rows, spread: Spread::INPUT })
        })
    }

    /// How many voxels there are; where the device counts them, as many as there may be.
    #[must_use]
    pub const fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn count(&self) -> RowCount {
        RowCount::new(self.rows, self.counted.as_deref())
    }

    /// Address of the words behind the slots of voxels that were inserted.
    fn control(&self) -> u64 {
        self.table.as_ref().address() + (self.slots * SLOT_BYTES) as u64
    }

    pub(super) fn parts(&self) -> IndexParts {
        let places = self.by_row.as_ref().address();
        IndexParts {
            slots: self.table.as_ref().address(),
            slot_count: self.slots as u32,
            places,
            ranks: places + ranks_at(self.rows) as u64,
        }
    }

    /// Lists the rows by brick, if that was not done. `place_bricks` is called with the address of
    /// the cursor: a kernel that walks over all rows anyway gives each brick its place among the
    /// ranks.
    pub(super) fn rank(
        &self,
        kernels: &MapKernels,
        place_bricks: impl FnOnce(u64) -> Result<()>,
    ) -> Result<()> {
        let Origin::Inserted { report, is_ranked } = &self.origin else { return Ok(()) };
        let ranked = is_ranked.get_or_try(|| {
            if self.rows == 0 {
                return Ok(());
            }
            place_bricks(self.control())?;
            let IndexParts { slots, places, ranks, .. } = self.parts();
            let (rows, duplicate) = (self.count(), self.control() + DUPLICATE as u64);
            let report_at = report.address();
            // SAFETY: (Slot*, uint2*, RowCount, int*, int*, int*). The bricks' places among the
            // ranks add up to at most n; the report has two words and more.
            unsafe {
                kernels.ranks.launch(
                    Grid::covering(self.rows, ROW_THREADS)?,
                    arguments![slots, places, rows, ranks, duplicate, report_at],
                )?;
            }
            report.queued()
        });
        ranked.copied()
    }

    /// Gives every brick its place among the ranks, taken from the cursor.
    pub(super) fn place_bricks(&self, kernel: &Kernel, cursor: u64) -> Result<()> {
        let (IndexParts { slots, places, .. }, rows) = (self.parts(), self.count());
        // SAFETY: (Slot*, uint2*, RowCount, int*); every row has its place, and the word is the
        // cursor.
        unsafe {
            kernel.launch(
                Grid::covering(self.rows, ROW_THREADS)?,
                arguments![slots, places, rows, cursor],
            )
        }
    }

    /// What is reported of the voxels.
    pub(super) fn report(self: &Arc<Self>) -> IndexReport {
        match &self.origin {
            Origin::Inserted { report, .. } => {
                IndexReport::Inserted { report: Arc::clone(report), index: Arc::downgrade(self) }
            }
            Origin::Found(report) => {
                IndexReport::Found { report: report.clone(), capacity: self.rows }
            }
        }
    }

    /// The first row whose voxel an earlier row has. Slow: every place is read back.
    fn find_duplicate(&self) -> Result<Option<(Voxel, usize)>> {
        let places: Vec<u64> = self.by_row.download(0, self.rows)?;
        let mut seen = HashSet::with_capacity(self.rows);
        let (slot_of, cell_of) =
            (|place: u64| place & 0xffff_ffff, |place: u64| place >> 32 & CELL_MASK);
        let repeated =
            places.iter().position(|&place| !seen.insert((slot_of(place), cell_of(place))));
        let Some(row) = repeated else { return Ok(None) };
        let (slot, cell) = (slot_of(places[row]) as usize, cell_of(places[row]) as i32);
        let words: Vec<u32> = self.table.download(slot * SLOT_BYTES, SLOT_BYTES / 4)?;
        Ok(Some((voxel(&words, cell), row)))
    }
}

/// How many voxels there are, which may still be on its way from the device; and whether they are
/// distinct. It keeps none of their memory.
#[derive(Clone, Debug)]
pub(super) enum IndexReport {
    /// The index is read back where two voxels are equal.
    Inserted { report: Arc<Report>, index: std::sync::Weak<VoxelIndex> },
    /// Outputs are distinct.
    Found { report: OutputsReport, capacity: usize },
}

impl IndexReport {
    /// The number of voxels, after waiting.
    ///
    /// # Errors
    /// [`CudaError::DuplicateVoxel`]; [`CudaError::DuplicateVoxels`] where it is not known which;
    /// whatever work queued before has failed with.
    pub(super) fn wait(&self) -> Result<usize> {
        match self {
            Self::Inserted { report, .. } => self.rows_of(&report.wait(REPORTED_WORDS)?),
            Self::Found { report, capacity } => Ok(report.wait()?.rows.min(*capacity)),
        }
    }

    /// The same if the device has counted them, without waiting.
    pub(super) fn try_read(&self) -> Result<Option<usize>> {
        match self {
            Self::Inserted { report, .. } => {
                let words = report.try_read(REPORTED_WORDS)?;
                words.map(|words| self.rows_of(&words)).transpose()
            }
            Self::Found { report, capacity } => {
                Ok(report.try_read()?.map(|counts| counts.rows.min(*capacity)))
            }
        }
    }

    fn rows_of(&self, words: &[i32]) -> Result<usize> {
        if words[0] == 0 {
            return Ok(usize::try_from(words[1]).unwrap_or(0));
        }
        let index = match self {
            Self::Inserted { index, .. } => index.upgrade(),
            Self::Found { .. } => None,
        };
        let found = index.map(|index| index.find_duplicate()).transpose()?.flatten();
        Err(match found {
            Some((voxel, row)) => CudaError::DuplicateVoxel { voxel, row },
            None => CudaError::DuplicateVoxels,
        })
    }
}

/// Slots for the worst case, every voxel a brick of its own, at a load of four fifths. Scans fill a
/// sixth of them.
pub(super) const fn slots_for(rows: usize) -> usize {
    rows + rows / 4 + 32
}

/// A grid of kernels that loop over the rows.
pub(super) fn looping_grid(kernels: &MapKernels, rows: usize) -> Result<Grid> {
    let most = kernels.device.identity().units * BLOCKS_PER_SM;
    let mut grid = Grid::covering(rows, ROW_THREADS)?;
    grid.blocks[0] = grid.blocks[0].min(most);
    Ok(grid)
}

/// The voxel in a cell of the brick that a slot's words describe. The words are the key, the cells
/// that have rows, the place of its rows, then x, y and z.
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
            let capacity = slots_for(rows);
            assert!(capacity > rows && u32::try_from(capacity).is_ok());
        }
    }
}
