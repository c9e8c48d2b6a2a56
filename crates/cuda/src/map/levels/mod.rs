//! Levels that are made of the bricks of others.
//!
//! A brick of outputs has a key: the least row of the input that it comes from, and the parities of
//! its coordinates. Outputs are in the order of the keys, whether a network's levels are made at
//! once or one by one.

mod parameters;
mod spread;

use crate::buffer::DeviceBuffer;
use crate::error::Result;
use crate::module::{Grid, Kernel, LoadedInstance, block_count};
pub(super) use parameters::{Level, Levels, MOST_LEVELS, Reach, control};
pub(super) use spread::{Spread, is_near};

/// Rows of a block that adds up the outputs of the input's rows.
pub(super) const SCAN_ROWS: usize = 1024;
/// Bricks that may come from one row of the input.
pub(super) const KEYS_OF_A_ROW: usize = 8;
/// Most rows of the input: keys are int32.
pub(super) const MOST_KEYED_ROWS: usize = 1 << 27;

/// The kernels of `network_maps.cu` that make levels.
#[derive(Debug)]
pub(super) struct LevelKernels {
    pub(super) insert: Kernel,
    pub(super) owners: Kernel,
    pub(super) reach: Kernel,
    pub(super) totals: Kernel,
    pub(super) starts: Kernel,
    pub(super) write: Kernel,
}

impl LevelKernels {
    pub(super) fn new(loaded: &LoadedInstance) -> Result<Self> {
        Ok(Self {
            insert: loaded.kernel("network_insert")?,
            owners: loaded.kernel("network_owners")?,
            reach: loaded.kernel("network_reach")?,
            totals: loaded.kernel("network_totals")?,
            starts: loaded.kernel("network_starts")?,
            write: loaded.kernel("network_write")?,
        })
    }
}

/// The keys of a level's bricks.
#[derive(Debug)]
pub(super) struct Keys {
    /// By slot.
    pub(super) owners: DeviceBuffer,
    /// Rows of the input that they come from, or room for them.
    pub(super) rows: usize,
    pub(super) spread: Spread,
}

/// Places of what starts as zeros in one block.
#[derive(Debug, Default)]
pub(super) struct Zeros {
    len_bytes: usize,
}

impl Zeros {
    /// Where so many further bytes begin.
    pub(super) fn place(&mut self, len_bytes: usize) -> usize {
        let at = self.len_bytes;
        self.len_bytes = (at + len_bytes).next_multiple_of(256);
        at
    }

    /// Length of all of them.
    pub(super) const fn len_bytes(&self) -> usize {
        self.len_bytes
    }
}

/// Tiles of so many rows of the input; at least one.
pub(super) fn scan_tiles(rows: usize) -> usize {
    rows.div_ceil(SCAN_ROWS).max(1)
}

pub(super) fn grid_of(blocks: usize, threads: u32) -> Result<Grid> {
    Ok(Grid { blocks: [block_count(blocks)?, 1], threads, shared_bytes: 0 })
}
