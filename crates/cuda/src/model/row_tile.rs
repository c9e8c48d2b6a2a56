//! Output-stationary tiles: forward and dgrad.

use voxtune_types::{Operation, Product};

use super::channels;
use super::offsets::Masks;
use super::work::{Tiles, Unit, Work};
use super::{MapSize, Rates};
use crate::map::RowOrder;

/// Geometry of a family whose blocks own result rows × result channels. They step over the offsets
/// that those rows have, so many gathered channels at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowTile {
    /// Result rows per block.
    pub(crate) rows: u32,
    /// Result channels per block.
    pub(crate) cols: u32,
    /// Gathered channels per step.
    pub(crate) depth: u32,
    /// Offsets a step.
    pub(crate) offsets: u32,
    /// Rows of which none having an offset spares its products.
    pub(crate) skipped_rows: u32,
    pub(crate) order: RowOrder,
    /// What multiplies.
    pub(crate) unit: Unit,
    /// Threads that copy.
    pub(crate) threads: u32,
    /// Blocks that an SM holds.
    pub(crate) resident: u32,
    /// Copy instructions of a step, counted by thread.
    pub(crate) copies: u32,
    /// How often products read each gathered row and each weight of a step from shared memory; 0
    /// where something else is known to bind.
    pub(crate) reads: [u32; 2],
    /// Whether weights stay in shared memory, so that steps bring none.
    pub(crate) keeps_weights: bool,
    /// Parts into which each tile's offsets are cut: blocks of their own, whose sums a second
    /// kernel adds up.
    pub(crate) splits: u32,
}

/// Every place of the table of row numbers is read once.
const ROW_NUMBER_BYTES: f64 = 4.0;

/// Partial results are float32.
const SUM_BYTES: f64 = 4.0;

/// A second kernel's beginning and end behind the first. Nanoseconds; estimated, not fitted.
const REDUCE_NS: f64 = 2500.0;

/// Neighbouring tiles gather some rows again before they are out of the cache, and some after.
const NEAR_REREADS: f64 = 0.05;

impl RowTile {
    /// What a launch asks of a device.
    pub(crate) fn work(&self, op: &Operation, size: MapSize, rates: &Rates) -> Work {
        let (gathered, result) = channels(op);
        let (rows, gathered_rows) = match op.direction.product() {
            Product::Dgrad => (size.n_in, size.n_out),
            Product::Forward | Product::Wgrad => (size.n_out, size.n_in),
        };
        let bytes = op.dtype.bytes() as f64;
        let masks = Masks::new(op.kernel.volume(), rows, size.pairs);
        let offsets = masks.of_tile(self.rows, self.order);
        // Shares of a step's rows that are multiplied, and that are copied.
        let multiplied = masks.of_tile(self.skipped_rows, self.order) / offsets;
        let copied = size.pairs as f64 / rows.max(1) as f64 / offsets;
        let a_panel = f64::from(self.rows * self.depth) * bytes;
        let b_panel = f64::from(self.cols * self.depth) * bytes;
        let [reads_a, reads_b] = self.reads.map(f64::from);
        let operands = multiplied * (reads_a * a_panel + reads_b * b_panel);
        let depth_steps = f64::from(gathered.div_ceil(self.depth));
        let products = 2.0 * f64::from(self.rows * self.depth) * f64::from(self.cols);
        let unit_rate = self.unit.flops_clock(rates) * rates.clock_ghz;
        let shared_rate = rates.shared_bytes_clock * rates.clock_ghz;
        let useful_depth = f64::from(gathered.min(self.depth));
        let parts = f64::from(self.splits);
        let a_step = f64::from(self.offsets);
        let sum_bytes = if self.splits > 1 { SUM_BYTES } else { bytes };
        Work::Tiles(Tiles {
            blocks: rows.div_ceil(self.rows as usize) as f64
                * f64::from(result.div_ceil(self.cols))
                * parts,
            resident: f64::from(self.resident),
            steps: offsets * depth_steps / (parts * a_step),
            multiply_ns: a_step * products * multiplied / unit_rate,
            shared_ns: a_step * (operands + copied * a_panel + b_panel) / shared_rate,
            cache_bytes: a_step
                * (if self.keeps_weights { 0.0 } else { b_panel }
                    + useful_depth * f64::from(self.rows) * copied * bytes
                    + ROW_NUMBER_BYTES * f64::from(self.rows) / depth_steps),
            copies: a_step * f64::from(self.copies),
            copies_a_thread: a_step * f64::from(self.copies) / f64::from(self.threads),
            result_bytes: f64::from(self.rows * self.cols) * sum_bytes,
            memory_bytes: self.gathered_bytes(op, gathered_rows, size.pairs, rates)
                + rows as f64 * f64::from(result) * bytes
                + (rows * op.kernel.volume()) as f64 * ROW_NUMBER_BYTES,
            reduce_ns: self.reduce_ns(rows as f64 * f64::from(result), bytes, rates),
        })
    }

