//! Racing: who is fastest, in interleaved rounds.
//!
//! The candidates run in turn, round after round, so that a drifting clock or a busy neighbour
//! strikes all of them alike. A candidate leaves when its first sample is hopeless, and later when
//! its interval cannot reach the leader's (after Tørring et al. 2021, arXiv 2103.08716). The
//! default is never hopeless, since ratios to it come from the rounds in which both ran.
//!
//! Where results are to be proven at full size, whoever is not hopeless owes proofs: its next samples
//! are of runs whose results are compared, whatever the budget says. So a race ends with two kinds of
//! lanes, proven ones, which may win, and others.
//!
//! Nothing here knows devices or clocks: a [`Track`] provides both, so that policies are tested on
//! made-up times.

use std::time::Duration;

use crate::statistics::{median, median_absolute_deviation};

/// What the racers run on.
pub trait Track {
    /// Why a run failed.
    type Failure;

    /// Runs one candidate once.
    ///
    /// # Units
    /// Nanoseconds.
    ///
    /// # Errors
    /// If the candidate fails: it leaves the race.
    fn sample(&mut self, lane: usize) -> Result<u64, Self::Failure>;

    /// The same, of a run whose result is proven right.
    ///
    /// # Units
    /// Nanoseconds.
    ///
    /// # Errors
    /// If the candidate fails or its result is wrong: it leaves the race.
    fn proven_sample(&mut self, lane: usize) -> Result<u64, Self::Failure> {
        self.sample(lane)
    }

    /// Time spent on this entry so far.
    fn elapsed(&self) -> Duration;

    /// Whether to stop at once.
    fn interrupted(&self) -> bool {
        false
    }
}

/// When to sample, when to leave and when to stop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// Time after which only what is owed is still measured: a sample of each candidate, the proofs of
    /// those that are not hopeless, and [`Self::leader_samples`] of the leader.
    pub budget: Duration,
    /// First runs shorter than this are repeated once before they count, unless they are hopeless even so:
    /// caches and branch predictors are cold the first time, and tables may have to be made.
    pub warm_up_below: Duration,
    /// By how much a first run may be longer than later ones.
    pub first_run_extra: Duration,
    /// A candidate whose first sample exceeds the leader's median this many times leaves at once.
    pub hopeless_ratio: f64,
    /// Samples that the leader gets whatever the budget says.
    pub leader_samples: usize,
    /// Samples after which a candidate that is still in has been measured well enough.
    pub max_samples: usize,
    /// The same of a candidate that takes longer than [`Self::steady_above`].
    pub steady_samples: usize,
    /// Runs longer than this hardly differ from each other.
    pub steady_above: Duration,
    /// Samples, behind the first, whose results are proven.
    pub proofs: usize,
}

/// Time for an entry on a GPU beyond what is owed: a hundred runs of a layer of middling size.
pub const GPU_BUDGET: Duration = Duration::from_millis(100);

impl Policy {
    /// The policy for a budget on the host. Without an end to it, [`Duration::MAX`], nobody leaves and
    /// everybody gets [`Self::max_samples`]: the oracle of [`crate::regret`].
    #[must_use]
    pub const fn with_budget(budget: Duration) -> Self {
        const MAX_SAMPLES: usize = 11;
        let is_exhaustive = budget.as_nanos() == Duration::MAX.as_nanos();
        Self {
            budget,
            warm_up_below: Duration::from_millis(50),
            first_run_extra: Duration::from_millis(50),
            hopeless_ratio: if is_exhaustive { f64::INFINITY } else { 2.0 },
            // Intervals are looked at from so many samples of the leader on.
            leader_samples: if is_exhaustive { MAX_SAMPLES + 1 } else { 3 },
            max_samples: MAX_SAMPLES,
            steady_samples: MAX_SAMPLES,
            steady_above: Duration::MAX,
            proofs: 0,
        }
    }

    /// The policy for a budget on a GPU, whose clock is its own: runs of a millisecond differ by a few
    /// thousandths, and what a first run does beyond its duty, such as making the tables of a row order,
    /// takes less than one. Results are proven twice, since a race of
    /// threads may spare the first run.
    #[must_use]
    pub const fn on_gpu(budget: Duration) -> Self {
        let policy = Self::with_budget(budget);
        let is_exhaustive = policy.hopeless_ratio == f64::INFINITY;
        Self {
            warm_up_below: Duration::from_millis(10),
            first_run_extra: Duration::from_millis(1),
            steady_samples: if is_exhaustive { policy.max_samples } else { 5 },
            steady_above: Duration::from_millis(1),
            proofs: 2,
            ..policy
        }
    }

