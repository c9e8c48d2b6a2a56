//! Queues a plan: levels, then masks, orders and tables.

use std::sync::Arc;

use voxtune_types::{LayerKind, Voxel};

use super::parameters::{self, Box3, Jobs, MaskJob, OrderJob, OrderJobs, TableJob};
use super::{Made, MapPlan, NetworkMapBuilder, NetworkMaps, NetworkPlan};
use crate::buffer::DeviceBuffer;
use crate::error::Result;
use crate::map::bipartite::{Bipartite, Steps};
use crate::map::cloud::Cloud;
use crate::map::counts::Report;
use crate::map::index::{SLOT_BYTES, VoxelIndex, by_row_bytes, ranks_at, slots_for};
use crate::map::kernels::{ROW_THREADS, TABLE_THREADS, Window};
use crate::map::levels::{
    KEYS_OF_A_ROW, Keys, Level, LevelKernels, Levels, Reach, SCAN_ROWS, Zeros, control, grid_of,
    scan_tiles,
};
use crate::map::order::{DIGITS, MAX_PASSES, SEGMENT_TILES, SORT_THREADS, TILE_ROWS, passes};
use crate::map::outputs::OutputsReport;
use crate::map::plan::{PlanJobs, Plans, TICKET_BYTES, TilePlan};
use crate::map::rows::{COUNT_BYTES, Lookup, OrderedRows, RowMap};
use crate::map::{DeviceKernelMap, Outputs, Reverse, RowOrder};
use crate::module::{Grid, arguments};

/// Tiles of an order that meet in one kernel: past them, a launch a pass is faster.
const MOST_ORDER_TILES: usize = 64;
/// Blocks of the sort that an SM runs at once, by its launch bounds.
const ORDER_BLOCKS_PER_SM: usize = 2;
/// Streams that may sort at a time. Tiles of an order wait for each other, so the device has to have
/// room for all of one in each stream, or none would end.
const STREAMS_AT_ONCE: usize = 4;

/// The most tiles of an order that may meet in one kernel on a device of so many SMs.
fn most_order_tiles(units: u32) -> usize {
    MOST_ORDER_TILES.min(units as usize * ORDER_BLOCKS_PER_SM / STREAMS_AT_ONCE)
}

/// A level while it is made.
struct LevelBuild {
    /// The level's own buffers; none of the input's coordinates.
    coords: Option<DeviceBuffer>,
    by_row: DeviceBuffer,
    report: Arc<Report>,
    /// Places in the zeros: slots, owners, how many rows.
    slots_at: usize,
    owners_at: usize,
    counted_at: usize,
    slots: usize,
    rows: usize,
    parameters: Level,
}

/// A build under way.
pub(super) struct AtOnce<'a> {
    builder: &'a NetworkMapBuilder,
    cloud: Cloud<'a>,
    plan: &'a NetworkPlan,
    made: &'a Made,
    zeros: DeviceBuffer,
    /// Places in the zeros of each map's pairs, and of each order's meetings.
    counts_at: Vec<usize>,
    arrived_at: Vec<usize>,
    /// Of each plan's ticket.
    tickets_at: Vec<usize>,
    levels: Vec<LevelBuild>,
    parameters: Levels,
    /// What is used while levels are found alone.
    _starts: DeviceBuffer,
    /// The levels that were found, and the maps.
    found: Vec<Arc<VoxelIndex>>,
    outputs: Vec<Option<Outputs>>,
    maps: Vec<Option<DeviceKernelMap>>,
}

