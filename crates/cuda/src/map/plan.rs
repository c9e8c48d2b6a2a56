//! Plans: which blocks a product over tiles of rows has, and which offsets each of them takes.
//!
//! `kernels/cuda/tile_plan.cuh` says what a plan is, `tile_plans.cuh` makes it, and `cluster_gemm`
//! reads it. [`TilePlan::items`] is the same on the host, for tests and inspection.

use std::sync::{Mutex, PoisonError};

use super::RowOrder;
use super::kernels::MapKernels;
use crate::buffer::DeviceBuffer;
use crate::error::Result;
use crate::module::{Grid, arguments, block_count};
use crate::row_count::RowCount;

/// Most offsets of a map that plans are made of: `MOST_OFFSETS` of the kernels.
pub(crate) const MOST_OFFSETS: usize = 27;
/// Most plans of a launch.
pub(super) const MOST_PLANS: usize = 20;
/// Bytes of a plan's count of blocks that have come.
const TICKET_BYTES: usize = 4;
const HEADER_BYTES: usize = 16;
const ITEM_BYTES: usize = 8;
/// Threads of a kernel that makes plans alone.
const THREADS: u32 = 256;
/// Tiles whose masks a warp unites.
const WARP_TILES: usize = 2;
/// Expected ends past this are alike, as in the kernels.
const LATE: usize = (1 << 26) - 1;
/// Rounds of blocks that an expected end looks at.
const MOST_ROUNDS: usize = 6;

/// Bounds of a [sound](TilePlan::is_sound) plan, beyond what any kernel has.
const MOST_ROWS: u32 = 4_096;
const MOST_BLOCKS: u32 = 1 << 16;
const MOST_FIXED: u32 = 1 << 10;

/// A plan, as a product asks for it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct TilePlan {
    /// The order of the rows.
    pub order: RowOrder,
    /// Rows of a tile: a multiple of 32.
    pub rows: u32,
    /// Most parts of a tile: 1, 2, 4 or 8.
    pub parts: u32,
    /// Blocks that run at once: a multiple of the parts.
    pub blocks: u32,
    /// Offsets that take as long as what an item costs besides.
    pub fixed: u32,
}

/// An item of a plan: what one block does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanItem {
    /// The tile's number.
    pub tile: u32,
    /// The part's offsets, a bit each.
    pub offsets: u32,
    /// Which part of the tile it is.
    pub part: u32,
    /// How many parts the tile has; 0 where there is nothing to do.
    pub parts: u32,
}

impl PlanItem {
    /// What fills the list before an item that begins at a multiple of its parts.
    const NONE: Self = Self { tile: 0, offsets: 0, part: 0, parts: 0 };

    /// The item as kernels know it.
    const fn of([offsets, place]: [u32; 2]) -> Self {
        if place == u32::MAX {
            return Self::NONE;
        }
        Self { tile: place >> 6, offsets, part: place >> 3 & 7, parts: 1 << (place >> 1 & 3) }
    }
}

/// Tiles of as many offsets: a bin of a plan under some longest part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Bin {
    /// Of its longest part.
    length: u32,
    parts: u32,
    offsets: u32,
    tiles: usize,
}

impl Bin {
    const fn items(&self) -> usize {
        self.tiles * self.parts as usize
    }
}

impl TilePlan {
    /// Whether a product could ask for such a plan.
    #[must_use]
    pub const fn is_sound(&self) -> bool {
        let Self { rows, parts, blocks, fixed, .. } = *self;
        rows.is_multiple_of(32)
            && matches!(rows, 32..=MOST_ROWS)
            && matches!(parts, 1 | 2 | 4 | 8)
            && blocks.is_multiple_of(parts)
            && matches!(blocks, 1..=MOST_BLOCKS)
            && fixed <= MOST_FIXED
    }

    /// Tiles of so many rows.
    const fn tiles(&self, rows: usize) -> usize {
        rows.div_ceil(self.rows as usize)
    }

