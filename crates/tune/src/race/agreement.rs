//! Rounds for candidates whose times and ratios contradict each other.
//!
//! A candidate is compared with the others by its times, and with the default by the rounds that
//! both ran. Where these are few, and a clock was lowered in them, they say something else than its
//! times. Decisions then take the times for those of another session and go by the ratio, so that
//! the next run decides otherwise.

use voxtune_cache::decide::NOISE_CEILING;

use super::due_rounds::sample_due;
use super::paired::Paired;
use super::policy::Policy;
use super::sampler::Sampler;
use super::samples::CandidateSamples;
use super::statistics::median;

/// Rounds with the default after which a ratio is what it is.
const MOST_SHARED: usize = 15;

/// Samples the default and contenders whose ratio to it is not that of their times, in the same
/// rounds, until they agree or share [`MOST_SHARED`]. On a host, whose clock others slow down too,
/// nothing is sampled for that.
pub(super) fn sample_until_agreed<T: Sampler>(
    candidates: &mut [CandidateSamples<T::Failure>],
    default: Option<usize>,
    policy: &Policy,
    sampler: &mut T,
) {
    let Some(default) = default.filter(|_| !policy.tie_break.is_zero()) else { return };
    sample_due(candidates, sampler, |candidates| {
        let mut due = contradicting(candidates, default, policy);
        if !due.is_empty() {
            due.push(default);
        }
        due
    });
}

/// The candidates near the leader that contradict themselves.
fn contradicting<F>(
    candidates: &[CandidateSamples<F>],
    default_number: usize,
    policy: &Policy,
) -> Vec<usize> {
    let time = |number: usize| {
        let candidate = &candidates[number];
        let may_win =
            candidate.failure.is_none() && candidate.verified_samples >= policy.verified_samples;
        median(&candidate.values()).filter(|_| may_win)
    };
    let all = (0..candidates.len()).filter_map(|number| Some((number, time(number)?)));
    let all: Vec<(usize, f64)> = all.collect();
    let best_ns = all.iter().map(|(_, ns)| *ns).fold(f64::INFINITY, f64::min);
    let Some(&(_, default_ns)) = all.iter().find(|(number, _)| *number == default_number) else {
        return Vec::new();
    };
    let contradicts = |&(number, ns): &(usize, f64)| {
        let (own, default) = (&candidates[number], &candidates[default_number]);
        let is_contender = number != default_number && ns <= best_ns * (1.0 + NOISE_CEILING);
        is_contender
            && own.ratios_to(default).len() < MOST_SHARED
            && Paired::of(own, default)
                .is_some_and(|paired| !paired.agrees_with(ns / default_ns, policy))
    };
    all.iter().filter(|one| contradicts(one)).map(|(number, _)| *number).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const US: u64 = 1_000;

    /// Candidates that go on as they last were.
    struct Steady([u64; 3]);

    impl Sampler for Steady {
        type Failure = &'static str;

        fn sample(&mut self, candidate: usize) -> Result<u64, &'static str> {
            Ok(self.0[candidate] * US)
        }

        fn elapsed(&self) -> Duration {
            Duration::ZERO
        }
    }

    /// Three rounds beside the default, and eight without it.
    fn candidates(times: [(u64, Option<u64>); 3]) -> Vec<CandidateSamples<&'static str>> {
        let of = |(beside, alone): (u64, Option<u64>)| {
            let rounds = [Some(beside); 3].into_iter().chain([alone; 8]);
            let rounds = rounds.map(|time| time.map(|time| time * US)).collect();
            CandidateSamples { rounds, verified_samples: 2, ..CandidateSamples::new() }
        };
        times.map(of).to_vec()
    }

    fn after(
        policy: &Policy,
        times: [(u64, Option<u64>); 3],
    ) -> Vec<CandidateSamples<&'static str>> {
        let mut candidates = candidates(times);
        let steady = times.map(|(beside, alone)| alone.unwrap_or(beside));
        sample_until_agreed(&mut candidates, Some(0), policy, &mut Steady(steady));
        candidates
    }

    /// What two runs of one machine chose differently: 1.17 ms, and 1.45 beside the default.
    #[test]
    fn a_ratio_of_a_lowered_clock_is_measured_again() {
        let times = [(4_400, None), (1_175, Some(1_175)), (1_450, Some(1_171))];
        let policy = Policy::on_gpu(Duration::ZERO);
        let found = after(&policy, times);
        let ratio = median(&found[2].ratios_to(&found[0])).unwrap();
        assert!((ratio - 1_171.0 / 4_400.0).abs() < 1e-3, "{ratio}");
        assert_eq!(found[1].samples().count(), 11, "one that agrees with itself is left alone");
        let counts = |found: &[CandidateSamples<&'static str>]| {
            found.iter().map(|one| one.samples().count()).collect::<Vec<_>>()
        };
        assert_eq!(counts(&found), [7, 11, 15]);
        let host = Policy::with_budget(Duration::ZERO);
        assert_eq!(counts(&after(&host, times)), [3, 11, 11]);
    }

    #[test]
    fn one_that_never_agrees_ends() {
        let policy = Policy::on_gpu(Duration::ZERO);
        // The default was faster beside it than it is now.
        let mut candidates = candidates([(1_000, Some(4_000)), (900, Some(900)), (900, Some(900))]);
        candidates[1].rounds.truncate(3);
        let mut sampler = Steady([4_000, 900, 900]);
        sample_until_agreed(&mut candidates, Some(0), &policy, &mut sampler);
        assert!(candidates.iter().all(|one| one.samples().count() <= 24));
    }

    #[test]
    fn slow_ones_and_races_without_a_default_are_left_alone() {
        let policy = Policy::on_gpu(Duration::ZERO);
        let found = after(&policy, [(4_400, None), (1_000, Some(1_000)), (1_450, Some(1_171))]);
        assert_eq!(found[2].samples().count(), 11);
        let mut alone = candidates([(4_400, None), (1_175, Some(1_175)), (1_450, Some(1_171))]);
        sample_until_agreed(&mut alone, None, &policy, &mut Steady([0; 3]));
        assert_eq!(alone[2].samples().count(), 11);
    }
}
