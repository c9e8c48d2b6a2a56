//! Parameter blocks of the kernels of `network_maps.cu` that make maps.

use voxtune_types::Geometry;

use crate::row_count::RowCount;

/// Most masks, orders or tables.
pub(super) const MOST_JOBS: usize = 24;

/// `Box` of the kernels: the cells that a row gathers from.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Box3 {
    low: [i32; 3],
    extent: [u8; 3],
    stride: [u8; 3],
    volume: u8,
    unused: u8,
}

impl Box3 {
    /// Offsets.
    pub(super) const fn volume(&self) -> usize {
        self.volume as usize
    }

    /// Of a map of at most three cells along each axis.
    pub(super) fn new(geometry: &Geometry) -> Self {
        let extent = geometry.kernel.extents();
        let volume = extent.iter().product();
        Self { low: geometry.low(), extent, stride: geometry.stride, volume, unused: 0 }
    }
}

/// `Lookup` of the kernels.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct Lookup {
    pub(super) slots: u64,
    pub(super) ranks: u64,
    pub(super) own_slots: u64,
    pub(super) places: u64,
    pub(super) count: RowCount,
    pub(super) gathered: Box3,
    pub(super) capacity: u32,
}

/// `MaskJob` of the kernels.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct MaskJob {
    pub(super) lookup: Lookup,
    pub(super) masks: u64,
    pub(super) counts: u64,
    pub(super) report: u64,
}

/// `OrderJob` of the kernels.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct OrderJob {
    pub(super) masks: u64,
    pub(super) counts: u64,
    pub(super) count: RowCount,
    pub(super) items: u64,
    pub(super) tile_counts: u64,
    pub(super) arrived: u64,
    pub(super) rows: u64,
    pub(super) volume: i32,
    pub(super) passes: i32,
}

/// `TableJob` of the kernels.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct TableJob {
    pub(super) lookup: Lookup,
    pub(super) rows: u64,
    pub(super) table: u64,
    pub(super) masks: u64,
    pub(super) pitch: i64,
}

/// `MaskJobs` and `TableJobs` of the kernels. Jobs past the count are copies of the first.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct Jobs<T> {
    at: [T; MOST_JOBS],
    count: i32,
    unused: i32,
}

impl<T: Copy> Jobs<T> {
    /// `None` of no job. At most [`MOST_JOBS`] are taken.
    pub(super) fn new(jobs: &[T]) -> Option<Self> {
        let first = *jobs.first()?;
        let at = std::array::from_fn(|number| jobs.get(number).copied().unwrap_or(first));
        Some(Self { at, count: jobs.len().min(MOST_JOBS) as i32, unused: 0 })
    }
}

/// `OrderJobs` of the kernels.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct OrderJobs {
    at: [OrderJob; MOST_JOBS],
    ticket: u64,
    count: i32,
    unused: i32,
}

impl OrderJobs {
    pub(super) fn new(jobs: &Jobs<OrderJob>, ticket: u64) -> Self {
        Self { at: jobs.at, ticket, count: jobs.count, unused: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::plan::PlanJobs;

    /// A launch compares them with what the driver says of the kernel; this holds without a GPU.
    #[test]
    fn blocks_are_as_long_as_those_of_the_kernels() {
        let lengths = [
            size_of::<Lookup>(),
            size_of::<Jobs<MaskJob>>(),
            size_of::<OrderJobs>(),
            size_of::<Jobs<TableJob>>(),
        ];
        assert_eq!(lengths, [72, 2312, 1744, 2504]);
        // All kernels of old drivers take so much.
        assert!(lengths.into_iter().max() < Some(4096));
        assert!(size_of::<Jobs<TableJob>>() + size_of::<PlanJobs>() <= 4096);
    }
}
