//! The kernel map on the device.
//!
//! Voxels are hashed once, or are the outputs of a layer, which are found in such a table. Building
//! a map makes every row's mask; the rest is made from that when it is first used, and kept.
//! Nothing waits for the device but [`DeviceKernelMap::counts`], and what needs it.
//!
//! | part | layout | made |
//! |---|---|---|
//! | [`VoxelIndex`] | bricks of voxels by hash | before the first map of the voxels |
//! | [`RowMap`] masks | `(rows, words)` uint32: a row's offsets | at once, or at first use |
//! | [`RowMap`] tables | `(volume, pitch)` int32: a row, or -1 | at an order's first launch |
//! | [`TilePlan`] | which blocks a product over tiles has | at the first launch that reads it |
//! | [`Outputs`] | what a strided or transposed layer makes ([`OutputsBuilder`]) | before the map |
//! | [`PairLists`] | input and output rows, by offset, then output row | at the first wgrad |

mod bipartite;
mod cloud;
mod counts;
mod download;
mod index;
mod kernels;
mod lazy;
mod levels;
mod network;
mod order;
mod outputs;
mod pairs;
mod part;
mod plan;
mod reads;
mod report;
mod rows;
mod strided;

pub use cloud::Cloud;
pub use counts::MapCounts;
pub(crate) use counts::{Report, ReportPages};
pub use index::VoxelIndex;
pub use network::{Beside, LevelPlan, MapPlan, NetworkMapBuilder, NetworkMaps, NetworkPlan};
pub use outputs::{OutputCounts, Outputs, OutputsBuilder, OutputsReport};
pub(crate) use pairs::PairLists;
pub use part::MapPart;
pub(crate) use plan::MOST_OFFSETS as MOST_PLANNED_OFFSETS;
pub use plan::{PlanItem, TilePlan};
pub use report::MapReport;
pub(crate) use rows::{OrderedRows, RowMap};
pub use strided::StridedMapBuilder;

use std::sync::Arc;

use voxtune_types::{Direction, KernelSize, Voxel};

use crate::buffer::DeviceBuffer;
use crate::code::Compiled;
use crate::device::CudaDevice;
use crate::error::{CudaError, Result};
use bipartite::{Bipartite, BipartiteKernels, Steps};
use kernels::{MapKernels, Window};
use lazy::Lazy;
use rows::Lookup;

/// Most offsets that the kernels' tables hold.
const MAX_VOLUME: usize = 125;
/// Row numbers and pair numbers are signed 32-bit, and counts in a sort have 30 bits.
pub(crate) const MAX_ROWS: usize = (1 << 30) - 1;

/// In which order blocks of an output-stationary kernel take the rows.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum RowOrder {
    /// As the rows are stored.
    Natural,
    /// Sorted by mask within segments of 32,768 rows: like masks together, and gathers stay near.
    Sorted,
    /// Sorted by mask over all rows: the fewest wasted products, where features fit into the cache.
    Global,
}

impl RowOrder {
    /// All orders.
    pub const ALL: [Self; 3] = [Self::Natural, Self::Sorted, Self::Global];

    /// The order's name in an algorithm's id.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Natural => "natural",
            Self::Sorted => "sorted",
            Self::Global => "global",
        }
    }
}

/// Builds kernel maps with the compiled [`crate::Instance::kernel_map`].
#[derive(Debug)]
pub struct MapBuilder {
    kernels: Arc<MapKernels>,
    pages: ReportPages,
}

impl MapBuilder {
    /// Most offsets that a map can have.
    pub const MAX_VOLUME: usize = MAX_VOLUME;

    /// Loads the kernels.
    ///
    /// # Errors
    /// If the cubin cannot be loaded.
    pub fn new(device: &CudaDevice, compiled: &Compiled) -> Result<Self> {
        let kernels = Arc::new(MapKernels::new(device, compiled)?);
        Ok(Self { kernels, pages: ReportPages::new(device) })
    }

