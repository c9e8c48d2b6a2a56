//! The kernel map on the device.
//!
//! | part | layout |
//! |---|---|
//! | [`RowMap`] table | `(volume, pitch)` int32: the row gathered at an offset, or -1 |
//! | [`RowMap`] masks | `(rows, words)` uint32: the offsets that a position has |
//! | pair lists | input and output rows, sorted by offset, then output row |
//! | [`RowOrder`] | the same with rows permuted so that neighbours have like masks |

mod build;
mod order;

pub use build::MapBuilder;

use voxtune_shape::KernelSize;

use crate::buffer::DeviceBuffer;

/// How many rows and pairs a map has: what launches and workspaces are sized by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapCounts {
    /// Input rows.
    pub n_in: usize,
    /// Output rows.
    pub n_out: usize,
    /// Pairs of each offset.
    pub pairs: Vec<usize>,
}

impl MapCounts {
    /// Pairs in all.
    #[must_use]
    pub fn total_pairs(&self) -> usize {
        self.pairs.iter().sum()
    }

    /// Pairs of the offset that has most.
    #[must_use]
    pub fn largest_offset(&self) -> usize {
        self.pairs.iter().copied().max().unwrap_or(0)
    }
}

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

/// Rows with, for each offset, the row that they gather.
#[derive(Debug)]
pub(crate) struct RowMap {
    pub(crate) rows: usize,
    pub(crate) table: DeviceBuffer,
    pub(crate) masks: DeviceBuffer,
    sorted: Option<OrderedRows>,
    global: Option<OrderedRows>,
}

/// A row map in another order.
#[derive(Debug)]
pub(crate) struct OrderedRows {
    /// The row of each position.
    pub(crate) row_of_position: DeviceBuffer,
    pub(crate) table: DeviceBuffer,
    pub(crate) masks: DeviceBuffer,
}

impl RowMap {
    pub(crate) fn ordered(&self, order: RowOrder) -> Option<&OrderedRows> {
        match order {
            RowOrder::Natural => None,
            RowOrder::Sorted => self.sorted.as_ref(),
            RowOrder::Global => self.global.as_ref(),
        }
    }
}

/// Which input row meets which output row at which offset, in the device's memory.
#[derive(Debug)]
pub struct DeviceKernelMap {
    pub(crate) kernel: KernelSize,
    pub(crate) counts: MapCounts,
    /// First pair of each offset, and the end.
    pub(crate) pair_offset: Vec<i32>,
    pub(crate) pair_offset_on_device: DeviceBuffer,
    pub(crate) in_rows: DeviceBuffer,
    pub(crate) out_rows: DeviceBuffer,
    /// By output row.
    pub(crate) forward: RowMap,
    /// By input row. A submanifold map needs none: it is its own mirror image.
    pub(crate) reverse: Option<RowMap>,
    pub(crate) symmetric: bool,
}

impl DeviceKernelMap {
    /// The kernel size that the map was built for.
    #[must_use]
    pub const fn kernel(&self) -> KernelSize {
        self.kernel
    }

    /// Rows and pairs.
    #[must_use]
    pub const fn counts(&self) -> &MapCounts {
        &self.counts
    }

    /// Whether every row map of it is held in this order.
    #[must_use]
    pub fn has_order(&self, order: RowOrder) -> bool {
        let maps = std::iter::once(&self.forward).chain(&self.reverse);
        order == RowOrder::Natural || maps.into_iter().all(|rows| rows.ordered(order).is_some())
    }

    /// Distance between the table's offsets, in rows: whole blocks of the largest kernel. What is
    /// past the rows holds -1.
    pub(crate) fn pitch(rows: usize) -> usize {
        rows.next_multiple_of(256).max(256)
    }

    /// Words of a row's mask.
    pub(crate) fn mask_words(kernel: KernelSize) -> usize {
        mask_words(kernel.volume())
    }

    /// The table as the host sees it: `(volume, n_out)`, -1 where there is no pair. For tests and
    /// inspection.
    ///
    /// # Errors
    /// If the driver fails.
    pub fn download_table(&self) -> crate::Result<Vec<i32>> {
        download_table(&self.forward, self.kernel.volume())
    }

    /// The table by input rows, `(volume, n_in)`; `None` if [`MapBuilder::add_reverse`] did not
    /// make it. For tests and inspection.
    ///
    /// # Errors
    /// If the driver fails.
    pub fn download_reverse_table(&self) -> crate::Result<Option<Vec<i32>>> {
        self.reverse.as_ref().map(|map| download_table(map, self.kernel.volume())).transpose()
    }

    /// The pairs of an offset as (input rows, output rows). For tests and inspection.
    ///
    /// # Errors
    /// If the driver fails.
    ///
    /// # Panics
    /// If the kernel has no such offset.
    pub fn download_pairs(&self, offset: usize) -> crate::Result<(Vec<i32>, Vec<i32>)> {
        let (at, len) = (self.pair_offset[offset] as usize * 4, self.counts.pairs[offset]);
        Ok((self.in_rows.download(at, len)?, self.out_rows.download(at, len)?))
    }

    /// The row of each position of an order; `None` for the natural one or if it was not built. For
    /// tests and inspection.
    ///
    /// # Errors
    /// If the driver fails.
    pub fn download_order(&self, order: RowOrder) -> crate::Result<Option<Vec<i32>>> {
        let rows = self.forward.rows;
        self.forward
            .ordered(order)
            .map(|ordered| ordered.row_of_position.download(0, rows))
            .transpose()
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

fn download_table(map: &RowMap, volume: usize) -> crate::Result<Vec<i32>> {
    let pitch = DeviceKernelMap::pitch(map.rows);
    let padded: Vec<i32> = map.table.download(0, volume * pitch)?;
    Ok(padded.chunks_exact(pitch).flat_map(|line| &line[..map.rows]).copied().collect())
}