impl<'a> AtOnce<'a> {
    pub(super) fn new(
        builder: &'a NetworkMapBuilder,
        cloud: Cloud<'a>,
        plan: &'a NetworkPlan,
        made: &'a Made,
    ) -> Result<Self> {
        let device = &builder.device;
        let input_rows = cloud.capacity();
        let tiles = scan_tiles(input_rows);
        let planned = plan.levels.iter().zip(&made.levels[1..]);
        let planned = planned.filter_map(|(level, made)| made.map(|_| level.capacity));
        let rows: Vec<usize> = std::iter::once(input_rows).chain(planned).collect();

        let mut places = Zeros::default();
        let control_at = places.place(control::LEN_BYTES);
        let counts_at: Vec<usize> = made.maps.iter().map(|_| places.place(COUNT_BYTES)).collect();
        let arrived_at: Vec<usize> =
            made.orders.iter().map(|_| places.place(2 * MAX_PASSES * 4)).collect();
        let tickets_at = made.plans.iter().map(|_| places.place(TICKET_BYTES)).collect();
        let status_at = places.place((rows.len() - 1) * tiles * 8);
        let of_levels: Vec<[usize; 4]> = rows
            .iter()
            .enumerate()
            .map(|(level, &rows)| {
                let slots = slots_for(rows);
                let totals = if level == 0 { 0 } else { tiles * SCAN_ROWS * KEYS_OF_A_ROW };
                let lengths = [slots * SLOT_BYTES, slots * 4, totals, size_of::<i32>()];
                lengths.map(|len_bytes| places.place(len_bytes))
            })
            .collect();
        let zeros = DeviceBuffer::zeroed(device, places.len_bytes())?;
        let starts_bytes = tiles * SCAN_ROWS * 4;
        let mut starts = DeviceBuffer::alloc(device, (rows.len() - 1) * starts_bytes)?;
        let (base, starts_base) = (zeros.as_ref().address(), starts.as_mut().address());
        let coords_of_input = cloud.read_by(device)?;

        let mut levels = Vec::with_capacity(rows.len());
        for (level, (&rows, places)) in rows.iter().zip(&of_levels).enumerate() {
            let [slots_at, owners, totals, counted_at] = places.map(|at| base + at as u64);
            let mut coords = match level {
                0 => None,
                _ => Some(DeviceBuffer::alloc(device, rows * size_of::<Voxel>())?),
            };
            let mut by_row = DeviceBuffer::alloc(device, by_row_bytes(rows))?;
            let report = Arc::new(builder.pages.take()?);
            let at = by_row.as_mut().address();
            let parameters = Level {
                slots: slots_at,
                owners,
                totals,
                starts: starts_base + (level.saturating_sub(1) * starts_bytes) as u64,
                coords: coords.as_mut().map_or(coords_of_input, |coords| coords.as_mut().address()),
                places: at,
                ranks: at + ranks_at(rows) as u64,
                counted: counted_at,
                report: report.address(),
                capacity: slots_for(rows) as u32,
                room: rows as i32,
            };
            let [slots_at, owners_at, _, counted_at] = *places;
            let slots = slots_for(rows);
            let build = LevelBuild {
                coords,
                by_row,
                report,
                slots_at,
                owners_at,
                counted_at,
                slots,
                rows,
                parameters,
            };
            levels.push(build);
        }
        let first = levels[0].parameters;
        let parameters = Levels {
            at: std::array::from_fn(|level| levels.get(level).map_or(first, |l| l.parameters)),
            control: base + control_at as u64,
            status: base + status_at as u64,
            input: cloud.count(),
            count: levels.len() as i32,
            tiles: tiles as i32,
            first: 0,
            tallies: 0,
        };
        let (found, outputs, maps) = <_>::default();
        Ok(Self {
            builder,
            cloud,
            plan,
            made,
            zeros,
            counts_at,
            arrived_at,
            tickets_at,
            levels,
            parameters,
            _starts: starts,
            found,
            outputs,
            maps,
        })
    }

    fn part(&self, at: usize, len_bytes: usize) -> DeviceBuffer {
        self.zeros.part_of(at..at + len_bytes).expect("parts lie in the zeros")
    }

    fn address(&self, at: usize) -> u64 {
        self.zeros.as_ref().address() + at as u64
    }