    /// Adding up so many results. Parts that the cache holds have not been to memory when they are
    /// read.
    fn reduce_ns(&self, results: f64, bytes: f64, rates: &Rates) -> f64 {
        if self.splits == 1 {
            return 0.0;
        }
        let partial = results * f64::from(self.splits) * SUM_BYTES;
        let cached = partial.min(rates.cache_bytes);
        let passed = 2.0 * (partial - cached) + results * bytes;
        REDUCE_NS + cached / (rates.cache_bytes_ns * rates.sms) + passed / rates.memory_bytes_ns
    }

    /// What gathering brings from memory. A global order finds a row again only if the features
    /// stay in the cache; the others find it near.
    fn gathered_bytes(&self, op: &Operation, rows: usize, pairs: usize, rates: &Rates) -> f64 {
        let (gathered, _) = channels(op);
        let row_bytes = f64::from(gathered) * op.dtype.bytes() as f64;
        let table = rows as f64 * row_bytes;
        let again = match self.order {
            RowOrder::Natural | RowOrder::Sorted => NEAR_REREADS * table,
            RowOrder::Global => {
                let missed = (1.0 - rates.cache_bytes / table.max(1.0)).max(0.0);
                missed * pairs.saturating_sub(rows) as f64 * row_bytes
            }
        };
        table + again
    }
}

#[cfg(test)]
mod tests {
    use voxtune_types::{AlgoId, ComputeCapability, DType, Direction, KernelSize};

    use super::*;
    use crate::families::algorithm;

    #[test]
    fn two_offsets_a_step_are_the_same_work_in_half_the_steps() {
        let one = RowTile {
            rows: 256,
            cols: 32,
            depth: 32,
            offsets: 1,
            skipped_rows: 64,
            order: RowOrder::Global,
            unit: Unit::Wgmma,
            threads: 128,
            resident: 2,
            copies: 1024,
            reads: [1, 4],
            keeps_weights: false,
            splits: 1,
        };
        let rates = Rates::of(ComputeCapability { major: 9, minor: 0 }, 132);
        let kernel = KernelSize::submanifold(3).unwrap();
        let op = Operation::submanifold(Direction::Forward, DType::Float16, 32, 32, kernel);
        let size = MapSize { n_in: 100_000, n_out: 100_000, pairs: 600_000 };
        let steps_of = |tile: RowTile| match tile.work(&op, size, &rates) {
            Work::Tiles(tiles) => tiles,
            other => panic!("{other:?}"),
        };
        let (one, two) = (steps_of(one), steps_of(RowTile { offsets: 2, ..one }));
        assert_eq!(two.steps, one.steps / 2.0);
        assert_eq!(
            (two.copies, two.copies_a_thread),
            (2.0 * one.copies, 2.0 * one.copies_a_thread)
        );
        assert_eq!(two.multiply_ns, 2.0 * one.multiply_ns);
        assert_eq!(two.shared_ns, 2.0 * one.shared_ns);
        assert_eq!(two.cache_bytes, 2.0 * one.cache_bytes);
        assert_eq!(two.memory_bytes, one.memory_bytes);
    }

    /// The sweep of `docs/journal/kernels.md`, where parts halve the time of 3,716 rows and lose
    /// from 27,855 on.
    #[test]
    fn parts_pay_for_few_rows_alone() {
        let rates = Rates::of(ComputeCapability { major: 9, minor: 0 }, 132);
        let kernel = KernelSize::submanifold(3).unwrap();
        let op = Operation::submanifold(Direction::Forward, DType::Float16, 256, 256, kernel);
        let tile = "wgmma_gemm:rows=128:cols=256:depth=64:stages=4:groups=2:blocks=1:order=global";
        let time_ns = |splits: &str, n: usize, pairs: usize| {
            let id: AlgoId = format!("{tile}{splits}").parse().unwrap();
            let size = MapSize { n_in: n, n_out: n, pairs };
            algorithm(&id).unwrap().modelled_ns(&op, size, &rates).unwrap()
        };
        let gain = |n, pairs| time_ns("", n, pairs) / time_ns(":splits=4", n, pairs);
        assert!(gain(3_716, 44_000) > 1.7, "{}", gain(3_716, 44_000));
        assert!(gain(27_855, 277_399) < 1.0, "{}", gain(27_855, 277_399));
        assert!(gain(125_565, 788_961) < 0.7, "{}", gain(125_565, 788_961));
    }
}