    /// Hashes voxels for maps of them. Waits for nothing; work queued later may overwrite the
    /// coordinates. That two of them are equal is reported by the maps.
    ///
    /// # Errors
    /// [`CudaError::TooLarge`] past a billion rows; [`CudaError::Length`] if a buffer is shorter
    /// than the voxels; whatever the driver fails with.
    pub fn index(&self, cloud: Cloud<'_>) -> Result<Arc<VoxelIndex>> {
        VoxelIndex::insert(&self.kernels, &self.pages, cloud).map(Arc::new)
    }

    /// Queues the map of a submanifold convolution over these voxels. Waits for the copy of the
    /// voxels, and for nothing else: that two of them are equal is reported by
    /// [`DeviceKernelMap::counts`].
    ///
    /// # Errors
    /// [`CudaError::TooLarge`] past 125 offsets or a billion rows; whatever the driver fails with.
    pub fn submanifold(&self, voxels: &[Voxel], kernel: KernelSize) -> Result<DeviceKernelMap> {
        let coords = DeviceBuffer::from_host(&self.kernels.device, voxels)?;
        self.submanifold_on_device(Cloud::new(&coords, voxels.len()), kernel)
    }

    /// The same over voxels that are on the device already. Waits for nothing.
    ///
    /// # Errors
    /// As [`Self::submanifold`] and [`Self::index`].
    pub fn submanifold_on_device(
        &self,
        cloud: Cloud<'_>,
        kernel: KernelSize,
    ) -> Result<DeviceKernelMap> {
        check_map(kernel, cloud.capacity())?;
        self.submanifold_of(&self.index(cloud)?, kernel)
    }

    /// The same over voxels that are hashed already.
    ///
    /// # Errors
    /// As [`Self::submanifold`].
    pub fn submanifold_of(
        &self,
        index: &Arc<VoxelIndex>,
        kernel: KernelSize,
    ) -> Result<DeviceKernelMap> {
        check_map(kernel, index.rows())?;
        let lookup = Lookup::Within { index: Arc::clone(index), window: Window::new(kernel) };
        let (kernels, pages) = (&self.kernels, &self.pages);
        DeviceKernelMap::new(kernels, pages, kernel, [index, index], lookup, Reverse::Mirrored)
    }

    /// Adds the map by input rows, which dgrad then reads instead of the mirror image of the
    /// forward map.
    ///
    /// Correct for every map; needed where a submanifold map is not symmetric. A map between two
    /// clouds has it already.
    ///
    /// # Errors
    /// Whatever the driver fails with.
    pub fn add_reverse(&self, map: &mut DeviceKernelMap) -> Result<()> {
        let sides = &map.sides;
        if let Lookup::Within { index, window } = sides.by_output.lookup() {
            let lookup = Lookup::Within { index: Arc::clone(index), window: window.reversed() };
            let rows = sides.by_output.of_other_side(&self.kernels, lookup)?;
            sides.by_input.get_or_try(|| Ok::<_, CudaError>(rows))?;
        }
        Ok(())
    }

    /// Makes the table of a row order now, so that the first launch of the direction need not.
    /// Waits for nothing. A weight's gradient reads no table.
    ///
    /// # Errors
    /// [`CudaError::MapLacks`] if there is no map that the direction could read; whatever the
    /// driver fails with.
    pub fn add_order(
        &self,
        map: &DeviceKernelMap,
        direction: Direction,
        order: RowOrder,
    ) -> Result<()> {
        if direction == Direction::Wgrad {
            return Ok(());
        }
        let (rows, _) = map.rows_of(direction)?;
        rows.in_order(&map.kernels, order).map(|_| ())
    }

    /// Makes a plan of tiles now, so that the first launch of the direction need not. Waits for
    /// nothing.
    ///
    /// # Errors
    /// As [`Self::add_order`]; [`CudaError::TooLarge`] of a map of more than 27 offsets.
    pub fn add_plan(
        &self,
        map: &DeviceKernelMap,
        direction: Direction,
        plan: TilePlan,
    ) -> Result<()> {
        let (rows, _) = map.rows_of(direction)?;
        rows.planned(&map.kernels, plan).map(|_| ())
    }