    /// Queues everything from the input's rows to the outputs of the last level.
    pub(super) fn find_levels(&mut self) -> Result<()> {
        let LevelKernels { insert, reach, totals, starts, write, .. } = &self.builder.levels;
        let (levels, input_rows) = (self.parameters, self.cloud.capacity());
        // SAFETY: (Levels); all of them hold what `new` has given them room for, and there are more
        // slots than the input has bricks, so probing ends.
        unsafe { insert.launch(Grid::covering(input_rows, ROW_THREADS)?, arguments![levels])? };
        for (level, made) in self.plan.levels.iter().zip(&self.made.levels[1..]) {
            let Some(to) = *made else { continue };
            let from = self.made.levels[level.from].expect("a level is made of one that is");
            let geometry = Reach::new(&level.geometry, level.shape);
            let full = self.parameters.control + control::full(to);
            let (from, to) = (self.levels[from].parameters, self.levels[to].parameters);
            let meetings = 0_u64;
            // SAFETY: (Level, Level, Reach, int*, u64*); the kernel probes a bounded number of
            // slots; the word is the level's own, and meetings are not counted.
            unsafe {
                let grid = Grid::covering(from.capacity as usize, ROW_THREADS)?;
                reach.launch(grid, arguments![from, to, geometry, full, meetings])?;
            }
        }
        let blocks_of = |level: &LevelBuild| level.slots.div_ceil(ROW_THREADS as usize);
        let blocks: usize = self.levels.iter().map(blocks_of).sum();
        // SAFETY: (Levels); each owner is a key, which has a total.
        unsafe { totals.launch(grid_of(blocks, ROW_THREADS)?, arguments![levels])? };
        let further = self.levels.len() - 1;
        if further > 0 {
            let tiles = further * levels.tiles as usize;
            // SAFETY: (Levels); a tile a block, of which each level has as many.
            unsafe { starts.launch(grid_of(tiles, ROW_THREADS)?, arguments![levels])? };
        }
        let of_input = input_rows.div_ceil(ROW_THREADS as usize);
        let of_outputs = blocks - blocks_of(&self.levels[0]);
        let grid = grid_of((of_input + of_outputs).max(1), ROW_THREADS)?;
        // SAFETY: (Levels); rows past a level's room are not written.
        unsafe { write.launch(grid, arguments![levels])? };
        self.keep_levels()
    }

    /// The levels as others take them.
    fn keep_levels(&mut self) -> Result<()> {
        let builds = std::mem::take(&mut self.levels);
        for (number, (build, &spread)) in builds.into_iter().zip(&self.made.spreads).enumerate() {
            let table = self.part(build.slots_at, build.slots * SLOT_BYTES);
            let owners = self.part(build.owners_at, build.slots * 4);
            let keys = Keys { owners, rows: self.cloud.capacity(), spread };
            let LevelBuild { coords, by_row, report, counted_at, slots, rows, .. } = build;
            report.queued()?;
            let Some(coords) = coords.filter(|_| number > 0) else {
                let counted = self.cloud.count_on_device();
                let index = VoxelIndex::ranked((rows, counted), (table, slots), by_row, report)
                    .with_keys(keys);
                self.found.push(Arc::new(index));
                continue;
            };
            let counted = Some(Arc::new(self.part(counted_at, size_of::<i32>())));
            let report = OutputsReport::of(report);
            let of_rows = (rows, counted.clone());
            let index = VoxelIndex::of_outputs(of_rows, (table, slots), by_row, report.clone());
            let index = Arc::new(index.with_keys(keys));
            self.found.push(Arc::clone(&index));
            let index = Some(index);
            self.outputs.push(Some(Outputs { coords, capacity: rows, counted, report, index }));
        }
        Ok(())
    }

    /// The number of a plan's level among those that are made.
    fn made(&self, level: usize) -> usize {
        self.made.levels[level].expect("maps are made between levels that are")
    }

    fn lookup(&self, map: &MapPlan) -> parameters::Lookup {
        let [from, to] = [map.from, map.to].map(|level| self.made(level));
        let (own, gathered) = (self.parameters.at[to], self.parameters.at[from]);
        parameters::Lookup {
            slots: gathered.slots,
            // Outputs lie in the order of their ranks.
            ranks: if from == 0 { gathered.ranks } else { 0 },
            own_slots: own.slots,
            places: own.places,
            count: self.found[to].count(),
            gathered: Box3::new(&map.geometry),
            capacity: gathered.capacity,
        }
    }

