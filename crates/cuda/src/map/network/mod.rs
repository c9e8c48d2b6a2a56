//! Everything that a network makes of its voxels, in a handful of launches.
//!
//! | idea | where |
//! |---|---|
//! | which levels and maps can be made so | [`levels`](super::levels) |
//! | what they are made of, and in which order | [`NetworkMapBuilder`] |
//! | what kernels are told | [`parameters`] |

mod parameters;

use std::sync::Arc;

use voxtune_types::{Geometry, LayerKind, Voxel};

use super::bipartite::{Bipartite, BipartiteKernels, Steps};
use super::cloud::Cloud;
use super::counts::Report;
use super::index::{SLOT_BYTES, VoxelIndex, by_row_bytes, slots_for};
use super::kernels::{MapKernels, ROW_THREADS, TABLE_THREADS, Window};
use super::levels::{
    KEYS_OF_A_ROW, Keys, Level, LevelKernels, Levels, MOST_KEYED_ROWS, MOST_LEVELS, Reach,
    SCAN_ROWS, Spread, Zeros, control, grid_of, is_near, scan_tiles,
};
use super::order::{DIGITS, MAX_PASSES, SORT_THREADS, TILE_ROWS, passes};
use super::outputs::OutputsReport;
use super::rows::{COUNT_BYTES, Lookup, OrderedRows, RowMap};
use super::{
    DeviceKernelMap, MapBuilder, Outputs, ReportPages, Reverse, RowOrder, StridedMapBuilder,
};
use crate::buffer::DeviceBuffer;
use crate::code::Compiled;
use crate::device::CudaDevice;
use crate::error::Result;
use crate::module::{Grid, Kernel, LoadedInstance, arguments};
use parameters::{Box3, Jobs, MOST_JOBS, MaskJob, OrderJob, OrderJobs, TableJob};

/// Tiles of an order that meet in one kernel: past them, a launch a pass is faster.
const MOST_ORDER_TILES: usize = 64;
/// Blocks of the sort that an SM runs at once, by its launch bounds.
const ORDER_BLOCKS_PER_SM: usize = 2;

/// A level that a network makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LevelPlan {
    /// The level that it is made of: 0 is the input, `n + 1` the plan's level `n`.
    pub from: usize,
    /// The layer.
    pub geometry: Geometry,
    /// Cells along each axis, if they are bounded.
    pub shape: Option<[u32; 3]>,
    /// Rows that there is room for.
    pub capacity: usize,
}

/// A map that a network reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapPlan {
    /// The level of the layer's inputs, as in [`LevelPlan::from`].
    pub from: usize,
    /// The level of its outputs.
    pub to: usize,
    /// The layer.
    pub geometry: Geometry,
    /// Orders in which its rows are read.
    pub orders: Vec<RowOrder>,
}

/// What a network makes of its voxels. A level comes behind the one that it is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkPlan {
    /// All levels but the input.
    pub levels: Vec<LevelPlan>,
    /// All maps.
    pub maps: Vec<MapPlan>,
}

/// What was made of a plan. What could not be made side by side is missing: windows of more than
/// three cells, dilated ones, layers that undo others, levels whose windows overlap by far.
#[derive(Debug)]
pub struct NetworkMaps {
    /// The input by hash.
    pub input: Arc<VoxelIndex>,
    /// The plan's levels.
    pub levels: Vec<Option<Outputs>>,
    /// The plan's maps, each with those of its orders that were made.
    pub maps: Vec<Option<DeviceKernelMap>>,
}

/// Makes them with the compiled [`crate::Instance::network_maps`].
#[derive(Debug)]
pub struct NetworkMapBuilder {
    device: CudaDevice,
    pages: ReportPages,
    kernels: Arc<MapKernels>,
    bipartite: Arc<BipartiteKernels>,
    levels: LevelKernels,
    masks: Kernel,
    orders: Kernel,
    tables: Kernel,
}

