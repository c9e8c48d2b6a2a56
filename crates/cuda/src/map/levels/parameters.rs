//! Parameter blocks of the kernels of `network_maps.cu` that make levels.

use voxtune_types::Geometry;

use crate::row_count::RowCount;

/// Most levels, the input included.
pub(in crate::map) const MOST_LEVELS: usize = 8;

/// `Level` of the kernels: addresses, and how many slots and rows there is room for.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::map) struct Level {
    pub(in crate::map) slots: u64,
    pub(in crate::map) owners: u64,
    pub(in crate::map) totals: u64,
    pub(in crate::map) starts: u64,
    pub(in crate::map) coords: u64,
    pub(in crate::map) places: u64,
    pub(in crate::map) ranks: u64,
    pub(in crate::map) counted: u64,
    pub(in crate::map) report: u64,
    pub(in crate::map) capacity: u32,
    pub(in crate::map) room: i32,
}

/// Offsets within `Control` of the kernels, and its length.
pub(in crate::map) mod control {
    use super::MOST_LEVELS;

    /// Of how often an input meets an output.
    pub(in crate::map) const MEETINGS: u64 = MOST_LEVELS as u64 * 8;
    const FULL: u64 = MEETINGS + 40;

    /// Of the word that says whether a level's table was full.
    pub(in crate::map) const fn full(level: usize) -> u64 {
        FULL + level as u64 * 4
    }

    const CURSOR: u64 = full(MOST_LEVELS);
    pub(in crate::map) const ORDER_TICKET: u64 = CURSOR + 16;
    pub(in crate::map) const LEN_BYTES: usize = CURSOR as usize + 24;
}

/// `Levels` of the kernels.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(in crate::map) struct Levels {
    pub(in crate::map) at: [Level; MOST_LEVELS],
    pub(in crate::map) control: u64,
    pub(in crate::map) status: u64,
    pub(in crate::map) input: RowCount,
    pub(in crate::map) count: i32,
    pub(in crate::map) tiles: i32,
    pub(in crate::map) first: i32,
    pub(in crate::map) tallies: i32,
}

/// `Reach` of the kernels: which outputs an input meets.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::map) struct Reach {
    low: [i32; 3],
    first: [i32; 3],
    last: [i32; 3],
    extent: [u8; 3],
    stride: [u8; 3],
    dilation: [u8; 3],
    /// Of a stride that is a power of two; else [`NO_SHIFT`].
    shift: [u8; 3],
}

const NO_SHIFT: u8 = 255;

impl Reach {
    /// Within a shape, or anywhere.
    pub(in crate::map) fn new(geometry: &Geometry, shape: Option<[u32; 3]>) -> Self {
        let Geometry { kernel, stride, dilation, .. } = *geometry;
        let last = |size: u32| i32::try_from(i64::from(size) - 1).unwrap_or(i32::MAX);
        let (first, last) = match shape {
            None => ([i32::MIN; 3], [i32::MAX; 3]),
            Some(shape) => ([0; 3], shape.map(last)),
        };
        let (low, extent) = (geometry.low(), kernel.extents());
        let shift = stride.map(|stride| match stride.is_power_of_two() {
            true => stride.trailing_zeros() as u8,
            false => NO_SHIFT,
        });
        Self { low, first, last, extent, stride, dilation, shift }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A launch compares them with what the driver says of the kernel; this holds without a GPU.
    #[test]
    fn blocks_are_as_long_as_those_of_the_kernels() {
        let lengths = [size_of::<Level>(), size_of::<Levels>(), size_of::<Reach>()];
        assert_eq!((lengths, control::LEN_BYTES), ([80, 688, 48], 160));
    }
}