    /// Queues masks, orders and tables of all maps.
    pub(super) fn make_maps(&mut self) -> Result<()> {
        let NetworkMapBuilder { device, pages, kernels, masks: mask_kernel, .. } = self.builder;
        let plans: Vec<&MapPlan> = self.made.maps.iter().map(|&map| &self.plan.maps[map]).collect();
        let mut masks = Vec::with_capacity(plans.len());
        let (mut reports, mut jobs, mut blocks) = (Vec::new(), Vec::new(), 0);
        for (at, plan) in plans.iter().enumerate() {
            let lookup = self.lookup(plan);
            let rows = lookup.count.capacity();
            let mut buffer = DeviceBuffer::alloc(device, rows * 4)?;
            let report = Arc::new(pages.take()?);
            let masks_at = buffer.as_mut().address();
            let counts = self.address(self.counts_at[at]);
            jobs.push(MaskJob { lookup, masks: masks_at, counts, report: report.address() });
            blocks += rows.div_ceil(ROW_THREADS as usize).max(1);
            masks.push(buffer);
            reports.push(report);
        }
        let Some(mask_jobs) = Jobs::new(&jobs) else { return Ok(()) };
        // SAFETY: (MaskJobs); every row has its place, and its mask; a box has at most 27 offsets.
        unsafe { mask_kernel.launch(grid_of(blocks, ROW_THREADS)?, arguments![mask_jobs])? };
        reports.iter().try_for_each(|report| report.queued())?;

        let rows: Vec<DeviceBuffer> = self.sort(&plans, &jobs)?;
        let mut ordered = self.tables(&jobs, rows)?;
        for (at, ((plan, masks), report)) in plans.iter().zip(masks).zip(reports).enumerate() {
            let [from, to] =
                [plan.from, plan.to].map(|level| Arc::clone(&self.found[self.made(level)]));
            let (lookup, reverse) = self.rows_of(plan, &from, &to);
            let counts = self.part(self.counts_at[at], COUNT_BYTES);
            let row_map = RowMap::new(lookup, masks, counts);
            for (_, order, made) in ordered.extract_if(.., |(of, ..)| *of == at) {
                row_map.keep(order, made);
            }
            let kernel = plan.geometry.kernel;
            let map = DeviceKernelMap::made(kernels, kernel, [from, to], row_map, reverse, report);
            self.maps.push(Some(map));
        }
        Ok(())
    }

    /// How a map's rows are looked up where more is asked of it later.
    fn rows_of(
        &self,
        plan: &MapPlan,
        from: &Arc<VoxelIndex>,
        to: &Arc<VoxelIndex>,
    ) -> (Lookup, Reverse) {
        if plan.geometry.kind == LayerKind::Submanifold {
            let window = Window::new(plan.geometry.kernel);
            return (Lookup::Within { index: Arc::clone(to), window }, Reverse::Mirrored);
        }
        let (kernels, steps) = (&self.builder.bipartite, Steps::multiplied(&plan.geometry));
        let lookup = Lookup::Bipartite(Bipartite {
            kernels: Arc::clone(kernels),
            own: Arc::clone(to),
            gathered: Arc::clone(from),
            steps,
        });
        (lookup, Reverse::Other(Arc::clone(kernels), steps.divided()))
    }

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
    fn sort(&self, plans: &[&MapPlan], masks: &[MaskJob]) -> Result<Vec<DeviceBuffer>> {
        let device = &self.builder.device;
        let (mut orders, mut scratch, mut jobs, mut blocks) =
            (Vec::new(), Vec::new(), Vec::new(), 0);
        for (at, &(map, order)) in self.made.orders.iter().enumerate() {
            let MaskJob { lookup, masks, counts, .. } = masks[map];
            let rows = lookup.count.capacity();
            if order == RowOrder::Natural || !self.is_sorted_here(order, rows) {
                orders.push(DeviceBuffer::alloc(device, 0)?);
                continue;
            }
            let tiles = rows.div_ceil(TILE_ROWS);
            let mut sorted = DeviceBuffer::alloc(device, rows * 4)?;
            let mut items = DeviceBuffer::alloc(device, 2 * rows * 8 + tiles * DIGITS * 4)?;
            let volume = plans[map].geometry.kernel.volume();
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
            let ticket = self.parameters.control + control::ORDER_TICKET;
            let jobs = OrderJobs::new(&jobs, ticket);
            // SAFETY: (OrderJobs); scratch memory is as long as a job's tiles need, and each job has
            // no more blocks than run at once.
            unsafe {
                let grid = grid_of(blocks, SORT_THREADS)?;
                self.builder.orders.launch(grid, arguments![jobs])?;
            }
        }
        Ok(orders)
    }

