//! Tables and masks by position, in each order that is asked for.

use std::sync::Arc;

use super::bipartite::Bipartite;
use super::counts::Report;
use super::index::{IndexParts, VoxelIndex, looping_grid};
use super::kernels::{MapKernels, TABLE_THREADS, Window};
use super::lazy::Lazy;
use super::order::{sort_all, sort_segments};
use super::plan::{MOST_OFFSETS, PlanItem, Plans, TilePlan};
use super::reads::Reads;
use super::{DeviceKernelMap, RowOrder, mask_words};
use crate::buffer::DeviceBuffer;
use crate::error::{CudaError, Result};
use crate::module::{Grid, arguments};
use crate::row_count::RowCount;

/// `PAIR_COUNTS` of the kernels, and the word behind them.
pub(super) const COUNT_BYTES: usize = 512;

/// Rows with, for each offset, the row that they gather.
#[derive(Debug)]
pub(crate) struct RowMap {
    /// How many there are, or may be where the device knows how many there are.
    pub(crate) rows: usize,
    /// In natural order.
    pub(crate) masks: DeviceBuffer,
    lookup: Lookup,
    /// The pairs of each offset, which are the same from either side.
    counts: DeviceBuffer,
    natural: Lazy<OrderedRows>,
    sorted: Lazy<OrderedRows>,
    global: Lazy<OrderedRows>,
    reads: Reads,
}

/// What the making of masks counts, and where it tells the host.
pub(super) struct Counting<'a> {
    counts: &'a mut DeviceBuffer,
    report: &'a Report,
}

impl Counting<'_> {
    /// The addresses, to be written by what is queued next.
    fn parts(&mut self) -> (u64, u64) {
        (self.counts.as_mut().address(), self.report.address())
    }
}

/// Where the rows that are gathered are found.
#[derive(Debug)]
pub(super) enum Lookup {
    /// Around the rows themselves.
    Within {
        /// The only voxels.
        index: Arc<VoxelIndex>,
        window: Window,
    },
    /// Among other voxels.
    Bipartite(Bipartite),
}

impl Lookup {
    /// The rows' own voxels.
    fn own(&self) -> &VoxelIndex {
        match self {
            Self::Within { index, .. } => index,
            Self::Bipartite(bipartite) => &bipartite.own,
        }
    }

    /// Masks of all rows.
    fn masks(
        &self,
        kernels: &MapKernels,
        mut counting: Option<Counting<'_>>,
    ) -> Result<DeviceBuffer> {
        let (own, volume) = (self.own(), self.volume());
        let words = mask_words(volume);
        let mut masks = DeviceBuffer::alloc(&kernels.device, own.rows() * words * 4)?;
        let (masks_at, words) = (masks.as_mut().address(), words as i32);
        let (counts, report) = counting.as_mut().map_or((0, 0), Counting::parts);
        let rows = own.count();
        match self {
            Self::Bipartite(bipartite) => {
                for index in [&bipartite.own, &bipartite.gathered] {
                    let bases = &bipartite.kernels.bases;
                    index.rank(kernels, |cursor| index.place_bricks(bases, cursor))?;
                }
                if own.rows() == 0 {
                    return Ok(masks);
                }
                let IndexParts { slots: own_slots, places, .. } = bipartite.own.parts();
                let IndexParts { slots, slot_count, .. } = bipartite.gathered.parts();
                let steps = bipartite.steps;
                // SAFETY: (Slot*, u32, Slot*, uint2*, RowCount, int, Steps, u32*, int*, int*).
                // Every row has its place, and there are as many counts as a kernel has offsets.
                unsafe {
                    bipartite.kernels.masks.launch(
                        looping_grid(kernels, own.rows())?,
                        arguments![
                            slots, slot_count, own_slots, places, rows, words, steps, masks_at,
                            counts, report
                        ],
                    )?;
                }
            }
            Self::Within { index, window } => {
                let IndexParts { slots, slot_count, places, .. } = index.parts();
                let window = *window;
                let launch = |cursor: u64| {
                    // SAFETY: (Slot*, u32, uint2*, RowCount, int, Window, u32*, int*, int*, int*).
                    // Every row has its place, the cursor is one or none, and there are as many
                    // counts as a window has offsets.
                    unsafe {
                        kernels.masks.of(window).launch(
                            looping_grid(kernels, own.rows())?,
                            arguments![
                                slots, slot_count, places, rows, words, window, masks_at, cursor,
                                counts, report
                            ],
                        )
                    }
                };
                let mut is_made = false;
                index.rank(kernels, |cursor| {
                    is_made = true;
                    launch(cursor)
                })?;
                if own.rows() == 0 {
                    return Ok(masks);
                }
                if !is_made {
                    launch(0)?;
                }
            }
        }
        if let Some(Counting { report, .. }) = counting {
            report.queued()?;
        }
        Ok(masks)
    }

