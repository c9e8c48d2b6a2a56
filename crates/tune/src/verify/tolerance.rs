//! The largest error that is rounding.

use voxtune::{DType, MapCounts, Operation};
use voxtune_types::Product;

/// The largest error that is rounding. That is the error of the result's storage type or, if it is
/// more, of summing as many products in float32 as an element has. Rounding errors of a sum of `n`
/// terms grow with `√n` (Higham, Accuracy and Stability of Numerical Algorithms, §4.2).
///
/// Weight gradients leave in float32 whatever the storage type of the inputs. But tensor cores
/// truncate where they add, so the error of 16-bit inputs' sums grows with their length itself:
/// some 2⁻²⁴ for each 16 products. They may lose what storing them in float16 would.
#[must_use]
pub fn tolerance(operation: &Operation, counts: MapCounts) -> f64 {
    const ROUNDOFF_OF_FLOAT16: f64 = 1.0 / 2048.0;
    let Operation { direction, dtype, kernel, .. } = *operation;
    let (own_in, own_out) = operation.group_channels();
    let (stored, terms) = match (direction.product(), dtype) {
        (Product::Forward, _) => (dtype.tolerance(), kernel.volume() * own_in as usize),
        (Product::Dgrad, _) => (dtype.tolerance(), kernel.volume() * own_out as usize),
        (Product::Wgrad, DType::Float32) => (dtype.tolerance(), counts.n_out),
        (Product::Wgrad, _) => (ROUNDOFF_OF_FLOAT16, counts.n_out),
    };
    let unit_roundoff = f64::from(f32::EPSILON) / 2.0;
    stored.max(unit_roundoff * (terms as f64).sqrt())
}
