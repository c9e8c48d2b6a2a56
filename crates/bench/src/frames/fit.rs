//! A line through times by number of voxels.

use serde::Serialize;

/// `a + b · voxels`, by least squares.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Fit {
    /// What a frame takes however few voxels it has.
    pub a_ms: f64,
    /// What a thousand voxels take.
    pub b_us_per_1000: f64,
}

impl Fit {
    /// The line through samples of voxels and milliseconds. Where all have as many voxels, or there
    /// is one, it is level.
    pub(super) fn through(samples: &[(usize, f64)]) -> Self {
        let count = samples.len().max(1) as f64;
        let mean = |of: fn(&(usize, f64)) -> f64| samples.iter().map(of).sum::<f64>() / count;
        let (mean_voxels, mean_ms) = (mean(|sample| sample.0 as f64), mean(|sample| sample.1));
        let (mut covariance, mut variance) = (0.0, 0.0);
        for &(voxels, ms) in samples {
            let away = voxels as f64 - mean_voxels;
            covariance += away * (ms - mean_ms);
            variance += away * away;
        }
        let slope = if variance > 0.0 { covariance / variance } else { 0.0 };
        Self { a_ms: mean_ms - slope * mean_voxels, b_us_per_1000: slope * 1e6 }
    }

    /// The time of so many voxels on the line.
    ///
    /// # Units
    /// Milliseconds.
    pub(super) fn at(self, voxels: usize) -> f64 {
        self.a_ms + self.b_us_per_1000 * voxels as f64 / 1e6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_near(found: f64, expected: f64) -> bool {
        (found - expected).abs() < 1e-9
    }

    #[test]
    fn a_line_is_found_again() {
        let line = |voxels: usize| (voxels, 0.25 + 0.006 * voxels as f64 / 1_000.0);
        let fit = Fit::through(&[10_000, 30_000, 90_000, 135_000].map(line));
        assert!(is_near(fit.a_ms, 0.25) && is_near(fit.b_us_per_1000, 6.0), "{fit:?}");
        assert!(is_near(fit.at(50_000), 0.55));
    }

    /// Worked by hand: means 2,000 and 3; covariance 2 · 1,000; variance 2 · 1,000,000.
    #[test]
    fn what_is_off_the_line_is_shared_out() {
        let fit = Fit::through(&[(1_000, 1.0), (2_000, 5.0), (3_000, 3.0)]);
        assert!(is_near(fit.b_us_per_1000, 1_000.0) && is_near(fit.a_ms, 1.0), "{fit:?}");
    }

    #[test]
    fn what_gives_no_slope_is_level() {
        assert_eq!(Fit::through(&[(7, 2.0), (7, 4.0)]), Fit { a_ms: 3.0, b_us_per_1000: 0.0 });
        assert_eq!(Fit::through(&[(7, 2.0)]).at(1_000_000), 2.0);
        assert_eq!(Fit::through(&[]).at(7), 0.0);
    }
}
