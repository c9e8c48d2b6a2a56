//! When to sample, when to leave and when to stop.

use std::time::Duration;

use voxtune_cache::decide::{MIN_SHARED_ROUNDS, NOISE_CEILING, SURE_ROUNDS, Timer};
use voxtune_types::Arch;

use crate::race::statistics::median;

use super::samples::CandidateSamples;

/// When to sample, when to leave and when to stop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// Soft time limit. Past it, only the minimum is sampled: one sample per candidate, the
    /// verified samples of candidates that are not dominated, [`Self::leader_samples`],
    /// [`Self::near_samples`], and the tie-break. [Confirmation rounds](super::confirm_incumbent)
    /// follow after it.
    pub budget: Duration,
    /// A first run shorter than this is repeated once before it counts, unless it is dominated even
    /// so. Caches and branch predictors are cold in it, and tables may have to be made.
    pub warm_up_below: Duration,
    /// By how much a first run may be longer than later ones.
    pub first_run_extra: Duration,
    /// A candidate whose first sample exceeds the leader's median this many times is dominated, and
    /// leaves at once.
    pub dominated_ratio: f64,
    /// The same for candidates slower than [`Self::steady_above`], whose samples differ by no more
    /// than the noise ceiling.
    pub steady_dominated_ratio: f64,
    /// Minimum samples of the leader, even past the budget. Where the default leads, or stays
    /// whoever does, one fewer will do.
    pub leader_samples: usize,
    /// By how much a candidate must lead the default, as a fraction, for rounds past the budget.
    pub least_lead: f64,
    /// Minimum samples of candidates whose best sample is within the noise ceiling of the leader:
    /// of three samples, two late ones distort a median.
    pub near_samples: usize,
    /// How far noise reaches in the ratio of two candidates over few rounds, as a fraction.
    pub noise_of_few: f64,
    /// Samples after which a candidate is measured well enough.
    pub max_samples: usize,
    /// The same for candidates slower than [`Self::steady_above`].
    pub steady_samples: usize,
    /// Runs longer than this hardly differ from each other.
    pub steady_above: Duration,
    /// Samples after the first whose results are compared at full size.
    pub verified_samples: usize,
    /// A sample above its candidate's minimum times this ratio is an outlier, and is taken again.
    pub outlier_ratio: f64,
    /// How many outliers of a candidate are taken again.
    pub resamples: usize,
    /// Time of a candidate's samples up to which a tie-break goes on; zero for no tie-break.
    pub tie_break: Duration,
}

impl Policy {
    /// Samples of every candidate in a race without a limit.
    pub(crate) const EXHAUSTIVE_SAMPLES: usize = 11;

    /// Default soft time limit of an entry: a hundred runs of a medium layer on a GPU, some ten on
    /// a CPU.
    #[must_use]
    pub const fn usual_budget(arch: Arch) -> Duration {
        if arch.is_cuda() { Duration::from_millis(100) } else { Duration::from_secs(3) }
    }

    /// The tuner's policy on a device, for a budget.
    #[must_use]
    pub const fn of(arch: Arch, budget: Duration) -> Self {
        if arch.is_cuda() { Self::on_gpu(budget) } else { Self::with_budget(budget) }
    }

    /// The policy of a benchmark: so many samples of every candidate that is not dominated at once,
    /// however long that takes.
    #[must_use]
    pub const fn exhaustive(arch: Arch, samples: usize) -> Self {
        Self {
            dominated_ratio: 2.0,
            steady_dominated_ratio: 2.0,
            leader_samples: samples + 1,
            near_samples: 0,
            max_samples: samples,
            steady_samples: samples,
            // Benchmarks show what samples are like.
            outlier_ratio: f64::INFINITY,
            resamples: 0,
            ..Self::of(arch, Duration::MAX)
        }
    }