    /// The most items of so many rows, a multiple of the parts.
    #[must_use]
    pub const fn most_items(&self, rows: usize) -> usize {
        let tiles = self.tiles(rows);
        // Before each bin but the first there may be fewer items of nothing than parts.
        let bins = if tiles < MOST_OFFSETS + 1 { tiles } else { MOST_OFFSETS + 1 };
        (tiles + bins.saturating_sub(1)) * self.parts as usize
    }

    /// Parts of a tile of so many offsets, if no part is to be longer than that.
    const fn parts_of(&self, count: u32, longest: u32) -> u32 {
        let mut parts = 1;
        while parts < self.parts && parts * longest < count {
            parts *= 2;
        }
        parts
    }

    /// The bins of tiles in the order of the list: those of the longest parts first.
    fn bins(&self, tiles_with: &[usize], longest: u32) -> Vec<Bin> {
        let bin = |(offsets, &tiles): (usize, &usize)| {
            let offsets = offsets as u32;
            let parts = self.parts_of(offsets, longest);
            Bin { length: offsets.div_ceil(parts), parts, offsets, tiles }
        };
        let mut bins: Vec<Bin> = tiles_with.iter().enumerate().map(bin).collect();
        bins.retain(|bin| bin.tiles > 0);
        bins.sort_unstable_by(|one, other| other.cmp(one));
        bins
    }

    /// When the last block ends, in offsets times blocks: no sooner than an even share of all
    /// items, nor than any that has as many of the longest items as it must.
    fn expected_end(&self, tiles_with: &[usize], longest: u32) -> usize {
        let blocks = self.blocks as usize;
        let (mut before, mut all, mut end) = (0, 0, 0);
        for bin in self.bins(tiles_with, longest) {
            all += bin.tiles * bin.offsets as usize + bin.items() * self.fixed as usize;
            let rounds = (0..MOST_ROUNDS)
                .filter(|round| (before..before + bin.items()).contains(&(round * blocks)));
            let ends =
                rounds.map(|round| (round + 1) * (bin.length + self.fixed) as usize * blocks);
            end = ends.fold(end, usize::max);
            before += bin.items();
        }
        all.max(end).min(LATE)
    }

    /// The longest part: that by which the last block is expected to end first, the longest one of
    /// several.
    fn longest(&self, tiles_with: &[usize]) -> u32 {
        let most = MOST_OFFSETS as u32;
        let lengths = (2 * self.fixed).max(1)..=most;
        lengths.rev().min_by_key(|&longest| self.expected_end(tiles_with, longest)).unwrap_or(most)
    }

    /// The items of rows that have these masks, by position in the plan's order.
    #[must_use]
    pub fn items(&self, masks: &[u32]) -> Vec<PlanItem> {
        let tiles = masks.chunks(self.rows as usize);
        let unions: Vec<u32> =
            tiles.map(|rows| rows.iter().fold(0, |all, row| all | row)).collect();
        let mut tiles_with = vec![0; MOST_OFFSETS + 1];
        for union in &unions {
            tiles_with[union.count_ones() as usize] += 1;
        }
        let mut items = Vec::new();
        for bin in self.bins(&tiles_with, self.longest(&tiles_with)) {
            let (count, parts) = (bin.offsets, bin.parts);
            items.resize(items.len().next_multiple_of(parts as usize), PlanItem::NONE);
            for (tile, &union) in unions.iter().enumerate().rev() {
                if union.count_ones() != count {
                    continue;
                }
                let listed: Vec<u32> = (0..32).filter(|offset| union >> offset & 1 == 1).collect();
                for part in 0..parts {
                    let [from, to] = [part, part + 1].map(|at| (count * at / parts) as usize);
                    let offsets = listed[from..to].iter().map(|offset| 1 << offset).sum();
                    items.push(PlanItem { tile: tile as u32, offsets, part, parts });
                }
            }
        }
        items
    }

    /// Memory of a plan of so many rows: header, items, the offsets of the tiles, and a ticket.
    /// Zeros at first: a block of a product looks at its item before it knows how many there are.
    pub(super) const fn len_bytes(&self, rows: usize) -> usize {
        self.ticket_at(rows) + TICKET_BYTES
    }

    const fn ticket_at(&self, rows: usize) -> usize {
        self.unions_at(rows) + self.tiles(rows) * 4
    }