    /// Whether a first run is to be repeated: not if it would be hopeless without all that it may have
    /// done beyond its duty.
    fn repeats(&self, first_ns: u64, best_ns: f64, is_default: bool) -> bool {
        let least_ns = first_ns as f64 - self.first_run_extra.as_nanos() as f64;
        Duration::from_nanos(first_ns) < self.warm_up_below
            && (is_default || least_ns <= best_ns * self.hopeless_ratio)
    }

    /// Samples that are enough of a candidate with this median.
    fn enough(&self, median_ns: f64) -> usize {
        let is_steady = median_ns > self.steady_above.as_nanos() as f64;
        if is_steady { self.steady_samples } else { self.max_samples }
    }
}

/// What a candidate did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lane<F> {
    /// Its time in each round in which it ran, warm-up left out.
    ///
    /// # Units
    /// Nanoseconds.
    pub rounds: Vec<Option<u64>>,
    /// Why it left, if it failed.
    pub failure: Option<F>,
    /// How many of its results were proven right.
    pub proofs: usize,
    racing: bool,
}

impl<F> Lane<F> {
    fn values(&self) -> Vec<f64> {
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
}

/// Races `lanes` candidates, of which one may be the default, and returns what each did, in the same
/// order.
pub fn race<T: Track>(
    lanes: usize,
    default: Option<usize>,
    policy: &Policy,
    track: &mut T,
) -> Vec<Lane<T::Failure>> {
    let new_lane = || Lane { rounds: Vec::new(), failure: None, proofs: 0, racing: true };
    let mut field: Vec<Lane<T::Failure>> = (0..lanes).map(|_| new_lane()).collect();
    first_round(&mut field, default, policy, track);
    for round in 1.. {
        admit(&mut field, policy);
        if track.interrupted() || !later_round(&mut field, round, policy, track) {
            break;
        }
        leave_out_beaten(&mut field, policy);
    }
    field
}

fn first_round<T: Track>(
    field: &mut [Lane<T::Failure>],
    default: Option<usize>,
    policy: &Policy,
    track: &mut T,
) {
    for (number, lane) in field.iter_mut().enumerate() {
        if track.interrupted() {
            return;
        }
        record(lane, track.sample(number));
    }
    let best_ns = leader(field).map_or(f64::INFINITY, |(_, best_ns)| best_ns);
    for (number, lane) in field.iter_mut().enumerate() {
        if track.interrupted() {
            return;
        }
        if let Some(Some(ns)) = lane.rounds.last()
            && policy.repeats(*ns, best_ns, default == Some(number))
        {
            lane.rounds.clear();
            record(lane, track.sample(number));
        }
    }
    for (number, lane) in field.iter_mut().enumerate() {
        lane.racing &= default == Some(number);
    }
}

/// Lets everyone race whose first sample is within reach of the leader. Again after each round, since a
/// leader may fail: whoever looked hopeless beside a wrong result need not be.
fn admit<F>(field: &mut [Lane<F>], policy: &Policy) {
    let Some((_, best)) = leader(field) else { return };
    for lane in field.iter_mut().filter(|lane| lane.failure.is_none()) {
        let [first, second] = [0, 1].map(|number| lane.samples().nth(number));
        // Whoever has had a second one was in already, and may have left again.
        if let (Some(first), None) = (first, second) {
            lane.racing |= first as f64 <= best * policy.hopeless_ratio;
        }
    }
}

/// One sample of everyone who is still in; false if nobody was owed one. The order rotates, so
/// that nobody always runs behind the same neighbour.
fn later_round<T: Track>(
    field: &mut [Lane<T::Failure>],
    round: usize,
    policy: &Policy,
    track: &mut T,
) -> bool {
    let mut sampled = false;
    for step in 0..field.len() {
        let lane = (step + round) % field.len();
        let due = field[lane].racing
            && !track.interrupted()
            && is_due(field, lane, policy, track.elapsed());
        if due {
            let proven = field[lane].proofs < policy.proofs;
            let sample = if proven { track.proven_sample(lane) } else { track.sample(lane) };
            field[lane].proofs += usize::from(proven && sample.is_ok());
            record(&mut field[lane], sample);
            sampled = true;
        } else {
            field[lane].rounds.push(None);
        }
    }
    sampled
}

fn is_due<F>(field: &[Lane<F>], lane: usize, policy: &Policy, elapsed: Duration) -> bool {
    if field[lane].proofs < policy.proofs {
        return true;
    }
    let taken = field[lane].samples().count();
    let next = median(&field[lane].values()).unwrap_or(0.0);
    if taken >= policy.enough(next) {
        return false;
    }
    let leads = leader(field).is_some_and(|(first, _)| first == lane);
    if leads && taken < policy.leader_samples {
        return true;
    }
    elapsed + Duration::from_nanos(next as u64) <= policy.budget
}

fn record<F>(lane: &mut Lane<F>, sample: Result<u64, F>) {
    match sample {
        Ok(ns) => lane.rounds.push(Some(ns)),
        Err(failure) => {
            lane.failure = Some(failure);
            lane.racing = false;
            lane.rounds.push(None);
        }
    }
}

/// The candidate with the lowest median that has not failed, and that median.
fn leader<F>(field: &[Lane<F>]) -> Option<(usize, f64)> {
    let alive = field.iter().enumerate().filter(|(_, lane)| lane.failure.is_none());
    alive
        .filter_map(|(index, lane)| Some((index, median(&lane.values())?)))
        .min_by(|a, b| a.1.total_cmp(&b.1))
}

/// Whoever has three samples and an interval wholly above the leader's leaves. The interval is the
/// median with three standard errors, taken from the median absolute deviation, and at least 1 %.
fn leave_out_beaten<F>(field: &mut [Lane<F>], policy: &Policy) {
    const LEAST_RELATIVE_ERROR: f64 = 0.01;
    /// Standard deviations in a median absolute deviation of normal noise.
    const NORMAL: f64 = 1.4826;
    let interval = |lane: &Lane<F>| {
        let values = lane.values();
        let centre = median(&values)?;
        let deviation = median_absolute_deviation(&values)? * NORMAL;
        let error = 3.0 * deviation / (values.len() as f64).sqrt();
        let error = error.max(centre * LEAST_RELATIVE_ERROR);
        Some((centre - error, centre + error))
    };
    let Some((first, _)) = leader(field) else { return };
    if field[first].samples().count() < policy.leader_samples {
        return;
    }
    let Some((_, reach)) = interval(&field[first]) else { return };
    for lane in field.iter_mut() {
        let beaten = lane.samples().count() >= policy.leader_samples
            && interval(lane).is_some_and(|(low, _)| low > reach);
        lane.racing &= !beaten;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Candidates that take made-up times on a made-up clock.
    struct Fake<F: FnMut(usize, usize) -> Result<u64, &'static str>> {
        times: F,
        runs: Vec<usize>,
        clock: Duration,
    }

    impl<F: FnMut(usize, usize) -> Result<u64, &'static str>> Track for Fake<F> {
        type Failure = &'static str;

        fn sample(&mut self, lane: usize) -> Result<u64, &'static str> {
            let run = self.runs[lane];
            self.runs[lane] += 1;
            let ns = (self.times)(lane, run)?;
            self.clock += Duration::from_nanos(ns);
            Ok(ns)
        }

