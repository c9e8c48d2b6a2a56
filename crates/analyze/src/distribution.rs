//! How a set of numbers is spread, in the few that people ask for.

use serde::Serialize;

/// Mean and quantiles of a set of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Distribution {
    /// How many there are.
    pub count: usize,
    /// Arithmetic mean.
    pub mean: f64,
    /// 50th percentile.
    pub median: f64,
    /// 95th percentile.
    pub p95: f64,
    /// The largest.
    pub worst: f64,
}

impl Distribution {
    /// The distribution of these numbers; `None` if there are none. A percentile is the smallest
    /// number that at least so many per cent of them do not exceed ("nearest rank"), so it is
    /// always one of them.
    #[must_use]
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let worst = *sorted.last()?;
        let count = sorted.len();
        let percentile = |percent: usize| sorted[(percent * count).div_ceil(100).max(1) - 1];
        Some(Self {
            count,
            mean: sorted.iter().sum::<f64>() / count as f64,
            median: percentile(50),
            p95: percentile(95),
            worst,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        assert_eq!(Distribution::of([]), None);
        let hundred = Distribution::of((1..=100).rev().map(f64::from)).unwrap();
        let expected =
            Distribution { count: 100, mean: 50.5, median: 50.0, p95: 95.0, worst: 100.0 };
        assert_eq!(hundred, expected);
        let few = Distribution::of([3.0, 1.0, 2.0]).unwrap();
        assert_eq!((few.median, few.p95, few.worst), (2.0, 3.0, 3.0));
        let one = Distribution::of([7.0]).unwrap();
        assert_eq!((one.median, one.p95), (7.0, 7.0));
    }
}
