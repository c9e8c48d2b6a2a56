//! What a device could do at best.

use serde::Serialize;
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
    const PAIR_BYTES: u64 = 4;
    let element = operation.dtype.bytes() as u64;
    let features = counts.n_in as u64 * u64::from(operation.c_in)
        + counts.n_out as u64 * u64::from(operation.c_out);
    let bytes =
        (features + operation.weight_len() as u64) * element + counts.pairs as u64 * PAIR_BYTES;
    let flops = operation.flops(counts.pairs);
    let by_bytes = bytes as f64 / rates.copy_bytes_per_s;
    let by_flops = flops as f64 / rates.dense_flops_per_s;
    Floor { bytes, flops, floor_ms: by_bytes.max(by_flops) * 1e3 }
}

#[cfg(test)]
mod tests {
    use voxtune::{DType, Direction, KernelSize};

    use super::*;

    fn floor_ms(rows: usize, pairs_per_row: f64, c_in: u32, c_out: u32) -> f64 {
        let kernel = KernelSize::submanifold(3).unwrap();
        let operation =
            Operation::submanifold(Direction::Forward, DType::Float16, c_in, c_out, kernel);
        let pairs = (rows as f64 * pairs_per_row) as usize;
        let rates = Rates { copy_bytes_per_s: 3.0e12, dense_flops_per_s: 770e12 };
        floor(&operation, MapCounts { n_in: rows, n_out: rows, pairs }, rates).floor_ms
    }

    #[test]
    fn narrow_layers_are_bound_by_bytes_and_wide_ones_by_products() {
        // Worked by hand: (100,000 · 64 · 2 + 27 · 32 · 32 · 2 + 650,000 · 4) B at 3 TB/s.
        assert!((floor_ms(100_000, 6.5, 32, 32) - 0.005_152).abs() < 1e-6);
        // 2 · 650,000 · 128 · 128 operations at 770 TFLOP/s.
        assert!((floor_ms(100_000, 6.5, 128, 128) - 0.027_661).abs() < 1e-6);
    }
}
