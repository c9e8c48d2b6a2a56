//! Pair-stationary tiles: wgrad split along the pairs.

use voxtune_types::Operation;

use super::work::{Tiles, Unit, Work};
use super::{MapSize, Rates};

/// Geometry of a family whose blocks own input × output channels of one chunk of an offset's pairs.
/// They step over the chunk, so many pairs at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PairTile {
    /// Input channels per block.
    pub(crate) rows: u32,
    /// Output channels per block.
    pub(crate) cols: u32,
    /// Pairs per step.
    pub(crate) depth: u32,
    /// Chunks into which all pairs are cut, before each offset rounds up.
    pub(crate) split: u32,
    /// What multiplies.
    pub(crate) unit: Unit,
    /// Threads that copy.
    pub(crate) threads: u32,
    /// Blocks that an SM holds.
    pub(crate) resident: u32,
    /// Copy instructions of a step, counted by thread.
    pub(crate) copies: u32,
}

/// Both row numbers of a pair.
const PAIR_BYTES: f64 = 8.0;

/// Partial results are float32.
const SUM_BYTES: f64 = 4.0;

/// How much of the rereading goes when all offsets are in work at a time, and so meet in the cache.
const MET_REREADS: f64 = 0.3;

impl PairTile {
    /// What a launch asks of a device.
    pub(crate) fn work(&self, op: &Operation, size: MapSize, rates: &Rates) -> Work {
        let bytes = op.dtype.bytes() as f64;
        let tiles = f64::from(op.c_in.div_ceil(self.rows) * op.c_out.div_ceil(self.cols));
        let units = self.units(op, size);
        let pairs = size.pairs as f64;
        let both = f64::from(op.c_in) * bytes * size.n_in as f64
            + f64::from(op.c_out) * bytes * size.n_out as f64;
        let gathered = pairs * f64::from(op.c_in + op.c_out) * bytes;
        let missed = (1.0 - rates.cache_bytes / both.max(1.0)).max(0.0);
        let volume = op.kernel.volume() as f64;
        let in_work = f64::from(self.resident) * rates.sms / tiles;
        let offsets_in_work = (in_work / (units / volume)).clamp(1.0, volume);
        let reread = missed * (gathered - both).max(0.0);
        let products = 2.0 * f64::from(self.rows * self.depth) * f64::from(self.cols);
        let useful = f64::from(self.rows.min(op.c_in) + self.cols.min(op.c_out));
        Work::Tiles(Tiles {
            blocks: units * tiles,
            resident: f64::from(self.resident),
            steps: pairs / units / f64::from(self.depth),
            multiply_ns: products / (self.unit.flops_clock(rates) * rates.clock_ghz),
            // Products and copies bound every instance that was measured before shared memory did.
            shared_ns: 0.0,
            cache_bytes: f64::from(self.depth) * (useful * bytes + PAIR_BYTES),
            copies: f64::from(self.copies),
            copies_a_thread: f64::from(self.copies) / f64::from(self.threads),
            result_bytes: f64::from(self.rows * self.cols) * SUM_BYTES,
            memory_bytes: both
                + pairs * PAIR_BYTES
                + reread * (1.0 - MET_REREADS * offsets_in_work / volume),
            reduce_ns: 0.0,
        })
    }

    /// Chunks of all offsets, at least one: the centre of a submanifold map has as many pairs as
    /// rows, the others share the rest. No offset of another map stands out.
    fn units(&self, op: &Operation, size: MapSize) -> f64 {
        let depth = self.depth as usize;
        let chunk = size.pairs.div_ceil(self.split as usize).next_multiple_of(depth).max(depth);
        let is_submanifold = op.is_submanifold();
        let others = op.kernel.volume() - usize::from(is_submanifold);
        let centre = if is_submanifold { size.n_out.min(size.pairs) } else { 0 };
        let of_another = (size.pairs - centre).checked_div(others).unwrap_or(0);
        (centre.div_ceil(chunk) + others * of_another.div_ceil(chunk)).max(1) as f64
    }
}
