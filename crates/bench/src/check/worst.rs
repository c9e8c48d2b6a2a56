//! The worst errors seen, by what ran and on what.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use voxtune_types::{DType, Direction};

use crate::table::{self, NONE};

/// The worst error of an algorithm family in one direction and storage type on one cloud.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WorstError {
    /// The family.
    pub family: String,
    /// What was computed.
    pub direction: Direction,
    /// How operands were stored.
    pub dtype: DType,
    /// The cloud's name.
    pub cloud: String,
    /// Distance from float64 over the larger of the element's magnitude and the root mean square
    /// of the result.
    pub error: f64,
    /// The largest that is rounding.
    pub tolerance: f64,
    /// The algorithm that had it.
    pub algorithm: String,
    /// Products compared.
    pub products: usize,
}

impl WorstError {
    /// Whether it is more than rounding. What is not a number is.
    #[must_use]
    pub fn exceeds(&self) -> bool {
        self.error.is_nan() || self.error > self.tolerance
    }
}

/// Collects them.
#[derive(Clone, Debug, Default)]
pub(super) struct Collected {
    worst: BTreeMap<(String, Direction, String, DType), WorstError>,
}

impl Collected {
    /// Takes the error of one product.
    pub(super) fn add(
        &mut self,
        algorithm: &str,
        direction: Direction,
        dtype: DType,
        cloud: &str,
        [error, tolerance]: [f64; 2],
    ) {
        let family = algorithm.split(':').next().unwrap_or_default().to_owned();
        let key = (family.clone(), direction, cloud.to_owned(), dtype);
        let worst = self.worst.entry(key).or_insert_with(|| WorstError {
            family,
            direction,
            dtype,
            cloud: cloud.to_owned(),
            error: 0.0,
            tolerance,
            algorithm: algorithm.to_owned(),
            products: 0,
        });
        worst.products += 1;
        // Beside its tolerance: that of a weight gradient depends on its rows.
        if error.is_nan() || error / tolerance > worst.error / worst.tolerance {
            (worst.error, worst.tolerance) = (error, tolerance);
            worst.algorithm = algorithm.to_owned();
        }
    }

    /// By family, direction, cloud and storage type.
    pub(super) fn into_errors(self) -> Vec<WorstError> {
        self.worst.into_values().collect()
    }
}

/// A table for a page of this width, with a column for each storage type. It has the error, and the
/// tolerance that it is within or beyond.
#[must_use]
pub fn table(errors: &[WorstError], width: usize) -> String {
    let dtypes: BTreeSet<DType> = errors.iter().map(|worst| worst.dtype).collect();
    let mut lines: BTreeMap<(&str, Direction, &str), BTreeMap<DType, &WorstError>> =
        BTreeMap::new();
    for worst in errors {
        let line = lines.entry((&worst.family, worst.direction, &worst.cloud)).or_default();
        line.insert(worst.dtype, worst);
    }
    let titles = ["family", "direction", "cloud"].into_iter();
    let titles: Vec<&str> = titles.chain(dtypes.iter().map(|dtype| dtype.as_str())).collect();
    let rows = lines.into_iter().map(|((family, direction, cloud), line)| {
        let cells = dtypes.iter().map(|dtype| {
            line.get(dtype).map_or_else(
                || NONE.to_owned(),
                |worst| {
                    let is = if worst.exceeds() { '>' } else { '≤' };
                    format!("{:.2e} {is} {:.0e}", worst.error, worst.tolerance)
                },
            )
        });
        let names = [family.to_owned(), direction.to_string(), cloud.to_owned()];
        names.into_iter().chain(cells).collect()
    });
    table::table_within(&titles, rows, width)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_of_a_family_counts_and_is_marked() {
        let mut collected = Collected::default();
        let forward = Direction::Forward;
        let (half, single) = (1e-3, 1e-5);
        collected.add("plain:rows=1", forward, DType::Float16, "scan", [2e-4, half]);
        collected.add("plain:rows=2", forward, DType::Float16, "scan", [4e-4, half]);
        collected.add("plain:rows=3", forward, DType::Float16, "scan", [3e-4, half]);
        collected.add("plain:rows=1", forward, DType::Float32, "scan", [2e-5, single]);
        collected.add("tiled", Direction::Wgrad, DType::Float16, "uniform", [f64::NAN, half]);
        let errors = collected.into_errors();
        assert_eq!(errors.iter().map(|worst| worst.products).collect::<Vec<_>>(), [3, 1, 1]);
        assert_eq!(errors[0].algorithm, "plain:rows=2");
        assert_eq!(errors.iter().map(WorstError::exceeds).collect::<Vec<_>>(), [false, true, true]);
        insta::assert_snapshot!(table(&errors, 80), @"
        family  direction  cloud           float16         float32
        plain   forward    scan     4.00e-4 ≤ 1e-3  2.00e-5 > 1e-5
        tiled   wgrad      uniform      NaN > 1e-3               –
        ");
    }

    #[test]
    fn a_table_of_nothing_is_its_header() {
        assert_eq!(table(&[], 80), "family  direction  cloud\n");
    }
}
