//! What a device could do at best.

use serde::Serialize;
use voxtune::cost::{Ceilings, Work, lower_bound};
use voxtune::{MapCounts, Operation};

/// How fast a device copies and multiplies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Bytes read plus bytes written, a second.
    pub copy_bytes_per_s: f64,
    /// Operations of a dense product, a second.
    pub dense_flops_per_s: f64,
}

/// The least time that a product can take by bytes and by operations.
///
/// Bytes: features in and out once, weights once, four for each pair. Operations: `2 · pairs · c_in
/// · c_out`. The same for each direction, since the three products touch the same tensors.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Floor {
    /// Bytes that have to move.
    pub bytes: u64,
    /// Floating-point operations.
    pub flops: u64,
    /// The larger of the two times.
    pub floor_ms: f64,
}

/// The floor of an operation over a map with these counts.
#[must_use]
pub fn floor(operation: &Operation, counts: MapCounts, rates: Rates) -> Floor {
    let work = Work::usual(operation, counts);
    let ceilings = Ceilings::measured(rates.copy_bytes_per_s, rates.dense_flops_per_s);
    let floor_ms = lower_bound(work, &ceilings).ns / 1e6;
    Floor { bytes: work.bytes as u64, flops: work.flops as u64, floor_ms }
}