    const fn unions_at(&self, rows: usize) -> usize {
        HEADER_BYTES + self.most_items(rows) * ITEM_BYTES
    }

    /// Blocks of so many threads that make a plan of so many rows.
    fn making_blocks(&self, rows: usize, threads: u32) -> usize {
        self.tiles(rows).div_ceil(threads as usize / 32 * WARP_TILES).max(1)
    }

    /// Queues the making of the plan of rows that have these masks, a word each by position.
    pub(super) fn make(
        self,
        kernels: &MapKernels,
        masks: &DeviceBuffer,
        count: RowCount,
    ) -> Result<DeviceBuffer> {
        let memory = DeviceBuffer::zeroed(&kernels.device, self.len_bytes(count.capacity()))?;
        let job = self.job([masks.as_ref().address(), 0], count, memory.as_ref().address());
        let jobs = PlanJobs::new(&[(self, job)], THREADS)?;
        let blocks = [block_count(jobs.blocks())?, 1];
        // SAFETY: (PlanJobs); masks hold a word a position, as `RowMap::planning` compares; the
        // memory is zeros of the length that the plan says.
        unsafe {
            let grid = Grid { blocks, threads: THREADS, shared_bytes: 0 };
            kernels.tile_plans.launch(grid, arguments![jobs])?;
        }
        Ok(memory)
    }

    /// What is to be made at an address of [`Self::len_bytes`] zeros. Masks are by row if there is
    /// a row of each position, else by position.
    pub(super) fn job(
        &self,
        [masks, row_of_position]: [u64; 2],
        count: RowCount,
        plan: u64,
    ) -> PlanJob {
        PlanJob {
            masks,
            row_of_position,
            count,
            plan,
            unions: plan + self.unions_at(count.capacity()) as u64,
            ticket: plan + self.ticket_at(count.capacity()) as u64,
            rows: self.rows as i32,
            most: self.parts as i32,
            blocks: self.blocks as i32,
            fixed: self.fixed as i32,
        }
    }
}

/// `PlanJob` of the kernels.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct PlanJob {
    masks: u64,
    row_of_position: u64,
    count: RowCount,
    plan: u64,
    unions: u64,
    ticket: u64,
    rows: i32,
    most: i32,
    blocks: i32,
    fixed: i32,
}

impl PlanJob {
    /// What stands where there is no job.
    fn none() -> Self {
        let (masks, row_of_position, plan, unions, ticket) = <_>::default();
        let (rows, most, blocks, fixed) = <_>::default();
        let count = RowCount::new(0, None);
        Self { masks, row_of_position, count, plan, unions, ticket, rows, most, blocks, fixed }
    }
}

/// `PlanJobs` of the kernels. Jobs past the count are copies of the first.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct PlanJobs {
    at: [PlanJob; MOST_PLANS],
    count: i32,
    blocks: i32,
}

impl PlanJobs {
    /// Jobs for blocks of so many threads, at most [`MOST_PLANS`].
    pub(super) fn new(jobs: &[(TilePlan, PlanJob)], threads: u32) -> Result<Self> {
        let jobs = &jobs[..jobs.len().min(MOST_PLANS)];
        let blocks =
            jobs.iter().map(|(plan, job)| plan.making_blocks(job.count.capacity(), threads)).sum();
        let at = std::array::from_fn(|number| {
            jobs.get(number).or(jobs.first()).map_or_else(PlanJob::none, |(_, job)| *job)
        });
        Ok(Self { at, count: jobs.len() as i32, blocks: block_count(blocks)? as i32 })
    }

    /// Blocks of all jobs.
    pub(super) const fn blocks(&self) -> usize {
        self.blocks as usize
    }
}

/// The plans of rows in one order, each made once.
#[derive(Debug, Default)]
pub(super) struct Plans(Mutex<Vec<(TilePlan, DeviceBuffer)>>);