    const fn volume(&self) -> usize {
        match self {
            Self::Within { window, .. } => window.volume(),
            Self::Bipartite(bipartite) => bipartite.steps.volume(),
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
    pub(super) plans: Plans,
}

impl OrderedRows {
    /// Address of the row of each position; 0 in the natural order.
    pub(crate) fn row_of_position(&self) -> u64 {
        self.row_of_position.as_ref().map_or(0, |rows| rows.as_ref().address())
    }
}

impl RowMap {
    /// A map whose pairs are counted and reported.
    pub(super) fn counted(kernels: &MapKernels, lookup: Lookup, report: &Report) -> Result<Self> {
        let mut counts = DeviceBuffer::zeroed(&kernels.device, COUNT_BYTES)?;
        let counting = Counting { counts: &mut counts, report };
        let masks = lookup.masks(kernels, Some(counting))?;
        Ok(Self::new(lookup, masks, counts))
    }

    /// The map of the other side, whose pairs are those of this one.
    pub(super) fn of_other_side(&self, kernels: &MapKernels, lookup: Lookup) -> Result<Self> {
        let masks = lookup.masks(kernels, None)?;
        Ok(Self::new(lookup, masks, self.counts.share()))
    }

    pub(super) fn new(lookup: Lookup, masks: DeviceBuffer, counts: DeviceBuffer) -> Self {
        let (natural, sorted, global, reads) = <_>::default();
        Self { rows: lookup.own().rows(), masks, lookup, counts, natural, sorted, global, reads }
    }

    const fn slot(&self, order: RowOrder) -> &Lazy<OrderedRows> {
        match order {
            RowOrder::Natural => &self.natural,
            RowOrder::Sorted => &self.sorted,
            RowOrder::Global => &self.global,
        }
    }

    /// Takes what was made in an order.
    pub(super) fn keep(&self, order: RowOrder, rows: OrderedRows) {
        self.slot(order).set(rows);
    }

    pub(super) const fn lookup(&self) -> &Lookup {
        &self.lookup
    }

    pub(super) const fn volume(&self) -> usize {
        self.lookup.volume()
    }

    /// The number of rows as kernels take it.
    pub(crate) fn count(&self) -> RowCount {
        self.lookup.own().count()
    }

    /// Address of the pairs of each offset.
    pub(super) fn counts(&self) -> u64 {
        self.counts.as_ref().address()
    }

    pub(super) fn has(&self, order: RowOrder) -> bool {
        self.slot(order).get().is_some()
    }

    pub(super) fn in_order(&self, kernels: &MapKernels, order: RowOrder) -> Result<&OrderedRows> {
        self.slot(order).get_or_try(|| self.make_order(kernels, order))
    }

    /// Queues the making of an order with its table, whether or not it was made before.
    pub(super) fn make_order(&self, kernels: &MapKernels, order: RowOrder) -> Result<OrderedRows> {
        let rows = match order {
            RowOrder::Natural => None,
            RowOrder::Sorted => Some(sort_segments(kernels, self)?),
            RowOrder::Global => Some(sort_all(kernels, self)?),
        };
        self.table(kernels, rows)
    }

    /// The address of a plan of its tiles, made at the first call.
    pub(super) fn planned(&self, kernels: &MapKernels, plan: TilePlan) -> Result<u64> {
        let (ordered, masks) = self.planning(kernels, plan)?;
        ordered.plans.get_or_make(kernels, plan, masks, self.count())
    }

    /// Queues the making of a plan of its tiles, whether or not it was made before. The order of
    /// its rows is made at the first call.
    pub(super) fn make_plan(&self, kernels: &MapKernels, plan: TilePlan) -> Result<DeviceBuffer> {
        let (_, masks) = self.planning(kernels, plan)?;
        plan.make(kernels, masks, self.count())
    }

    /// The rows that a plan is of, with their masks by position.
    fn planning(
        &self,
        kernels: &MapKernels,
        plan: TilePlan,
    ) -> Result<(&OrderedRows, &DeviceBuffer)> {
        let (what, found, limit) = ("the offsets of a plan", self.volume(), MOST_OFFSETS);
        if found > limit {
            return Err(CudaError::TooLarge { what, found, limit });
        }
        let ordered = self.in_order(kernels, plan.order)?;
        Ok((ordered, ordered.masks.as_ref().unwrap_or(&self.masks)))
    }

    pub(super) fn has_plan(&self, plan: TilePlan) -> bool {
        self.slot(plan.order).get().is_some_and(|ordered| ordered.plans.has(plan))
    }

    /// How launches have read it so far.
    pub(super) const fn reads(&self) -> &Reads {
        &self.reads
    }

    /// The items of a plan; `None` if it was not made.
    pub(super) fn download_plan(&self, plan: TilePlan) -> Result<Option<Vec<PlanItem>>> {
        self.slot(plan.order).get().map_or(Ok(None), |ordered| ordered.plans.download(plan))
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
            Lookup::Within { index, window } => {
                let (window, parts) = (*window, index.parts());
                let IndexParts { slots, slot_count, places, ranks } = parts;
                // SAFETY: (Slot*, u32, uint2*, int*, RowCount, int, Window, int*, i64, int*, u32*).
                // The order, where there is one, is a permutation of n rows; table and masks have
                // the lengths allocated above.
                unsafe {
                    kernels.table.of(window).launch(
                        grid,
                        arguments![
                            slots, slot_count, places, ranks, n, words, window, rows_at, pitch_arg,
                            table_at, masks_at
                        ],
                    )?;
                }
            }
            Lookup::Bipartite(bipartite) => {
                let IndexParts { slots: own_slots, places, .. } = bipartite.own.parts();
                let IndexParts { slots, slot_count, ranks, .. } = bipartite.gathered.parts();
                let steps = bipartite.steps;
                // SAFETY: (Slot*, u32, int*, Slot*, uint2*, RowCount, int, Steps, int*, i64, int*,
                // u32*); as above.
                unsafe {
                    bipartite.kernels.table.launch(
                        grid,
                        arguments![
                            slots, slot_count, ranks, own_slots, places, n, words, steps, rows_at,
                            pitch_arg, table_at, masks_at
                        ],
                    )?;
                }
            }
        }
        Ok(OrderedRows { row_of_position, table, masks, plans: Plans::default() })
    }
}
