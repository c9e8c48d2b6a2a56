//! The least time that a device can need: what claims to have taken less was not measured.

use serde::Serialize;
use voxtune::MapCounts;
use voxtune::cost::{Ceilings, LowerBound, Work, lower_bound};
use voxtune_cache::EntryKey;

/// The least time of an operation on a device.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bound {
    /// The time, and what sets it.
    #[serde(flatten)]
    pub least: LowerBound,
    /// Where the device's figures are from.
    pub source: &'static str,
}

/// The least time that an entry's operation can take on its device. It errs on the low side: a
/// number below it is impossible; one above it proves nothing.
#[must_use]
pub fn bound(entry: &EntryKey) -> Bound {
    let (operation, workload) = (&entry.key.operation, &entry.workload);
    let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let (n_in, n_out) = (count(workload.rows_in), count(workload.rows_out));
    let counts = MapCounts { n_in, n_out, pairs: count(workload.pairs) };
    let (ceilings, source) = Ceilings::of_vendor(&entry.device, operation.dtype);
    Bound { least: lower_bound(Work::compulsory(operation, counts), &ceilings), source }
}
