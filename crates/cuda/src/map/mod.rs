//! The kernel map on the device.
//!
//! Building one hashes the voxels and makes every row's mask; the rest is made from that when it is
//! first used, and kept. Nothing waits for the device but [`DeviceKernelMap::counts`], and what
//! needs it.
//!
//! | part | layout | made |
//! |---|---|---|
//! | [`Search`] | bricks of voxels by hash | at once |
//! | [`RowMap`] masks | `(rows, words)` uint32: the offsets that a row has | at once |
//! | [`RowMap`] tables | `(volume, pitch)` int32: the row gathered at an offset, or -1 | for each [`RowOrder`] at its first launch |
//! | [`Outputs`] | the voxels of a strided or transposed layer, by [`OutputsBuilder`] | before the map |
//! | [`PairLists`] | input and output rows, sorted by offset, then output row | at the first wgrad |

mod bipartite;
mod cloud;
mod counts;
mod kernels;
mod lazy;
mod order;
mod outputs;
mod pairs;
mod report;
mod rows;
mod search;
mod strided;

pub use cloud::Cloud;
pub use counts::MapCounts;
pub(crate) use counts::ReportPages;
pub use outputs::{OutputCounts, Outputs, OutputsBuilder, OutputsReport};
pub(crate) use pairs::PairLists;
pub use report::MapReport;
pub(crate) use rows::{OrderedRows, RowMap};
pub use strided::StridedMapBuilder;

use std::sync::Arc;

use voxtune_types::{KernelSize, Voxel};

use crate::buffer::DeviceBuffer;
use crate::code::Compiled;
use crate::device::CudaDevice;
use crate::error::{CudaError, Result};
use kernels::{MapKernels, Window};
use lazy::Lazy;
use rows::Lookup;
use search::Search;

/// Most offsets that the kernels' tables hold.
const MAX_VOLUME: usize = 125;
/// Row numbers and pair numbers are signed 32-bit, and counts in a sort have 30 bits.
pub(crate) const MAX_ROWS: usize = (1 << 30) - 1;

