//! How long an algorithm took.

use serde::{Deserialize, Serialize};

use crate::invalid::InvalidRecord;

/// A ratio to the default algorithm's time with its confidence interval; below 1 is faster.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interval {
    /// Lower end of the interval.
    pub low: f64,
    /// Best estimate.
    pub median: f64,
    /// Upper end of the interval.
    pub high: f64,
}

/// The summary of an algorithm's samples on one entry.
///
/// # Units
/// Times in nanoseconds, the clock in megahertz.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timing {
    /// Median of the samples.
    pub median_ns: u64,
    /// Median absolute deviation of the samples from their median.
    pub spread_ns: u64,
    /// Smallest sample.
    pub min_ns: u64,
    /// Number of samples kept.
    pub samples: u32,
    /// Clock of the device during the samples, where it tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_mhz: Option<u32>,
    /// Time against the default algorithm's in the same rounds, where both ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratio_to_default: Option<Interval>,
    /// Worst error of an element in verification, in the unit of
    /// [`DType::tolerance`](voxtune_shape::DType::tolerance).
    pub max_error: f64,
}

impl Timing {
    /// The spread as a fraction of the median.
    #[must_use]
    pub fn relative_spread(&self) -> f64 {
        self.spread_ns as f64 / self.median_ns.max(1) as f64
    }

    /// Whether a file may hold this timing.
    pub(crate) fn validate(&self) -> Result<(), InvalidRecord> {
        if self.samples == 0 || self.median_ns == 0 || self.min_ns > self.median_ns {
            return Err(InvalidRecord::Timing {
                median_ns: self.median_ns,
                min_ns: self.min_ns,
                samples: self.samples,
            });
        }
        if !self.max_error.is_finite() || self.max_error.is_sign_negative() {
            return Err(InvalidRecord::MaxError(self.max_error));
        }
        match self.ratio_to_default {
            Some(ratio) => ratio.validate(),
            None => Ok(()),
        }
    }
}

impl Interval {
    fn validate(self) -> Result<(), InvalidRecord> {
        let Self { low, median, high } = self;
        // Written so that a NaN anywhere is refused.
        if low > 0.0 && low <= median && median <= high && high.is_finite() {
            Ok(())
        } else {
            Err(InvalidRecord::Interval { low, median, high })
        }
    }
}
