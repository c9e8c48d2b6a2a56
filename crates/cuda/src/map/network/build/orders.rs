//! Queues the orders of maps' rows, with a table and plans for each.

use std::collections::BTreeMap;

use super::AtOnce;
use crate::buffer::DeviceBuffer;
use crate::error::Result;
use crate::map::kernels::TABLE_THREADS;
use crate::map::levels::{control, grid_of};
use crate::map::network::Part;
use crate::map::network::parameters::{Jobs, MaskJob, OrderJob, OrderJobs, TableJob};
use crate::map::network::tiles::PlannedTiles;
use crate::map::order::{DIGITS, SEGMENT_TILES, SORT_THREADS, TILE_ROWS, passes};
use crate::map::plan::Plans;
use crate::map::rows::OrderedRows;
use crate::map::{DeviceKernelMap, RowOrder};
use crate::module::arguments;

/// The number of a map among those that are made, and its rows in an order.
pub(in crate::map::network) type Ordered = (usize, RowOrder, OrderedRows);

/// Tiles of an order that meet in one kernel: past them, a launch a pass is faster.
const MOST_ORDER_TILES: usize = 64;
/// Blocks of the sort that an SM runs at once, by its launch bounds.
const ORDER_BLOCKS_PER_SM: usize = 2;
/// Streams that may sort at a time. Tiles of an order wait for each other, so the device has to
/// have room for all of one in each stream, or none would end.
const STREAMS_AT_ONCE: usize = 4;

/// The most tiles of an order that may meet in one kernel on a device of so many SMs.
fn most_order_tiles(units: u32) -> usize {
    MOST_ORDER_TILES.min(units as usize * ORDER_BLOCKS_PER_SM / STREAMS_AT_ONCE)
}

impl AtOnce<'_> {
    /// Whether an order is made here: the natural one always, a sorted one of few tiles, all of
    /// which run at once.
    fn is_sorted_here(&self, order: RowOrder, rows: usize) -> bool {
        let most = most_order_tiles(self.builder.device.identity().units);
        let tiles = rows.div_ceil(TILE_ROWS);
        match order {
            RowOrder::Natural => true,
            RowOrder::Sorted => tiles <= SEGMENT_TILES.min(most),
            RowOrder::Global => tiles <= most,
        }
    }

    /// The row of each position of each order that is made here; empty of the natural one, and of
    /// one that is not.
    pub(super) fn sort(
        &mut self,
        part: Part,
        masks: &BTreeMap<usize, MaskJob>,
    ) -> Result<Vec<DeviceBuffer>> {
        let device = &self.builder.device;
        let (mut orders, mut scratch, mut jobs, mut blocks) =
            (Vec::new(), Vec::new(), Vec::new(), 0);
        for (at, &(map, order)) in self.made.orders.iter().enumerate() {
            let Some(&MaskJob { lookup, masks, counts, .. }) = masks.get(&map) else {
                orders.push(DeviceBuffer::alloc(device, 0)?);
                continue;
            };
            let rows = lookup.count.capacity();
            if order == RowOrder::Natural || !self.is_sorted_here(order, rows) {
                orders.push(DeviceBuffer::alloc(device, 0)?);
                continue;
            }
            let tiles = rows.div_ceil(TILE_ROWS);
            let mut sorted = DeviceBuffer::alloc(device, rows * 4)?;
            let mut items = DeviceBuffer::alloc(device, 2 * rows * 8 + tiles * DIGITS * 4)?;
            let volume = lookup.gathered.volume();
            jobs.push(OrderJob {
                masks,
                counts,
                count: lookup.count,
                items: items.as_mut().address(),
                tile_counts: items.as_mut().address() + (2 * rows * 8) as u64,
                arrived: self.address(self.arrived_at[at]),
                rows: sorted.as_mut().address(),
                volume: volume as i32,
                passes: passes(volume) as i32,
            });
            blocks += tiles;
            orders.push(sorted);
            scratch.push(items);
        }
        if let Some(jobs) = Jobs::new(&jobs) {
            let ticket = self.control(part) + control::ORDER_TICKET;
            let jobs = OrderJobs::new(&jobs, ticket);
            // SAFETY: (OrderJobs); scratch memory is as long as a job's tiles need, and each job
            // has no more blocks than run at once.
            unsafe {
                let grid = grid_of(blocks, SORT_THREADS)?;
                self.builder.orders.launch(grid, arguments![jobs])?;
            }
        }
        self.scratch.extend(scratch);
        Ok(orders)
    }

    /// The table of each order that is made here, with its plans, and the number of its map.
    pub(super) fn tables(
        &self,
        masks_of_maps: &BTreeMap<usize, MaskJob>,
        sorted: Vec<DeviceBuffer>,
    ) -> Result<Vec<Ordered>> {
        let device = &self.builder.device;
        let (mut ordered, mut jobs, mut blocks) = (Vec::new(), Vec::new(), 0);
        for (&(map, order), mut row_of_position) in self.made.orders.iter().zip(sorted) {
            let Some(lookup) = masks_of_maps.get(&map).map(|job| job.lookup) else { continue };
            let rows = lookup.count.capacity();
            if !self.is_sorted_here(order, rows) {
                continue;
            }
            let pitch = DeviceKernelMap::pitch(rows);
            let volume = lookup.gathered.volume();
            let mut table = DeviceBuffer::alloc(device, volume * pitch * 4)?;
            let is_sorted = order != RowOrder::Natural;
            let mut masks = match is_sorted {
                true => Some(DeviceBuffer::alloc(device, rows * 4)?),
                false => None,
            };
            jobs.push(TableJob {
                lookup,
                rows: if is_sorted { row_of_position.as_mut().address() } else { 0 },
                table: table.as_mut().address(),
                masks: masks.as_mut().map_or(0, |masks| masks.as_mut().address()),
                pitch: pitch as i64,
            });
            blocks += pitch.div_ceil(TABLE_THREADS as usize);
            let row_of_position = Some(row_of_position).filter(|_| is_sorted);
            let plans = Plans::default();
            ordered.push((map, order, OrderedRows { row_of_position, table, masks, plans }));
        }
        if let Some(jobs) = Jobs::new(&jobs) {
            let zeros = |plan: usize, len_bytes| self.part(self.plans_at[plan], len_bytes);
            let planned = PlannedTiles::of(self.made, masks_of_maps, &ordered, zeros)?;
            let plans = planned.jobs;
            // SAFETY: (TableJobs, PlanJobs); orders are permutations of their rows. Tables and
            // masks have the lengths allocated above, and plans those that they say; a box has at
            // most 27 offsets; plans are zeros.
            unsafe {
                let grid = grid_of(plans.blocks() + blocks, TABLE_THREADS)?;
                self.builder.tables.launch(grid, arguments![jobs, plans])?;
            }
            planned.keep(&ordered);
        }
        Ok(ordered)
    }
}
