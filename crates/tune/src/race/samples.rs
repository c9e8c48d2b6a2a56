//! The samples of a candidate in a race.

use voxtune_cache::timing::centre_ns;

use crate::race::statistics::{median, median_absolute_deviation};

/// The samples of one candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CandidateSamples<F> {
    /// Its time in each round in which it ran, warm-up left out.
    ///
    /// # Units
    /// Nanoseconds.
    pub rounds: Vec<Option<u64>>,
    /// Why the candidate failed, if it did.
    pub failure: Option<F>,
    /// How many of its results were compared and right.
    pub verified_samples: usize,
    pub(super) racing: bool,
    /// How many outliers were taken again.
    pub(super) resamples: usize,
}

impl<F> CandidateSamples<F> {
    pub(super) const fn new() -> Self {
        Self { rounds: Vec::new(), failure: None, verified_samples: 0, racing: true, resamples: 0 }
    }

    /// Takes the candidate out of the race.
    pub(super) fn fail(&mut self, failure: F) {
        self.failure = Some(failure);
        self.racing = false;
    }

    pub(super) fn values(&self) -> Vec<f64> {
        self.samples().map(|ns| ns as f64).collect()
    }

    /// Its times, in order.
    pub fn samples(&self) -> impl Iterator<Item = u64> {
        self.rounds.iter().filter_map(|round| *round)
    }

    /// Ratios of its time to another's in the rounds in which both ran.
    #[must_use]
    pub fn ratios_to(&self, other: &Self) -> Vec<f64> {
        let pairs = self.rounds.iter().zip(&other.rounds);
        pairs.filter_map(|(own, other)| Some((*own)? as f64 / (*other)?.max(1) as f64)).collect()
    }

    /// Its fastest time.
    pub(super) fn least_ns(&self) -> Option<u64> {
        self.samples().min()
    }

    /// The median and the deviation of single samples, both robust.
    pub(super) fn centre(&self) -> Option<Centre> {
        let values = self.values();
        let median_ns = median(&values)?;
        let spread_ns = median_absolute_deviation(&values)?;
        Some(Centre { median_ns, least_ns: self.least_ns()?, spread_ns })
    }
}

/// Where samples lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Centre {
    pub(super) median_ns: f64,
    pub(super) least_ns: u64,
    /// The median absolute deviation.
    pub(super) spread_ns: f64,
}

impl Centre {
    /// By what decisions compare it.
    pub(super) fn decisive_ns(&self) -> f64 {
        centre_ns(self.median_ns, self.least_ns as f64)
    }
}

pub(super) fn record<F>(candidate: &mut CandidateSamples<F>, sample: Result<u64, F>) {
    match sample {
        Ok(ns) => candidate.rounds.push(Some(ns)),
        Err(failure) => {
            candidate.fail(failure);
            candidate.rounds.push(None);
        }
    }
}

/// The candidate with the lowest median that has not failed, and that median.
pub(super) fn leader<F>(candidates: &[CandidateSamples<F>]) -> Option<(usize, f64)> {
    let alive = candidates.iter().enumerate().filter(|(_, candidate)| candidate.failure.is_none());
    alive
        .filter_map(|(index, candidate)| Some((index, median(&candidate.values())?)))
        .min_by(|a, b| a.1.total_cmp(&b.1))
}
