//! Tables and masks by position, in each order that is asked for.

use std::sync::Arc;

use super::bipartite::Bipartite;
use super::kernels::{MapKernels, TABLE_THREADS, Window};
use super::lazy::Lazy;
use super::order::{sort_all, sort_segments};
use super::search::Search;
use super::{DeviceKernelMap, RowOrder, mask_words};
use crate::buffer::DeviceBuffer;
use crate::error::Result;
use crate::module::{Grid, arguments};
use crate::row_count::RowCount;

/// Rows with, for each offset, the row that they gather.
#[derive(Debug)]
pub(crate) struct RowMap {
    /// How many there are, or may be where the device knows how many there are.
    pub(crate) rows: usize,
    /// In natural order.
    pub(crate) masks: DeviceBuffer,
    lookup: Lookup,
    natural: Lazy<OrderedRows>,
    sorted: Lazy<OrderedRows>,
    global: Lazy<OrderedRows>,
}

/// Where the rows that are gathered are found.
#[derive(Debug)]
pub(super) enum Lookup {
    /// Around the rows themselves.
    Within {
        /// The only cloud.
        search: Arc<Search>,
        window: Window,
    },
    /// In another cloud.
    Bipartite(Bipartite),
}

impl Lookup {
    /// The rows' own cloud.
    fn own(&self) -> &Search {
        match self {
            Self::Within { search, .. } => search,
            Self::Bipartite(bipartite) => &bipartite.own,
        }
    }
}

/// A row map in one order.
#[derive(Debug)]
pub(crate) struct OrderedRows {
    /// The row of each position; none in the natural order.
    pub(crate) row_of_position: Option<DeviceBuffer>,
    pub(crate) table: DeviceBuffer,
    /// None in the natural order, which has the row map's own.
    pub(crate) masks: Option<DeviceBuffer>,
}

impl OrderedRows {
    /// Address of the row of each position; 0 in the natural order.
    pub(crate) fn row_of_position(&self) -> u64 {
        self.row_of_position.as_ref().map_or(0, |rows| rows.as_ref().address())
    }
}

impl RowMap {
    pub(super) fn new(lookup: Lookup, masks: DeviceBuffer) -> Self {
        let (natural, sorted, global) = <_>::default();
        Self { rows: lookup.own().rows(), masks, lookup, natural, sorted, global }
    }

    const fn slot(&self, order: RowOrder) -> &Lazy<OrderedRows> {
        match order {
            RowOrder::Natural => &self.natural,
            RowOrder::Sorted => &self.sorted,
            RowOrder::Global => &self.global,
        }
    }

    pub(super) const fn lookup(&self) -> &Lookup {
        &self.lookup
    }

    pub(super) const fn volume(&self) -> usize {
        match &self.lookup {
            Lookup::Within { window, .. } => window.volume(),
            Lookup::Bipartite(bipartite) => bipartite.steps.volume(),
        }
    }

    /// The number of rows as kernels take it.
    pub(crate) fn count(&self) -> RowCount {
        self.lookup.own().count()
    }

    /// Address of the pairs of each offset, which are the same from either side.
    pub(super) fn counts(&self) -> u64 {
        self.lookup.own().counts()
    }

    /// Address of the words by which the blocks of its sort by segments meet.
    pub(super) fn meeting_words(&self) -> u64 {
        match &self.lookup {
            Lookup::Within { search, window } => search.meeting_words(window.is_reversed()),
            Lookup::Bipartite(bipartite) => bipartite.own.meeting_words(false),
        }
    }

    pub(super) fn has(&self, order: RowOrder) -> bool {
        self.slot(order).get().is_some()
    }

    pub(super) fn in_order(&self, kernels: &MapKernels, order: RowOrder) -> Result<&OrderedRows> {
        self.slot(order).get_or_try(|| {
            let rows = match order {
                RowOrder::Natural => None,
                RowOrder::Sorted => Some(sort_segments(kernels, self)?),
                RowOrder::Global => Some(sort_all(kernels, self)?),
            };
            self.table(kernels, rows)
        })
    }

    /// Looks the rows of all positions up.
    fn table(
        &self,
        kernels: &MapKernels,
        mut row_of_position: Option<DeviceBuffer>,
    ) -> Result<OrderedRows> {
        let (n, volume) = (self.rows, self.volume());
        let (words, pitch) = (mask_words(volume), DeviceKernelMap::pitch(n));
        let mut table = DeviceBuffer::alloc(&kernels.device, volume * pitch * 4)?;
        let mut masks = match &row_of_position {
            Some(_) => Some(DeviceBuffer::alloc(&kernels.device, n * words * 4)?),
            None => None,
        };
        let rows_at = row_of_position.as_mut().map_or(0, |rows| rows.as_mut().address());
        let masks_at = masks.as_mut().map_or(0, |masks| masks.as_mut().address());
        let table_at = table.as_mut().address();
        let (n, words, pitch_arg) = (self.count(), words as i32, pitch as i64);
        let grid = Grid::covering(pitch, TABLE_THREADS)?;
        match &self.lookup {
            Lookup::Within { search, window } => {
                let (window, (slots, capacity, places, ranks)) = (*window, search.parts());
                // SAFETY: (Slot*, u32, uint2*, int*, RowCount, int, Window, int*, i64, int*, u32*);
                // the order, where there is one, is a permutation of n rows; table and masks have
                // the lengths allocated above.
                unsafe {
                    kernels.table.of(window).launch(
                        grid,
                        arguments![
                            slots, capacity, places, ranks, n, words, window, rows_at, pitch_arg,
                            table_at, masks_at
                        ],
                    )?;
                }
            }
            Lookup::Bipartite(bipartite) => {
                let ((slots, capacity, ranks), (own_slots, places)) = bipartite.parts();
                let steps = bipartite.steps;
                // SAFETY: (Slot*, u32, int*, Slot*, uint2*, RowCount, int, Steps, int*, i64, int*,
                // u32*); as above.
                unsafe {
                    bipartite.kernels.table.launch(
                        grid,
                        arguments![
                            slots, capacity, ranks, own_slots, places, n, words, steps, rows_at,
                            pitch_arg, table_at, masks_at
                        ],
                    )?;
                }
            }
        }
        Ok(OrderedRows { row_of_position, table, masks })
    }
}