    /// The table of each order that is made here with its plans, and the number of its map.
    fn tables(
        &self,
        masks_of_maps: &[MaskJob],
        sorted: Vec<DeviceBuffer>,
    ) -> Result<Vec<(usize, RowOrder, OrderedRows)>> {
        let device = &self.builder.device;
        let (mut ordered, mut jobs, mut blocks) = (Vec::new(), Vec::new(), 0);
        for (&(map, order), mut row_of_position) in self.made.orders.iter().zip(sorted) {
            let lookup = masks_of_maps[map].lookup;
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
            let (plans, made) = self.tile_plans(masks_of_maps, &ordered)?;
            // SAFETY: (TableJobs, PlanJobs); orders are permutations of their rows; tables and masks
            // have the lengths allocated above, and plans those that they say; a box has at most 27
            // offsets; tickets lie in the zeros.
            unsafe {
                let grid = grid_of(plans.blocks() + blocks, TABLE_THREADS)?;
                self.builder.tables.launch(grid, arguments![jobs, plans])?;
            }
            for (at, plan, memory) in made {
                ordered[at].2.plans.keep(plan, memory);
            }
        }
        Ok(ordered)
    }

    /// The plans of rows that are ordered here, to be made with their tables: each with the number of
    /// its rows among those.
    fn tile_plans(
        &self,
        masks: &[MaskJob],
        ordered: &[(usize, RowOrder, OrderedRows)],
    ) -> Result<(PlanJobs, Vec<(usize, TilePlan, DeviceBuffer)>)> {
        let (mut jobs, mut made) = (Vec::new(), Vec::new());
        for (&(map, plan), &ticket) in self.made.plans.iter().zip(&self.tickets_at) {
            let is_of = |(of, order, _): &(usize, RowOrder, OrderedRows)| {
                (*of, *order) == (map, plan.order)
            };
            let Some(at) = ordered.iter().position(is_of) else { continue };
            let MaskJob { lookup, masks, .. } = masks[map];
            let len_bytes = plan.len_bytes(lookup.count.capacity());
            let mut memory = DeviceBuffer::alloc(&self.builder.device, len_bytes)?;
            let rows = ordered[at].2.row_of_position();
            let job = plan.job([masks, rows], lookup.count, &mut memory, self.address(ticket));
            jobs.push((plan, job));
            made.push((at, plan, memory));
        }
        Ok((PlanJobs::new(&jobs, TABLE_THREADS)?, made))
    }

    /// What was made, by the numbers of the plan.
    pub(super) fn finish(self) -> NetworkMaps {
        let Self { made, plan, found, outputs, maps, .. } = self;
        let mut outputs = outputs.into_iter();
        let levels = made.levels[1..].iter().map(|level| level.and_then(|_| outputs.next()?));
        let levels = levels.collect();
        let mut by_plan: Vec<Option<DeviceKernelMap>> = plan.maps.iter().map(|_| None).collect();
        for (&number, map) in made.maps.iter().zip(maps) {
            by_plan[number] = map;
        }
        let input = found.into_iter().next().expect("the input is a level");
        NetworkMaps { input, levels, maps: by_plan }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_of_several_streams_have_room_at_a_time() {
        for units in [1, 16, 46, 84, 132, 148] {
            let tiles = most_order_tiles(units) * STREAMS_AT_ONCE;
            assert!(tiles <= units as usize * ORDER_BLOCKS_PER_SM, "{units}");
        }
        assert_eq!([46, 132].map(most_order_tiles), [23, 64]);
    }
}