    /// Makes the pair lists now, so that the first wgrad need not. Waits for the counts.
    ///
    /// # Errors
    /// [`CudaError::DuplicateVoxel`]; whatever the driver fails with.
    pub fn add_pairs(&self, map: &DeviceKernelMap) -> Result<()> {
        map.pairs().map(|_| ())
    }

    /// Makes what a direction reads beyond the map now, so that its first launch need not.
    ///
    /// # Errors
    /// As [`Self::add_order`], [`Self::add_plan`] and [`Self::add_pairs`].
    pub fn add_part(
        &self,
        map: &DeviceKernelMap,
        direction: Direction,
        part: MapPart,
    ) -> Result<()> {
        match part {
            MapPart::Order(order) => self.add_order(map, direction, order),
            MapPart::Plan(plan) => self.add_plan(map, direction, plan),
            MapPart::Pairs => self.add_pairs(map),
        }
    }

    /// Queues the making of a part and gives its memory back, whether or not the map has it: to
    /// time what it takes. The map stays as it was but for what the part is made of: the order of a
    /// plan's rows, and the counts of pairs, which are waited for.
    ///
    /// # Errors
    /// As [`Self::add_part`].
    pub fn make_part(
        &self,
        map: &DeviceKernelMap,
        direction: Direction,
        part: MapPart,
    ) -> Result<()> {
        let kernels = &map.kernels;
        match part {
            MapPart::Order(order) => {
                map.rows_of(direction)?.0.make_order(kernels, order).map(|_| ())
            }
            MapPart::Plan(plan) => map.rows_of(direction)?.0.make_plan(kernels, plan).map(|_| ()),
            MapPart::Pairs => {
                let total = map.counts()?.total_pairs();
                PairLists::new(kernels, map.forward()?, total).map(|_| ())
            }
        }
    }
}

fn within(what: &'static str, found: usize, limit: usize) -> Result<()> {
    if found > limit { Err(CudaError::TooLarge { what, found, limit }) } else { Ok(()) }
}

/// What the kernels' tables, row numbers and pair numbers hold: of a map in which so many rows have
/// one pair an offset at most.
fn check_map(kernel: KernelSize, rows: usize) -> Result<()> {
    let volume = kernel.volume();
    within("the number of offsets", volume, MAX_VOLUME)?;
    within("the number of possible pairs", rows.saturating_mul(volume), i32::MAX as usize)
}

/// What is known of a map's rows by input.
#[derive(Debug)]
enum Reverse {
    /// The map by output mirrored, unless [`MapBuilder::add_reverse`] has made another.
    Mirrored,
    /// To be looked up like this.
    Other(Arc<BipartiteKernels>, Steps),
}

/// The rows of a map by either side, which it shares with the map of the layer that undoes it.
#[derive(Debug)]
struct Sides {
    inputs: Arc<VoxelIndex>,
    /// Those of a submanifold map are the inputs.
    outputs: Arc<VoxelIndex>,
    by_output: RowMap,
    /// Made at the first use. A submanifold map needs none: it is its own mirror image.
    by_input: Lazy<RowMap>,
    reverse: Reverse,
    /// The pairs of each offset, the same from either side.
    pairs: Arc<Report>,
}

/// Which input row meets which output row at which offset, in the device's memory.
#[derive(Debug)]
pub struct DeviceKernelMap {
    kernels: Arc<MapKernels>,
    pub(crate) kernel: KernelSize,
    counts: Lazy<MapCounts>,
    sides: Arc<Sides>,
    /// Whether the sides are the other way round.
    is_transposed: bool,
    pairs: Lazy<PairLists>,
}

