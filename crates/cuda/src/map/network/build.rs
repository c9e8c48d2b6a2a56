//! Queues a plan: levels, then masks, orders and tables.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use voxtune_types::{LayerKind, Voxel};

use super::parameters::{self, Box3, Jobs, MaskJob, OrderJob, OrderJobs, TableJob};
use super::tiles::PlannedTiles;
use super::{Made, MapPlan, NetworkMapBuilder, NetworkMaps, NetworkPlan, Part};
use crate::buffer::DeviceBuffer;
use crate::error::Result;
use crate::map::bipartite::{Bipartite, Steps};
use crate::map::cloud::Cloud;
use crate::map::counts::Report;
use crate::map::index::{SLOT_BYTES, VoxelIndex, by_row_bytes, ranks_at, slots_for};
use crate::map::kernels::{ROW_THREADS, TABLE_THREADS, Window};
use crate::map::levels::{
    KEYS_OF_A_ROW, Keys, Level, LevelKernels, Levels, Reach, SCAN_ROWS, Spread, Zeros, control,
    grid_of, scan_tiles,
};
use crate::map::order::{DIGITS, MAX_PASSES, SEGMENT_TILES, SORT_THREADS, TILE_ROWS, passes};
use crate::map::outputs::OutputsReport;
use crate::map::plan::Plans;
use crate::map::rows::{COUNT_BYTES, Lookup, OrderedRows, RowMap};
use crate::map::{DeviceKernelMap, Outputs, Reverse, RowOrder};
use crate::module::{Grid, arguments};
use crate::row_count::RowCount;

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
}

