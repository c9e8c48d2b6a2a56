//! Outputs by the bricks that reach them.

use std::sync::Arc;

use voxtune_types::{Geometry, Voxel};

use super::{Outputs, OutputsReport, check_rows, with_table};
use crate::buffer::DeviceBuffer;
use crate::code::Compiled;
use crate::device::CudaDevice;
use crate::error::{CudaError, Result};
use crate::map::MapBuilder;
use crate::map::counts::{Report, ReportPages};
use crate::map::index::{SLOT_BYTES, VoxelIndex, by_row_bytes, ranks_at, slots_for};
use crate::map::kernels::ROW_THREADS;
use crate::map::levels::{
    KEYS_OF_A_ROW, Keys, Level, LevelKernels, Levels, MOST_KEYED_ROWS, Reach, SCAN_ROWS, Spread,
    Zeros, control, grid_of, scan_tiles,
};
use crate::module::{Grid, LoadedInstance, arguments};
use crate::row_count::RowCount;

/// The kernels of `network_maps.cu`, for one level at a time.
#[derive(Debug)]
pub(super) struct ByBricks {
    device: CudaDevice,
    pages: ReportPages,
    kernels: LevelKernels,
}

/// Inputs whose bricks have keys, and how far the outputs' spread.
#[derive(Clone, Copy)]
pub(super) struct Way<'a> {
    from: &'a VoxelIndex,
    keys: &'a Keys,
    spread: Spread,
}

/// Outputs that are counted, but not written.
struct Attempt {
    zeros: DeviceBuffer,
    _starts: DeviceBuffer,
    levels: Levels,
    slots: usize,
    /// Places in the zeros.
    slots_at: usize,
    owners_at: usize,
    counted_at: usize,
    report: Arc<Report>,
}

impl ByBricks {
    pub(super) fn new(maps: &MapBuilder, compiled: &Compiled) -> Result<Self> {
        let device = maps.kernels.device.clone();
        let loaded = LoadedInstance::load(&device, compiled)?;
        Ok(Self { device, pages: maps.pages.clone(), kernels: LevelKernels::new(&loaded)? })
    }