        fn elapsed(&self) -> Duration {
            self.clock
        }
    }

    const MS: u64 = 1_000_000;

    fn run(
        lanes: usize,
        budget_ms: u64,
        times: impl FnMut(usize, usize) -> Result<u64, &'static str>,
    ) -> Vec<Lane<&'static str>> {
        let policy = Policy::with_budget(Duration::from_millis(budget_ms));
        run_under(&policy, lanes, None, times)
    }

    fn run_under(
        policy: &Policy,
        lanes: usize,
        default: Option<usize>,
        times: impl FnMut(usize, usize) -> Result<u64, &'static str>,
    ) -> Vec<Lane<&'static str>> {
        let mut track = Fake { times, runs: vec![0; lanes], clock: Duration::ZERO };
        race(lanes, default, policy, &mut track)
    }

    fn counts(field: &[Lane<&'static str>]) -> Vec<usize> {
        field.iter().map(|lane| lane.samples().count()).collect()
    }

    #[test]
    fn hopeless_candidates_get_one_sample() {
        let field = run(3, 60_000, |lane, _| Ok([100, 201, 199][lane] * MS));
        assert_eq!(counts(&field), [11, 1, 3]);
    }

    #[test]
    fn nobody_leaves_a_race_without_end() {
        let times = |lane: usize, _| Ok([100, 1000, 105][lane] * MS);
        for policy in [Policy::with_budget(Duration::MAX), Policy::on_gpu(Duration::MAX)] {
            let field = run_under(&policy, 3, None, times);
            assert_eq!(counts(&field), [11, 11, 11]);
        }
    }

    #[test]
    fn near_ties_are_measured_to_the_end() {
        let field =
            run(2, 60_000, |lane, run| Ok(100 * MS + (lane as u64 + run as u64 % 3) * MS / 2));
        assert_eq!(counts(&field), [11, 11]);
    }

    #[test]
    fn the_leader_gets_three_samples_whatever_the_budget() {
        let field = run(3, 0, |lane, _| Ok([150, 100, 120][lane] * MS));
        assert_eq!(counts(&field), [1, 3, 1]);
    }

    #[test]
    fn a_budget_is_kept_to_what_is_owed() {
        let field = run(2, 1_000, |lane, _| Ok([100, 101][lane] * MS));
        let total: u64 = field.iter().flat_map(Lane::samples).sum();
        assert!(total <= 1_000 * MS && total > 900 * MS, "{total}");
    }

    #[test]
    fn short_runs_are_warmed_up() {
        let field = run(1, 60_000, |_, run| Ok(if run == 0 { 40 * MS } else { MS }));
        assert!(field[0].samples().all(|ns| ns == MS));
    }

    #[test]
    fn a_first_run_of_a_gpu_is_forgiven_a_millisecond() {
        let policy = Policy::on_gpu(Duration::ZERO);
        let mut runs = [0; 4];
        let field = run_under(&policy, 4, None, |lane, run| {
            runs[lane] += 1;
            let extra = if run == 0 { [0, 900, 900, 900][lane] } else { 0 };
            Ok(([1_000, 1_900, 3_000, 1_050][lane] + extra) * MS / 1_000)
        });
        // One run that does not count, and three of those within twice the leader's time.
        assert_eq!(runs, [4, 4, 1, 4]);
        assert_eq!(counts(&field), [3, 3, 1, 3]);
        assert!(field[1].samples().all(|ns| ns == 1_900_000));
    }

    #[test]
    fn a_slow_first_sample_of_a_short_run_is_forgiven() {
        let field = run(2, 60_000, |lane, run| {
            Ok(if lane == 1 && run == 0 { 49 * MS } else { [11, 10][lane] * MS })
        });
        assert_eq!(counts(&field), [3, 11]);
    }

    #[test]
    fn failures_leave_and_are_kept() {
        let field = run(2, 60_000, |lane, run| {
            if lane == 0 && run == 3 { Err("device lost") } else { Ok([99, 100][lane] * MS) }
        });
        assert_eq!(field[0].failure, Some("device lost"));
        assert_eq!(field[1].samples().count(), 11);
    }

    #[test]
    fn a_drifting_clock_does_not_change_the_ratio() {
        let mut calls = 0;
        let field = run(2, 60_000, |lane, _| {
            calls += 1;
            Ok([100, 90][lane] * MS * (100 + calls) / 100)
        });
        let ratios = field[1].ratios_to(&field[0]);
        let middle = median(&ratios).unwrap();
        assert!((0.87..0.93).contains(&middle), "{middle}");
    }

    /// Whatever the budget: without its proofs a lane may not win.
    #[test]
    fn whoever_is_not_hopeless_owes_its_proofs() {
        let policy = Policy::on_gpu(Duration::ZERO);
        let field = run_under(&policy, 4, None, |lane, _| Ok([150, 100, 199, 201][lane] * MS));
        let proofs: Vec<usize> = field.iter().map(|lane| lane.proofs).collect();
        assert_eq!((counts(&field), proofs), (vec![3, 3, 3, 1], vec![2, 2, 2, 0]));
    }

    #[test]
    fn the_default_is_never_hopeless() {
        let policy = Policy::on_gpu(Duration::ZERO);
        let field = run_under(&policy, 2, Some(0), |lane, _| Ok([900, 100][lane] * MS));
        assert_eq!((counts(&field), field[0].proofs), (vec![3, 3], 2));
        assert_eq!(field[1].ratios_to(&field[0]).len(), 3);
    }

    #[test]
    fn a_proof_that_fails_is_none() {
        let policy = Policy::on_gpu(Duration::from_secs(60));
        let field = run_under(&policy, 2, None, |lane, run| {
            if lane == 0 && run == 2 { Err("wrong") } else { Ok([100, 101][lane] * MS) }
        });
        assert_eq!((field[0].failure, field[0].proofs), (Some("wrong"), 1));
        assert_eq!((field[1].failure, field[1].proofs), (None, 2));
    }

    #[test]
    fn a_wrong_leader_leaves_nobody_hopeless() {
        let policy = Policy::on_gpu(Duration::ZERO);
        let field = run_under(&policy, 3, Some(2), |lane, run| {
            if lane == 0 && run == 1 { Err("wrong") } else { Ok([10, 100, 150][lane] * MS) }
        });
        let proofs: Vec<usize> = field.iter().map(|lane| lane.proofs).collect();
        assert_eq!((counts(&field), proofs), (vec![1, 3, 3], vec![0, 2, 2]));
    }

    #[test]
    fn long_runs_of_a_gpu_need_few_samples() {
        let policy = Policy::on_gpu(Duration::from_secs(60));
        let field = run_under(&policy, 2, None, |lane, _| Ok([100, 101][lane] * MS));
        assert_eq!(counts(&field), [5, 5]);
        let field = run_under(&policy, 2, None, |lane, _| Ok([100, 101][lane] * MS / 1000));
        assert_eq!(counts(&field), [11, 11]);
    }

    #[test]
    fn an_empty_field_is_no_race() {
        assert!(run(0, 1_000, |_, _| Ok(MS)).is_empty());
    }
}
