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

/// What a layer pays for what an algorithm reads beyond its kernel map: rows in an order, plans of
/// tiles, pair lists. They are made once for each new cloud, and layers over one map share them.
///
/// # Units
/// Nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Charge {
    /// How long the device takes to make all of it.
    pub made_ns: u64,
    /// The layer's share of that, at most the whole.
    pub share_ns: u64,
}

/// The summary of an algorithm's samples on one entry.
///
/// Samples are of the product alone. What it [costs](Self::charge) to make what the product reads
/// stands beside them, and algorithms are compared by the sum of both.
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
    /// Time against the default algorithm's in the same rounds, where both ran; either with its
    /// charge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratio_to_default: Option<Interval>,
    /// Worst error of an element in verification, in the unit of
    /// [`DType::tolerance`](voxtune_types::DType::tolerance).
    pub max_error: f64,
    /// What the layer is charged for what the algorithm reads beyond the kernel map. Absent where
    /// nobody measured that: on a host, and in the files of earlier releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charge: Option<Charge>,
}

/// The place of a GPU's samples: midway between the least sample and the median. What
/// disturbs a run makes it longer, so that the median alone moves with how often that happened, and
/// the least alone is a single sample.
///
/// # Units
/// Those of both.
#[must_use]
pub const fn centre_ns(median_ns: f64, min_ns: f64) -> f64 {
    f64::midpoint(median_ns, min_ns)
}

/// A standard error of the median of normal noise, by the median absolute deviation of so many
/// samples; that of [`centre_ns`] is no larger.
///
/// # Units
/// Those of the deviation.
#[must_use]
pub fn standard_error(spread_ns: f64, samples: usize) -> f64 {
    /// Standard deviations in a median absolute deviation.
    const NORMAL: f64 = 1.4826;
    /// How much less certain a median is than a mean: the root of half of π.
    const MEDIAN_TO_MEAN: f64 = 1.2533;
    MEDIAN_TO_MEAN * NORMAL * spread_ns / (samples.max(1) as f64).sqrt()
}

impl Timing {
    /// Where a GPU's samples lie, see [`centre_ns`].
    #[must_use]
    pub fn centre_ns(&self) -> f64 {
        centre_ns(self.median_ns as f64, self.min_ns as f64)
    }

    /// What the layer is charged beside its samples; nothing where nobody measured that.
    ///
    /// # Units
    /// Nanoseconds.
    #[must_use]
    pub const fn share_ns(&self) -> u64 {
        match self.charge {
            Some(charge) => charge.share_ns,
            None => 0,
        }
    }

    /// The median of the samples with the charge.
    ///
    /// # Units
    /// Nanoseconds.
    #[must_use]
    pub const fn charged_median_ns(&self) -> u64 {
        self.median_ns.saturating_add(self.share_ns())
    }

    /// By what algorithms are compared on a GPU: [`Self::centre_ns`] with the charge.
    ///
    /// # Units
    /// Nanoseconds.
    #[must_use]
    pub fn charged_centre_ns(&self) -> f64 {
        self.centre_ns() + self.share_ns() as f64
    }

    /// A standard error as a fraction of the time with the charge, see [`standard_error`].
    #[must_use]
    pub fn relative_error(&self) -> f64 {
        let error_ns = standard_error(self.spread_ns as f64, self.samples as usize);
        error_ns / self.charged_centre_ns().max(1.0)
    }

    /// Whether it raced beside the default in rounds enough for a ratio.
    pub(crate) const fn met_default(&self) -> bool {
        self.ratio_to_default.is_some()
    }

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
        if let Some(Charge { made_ns, share_ns }) = self.charge
            && share_ns > made_ns
        {
            return Err(InvalidRecord::Charge { made_ns, share_ns });
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