impl Plans {
    /// The address of a plan, made now if it was not.
    pub(super) fn get_or_make(
        &self,
        kernels: &MapKernels,
        plan: TilePlan,
        masks: &DeviceBuffer,
        count: RowCount,
    ) -> Result<u64> {
        let mut plans = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, memory)) = plans.iter().find(|(made, _)| *made == plan) {
            return Ok(memory.as_ref().address());
        }
        let memory = plan.make(kernels, masks, count)?;
        let address = memory.as_ref().address();
        plans.push((plan, memory));
        Ok(address)
    }

    /// Takes a plan that was made elsewhere.
    pub(super) fn keep(&self, plan: TilePlan, memory: DeviceBuffer) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((plan, memory));
    }

    /// Whether a plan was made.
    pub(super) fn has(&self, plan: TilePlan) -> bool {
        let plans = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        plans.iter().any(|(made, _)| *made == plan)
    }

    /// The items of a plan; `None` if it was not made.
    pub(super) fn download(&self, plan: TilePlan) -> Result<Option<Vec<PlanItem>>> {
        let plans = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((_, memory)) = plans.iter().find(|(made, _)| *made == plan) else {
            return Ok(None);
        };
        let header: Vec<u32> = memory.download(0, HEADER_BYTES / 4)?;
        let items: Vec<u32> = memory.download(HEADER_BYTES, 2 * header[0] as usize)?;
        Ok(Some(items.chunks_exact(2).map(|item| PlanItem::of([item[0], item[1]])).collect()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plans() -> impl Strategy<Value = TilePlan> {
        let parts = prop_oneof![Just(1_u32), Just(2), Just(4), Just(8)];
        let rows = prop_oneof![Just(64_u32), Just(128)];
        let all = (rows, parts, 1_u32..200, 1_u32..4);
        all.prop_map(|(rows, parts, clusters, fixed)| TilePlan {
            order: RowOrder::Global,
            rows,
            parts,
            blocks: parts * clusters,
            fixed,
        })
    }

    /// Masks as sorted rows have them: most rows have few offsets, and neighbours have alike ones.
    fn masks() -> impl Strategy<Value = Vec<u32>> {
        let all = (1_u32 << MOST_OFFSETS) - 1;
        let mask = prop_oneof![Just(0), 0..=all, (0..=all, 0..=all).prop_map(|(a, b)| a & b)];
        let run = (mask, 1_usize..300);
        proptest::collection::vec(run, 0..24).prop_map(|runs| {
            runs.into_iter().flat_map(|(mask, rows)| std::iter::repeat_n(mask, rows)).collect()
        })
    }

    proptest! {
        #[test]
        fn every_tile_and_offset_is_in_a_plan_once(plan in plans(), masks in masks()) {
            let items = plan.items(&masks);
            let tiles = masks.chunks(plan.rows as usize);
            let mut unions: Vec<u32> =
                tiles.map(|rows| rows.iter().fold(0, |all, row| all | row)).collect();
            let mut seen = vec![0; unions.len()];
            for item in items.iter().filter(|item| item.parts > 0) {
                let left = &mut unions[item.tile as usize];
                prop_assert_eq!(*left & item.offsets, item.offsets);
                *left &= !item.offsets;
                seen[item.tile as usize] += 1;
                // Parts are of ascending offsets: what is left lies past them.
                prop_assert!(item.offsets == 0 || *left == 0 || item.offsets < 1 << left.trailing_zeros());
            }
            prop_assert!(unions.iter().all(|left| *left == 0));
            prop_assert!(seen.iter().all(|parts| *parts > 0));
        }

        #[test]
        fn parts_of_a_tile_are_blocks_of_a_cluster_in_order(plan in plans(), masks in masks()) {
            let items = plan.items(&masks);
            let mut at = 0;
            while at < items.len() {
                let parts = items[at].parts.max(1) as usize;
                prop_assert!(parts <= plan.parts as usize && at.is_multiple_of(parts));
                for (part, item) in items[at..at + parts].iter().enumerate() {
                    let found = (item.tile, item.part as usize, item.parts);
                    prop_assert_eq!(found, (items[at].tile, part, items[at].parts));
                }
                // The grid is a multiple of the cluster, so parts run at once.
                prop_assert_eq!(at / plan.parts as usize, (at + parts - 1) / plan.parts as usize);
                at += parts;
            }
        }

        #[test]
        fn items_fit_the_memory_longest_first(plan in plans(), masks in masks()) {
            let items = plan.items(&masks);
            prop_assert!(items.len() <= plan.most_items(masks.len()));
            prop_assert!(items.len() * ITEM_BYTES + HEADER_BYTES <= plan.unions_at(masks.len()));
            let tiles = items.iter().filter(|item| item.parts > 0);
            let longest: Vec<u32> = tiles
                .map(|item| masks[item.tile as usize * plan.rows as usize..]
                    .iter()
                    .take(plan.rows as usize)
                    .fold(0, |all, row| all | row)
                    .count_ones()
                    .div_ceil(item.parts))
                .collect();
            prop_assert!(longest.is_sorted_by(|one, next| one >= next));
        }

        /// No worse than tiles that are all whole, by what the last block has.
        #[test]
        fn cutting_ends_no_later(plan in plans(), masks in masks()) {
            let whole = TilePlan { parts: 1, ..plan };
            let end = |plan: TilePlan| last_end(plan, &plan.items(&masks));
            // What is expected leaves out how rounds meet: half a longest item at most.
            prop_assert!(end(plan) <= end(whole) + (MOST_OFFSETS as u32 + plan.fixed) / 2);
        }
    }

    /// When the last block ends: blocks take items forth and back by clusters, as `cluster_gemm`
    /// does.
    fn last_end(plan: TilePlan, items: &[PlanItem]) -> u32 {
        let (blocks, parts) = (plan.blocks as usize, plan.parts as usize);
        let mut ends = vec![0; blocks];
        for (at, item) in items.iter().enumerate().filter(|(_, item)| item.parts > 0) {
            let (round, place) = (at / blocks, at % blocks);
            let forth = place - place % parts;
            let first = if round % 2 == 0 { forth } else { blocks - parts - forth };
            ends[first + place % parts] += item.offsets.count_ones() + plan.fixed;
        }
        ends.into_iter().max().unwrap_or(0)
    }

    #[test]
    fn tiles_of_several_rounds_share_blocks_evenly() {
        let plan = TilePlan { order: RowOrder::Global, rows: 64, parts: 1, blocks: 4, fixed: 3 };
        let masks: Vec<u32> = [27, 1, 2, 26, 3, 25, 24, 4]
            .into_iter()
            .flat_map(|offsets| std::iter::repeat_n((1 << offsets) - 1, 64))
            .collect();
        assert_eq!(last_end(plan, &plan.items(&masks)), 27 + 1 + 2 * 3);
    }

    #[test]
    fn long_tiles_alone_are_cut() {
        let plan = TilePlan { order: RowOrder::Global, rows: 64, parts: 4, blocks: 8, fixed: 3 };
        let masks: Vec<u32> = [0b11, (1 << 27) - 1, 0, 0b1111_1111]
            .into_iter()
            .flat_map(|mask| std::iter::repeat_n(mask, 64))
            .collect();
        let parts: Vec<_> =
            plan.items(&masks).iter().map(|item| (item.tile, item.part, item.parts)).collect();
        let whole = [(0, 0, 1), (2, 0, 1)];
        let cut = [(1, 0, 4), (1, 1, 4), (1, 2, 4), (1, 3, 4), (3, 0, 2), (3, 1, 2)];
        assert_eq!(parts, [cut.as_slice(), &whole].concat());
    }

    #[test]
    fn items_are_read_as_kernels_write_them() {
        let item = PlanItem { tile: 5, offsets: 9, part: 6, parts: 8 };
        assert_eq!(PlanItem::of([9, 5 << 6 | 6 << 3 | 3 << 1]), item);
        assert_eq!(PlanItem::of([0, u32::MAX]), PlanItem::NONE);
    }

    /// A launch compares it with what the driver says of the kernel; this holds without a GPU.
    #[test]
    fn jobs_are_as_long_as_those_of_the_kernel() {
        assert_eq!([size_of::<PlanJob>(), size_of::<PlanJobs>()], [72, 1448]);
    }
}