    /// The policy for a budget on the host. With an unlimited one, [`Duration::MAX`], no candidate
    /// leaves and each gets [`Self::max_samples`]: the oracle of a regret.
    #[must_use]
    pub const fn with_budget(budget: Duration) -> Self {
        const MAX_SAMPLES: usize = Policy::EXHAUSTIVE_SAMPLES;
        let is_exhaustive = budget.as_nanos() == Duration::MAX.as_nanos();
        Self {
            budget,
            warm_up_below: Duration::from_millis(50),
            first_run_extra: Duration::from_millis(50),
            dominated_ratio: if is_exhaustive { f64::INFINITY } else { 2.0 },
            steady_dominated_ratio: if is_exhaustive { f64::INFINITY } else { 2.0 },
            // Intervals are looked at from so many samples of the leader on, as ratios are.
            leader_samples: if is_exhaustive {
                MAX_SAMPLES + 1
            } else {
                MIN_SHARED_ROUNDS as usize
            },
            least_lead: if is_exhaustive { 0.0 } else { NOISE_CEILING },
            near_samples: 0,
            noise_of_few: Timer::Host.incumbent_margin(),
            max_samples: MAX_SAMPLES,
            steady_samples: MAX_SAMPLES,
            steady_above: Duration::MAX,
            verified_samples: 0,
            outlier_ratio: f64::INFINITY,
            resamples: 0,
            tie_break: Duration::ZERO,
        }
    }

    /// The policy for a budget on a GPU, which times by its own clock.
    ///
    /// Runs of a millisecond differ by a few thousandths. The extra work of a first run, such as
    /// making the tables of a row order, takes less than a millisecond. Results are verified twice,
    /// since a race of threads may spare the first run.
    #[must_use]
    pub const fn on_gpu(budget: Duration) -> Self {
        let policy = Self::with_budget(budget);
        let is_exhaustive = policy.dominated_ratio == f64::INFINITY;
        let tie_break = if is_exhaustive { Duration::ZERO } else { Duration::from_millis(60) };
        Self {
            warm_up_below: Duration::from_millis(10),
            first_run_extra: Duration::from_millis(1),
            least_lead: 0.0,
            near_samples: SURE_ROUNDS as usize,
            noise_of_few: Timer::Gpu.incumbent_margin(),
            steady_samples: if is_exhaustive { policy.max_samples } else { 5 },
            steady_above: Duration::from_millis(1),
            steady_dominated_ratio: if is_exhaustive {
                f64::INFINITY
            } else {
                (1.0 + NOISE_CEILING) / (1.0 - NOISE_CEILING)
            },
            verified_samples: 2,
            // A GPU that lowers its clock for want of power is up to a sixth slower.
            outlier_ratio: 1.25,
            resamples: 3,
            tie_break,
            ..policy
        }
    }

    /// Whether a first run is repeated: not if it is dominated even without the extra work of a
    /// first run.
    pub(super) fn repeats(&self, first_ns: u64, best_ns: f64, is_default: bool) -> bool {
        let least_ns = first_ns as f64 - self.first_run_extra.as_nanos() as f64;
        Duration::from_nanos(first_ns) < self.warm_up_below
            && (is_default || !self.is_dominated(least_ns, best_ns))
    }

    /// Whether a first sample rules its candidate out.
    pub(super) fn is_dominated(&self, first_ns: f64, best_ns: f64) -> bool {
        let ratio = if self.is_steady(first_ns) {
            self.steady_dominated_ratio
        } else {
            self.dominated_ratio
        };
        first_ns > best_ns * ratio
    }

    /// Whether runs this long hardly differ from each other.
    fn is_steady(&self, ns: f64) -> bool {
        ns > self.steady_above.as_nanos() as f64
    }

    /// Whether a sample is an outlier beside another of the same candidate.
    pub(super) fn is_outlier(&self, ns: u64, other_ns: u64) -> bool {
        ns as f64 > other_ns as f64 * self.outlier_ratio
    }

    /// Samples that are enough for a candidate with this median.
    pub(super) fn enough(&self, median_ns: f64) -> usize {
        if self.is_steady(median_ns) { self.steady_samples } else { self.max_samples }
    }

    /// Samples after which a tie-break leaves the candidate's position to chance.
    pub(super) fn max_tie_break_samples<F>(&self, candidate: &CandidateSamples<F>) -> usize {
        /// Of runs so long that the time would be up before. The clock of a GPU at the limit of its
        /// power wanders by several percent.
        const LEAST: usize = 15;
        /// A median of so many is as good as the next process's.
        const MOST: usize = 201;
        let median_ns = median(&candidate.values()).unwrap_or(f64::INFINITY);
        if self.tie_break.is_zero() {
            return 0;
        }
        ((self.tie_break.as_nanos() as f64 / median_ns) as usize).clamp(LEAST, MOST)
    }
}