impl NetworkMapBuilder {
    /// Loads the kernels.
    ///
    /// # Errors
    /// If the cubin cannot be loaded.
    pub fn new(
        maps: &MapBuilder,
        strided: &StridedMapBuilder,
        compiled: &Compiled,
    ) -> Result<Self> {
        let device = maps.kernels.device.clone();
        let loaded = LoadedInstance::load(&device, compiled)?;
        Ok(Self {
            pages: maps.pages.clone(),
            kernels: Arc::clone(&maps.kernels),
            bipartite: Arc::clone(&strided.bipartite),
            levels: LevelKernels::new(&loaded)?,
            masks: loaded.kernel("network_masks")?,
            orders: loaded.kernel("network_orders")?,
            tables: loaded.kernel("network_tables")?,
            device,
        })
    }

    /// Queues what a plan asks for, of which it may leave out levels and maps. Waits for nothing.
    ///
    /// A level of which there are more rows than its capacity leaves all levels without rows; its
    /// report tells how many there are.
    ///
    /// # Errors
    /// [`CudaError::Length`](crate::CudaError::Length) if the buffer is shorter than the voxels;
    /// [`CudaError::TooLarge`](crate::CudaError::TooLarge) past a billion rows; whatever the driver
    /// fails with.
    pub fn build(&self, cloud: Cloud<'_>, plan: &NetworkPlan) -> Result<NetworkMaps> {
        cloud.check()?;
        let made = Made::of(plan, cloud.capacity());
        let mut at_once = AtOnce::new(self, cloud, plan, &made)?;
        at_once.find_levels()?;
        at_once.make_maps()?;
        Ok(at_once.finish())
    }
}

/// Which of a plan's levels and maps are made.
#[derive(Debug, PartialEq, Eq)]
struct Made {
    /// For the input and each level of the plan, its number among those that are made.
    levels: Vec<Option<usize>>,
    /// Of the levels that are made.
    spreads: Vec<Spread>,
    /// Numbers of the plan's maps.
    maps: Vec<usize>,
    /// Numbers among `maps`, and the order.
    orders: Vec<(usize, RowOrder)>,
}