impl DeviceKernelMap {
    fn new(
        kernels: &Arc<MapKernels>,
        pages: &ReportPages,
        kernel: KernelSize,
        [inputs, outputs]: [&Arc<VoxelIndex>; 2],
        by_output: Lookup,
        reverse: Reverse,
    ) -> Result<Self> {
        let pairs = Arc::new(pages.take()?);
        let by_output = RowMap::counted(kernels, by_output, &pairs)?;
        let ends = [Arc::clone(inputs), Arc::clone(outputs)];
        Ok(Self::made(kernels, kernel, ends, by_output, reverse, pairs))
    }

    /// A map by outputs whose pairs a kernel reports that was queued.
    fn made(
        kernels: &Arc<MapKernels>,
        kernel: KernelSize,
        [inputs, outputs]: [Arc<VoxelIndex>; 2],
        by_output: RowMap,
        reverse: Reverse,
        pairs: Arc<Report>,
    ) -> Self {
        let by_input = Lazy::default();
        let sides = Sides { inputs, outputs, by_output, by_input, reverse, pairs };
        Self::of(kernels, kernel, Arc::new(sides), false)
    }

    fn of(
        kernels: &Arc<MapKernels>,
        kernel: KernelSize,
        sides: Arc<Sides>,
        is_transposed: bool,
    ) -> Self {
        let (kernels, counts, pairs) = (Arc::clone(kernels), Lazy::default(), Lazy::default());
        Self { kernels, kernel, counts, sides, is_transposed, pairs }
    }

    /// The kernel size that the map was built for.
    #[must_use]
    pub const fn kernel(&self) -> KernelSize {
        self.kernel
    }

    /// The device, and the context that it was built in and can be used in.
    #[must_use]
    pub fn device(&self) -> &CudaDevice {
        &self.kernels.device
    }

    /// The voxels of the inputs, and of the outputs.
    fn ends(&self) -> [&Arc<VoxelIndex>; 2] {
        let Sides { inputs, outputs, .. } = &*self.sides;
        if self.is_transposed { [outputs, inputs] } else { [inputs, outputs] }
    }

    /// Input rows; where the device counts them, as many as there may be.
    #[must_use]
    pub fn n_in(&self) -> usize {
        self.ends()[0].rows()
    }

    /// Output rows; where the device counts them, as many as there may be.
    #[must_use]
    pub fn n_out(&self) -> usize {
        self.ends()[1].rows()
    }

    /// The map of the transposed convolution, which undoes the strided one that this map is of: for
    /// each offset the same pairs, inputs as outputs. Both share what is by row, whichever makes
    /// it. `None` of a submanifold map, whose layers undo each other.
    #[must_use]
    pub fn transposed(&self) -> Option<Self> {
        let Reverse::Other(..) = self.sides.reverse else { return None };
        let sides = Arc::clone(&self.sides);
        Some(Self::of(&self.kernels, self.kernel, sides, !self.is_transposed))
    }

    /// Rows and pairs. The first call waits until the map is built on the device.
    ///
    /// # Errors
    /// [`CudaError::DuplicateVoxel`] if two voxels of a side are equal; then no product over the
    /// map means anything. Whatever work queued before has failed with.
    pub fn counts(&self) -> Result<&MapCounts> {
        self.counts.get_or_try(|| self.report().wait())
    }

    /// What the device reports of the build, for a caller that reads it later than now.
    #[must_use]
    pub fn report(&self) -> MapReport {
        let [inputs, outputs] = self.ends();
        let of_inputs = (!Arc::ptr_eq(inputs, outputs)).then(|| inputs.report());
        let pairs = Arc::clone(&self.sides.pairs);
        MapReport::new(self.kernel.volume(), of_inputs, outputs.report(), pairs)
    }

    /// Whether dgrad can read the forward map mirrored.
    fn is_symmetric(&self) -> bool {
        matches!(self.sides.reverse, Reverse::Mirrored) && self.kernel.is_centred()
    }