/// In which order blocks of an output-stationary kernel take the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

    /// The same over voxels that are on the device already. Waits for nothing; work queued later
    /// may overwrite the voxels.
    ///
    /// # Errors
    /// As [`Self::submanifold`], and [`CudaError::Length`] if the buffer is shorter than `n`
    /// voxels.
    pub fn submanifold_on_device(
        &self,
        cloud: Cloud<'_>,
        kernel: KernelSize,
    ) -> Result<DeviceKernelMap> {
        check_map(kernel, cloud.capacity())?;
        cloud.check()?;
        let window = Window::new(kernel);
        let search = Arc::new(Search::insert(&self.kernels, &self.pages, cloud)?);
        let masks = search.masks(&self.kernels, window, true)?;
        search.rank(&self.kernels, kernel.volume())?;
        let lookup = Lookup::Within { search: Arc::clone(&search), window };
        Ok(DeviceKernelMap {
            kernels: Arc::clone(&self.kernels),
            kernel,
            inputs: Arc::clone(&search),
            outputs: search,
            counts: Lazy::default(),
            forward: Arc::new(RowMap::new(lookup, masks)),
            reverse: None,
            pairs: Lazy::default(),
        })
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
        if let Lookup::Within { search, window } = map.forward.lookup() {
            let window = window.reversed();
            let masks = search.masks(&self.kernels, window, false)?;
            let lookup = Lookup::Within { search: Arc::clone(search), window };
            map.reverse = Some(Arc::new(RowMap::new(lookup, masks)));
        }
        Ok(())
    }

    /// Makes the tables of a row order now, of the forward map and, where there is one, the
    /// reverse, so that the first launch that reads them need not. Waits for nothing.
    ///
    /// # Errors
    /// Whatever the driver fails with.
    pub fn add_order(&self, map: &DeviceKernelMap, order: RowOrder) -> Result<()> {
        map.row_maps().try_for_each(|rows| map.ordered(rows, order).map(|_| ()))
    }

    /// Makes the pair lists now, so that the first wgrad need not. Waits for the counts.
    ///
    /// # Errors
    /// [`CudaError::DuplicateVoxel`]; whatever the driver fails with.
    pub fn add_pairs(&self, map: &DeviceKernelMap) -> Result<()> {
        map.pairs().map(|_| ())
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

/// Which input row meets which output row at which offset, in the device's memory.
#[derive(Debug)]
pub struct DeviceKernelMap {
    kernels: Arc<MapKernels>,
    pub(crate) kernel: KernelSize,
    counts: Lazy<MapCounts>,
    inputs: Arc<Search>,
    /// Those of a submanifold map are the inputs.
    outputs: Arc<Search>,
    /// By output row.
    pub(crate) forward: Arc<RowMap>,
    /// By input row. A submanifold map needs none: it is its own mirror image.
    pub(crate) reverse: Option<Arc<RowMap>>,
    pairs: Lazy<PairLists>,
}

impl DeviceKernelMap {
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

    /// Input rows; where the device counts them, as many as there may be.
    #[must_use]
    pub fn n_in(&self) -> usize {
        self.inputs.rows()
    }

    /// Output rows; where the device counts them, as many as there may be.
    #[must_use]
    pub fn n_out(&self) -> usize {
        self.outputs.rows()
    }

    /// The map of the transposed convolution, which undoes the strided one that this map is of: for
    /// each offset the same pairs, inputs as outputs. Both share what is by row, whoever makes it.
    /// `None` of a submanifold map, whose layers undo each other.
    #[must_use]
    pub fn transposed(&self) -> Option<Self> {
        let (Lookup::Bipartite(_), Some(reverse)) = (self.forward.lookup(), &self.reverse) else {
            return None;
        };
        Some(Self {
            kernels: Arc::clone(&self.kernels),
            kernel: self.kernel,
            counts: Lazy::default(),
            inputs: Arc::clone(&self.outputs),
            outputs: Arc::clone(&self.inputs),
            forward: Arc::clone(reverse),
            reverse: Some(Arc::clone(&self.forward)),
            pairs: Lazy::default(),
        })
    }

    /// Rows and pairs. The first call waits until the map is built on the device.
    ///
    /// # Errors
    /// [`CudaError::DuplicateVoxel`] if two voxels of a side are equal; then no product over the
    /// map means anything. Whatever work queued before has failed with.
    pub fn counts(&self) -> Result<&MapCounts> {
        self.counts.get_or_try(|| self.report().wait())
    }

    /// What the device reports of the build, for whoever wants to know it later than now.
    #[must_use]
    pub fn report(&self) -> MapReport {
        MapReport::new(self.kernel.volume(), &self.inputs, &self.outputs)
    }

    /// Whether dgrad can read the forward map mirrored.
    pub(crate) fn is_symmetric(&self) -> bool {
        let within = match self.forward.lookup() {
            Lookup::Within { .. } => true,
            Lookup::Bipartite(bipartite) => Arc::ptr_eq(&bipartite.own, &bipartite.gathered),
        };
        within && self.kernel.is_centred()
    }

    fn row_maps(&self) -> impl Iterator<Item = &RowMap> {
        std::iter::once(&*self.forward).chain(self.reverse.as_deref())
    }

    /// Whether every row map of it is held in this order.
    #[must_use]
    pub fn has_order(&self, order: RowOrder) -> bool {
        self.row_maps().all(|rows| rows.has(order))
    }

    /// One of its row maps in an order, made at the first call.
    pub(crate) fn ordered<'a>(&self, rows: &'a RowMap, order: RowOrder) -> Result<&'a OrderedRows> {
        rows.in_order(&self.kernels, order)
    }

    /// The pair lists, made at the first call, which waits for the counts.
    pub(crate) fn pairs(&self) -> Result<&PairLists> {
        self.pairs.get_or_try(|| {
            let total = self.counts()?.total_pairs();
            PairLists::new(&self.kernels, &self.forward, total)
        })
    }

    /// Distance between the table's offsets, in rows: whole blocks of the largest kernel. What is
    /// past the rows holds -1.
    pub(crate) fn pitch(rows: usize) -> usize {
        rows.next_multiple_of(256).max(256)
    }

    /// The table as the host sees it: `(volume, n_out)`, -1 where there is no pair. For tests and
    /// inspection.
    ///
    /// # Errors
    /// If the driver fails.
    pub fn download_table(&self) -> Result<Vec<i32>> {
        self.download(&self.forward, RowOrder::Natural)
    }

    /// The table by input rows, `(volume, n_in)`; `None` if [`MapBuilder::add_reverse`] did not
    /// make it. For tests and inspection.
    ///
    /// # Errors
    /// If the driver fails.
    pub fn download_reverse_table(&self) -> Result<Option<Vec<i32>>> {
        self.reverse.as_ref().map(|rows| self.download(rows, RowOrder::Natural)).transpose()
    }

    /// The table in an order, `(volume, n_out)` by position. For tests and inspection.
    ///
    /// # Errors
    /// If the driver fails.
    pub fn download_ordered_table(&self, order: RowOrder) -> Result<Vec<i32>> {
        self.download(&self.forward, order)
    }

    fn download(&self, rows: &RowMap, order: RowOrder) -> Result<Vec<i32>> {
        let (pitch, ordered) = (Self::pitch(rows.rows), self.ordered(rows, order)?);
        let padded: Vec<i32> = ordered.table.download(0, self.kernel.volume() * pitch)?;
        Ok(padded.chunks_exact(pitch).flat_map(|line| &line[..rows.rows]).copied().collect())
    }

    /// The masks in an order, `(n_out, words)` of 32 offsets by position. For tests and inspection.
    ///
    /// # Errors
    /// If the driver fails.
    pub fn download_masks(&self, order: RowOrder) -> Result<Vec<u32>> {
        let ordered = self.ordered(&self.forward, order)?;
        let masks = ordered.masks.as_ref().unwrap_or(&self.forward.masks);
        masks.download(0, self.n_out() * mask_words(self.kernel.volume()))
    }

    /// The pairs of an offset as (input rows, output rows). For tests and inspection.
    ///
    /// # Errors
    /// If the driver fails.
    ///
    /// # Panics
    /// If the kernel has no such offset.
    pub fn download_pairs(&self, offset: usize) -> Result<(Vec<i32>, Vec<i32>)> {
        assert!(
            offset < self.kernel.volume(),
            "a kernel of {} has no offset {offset}",
            self.kernel
        );
        let found = self.counts()?.lists().find(|(listed, ..)| *listed == offset);
        let Some((_, first, pairs)) = found else { return Ok((Vec::new(), Vec::new())) };
        let lists = self.pairs()?;
        Ok((lists.in_rows.download(first * 4, pairs)?, lists.out_rows.download(first * 4, pairs)?))
    }

    /// The row of each position of an order; `None` for the natural one or if it was not made. For
    /// tests and inspection.
    ///
    /// # Errors
    /// If the driver fails.
    pub fn download_order(&self, order: RowOrder) -> Result<Option<Vec<i32>>> {
        if !self.forward.has(order) {
            return Ok(None);
        }
        let ordered = self.ordered(&self.forward, order)?;
        let rows = ordered.row_of_position.as_ref();
        rows.map(|rows| rows.download(0, self.n_out())).transpose()
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
