//! Splits of an output-stationary product: each tile's offsets cut into parts, whose sums a second
//! kernel adds up.
//!
//! `kernels/cuda/splits.cuh` says how. The workspace holds `(parts, rows, result channels)`
//! float32.

use voxtune_types::{AlgoId, Operation, Product};

use super::epilogue::EpilogueParams;
use super::geometry::{channels, copy_elements};
use crate::device::CudaDevice;
use crate::error::Result;
use crate::map::{MapCounts, RowOrder};
use crate::model::Rates;
use crate::module::{EntryPoint, Grid, arguments, block_count};
use crate::row_count::RowCount;

/// Most parts of a tile: `MAX_PARTS` of the kernels.
pub(super) const MAX_PARTS: u32 = 8;

/// Gathered channels from which an offset is a chain of steps that is worth being cut.
pub(super) const LEAST_CHANNELS: u32 = 64;

/// Threads of the reduction along a row and a block, and rows per block.
const LANES: u32 = 32;
const THREADS: u32 = 256;
const BLOCK_ROWS: usize = (THREADS / LANES) as usize;

/// `SplitParams` of the kernels.
#[repr(C)]
pub(super) struct SplitParams {
    /// `(parts, n, c_result)`
    pub(super) partial: u64,
    pub(super) parts: i32,
}

/// `ReduceSplitsParams` of the kernels.
#[repr(C)]
pub(super) struct ReduceSplitsParams {
    pub(super) partial: u64,
    pub(super) result: u64,
    pub(super) row_of_position: u64,
    pub(super) rows: RowCount,
    pub(super) c_result: i32,
    pub(super) result_pitch: i32,
    pub(super) parts: i32,
    pub(super) result_aligned: i32,
    pub(super) epilogue: EpilogueParams,
}

/// The id of a family that can be cut: its numbers, its row order, then the parts if there are
/// several.
pub(super) fn id(family: &str, numbers: &[(&str, u32)], order: RowOrder, parts: u32) -> AlgoId {
    let texts: Vec<String> = numbers.iter().map(|(_, value)| value.to_string()).collect();
    let names = numbers.iter().map(|(name, _)| *name);
    let mut params: Vec<(&str, &str)> = names.zip(texts.iter().map(String::as_str)).collect();
    params.push(("order", order.as_str()));
    let parts_text = parts.to_string();
    if parts > 1 {
        params.push(("splits", &parts_text));
    }
    AlgoId::new(family, &params).expect("parameters are words and numbers")
}

/// Elements that a thread of the reduction adds up, of so many result channels: `REDUCE_WIDTH` of
/// the kernels.
pub(super) fn reduce_width(result_channels: u32) -> u32 {
    copy_elements(result_channels).min(4)
}

/// Whether so many tiles are in work at a time, so many blocks per SM.
pub(super) fn fit_a_wave(tiles: usize, blocks: u32, rates: &Rates) -> bool {
    fit_waves(tiles, blocks, 1, rates)
}

/// Whether so many tiles are done in a few waves of so many blocks per SM.
pub(super) fn fit_waves(tiles: usize, blocks: u32, waves: usize, rates: &Rates) -> bool {
    tiles <= waves * rates.sms as usize * blocks as usize
}

/// Whether so many tiles, parts counted as tiles, are between half and two waves of so many blocks
/// per SM.
pub(super) fn fill_a_wave(tiles: usize, blocks: u32, parts: u32, rates: &Rates) -> bool {
    let wave = rates.sms as usize * blocks as usize;
    let enough = tiles * 2 >= wave || parts == MAX_PARTS;
    enough && tiles <= 2 * wave
}

/// Partial results of a product: none where nothing is cut.
///
/// # Units
/// Bytes.
pub(super) const fn workspace_bytes(op: &Operation, counts: &MapCounts, parts: u32) -> usize {
    let (_, result) = channels(op);
    let rows = match op.direction.product() {
        Product::Dgrad => counts.n_in,
        Product::Forward | Product::Wgrad => counts.n_out,
    };
    if parts > 1 { parts as usize * rows * result as usize * 4 } else { 0 }
}

impl ReduceSplitsParams {
    /// Queues the reduction in a context.
    ///
    /// # Safety
    /// The addresses are of as many elements as `splits.cuh` says, and valid until it has run.
    pub(super) unsafe fn launch(self, reduce: &EntryPoint, device: &CudaDevice) -> Result<()> {
        let (rows, channels) = (self.rows.capacity(), self.c_result as u32);
        let warp_channels = LANES * reduce_width(channels);
        let grid = Grid {
            blocks: [block_count(rows.div_ceil(BLOCK_ROWS))?, channels.div_ceil(warp_channels)],
            threads: THREADS,
            shared_bytes: 0,
        };
        // SAFETY: the structure mirrors the kernel's; the rest is the caller's promise.
        unsafe { reduce.launch(device, grid, arguments![self]) }
    }
}