    /// By rows of the sides' inputs, made at the first call; `None` where there is no such map.
    fn by_input(&self) -> Result<Option<&RowMap>> {
        let Sides { inputs, outputs, by_output, by_input, reverse, .. } = &*self.sides;
        let Reverse::Other(kernels, steps) = reverse else { return Ok(by_input.get()) };
        let made = by_input.get_or_try(|| {
            let lookup = Lookup::Bipartite(Bipartite {
                kernels: Arc::clone(kernels),
                own: Arc::clone(inputs),
                gathered: Arc::clone(outputs),
                steps: *steps,
            });
            by_output.of_other_side(&self.kernels, lookup)
        });
        made.map(Some)
    }

    /// The rows that the forward direction writes.
    ///
    /// # Errors
    /// Whatever the driver fails with, where they are made now.
    pub(crate) fn forward(&self) -> Result<&RowMap> {
        match self.is_transposed {
            false => Ok(&self.sides.by_output),
            true => Ok(self.by_input()?.expect("a map that was transposed has both sides")),
        }
    }

    /// The rows that a direction writes, and whether weights are taken in mirrored order.
    ///
    /// # Errors
    /// [`CudaError::MapLacks`] if a submanifold map is not symmetric and was given no other; as
    /// [`Self::forward`].
    pub(crate) fn rows_of(&self, direction: Direction) -> Result<(&RowMap, bool)> {
        if direction != Direction::Dgrad {
            return Ok((self.forward()?, false));
        }
        if self.is_transposed {
            return Ok((&self.sides.by_output, false));
        }
        match self.by_input()? {
            Some(reverse) => Ok((reverse, false)),
            None if self.is_symmetric() => Ok((&self.sides.by_output, true)),
            None => Err(CudaError::MapLacks { what: "reverse table" }),
        }
    }

    /// Whether the row map that the forward direction reads is held in this order.
    #[must_use]
    pub fn has_order(&self, order: RowOrder) -> bool {
        self.forward().is_ok_and(|rows| rows.has(order))
    }

    /// Whether what the forward direction reads of it was made.
    #[must_use]
    pub fn has_part(&self, part: MapPart) -> bool {
        match part {
            MapPart::Order(order) => self.has_order(order),
            MapPart::Plan(plan) => self.forward().is_ok_and(|rows| rows.has_plan(plan)),
            MapPart::Pairs => self.pairs.get().is_some(),
        }
    }

    /// One of its row maps in an order, for a launch that reads it; made at the first call.
    pub(crate) fn ordered<'a>(&self, rows: &'a RowMap, order: RowOrder) -> Result<&'a OrderedRows> {
        rows.reads().in_order(order);
        rows.in_order(&self.kernels, order)
    }

    /// The address of a plan of the tiles of one of its row maps, for a launch that reads it; made
    /// at the first call.
    pub(crate) fn planned(&self, rows: &RowMap, plan: TilePlan) -> Result<u64> {
        rows.reads().by_plan(plan);
        rows.planned(&self.kernels, plan)
    }

    /// The orders in which launches have read the row map of the forward direction. One that was
    /// made and that no launch has read is none of them.
    #[must_use]
    pub fn orders_read(&self) -> Vec<RowOrder> {
        self.forward().map_or(Vec::new(), |rows| rows.reads().orders())
    }

    /// The plans by which launches have read the row map of the forward direction.
    #[must_use]
    pub fn plans_read(&self) -> Vec<TilePlan> {
        self.forward().map_or(Vec::new(), |rows| rows.reads().plans())
    }

    /// The pair lists, made at the first call, which waits for the counts.
    pub(crate) fn pairs(&self) -> Result<&PairLists> {
        self.pairs.get_or_try(|| {
            let total = self.counts()?.total_pairs();
            PairLists::new(&self.kernels, self.forward()?, total)
        })
    }

    /// Distance between the table's offsets, in rows: whole blocks of the largest kernel. What is
    /// past the rows holds -1.
    pub(crate) fn pitch(rows: usize) -> usize {
        rows.next_multiple_of(256).max(256)
    }
}

/// Words of 32 offsets. One, two or four, as the kernels are compiled for.
pub(crate) const fn mask_words(volume: usize) -> usize {
    match volume.div_ceil(32) {
        0 | 1 => 1,
        2 => 2,
        _ => 4,
    }
}