    /// `None` where the outputs cannot be found so.
    pub(super) fn way<'a>(
        &self,
        from: &'a VoxelIndex,
        geometry: &Geometry,
    ) -> Result<Option<Way<'a>>> {
        let rows = from.rows();
        if rows == 0 || rows > MOST_KEYED_ROWS || Spread::INPUT.of_outputs(geometry).is_none() {
            return Ok(None);
        }
        let keys = from.keys(&self.device, &self.kernels)?;
        let spread = keys.spread.of_outputs(geometry);
        Ok(spread.map(|spread| Way { from, keys, spread }))
    }

    /// All outputs. Waits for their number.
    pub(super) fn find(
        &self,
        way: Way<'_>,
        geometry: &Geometry,
        shape: Option<[u32; 3]>,
    ) -> Result<Outputs> {
        let reach = Reach::new(geometry, shape);
        let bricks = way.from.rows().saturating_mul(KEYS_OF_A_ROW);
        // Scans have a brick for some four rows; rows far apart one or two.
        with_table(slots_for(way.from.rows()), bricks, |slots| {
            let attempt = self.attempt(way, reach, slots, None)?;
            let counts = OutputsReport::of(Arc::clone(&attempt.report)).wait()?;
            let is_complete = !counts.incomplete;
            is_complete.then(|| self.write(way, attempt, counts.rows, false)).transpose()
        })
    }

    /// As many as there is room for.
    pub(super) fn find_at_most(
        &self,
        way: Way<'_>,
        geometry: &Geometry,
        shape: Option<[u32; 3]>,
        capacity: usize,
    ) -> Result<Outputs> {
        let reach = Reach::new(geometry, shape);
        let attempt = self.attempt(way, reach, slots_for(capacity), Some(capacity))?;
        self.write(way, attempt, capacity, true)
    }

    /// Queues everything up to the number of outputs, with a table of so many slots.
    fn attempt(
        &self,
        way: Way<'_>,
        reach: Reach,
        slots: usize,
        room: Option<usize>,
    ) -> Result<Attempt> {
        let Ok(slot_count) = u32::try_from(slots) else {
            let (what, limit) = ("the size of a table of outputs", u32::MAX as usize);
            return Err(CudaError::TooLarge { what, found: slots, limit });
        };
        let tiles = scan_tiles(way.keys.rows);
        let mut places = Zeros::default();
        let [control_at, status_at, totals_at, counted_at, slots_at, owners_at] = [
            control::LEN_BYTES,
            tiles * 8,
            tiles * SCAN_ROWS * KEYS_OF_A_ROW,
            size_of::<i32>(),
            slots * SLOT_BYTES,
            slots * 4,
        ]
        .map(|len_bytes| places.place(len_bytes));
        let zeros = DeviceBuffer::zeroed(&self.device, places.len_bytes())?;
        let mut starts = DeviceBuffer::alloc(&self.device, tiles * SCAN_ROWS * 4)?;
        let report = Arc::new(self.pages.take()?);
        let base = zeros.as_ref().address();
        let at = |place: usize| base + place as u64;
        let from = Level {
            slots: way.from.parts().slots,
            owners: way.keys.owners.as_ref().address(),
            capacity: way.from.parts().slot_count,
            ..Level::default()
        };
        let to = Level {
            slots: at(slots_at),
            owners: at(owners_at),
            totals: at(totals_at),
            starts: starts.as_mut().address(),
            counted: at(counted_at),
            report: report.address(),
            capacity: slot_count,
            room: room.and_then(|room| i32::try_from(room).ok()).unwrap_or(i32::MAX),
            ..Level::default()
        };
        let levels = Levels {
            at: std::array::from_fn(|level| if level == 0 { from } else { to }),
            control: at(control_at),
            status: at(status_at),
            input: RowCount::new(0, None),
            count: 2,
            tiles: tiles as i32,
            first: 1,
            tallies: i32::from(room.is_none()),
        };
        let full = levels.control + control::full(1);
        let meetings = if room.is_none() { levels.control + control::MEETINGS } else { 0 };
        let LevelKernels { reach: reach_kernel, totals, starts: starts_kernel, .. } = &self.kernels;
        // SAFETY: (Level, Level, Reach, int*, u64*); the kernel probes a bounded number of slots; a
        // brick's key is among those that have a total.
        unsafe {
            let grid = Grid::covering(from.capacity as usize, ROW_THREADS)?;
            reach_kernel.launch(grid, arguments![from, to, reach, full, meetings])?;
        }
        // SAFETY: (Levels); each owner is a key, which has a total.
        unsafe { totals.launch(Grid::covering(slots, ROW_THREADS)?, arguments![levels])? };
        // SAFETY: (Levels); a tile a block.
        unsafe { starts_kernel.launch(grid_of(tiles, ROW_THREADS)?, arguments![levels])? };
        report.queued()?;
        Ok(Attempt {
            zeros,
            _starts: starts,
            levels,
            slots,
            slots_at,
            owners_at,
            counted_at,
            report,
        })
    }

    /// Queues the writing of so many outputs, or of at most so many.
    fn write(
        &self,
        way: Way<'_>,
        attempt: Attempt,
        rows: usize,
        is_counted: bool,
    ) -> Result<Outputs> {
        check_rows(rows)?;
        let Attempt { zeros, mut levels, slots, slots_at, owners_at, counted_at, report, .. } =
            attempt;
        let mut coords = DeviceBuffer::alloc(&self.device, rows * size_of::<Voxel>())?;
        let mut by_row = DeviceBuffer::alloc(&self.device, by_row_bytes(rows))?;
        let to = &mut levels.at[1];
        to.coords = coords.as_mut().address();
        to.places = by_row.as_mut().address();
        to.ranks = to.places + ranks_at(rows) as u64;
        to.room = rows as i32;
        // SAFETY: (Levels); as before, and coordinates, places and ranks have room for all outputs
        // that are written: none if they do not fit.
        unsafe {
            self.kernels.write.launch(Grid::covering(slots, ROW_THREADS)?, arguments![levels])?;
        }
        let part = |at: usize, len_bytes: usize| {
            zeros.part_of(at..at + len_bytes).expect("parts lie in the zeros")
        };
        let counted = is_counted.then(|| Arc::new(part(counted_at, size_of::<i32>())));
        let keys =
            Keys { owners: part(owners_at, slots * 4), rows: way.keys.rows, spread: way.spread };
        let report = OutputsReport::of(report);
        let table = (part(slots_at, slots * SLOT_BYTES), slots);
        let of_rows = (rows, counted.clone());
        let index = VoxelIndex::of_outputs(of_rows, table, by_row, report.clone()).with_keys(keys);
        let index = Some(Arc::new(index));
        Ok(Outputs { coords, capacity: rows, counted, report, index })
    }
}