/// The number of a map among those that are made, and its rows in an order.
pub(super) type Ordered = (usize, RowOrder, OrderedRows);

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
    /// Of the control of each part: that of the input or of all, then that of each further level,
    /// since their kernels may run at the same time.
    controls_at: Vec<usize>,
    /// Of each plan.
    plans_at: Vec<usize>,
    builds: Vec<LevelBuild>,
    parameters: Levels,
    /// What is used while levels and maps are made alone.
    scratch: Vec<DeviceBuffer>,
    /// Of the levels.
    reports: Vec<Arc<Report>>,
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
        let controls_at: Vec<usize> =
            rows.iter().map(|_| places.place(control::LEN_BYTES)).collect();
        let counts_at: Vec<usize> = made.maps.iter().map(|_| places.place(COUNT_BYTES)).collect();
        let arrived_at: Vec<usize> =
            made.orders.iter().map(|_| places.place(2 * MAX_PASSES * 4)).collect();
        let plans_at = made.plans.iter().map(|(map, tiles)| {
            let to = made.levels[plan.maps[made.maps[*map]].to].expect("maps are between levels");
            places.place(tiles.len_bytes(rows[to]))
        });
        let plans_at = plans_at.collect();
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

        let (mut told, mut builds) = (Vec::new(), Vec::new());
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
            told.push(parameters);
            builds.push(LevelBuild {
                coords,
                by_row,
                report,
                slots_at,
                owners_at,
                counted_at,
                slots,
                rows,
            });
        }
        let parameters = Levels {
            at: std::array::from_fn(|level| told.get(level).copied().unwrap_or(told[0])),
            control: base + controls_at[0] as u64,
            status: base + status_at as u64,
            input: cloud.count(),
            count: told.len() as i32,
            tiles: tiles as i32,
            first: 0,
            tallies: 0,
        };
        let (reports, found, outputs) = <_>::default();
        let maps = made.maps.iter().map(|_| None).collect();
        Ok(Self {
            builder,
            cloud,
            plan,
            made,
            zeros,
            counts_at,
            arrived_at,
            controls_at,
            plans_at,
            builds,
            parameters,
            scratch: vec![starts],
            reports,
            found,
            outputs,
            maps,
        })
    }

    /// What was used so far while levels and maps were made.
    pub(super) fn take_scratch(&mut self) -> Vec<DeviceBuffer> {
        std::mem::take(&mut self.scratch)
    }

    fn part(&self, at: usize, len_bytes: usize) -> DeviceBuffer {
        self.zeros.part_of(at..at + len_bytes).expect("parts lie in the zeros")
    }

    fn address(&self, at: usize) -> u64 {
        self.zeros.as_ref().address() + at as u64
    }

    /// Queues the input's bricks, and makes all levels known to maps.
    pub(super) fn insert(&mut self) -> Result<()> {
        let (levels, rows) = (self.parameters, self.cloud.capacity());
        let insert = &self.builder.levels.insert;
        // SAFETY: (Levels); all of them hold what `new` has given them room for, and there are more
        // slots than the input has bricks, so probing ends.
        unsafe { insert.launch(Grid::covering(rows, ROW_THREADS)?, arguments![levels])? };
        let builds = std::mem::take(&mut self.builds);
        for (number, (build, &spread)) in builds.into_iter().zip(&self.made.spreads).enumerate() {
            self.keep_level(number, build, spread);
        }
        Ok(())
    }

    /// A level as others take it.
    fn keep_level(&mut self, number: usize, build: LevelBuild, spread: Spread) {
        let LevelBuild { coords, by_row, report, slots_at, owners_at, counted_at, slots, rows } =
            build;
        let table = (self.part(slots_at, slots * SLOT_BYTES), slots);
        let owners = self.part(owners_at, slots * 4);
        let keys = Keys { owners, rows: self.cloud.capacity(), spread };
        self.reports.push(Arc::clone(&report));
        let Some(coords) = coords.filter(|_| number > 0) else {
            let of_rows = (rows, self.cloud.count_on_device());
            let index = VoxelIndex::ranked(of_rows, table, by_row, report);
            self.found.push(Arc::new(index.with_keys(keys)));
            return;
        };
        let counted = Some(Arc::new(self.part(counted_at, size_of::<i32>())));
        let report = OutputsReport::of(report);
        let of_rows = (rows, counted.clone());
        let index = VoxelIndex::of_outputs(of_rows, table, by_row, report.clone());
        let index = Arc::new(index.with_keys(keys));
        self.found.push(Arc::clone(&index));
        let index = Some(index);
        self.outputs.push(Some(Outputs { coords, capacity: rows, counted, report, index }));
    }

    /// Queues everything from the input's bricks to the outputs of the last level, or a part of it.
    pub(super) fn find(&mut self, part: Part) -> Result<()> {
        let LevelKernels { totals, starts, write, .. } = &self.builder.levels;
        let (first, end) = match part {
            Part::All => (0, self.parameters.count as usize),
            Part::Input => (0, 1),
            Part::Level(number) => (number, number + 1),
        };
        let control = self.control(part);
        let mut levels =
            Levels { first: first as i32, count: end as i32, control, ..self.parameters };
        let of_input = match part {
            Part::Level(_) => {
                levels.input = RowCount::new(0, None);
                0
            }
            _ => self.cloud.capacity().div_ceil(ROW_THREADS as usize),
        };
        let further = first.max(1)..end;
        self.reach(further.clone(), control)?;
        let blocks_of = |level: usize| self.slots_of(level).div_ceil(ROW_THREADS as usize);
        let blocks: usize = (first..end).map(blocks_of).sum();
        // SAFETY: (Levels); each owner is a key, which has a total.
        unsafe { totals.launch(grid_of(blocks, ROW_THREADS)?, arguments![levels])? };
        if !further.is_empty() {
            let tiles = further.len() * levels.tiles as usize;
            // SAFETY: (Levels); a tile a block, of which each level has as many.
            unsafe { starts.launch(grid_of(tiles, ROW_THREADS)?, arguments![levels])? };
        }
        let of_outputs: usize = further.map(blocks_of).sum();
        let grid = grid_of((of_input + of_outputs).max(1), ROW_THREADS)?;
        // SAFETY: (Levels); levels that do not fit are not written.
        unsafe { write.launch(grid, arguments![levels])? };
        self.reports[first..end].iter().try_for_each(|report| report.queued())
    }

    /// Address of the control of a part.
    fn control(&self, part: Part) -> u64 {
        let number = if let Part::Level(number) = part { number } else { 0 };
        self.address(self.controls_at[number])
    }

    /// Queues the bricks of some levels that are made of others.
    fn reach(&self, levels: Range<usize>, control: u64) -> Result<()> {
        for (level, made) in self.plan.levels.iter().zip(&self.made.levels[1..]) {
            let Some(to) = made.filter(|made| levels.contains(made)) else { continue };
            let from = self.made.levels[level.from].expect("a level is made of one that is");
            let geometry = Reach::new(&level.geometry, level.shape);
            let full = control + control::full(to);
            let (from, to) = (self.parameters.at[from], self.parameters.at[to]);
            let meetings = 0_u64;
            // SAFETY: (Level, Level, Reach, int*, u64*); the kernel probes a bounded number of
            // slots; the word is the level's own, and meetings are not counted.
            unsafe {
                let grid = Grid::covering(from.capacity as usize, ROW_THREADS)?;
                let reach = &self.builder.levels.reach;
                reach.launch(grid, arguments![from, to, geometry, full, meetings])?;
            }
        }
        Ok(())
    }

    fn slots_of(&self, level: usize) -> usize {
        self.parameters.at[level].capacity as usize
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

    /// Queues masks, orders and tables of all maps, or of those of a part.
    pub(super) fn make_maps(&mut self, part: Part) -> Result<()> {
        let NetworkMapBuilder { device, pages, masks: mask_kernel, .. } = self.builder;
        let is_in = |at: &usize| part.has_map(self.made(self.plan_of(*at).to));
        let chosen: Vec<usize> = (0..self.made.maps.len()).filter(is_in).collect();
        let (mut jobs, mut blocks) = (BTreeMap::new(), 0);
        let mut made = Vec::with_capacity(chosen.len());
        for &at in &chosen {
            let lookup = self.lookup(self.plan_of(at));
            let rows = lookup.count.capacity();
            let mut buffer = DeviceBuffer::alloc(device, rows * 4)?;
            let report = Arc::new(pages.take()?);
            let masks = buffer.as_mut().address();
            let counts = self.address(self.counts_at[at]);
            jobs.insert(at, MaskJob { lookup, masks, counts, report: report.address() });
            blocks += rows.div_ceil(ROW_THREADS as usize).max(1);
            made.push((at, buffer, report));
        }
        let listed: Vec<MaskJob> = jobs.values().copied().collect();
        let Some(mask_jobs) = Jobs::new(&listed) else { return Ok(()) };
        // SAFETY: (MaskJobs); every row has its place, and its mask; a box has at most 27 offsets.
        unsafe { mask_kernel.launch(grid_of(blocks, ROW_THREADS)?, arguments![mask_jobs])? };
        made.iter().try_for_each(|(.., report)| report.queued())?;

        let rows = self.sort(part, &jobs)?;
        let mut ordered = self.tables(&jobs, rows)?;
        for (at, masks, report) in made {
            let plan = self.plan_of(at);
            let [from, to] =
                [plan.from, plan.to].map(|level| Arc::clone(&self.found[self.made(level)]));
            let (lookup, reverse) = self.rows_of(plan, &from, &to);
            let counts = self.part(self.counts_at[at], COUNT_BYTES);
            let row_map = RowMap::new(lookup, masks, counts);
            for (_, order, made) in ordered.extract_if(.., |(of, ..)| *of == at) {
                row_map.keep(order, made);
            }
            let (kernels, kernel) = (&self.builder.kernels, plan.geometry.kernel);
            let map = DeviceKernelMap::made(kernels, kernel, [from, to], row_map, reverse, report);
            self.maps[at] = Some(map);
        }
        Ok(())
    }

    /// The plan of a map that is made.
    fn plan_of(&self, at: usize) -> &'a MapPlan {
        &self.plan.maps[self.made.maps[at]]
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
    fn sort(&mut self, part: Part, masks: &BTreeMap<usize, MaskJob>) -> Result<Vec<DeviceBuffer>> {
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
            // SAFETY: (OrderJobs); scratch memory is as long as a job's tiles need, and each job has
            // no more blocks than run at once.
            unsafe {
                let grid = grid_of(blocks, SORT_THREADS)?;
                self.builder.orders.launch(grid, arguments![jobs])?;
            }
        }
        self.scratch.extend(scratch);
        Ok(orders)
    }

    /// The table of each order that is made here, with its plans, and the number of its map.
    fn tables(
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
            // SAFETY: (TableJobs, PlanJobs); orders are permutations of their rows; tables and masks
            // have the lengths allocated above, and plans those that they say; a box has at most 27
            // offsets; plans are zeros.
            unsafe {
                let grid = grid_of(plans.blocks() + blocks, TABLE_THREADS)?;
                self.builder.tables.launch(grid, arguments![jobs, plans])?;
            }
            planned.keep(&ordered);
        }
        Ok(ordered)
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
