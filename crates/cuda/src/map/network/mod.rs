//! Everything that a network makes of its voxels, in a handful of launches.
//!
//! | idea | where |
//! |---|---|
//! | which levels and maps can be made so | [`levels`](super::levels) |
//! | what they are made of, and in which order | [`NetworkMapBuilder`] |
//! | what kernels are told | [`parameters`] |

mod parameters;

use std::collections::BTreeMap;
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
use crate::row_count::RowCount;
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
        at_once.insert()?;
        at_once.find(Part::All)?;
        at_once.make_maps(Part::All)?;
        Ok(at_once.finish())
    }

    /// The same in a graph, where layers over the input itself need not wait for what is made of
    /// it: that is made beside them. Whoever reads a further level or its maps calls
    /// [`Beside::rejoin`] before, and so does whoever ends the recording.
    ///
    /// # Errors
    /// As [`Self::build`].
    pub fn build_beside(
        &self,
        cloud: Cloud<'_>,
        plan: &NetworkPlan,
    ) -> Result<(NetworkMaps, Beside)> {
        cloud.check()?;
        let made = Made::of(plan, cloud.capacity());
        let mut at_once = AtOnce::new(self, cloud, plan, &made)?;
        at_once.insert()?;
        // Maps to the first levels gather rows of the input.
        at_once.find(Part::Input)?;
        // First, so that what is allocated behind it shares no memory with it.
        self.device.queue().beside(|| {
            at_once.find(Part::Further)?;
            at_once.make_maps(Part::Further)
        })?;
        let used = std::mem::take(&mut at_once.scratch);
        at_once.make_maps(Part::Input)?;
        Ok((at_once.finish(), Beside { device: self.device.clone(), _used: used }))
    }
}

/// Work that was queued beside other work of a graph.
#[derive(Debug)]
#[must_use]
pub struct Beside {
    device: CudaDevice,
    /// Memory that is nobody else's until then.
    _used: Vec<DeviceBuffer>,
}

impl Beside {
    /// Lets what is queued from now on wait for it.
    ///
    /// # Errors
    /// Whatever the driver fails with.
    pub fn rejoin(self) -> Result<()> {
        self.device.queue().rejoin()
    }
}

/// What is queued together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    All,
    /// The input and the maps within it.
    Input,
    /// All other levels and maps.
    Further,
}

impl Part {
    /// Whether a map is of the part, by the number of the level that its rows are of.
    fn has_map(self, own: usize) -> bool {
        match self {
            Self::All => true,
            Self::Input => own == 0,
            Self::Further => own > 0,
        }
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
    /// Of the tickets of a second sort.
    ticket_at: usize,
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
        let ticket_at = places.place(size_of::<i32>());
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
                ranks: at + super::index::ranks_at(rows) as u64,
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
            control: base + control_at as u64,
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
            ticket_at,
            builds,
            parameters,
            scratch: vec![starts],
            reports,
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

    /// Queues the input's bricks, and makes all levels known to maps.
    fn insert(&mut self) -> Result<()> {
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
    fn find(&mut self, part: Part) -> Result<()> {
        let LevelKernels { totals, starts, write, .. } = &self.builder.levels;
        let count = self.parameters.count as usize;
        let (first, end) = match part {
            Part::All => (0, count),
            Part::Input => (0, 1),
            Part::Further => (1, count),
        };
        if first == end {
            return Ok(());
        }
        let mut levels = Levels { first: first as i32, count: end as i32, ..self.parameters };
        let of_input = match part {
            Part::Further => {
                levels.input = RowCount::new(0, None);
                0
            }
            _ => self.cloud.capacity().div_ceil(ROW_THREADS as usize),
        };
        if part != Part::Input {
            self.reach()?;
        }
        let blocks_of = |level: usize| self.slots_of(level).div_ceil(ROW_THREADS as usize);
        let blocks: usize = (first..end).map(blocks_of).sum();
        // SAFETY: (Levels); each owner is a key, which has a total.
        unsafe { totals.launch(grid_of(blocks, ROW_THREADS)?, arguments![levels])? };
        if end > 1 {
            let tiles = (end - 1) * levels.tiles as usize;
            // SAFETY: (Levels); a tile a block, of which each level has as many.
            unsafe { starts.launch(grid_of(tiles, ROW_THREADS)?, arguments![levels])? };
        }
        let of_outputs: usize = (1..end).map(blocks_of).sum();
        let grid = grid_of((of_input + of_outputs).max(1), ROW_THREADS)?;
        // SAFETY: (Levels); levels that do not fit are not written.
        unsafe { write.launch(grid, arguments![levels])? };
        self.reports[first..end].iter().try_for_each(|report| report.queued())
    }

    /// Queues the bricks of each level but the input.
    fn reach(&self) -> Result<()> {
        for (level, made) in self.plan.levels.iter().zip(&self.made.levels[1..]) {
            let Some(to) = *made else { continue };
            let from = self.made.levels[level.from].expect("a level is made of one that is");
            let geometry = Reach::new(&level.geometry, level.shape);
            let full = self.parameters.control + control::full(to);
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
    fn make_maps(&mut self, part: Part) -> Result<()> {
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
            let ticket = match part {
                Part::All | Part::Input => self.parameters.control + control::ORDER_TICKET,
                // Both launches may run at a time.
                Part::Further => self.address(self.ticket_at),
            };
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

    /// The table of each order that is made here, with the number of its map.
    fn tables(
        &self,
        masks: &BTreeMap<usize, MaskJob>,
        sorted: Vec<DeviceBuffer>,
    ) -> Result<Vec<(usize, RowOrder, OrderedRows)>> {
        let device = &self.builder.device;
        let (mut ordered, mut jobs, mut blocks) = (Vec::new(), Vec::new(), 0);
        for (&(map, order), mut row_of_position) in self.made.orders.iter().zip(sorted) {
            let Some(lookup) = masks.get(&map).map(|job| job.lookup) else { continue };
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