impl Made {
    fn of(plan: &NetworkPlan, input_rows: usize) -> Self {
        let (mut levels, mut spreads) = (vec![Some(0)], vec![Spread::INPUT]);
        let mut count = 1;
        for level in &plan.levels {
            let spread = levels.get(level.from).copied().flatten().and_then(|from: usize| {
                let fits = count < MOST_LEVELS && input_rows <= MOST_KEYED_ROWS;
                let is_somewhere =
                    level.capacity > 0 && level.shape.is_none_or(|s| !s.contains(&0));
                (fits && is_somewhere).then(|| spreads[from].of_outputs(&level.geometry)).flatten()
            });
            levels.push(spread.map(|_| count));
            if let Some(spread) = spread {
                spreads.push(spread);
                count += 1;
            }
        }
        let rows = |level: usize| match level.checked_sub(1) {
            None => input_rows,
            Some(level) => plan.levels[level].capacity,
        };
        let is_made = |level: usize| levels.get(level).copied().flatten().is_some();
        let can_be = |map: &MapPlan| {
            is_made(map.from)
                && is_made(map.to)
                && is_near(&map.geometry, rows(map.from).min(rows(map.to)))
        };
        let near = plan.maps.iter().enumerate().filter(|(_, map)| can_be(map));
        let maps: Vec<usize> = near.map(|(number, _)| number).take(MOST_JOBS).collect();
        let orders = maps.iter().enumerate().flat_map(|(at, &number)| {
            plan.maps[number].orders.iter().map(move |&order| (at, order))
        });
        let orders = orders.take(MOST_JOBS).collect();
        Self { levels, spreads, maps, orders }
    }
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
struct AtOnce<'a> {
    builder: &'a NetworkMapBuilder,
    cloud: Cloud<'a>,
    plan: &'a NetworkPlan,
    made: &'a Made,
    zeros: DeviceBuffer,
    /// Places in the zeros of each map's pairs, and of each order's meetings.
    counts_at: Vec<usize>,
    arrived_at: Vec<usize>,
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
    fn new(
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
                ranks: at + super::index::ranks_at(rows) as u64,
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
    fn find_levels(&mut self) -> Result<()> {
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
    fn make_maps(&mut self) -> Result<()> {
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
        let units = self.builder.device.identity().units as usize;
        let most = MOST_ORDER_TILES.min(units * ORDER_BLOCKS_PER_SM);
        let tiles = rows.div_ceil(TILE_ROWS);
        match order {
            RowOrder::Natural => true,
            RowOrder::Sorted => tiles <= super::order::SEGMENT_TILES.min(most),
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

    /// The table of each order that is made here, with the number of its map.
    fn tables(
        &self,
        masks: &[MaskJob],
        sorted: Vec<DeviceBuffer>,
    ) -> Result<Vec<(usize, RowOrder, OrderedRows)>> {
        let device = &self.builder.device;
        let (mut ordered, mut jobs, mut blocks) = (Vec::new(), Vec::new(), 0);
        for (&(map, order), mut row_of_position) in self.made.orders.iter().zip(sorted) {
            let lookup = masks[map].lookup;
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
            ordered.push((map, order, OrderedRows { row_of_position, table, masks }));
        }
        if let Some(jobs) = Jobs::new(&jobs) {
            // SAFETY: (TableJobs); orders are permutations of their rows; tables and masks have the
            // lengths allocated above.
            unsafe {
                let grid = grid_of(blocks, TABLE_THREADS)?;
                self.builder.tables.launch(grid, arguments![jobs])?;
            }
        }
        Ok(ordered)
    }

    /// What was made, by the numbers of the plan.
    fn finish(self) -> NetworkMaps {
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
    use voxtune_types::KernelSize;

    use super::*;

    fn cubic(extent: u32) -> KernelSize {
        KernelSize::cubic(extent).unwrap()
    }

    fn level(from: usize, geometry: Geometry) -> LevelPlan {
        LevelPlan { from, geometry, shape: None, capacity: 1_000 }
    }

    fn map(from: usize, to: usize, geometry: Geometry, orders: &[RowOrder]) -> MapPlan {
        MapPlan { from, to, geometry, orders: orders.to_vec() }
    }

    #[test]
    fn what_cannot_be_made_side_by_side_is_left_out_with_what_is_made_of_it() {
        let down = Geometry::strided(cubic(3), [2; 3]);
        let wide = Geometry::strided(cubic(3), [1; 3]);
        let within = |extent| Geometry::submanifold(cubic(extent), [1; 3]);
        let plan = NetworkPlan {
            levels: vec![level(0, down), level(1, wide), level(2, down), level(1, down)],
            maps: vec![
                map(0, 0, within(3), &[RowOrder::Natural, RowOrder::Global]),
                map(0, 0, within(5), &[RowOrder::Global]),
                map(0, 1, down, &[]),
                map(1, 2, wide, &[]),
                map(4, 4, within(3), &[RowOrder::Sorted]),
                map(1, 0, down.with_kind(LayerKind::Inverse), &[]),
                map(1, 1, Geometry::submanifold(cubic(3), [2; 3]), &[]),
            ],
        };
        let made = Made::of(&plan, 5_000);
        assert_eq!(made.levels, [Some(0), Some(1), None, None, Some(2)]);
        assert_eq!(made.maps, [0, 2, 4]);
        let orders = [(0, RowOrder::Natural), (0, RowOrder::Global), (2, RowOrder::Sorted)];
        assert_eq!(made.orders, orders);
    }

    #[test]
    fn plans_past_the_kernels_limits_are_made_as_far_as_they_go() {
        let down = Geometry::strided(cubic(2), [2; 3]);
        let levels: Vec<_> = (0..12).map(|from| level(from, down)).collect();
        let within = Geometry::submanifold(cubic(3), [1; 3]);
        let maps = (0..40).map(|_| map(0, 0, within, &[RowOrder::Global; 2])).collect();
        let made = Made::of(&NetworkPlan { levels, maps }, 100);
        assert_eq!(made.levels.iter().flatten().count(), MOST_LEVELS);
        assert_eq!((made.maps.len(), made.orders.len()), (MOST_JOBS, MOST_JOBS));
        let too_many = NetworkPlan { levels: vec![level(0, down)], maps: Vec::new() };
        assert_eq!(Made::of(&too_many, MOST_KEYED_ROWS + 1).levels, [Some(0), None]);
    }
}
