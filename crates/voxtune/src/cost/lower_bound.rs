//! The least time that a call can take, by a roofline.
//!
//! An operation takes at least as long as its products at the device's rate. It also takes at least
//! as long as the bytes that must move, at the rate of what moves them. (Williams, Waterman and
//! Patterson 2009, "Roofline: an insightful visual performance model for multicore architectures".)

use serde::Serialize;
use voxtune_types::{Operation, Product};

use crate::MapCounts;

/// What an operation over a map computes and moves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Work {
    /// Floating-point operations; a multiply-add counts as two.
    pub flops: f64,
    /// Bytes.
    pub bytes: f64,
}

impl Work {
    /// What no algorithm can avoid: each row that meets another once, the weights of one offset at
    /// least, and all of the result.
    #[must_use]
    pub fn compulsory(operation: &Operation, counts: MapCounts) -> Self {
        let element = operation.dtype.bytes() as f64;
        let (c_in, c_out) = (f64::from(operation.c_in), f64::from(operation.c_out));
        let (rows_in, rows_out) = (counts.n_in as f64, counts.n_out as f64);
        let met = |rows: f64| rows.min(counts.pairs as f64);
        let one_offset = c_in * c_out / f64::from(operation.groups.max(1)) * element;
        let bytes = match operation.direction.product() {
            Product::Forward => one_offset + (met(rows_in) * c_in + rows_out * c_out) * element,
            Product::Dgrad => one_offset + (rows_in * c_in + met(rows_out) * c_out) * element,
            Product::Wgrad => {
                let gradient_bytes = operation.weight_len() as f64 * size_of::<f32>() as f64;
                gradient_bytes + (met(rows_in) * c_in + met(rows_out) * c_out) * element
            }
        };
        Self { flops: operation.flops(counts.pairs) as f64, bytes }
    }

    /// What an algorithm moves that reads everything once: features in and out, all weights, and
    /// four bytes for each pair. The same for each direction, since the three products touch the
    /// same tensors.
    #[must_use]
    pub fn usual(operation: &Operation, counts: MapCounts) -> Self {
        const PAIR_BYTES: u64 = 4;
        let features = counts.n_in as u64 * u64::from(operation.c_in)
            + counts.n_out as u64 * u64::from(operation.c_out);
        let elements = features + operation.weight_len() as u64;
        let bytes = elements * operation.dtype.bytes() as u64 + counts.pairs as u64 * PAIR_BYTES;
        Self { flops: operation.flops(counts.pairs) as f64, bytes: bytes as f64 }
    }
}

/// Rates that nothing on a device exceeds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ceilings {
    /// Floating-point operations a second.
    pub flops_per_second: f64,
    /// Bytes a second between memory and the last-level cache.
    pub memory_bytes_per_second: f64,
    /// Bytes that need not come from memory.
    pub cached_bytes: f64,
    /// Bytes a second between caches and cores.
    pub core_bytes_per_second: f64,
    /// What no measurement is shorter than.
    pub least_ns: f64,
}

impl Ceilings {
    /// Those of a device whose copies and dense products were timed.
    #[must_use]
    pub const fn measured(copy_bytes_per_second: f64, dense_flops_per_second: f64) -> Self {
        Self {
            flops_per_second: dense_flops_per_second,
            memory_bytes_per_second: copy_bytes_per_second,
            cached_bytes: 0.0,
            core_bytes_per_second: f64::INFINITY,
            least_ns: 0.0,
        }
    }
}

/// What sets a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Limit {
    /// Its products.
    Arithmetic,
    /// Bytes between memory and the last-level cache.
    Memory,
    /// Bytes between caches and cores.
    Cores,
    /// Starting and timing anything at all.
    Launch,
}

/// The least time of work on a device.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LowerBound {
    /// The time.
    ///
    /// # Units
    /// Nanoseconds.
    pub ns: f64,
    /// What sets it.
    pub limit: Limit,
}

/// The least time that work can take under these ceilings.
#[must_use]
pub fn lower_bound(work: Work, ceilings: &Ceilings) -> LowerBound {
    let from_memory = (work.bytes - ceilings.cached_bytes).max(0.0);
    let seconds = [
        (Limit::Arithmetic, work.flops / ceilings.flops_per_second),
        (Limit::Memory, from_memory / ceilings.memory_bytes_per_second),
        (Limit::Cores, work.bytes / ceilings.core_bytes_per_second),
    ];
    let of_work = seconds.into_iter().map(|(limit, seconds)| (limit, seconds * 1e9));
    let least = (Limit::Launch, ceilings.least_ns);
    let (limit, ns) = of_work.fold(least, |a, b| if b.1 > a.1 { b } else { a });
    LowerBound { ns, limit }
}

#[cfg(test)]
mod tests {
    use voxtune_types::{DType, Direction, KernelSize};

    use super::*;

    fn floor_ms(rows: usize, pairs_per_row: f64, c_in: u32, c_out: u32) -> f64 {
        let kernel = KernelSize::submanifold(3).unwrap();
        let operation =
            Operation::submanifold(Direction::Forward, DType::Float16, c_in, c_out, kernel);
        let pairs = (rows as f64 * pairs_per_row) as usize;
        let work = Work::usual(&operation, MapCounts { n_in: rows, n_out: rows, pairs });
        lower_bound(work, &Ceilings::measured(3.0e12, 770e12)).ns / 1e6
    }

    #[test]
    fn narrow_layers_are_bound_by_bytes_and_wide_ones_by_products() {
        // Worked by hand: (100,000 · 64 · 2 + 27 · 32 · 32 · 2 + 650,000 · 4) B at 3 TB/s.
        assert!((floor_ms(100_000, 6.5, 32, 32) - 0.005_152).abs() < 1e-6);
        // 2 · 650,000 · 128 · 128 operations at 770 TFLOP/s.
        assert!((floor_ms(100_000, 6.5, 128, 128) - 0.027_661).abs() < 1e-6);
    }
}
