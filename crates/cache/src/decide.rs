//! From evidence to decisions: a pure function.

use std::collections::{BTreeMap, BTreeSet};

use voxtune_types::{AlgoId, Arch, DeviceIdentity, ShapeKey};

use crate::decision::{Decision, Decisions};
use crate::evidence::{Evidence, Records};
use crate::record::{Outcome, Requirement};
use crate::timing::{Interval, Timing};

/// Differences below this fraction are noise, however small the spread of the samples.
pub const NOISE_FLOOR: f64 = 0.01;

/// Differences above this fraction are real, however large the spread of the samples.
pub const NOISE_CEILING: f64 = 0.10;

/// How far a time may be off by the step of the timer alone: half a microsecond for the events of a GPU.
pub const TIMER_STEP_NS: f64 = 500.0;

/// How far from the best score an algorithm is still safe to use for a neighbouring key.
pub const SAFE_MARGIN: f64 = 0.10;

/// The decisions that follow from the evidence, and from nothing else.
///
/// A key is decided over all workloads that it was measured on. Where some of them are cold, the times
/// and defeats of warm ones do not count, though their quarantine does.
///
/// 1. of several versions of one algorithm a measured one stands before a quarantined one, then the one
///    with more samples, the smaller spread and the smaller encoding;
/// 2. an algorithm that is quarantined on any workload is out, and so is one that was beaten there
///    before it was verified at full size;
/// 3. so is one that was measured on fewer workloads than another;
/// 4. the score of each other one is the geometric mean over the workloads of its
///    [time](Timer::time_ns) divided by the best one's, and the least score leads;
/// 5. the winner is, among those within the noise of the leader, the default algorithm, else the
///    one whose id is the least text: near-ties fall the same way on every run. Noise is the sum of
///    both [relative noises](Timer::relative_noise), at least [`NOISE_FLOOR`] and at most [`NOISE_CEILING`];
/// 6. only an algorithm that [beat the default](beats_default) on every workload takes its place.
///
/// A key none of whose algorithms is left has no decision.
#[must_use]
pub fn decide(evidence: &Evidence) -> Decisions {
    let mut workloads: BTreeMap<(&DeviceIdentity, &ShapeKey), Vec<(bool, &Records)>> =
        BTreeMap::new();
    for (entry, records) in evidence.entries() {
        let of_key = workloads.entry((&entry.device, &entry.key)).or_default();
        of_key.push((entry.workload.cold, records));
    }
    workloads
        .into_iter()
        .filter_map(|((device, key), workloads)| {
            Ranking::over(Timer::of(&device.arch), &workloads).decision(device, key)
        })
        .collect()
}

/// Whether an algorithm that was the winner must go: it is absent or quarantined in these records,
/// or slower than the leader by more than noise and its [margin](Timer::incumbent_margin). Takes the records of workloads
/// of one key and architecture whose times can be compared, such as [`Evidence::decisive_workloads`] gives.
#[must_use]
pub fn significantly_beaten<'a>(
    incumbent: &AlgoId,
    arch: &Arch,
    workloads: impl IntoIterator<Item = &'a Records>,
) -> bool {
    let timer = Timer::of(arch);
    let ranking = Ranking::of(timer, workloads, []);
    let stays = ranking.within(timer.incumbent_margin()).any(|standing| standing.algo == incumbent);
    !stays && choose(ranking.0.iter()).is_none_or(|winner| winner.algo != incumbent)
}

/// How far apart two algorithms are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distance {
    /// By how much the second was slower, as a fraction of the first one's time; negative if it was faster.
    pub slower_by: f64,
    /// Whether noise explains it: it is within the band of ties, give or take two standard errors.
    pub is_noise: bool,
}

/// How far apart two algorithms are in these records; `None` if either may not win. Takes records as
/// [`significantly_beaten`] does.
#[must_use]
pub fn distance<'a>(
    [first, second]: [&AlgoId; 2],
    arch: &Arch,
    workloads: impl IntoIterator<Item = &'a Records>,
) -> Option<Distance> {
    /// Ninety-five of a hundred lie within so many.
    const STANDARD_ERRORS: f64 = 2.0;
    let ranking = Ranking::of(Timer::of(arch), workloads, []);
    let standing = |algo: &AlgoId| ranking.0.iter().find(|standing| standing.algo == algo);
    let both = [standing(first)?, standing(second)?];
    let band = tie_band(both.map(Standing::relative_noise));
    let [own, other] = both.map(|standing| standing.score);
    let [own_error, other_error] = both.map(Standing::relative_error);
    let reach = band + STANDARD_ERRORS * own_error.hypot(other_error);
    let apart = own.max(other) / own.min(other) - 1.0;
    Some(Distance { slower_by: other / own - 1.0, is_noise: apart <= reach })
}

/// By whose clock a run is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// The host's, on a machine that does other things meanwhile.
    Host,
    /// That of a GPU, which does not.
    Gpu,
}

impl Timer {
    /// That of a device of this architecture.
    #[must_use]
    pub const fn of(arch: &Arch) -> Self {
        if arch.is_cuda() { Self::Gpu } else { Self::Host }
    }

    /// By what algorithms are compared: the median on a host; on a GPU, whose least sample is no luck,
    /// [`Timing::centre_ns`].
    ///
    /// # Units
    /// Nanoseconds.
    #[must_use]
    pub fn time_ns(self, timing: &Timing) -> f64 {
        match self {
            Self::Host => timing.median_ns as f64,
            Self::Gpu => timing.centre_ns(),
        }
    }

    /// How much slower than the leader a stored winner may be found, however small the spread of the samples,
    /// and still stay, as a fraction: on a GPU the same kernels differ by a few percent from one process to the
    /// next, by where their buffers lie; on a host, by what others do there.
    #[must_use]
    pub const fn incumbent_margin(self) -> f64 {
        match self {
            Self::Host => NOISE_CEILING,
            Self::Gpu => 0.03,
        }
    }

    /// How far a time may be off as a fraction of it: by a [`TIMER_STEP_NS`], and on a host by the spread
    /// of its samples. On a GPU the spread of a few samples says less of the noise than of which samples they
    /// happened to be, and two runs would draw the band of noise at two places.
    ///
    /// # Units
    /// Both times in one.
    #[must_use]
    pub fn relative_noise(self, centre_ns: f64, spread_ns: f64) -> f64 {
        let noise_ns = match self {
            Self::Host => spread_ns.max(TIMER_STEP_NS),
            Self::Gpu => TIMER_STEP_NS,
        };
        noise_ns / centre_ns.max(1.0)
    }
}

/// The fraction up to which the longer of two times ties with the shorter one, from the
/// [relative noise](Timer::relative_noise) of both.
#[must_use]
pub fn tie_band(relative_noise: [f64; 2]) -> f64 {
    relative_noise.iter().sum::<f64>().clamp(NOISE_FLOOR, NOISE_CEILING)
}

/// What one algorithm did on all workloads of a key.
#[derive(Clone, Debug)]
struct Standing<'a> {
    algo: &'a AlgoId,
    default: bool,
    /// Whether it beat the default on every workload that knows their ratio.
    beats_default: bool,
    requires: Option<Requirement>,
    /// Time by index of the workload.
    times_ns: BTreeMap<usize, f64>,
    /// Sum over the workloads.
    relative_noises: f64,
    /// Likewise, of their squares.
    squared_errors: f64,
    /// Geometric mean of the ratios to the best; at least 1.
    score: f64,
}

impl Standing<'_> {
    fn relative_noise(&self) -> f64 {
        self.relative_noises / self.times_ns.len() as f64
    }

    /// A standard error of the score as a fraction of it.
    fn relative_error(&self) -> f64 {
        self.squared_errors.sqrt() / self.times_ns.len() as f64
    }
}

/// The algorithms that may win a key, by score, then id.
struct Ranking<'a>(Vec<Standing<'a>>);

impl<'a> Ranking<'a> {
    /// Over the records of workloads that are cold or not.
    fn over(timer: Timer, workloads: &[(bool, &'a Records)]) -> Self {
        let any_cold = workloads.iter().any(|(cold, _)| *cold);
        let of_regime = |wanted: bool| {
            let those = workloads.iter().filter(move |(cold, _)| *cold == wanted);
            those.map(|(_, records)| *records)
        };
        Self::of(timer, of_regime(any_cold), of_regime(!any_cold))
    }

    /// Over the records of workloads whose times decide, and of others, whose quarantine does.
    fn of(
        timer: Timer,
        decisive: impl IntoIterator<Item = &'a Records>,
        others: impl IntoIterator<Item = &'a Records>,
    ) -> Self {
        let mut standings = collect_standings(timer, decisive, others);
        let widest = standings.iter().map(|standing| standing.times_ns.len()).max();
        standings.retain(|standing| Some(standing.times_ns.len()) == widest);

        let mut best_ns: BTreeMap<usize, f64> = BTreeMap::new();
        for (&workload, &time_ns) in standings.iter().flat_map(|standing| &standing.times_ns) {
            let best = best_ns.entry(workload).or_insert(time_ns);
            *best = time_ns.min(*best);
        }
        for standing in &mut standings {
            let times = standing.times_ns.iter();
            let logs = times.map(|(workload, time_ns)| (time_ns / best_ns[workload]).ln());
            standing.score = (logs.sum::<f64>() / standing.times_ns.len() as f64).exp();
        }
        standings.sort_by(|a, b| a.score.total_cmp(&b.score).then_with(|| a.algo.cmp(b.algo)));
        Self(standings)
    }

    /// The algorithms that noise, or this margin, does not tell from the leader, the leader among them.
    fn within(&self, margin: f64) -> impl Iterator<Item = &Standing<'a>> {
        ties(self.0.iter(), margin)
    }

    fn decision(&self, device: &DeviceIdentity, key: &ShapeKey) -> Option<Decision> {
        let winner = choose(self.0.iter())?;
        let leader = self.0.first()?;
        let mut safe: Vec<AlgoId> = self
            .0
            .iter()
            .filter(|standing| {
                let near = standing.score <= leader.score * (1.0 + SAFE_MARGIN);
                near || standing.algo == winner.algo
            })
            .map(|standing| standing.algo.clone())
            .collect();
        safe.sort_unstable();
        let without_libraries = winner
            .requires
            .and_then(|_| choose(self.0.iter().filter(|standing| standing.requires.is_none())));
        Some(Decision {
            device: device.clone(),
            key: *key,
            winner: winner.algo.clone(),
            runner_up: self
                .0
                .iter()
                .find(|standing| standing.algo != winner.algo)
                .map(|standing| standing.algo.clone()),
            without_libraries: without_libraries.map(|standing| standing.algo.clone()),
            safe,
        })
    }
}

/// The algorithms, in the order of their ids, that may win: verified on every decisive workload that they
/// met, and in quarantine on no other.
fn collect_standings<'a>(
    timer: Timer,
    decisive: impl IntoIterator<Item = &'a Records>,
    others: impl IntoIterator<Item = &'a Records>,
) -> Vec<Standing<'a>> {
    let mut standings: BTreeMap<&AlgoId, Standing<'a>> = BTreeMap::new();
    let others = others.into_iter().flat_map(Records::preferred);
    let quarantined = others.filter(|record| record.timing().is_none());
    let mut out: BTreeSet<&AlgoId> = quarantined.map(|record| &record.algo).collect();
    for (workload, records) in decisive.into_iter().enumerate() {
        let preferred = records.preferred();
        let default_min_ns = preferred
            .iter()
            .filter(|record| record.default)
            .find_map(|record| Some(record.timing()?.min_ns as f64));
        for record in preferred {
            let Outcome::Measured(timing) = &record.outcome else {
                out.insert(&record.algo);
                continue;
            };
            let standing = standings.entry(&record.algo).or_insert_with(|| Standing {
                algo: &record.algo,
                default: false,
                beats_default: true,
                requires: None,
                times_ns: BTreeMap::new(),
                relative_noises: 0.0,
                squared_errors: 0.0,
                score: 1.0,
            });
            standing.default |= record.default;
            standing.beats_default &= timing
                .ratio_to_default
                .is_none_or(|ratio| beats_default(ratio, timing.median_ns as f64, default_min_ns));
            standing.requires = standing.requires.or(record.requires);
            let time_ns = timer.time_ns(timing);
            standing.times_ns.insert(workload, time_ns);
            standing.relative_noises += timer.relative_noise(time_ns, timing.spread_ns as f64);
            standing.squared_errors += timing.relative_error().powi(2);
        }
    }
    standings.retain(|algo, _| !out.contains(algo));
    standings.into_values().collect()
}

/// Whether an algorithm beat the default, by the interval of their ratio in the rounds in which both ran: it
/// stays below 1; or its median does, and the algorithm's median is faster than the default ever was by more
/// than [`NOISE_CEILING`], since of three rounds one late sample widens the interval to anything. The default's
/// time may be of another day, when the machine was slower: by itself it says nothing.
///
/// # Units
/// Both times in one.
#[must_use]
pub fn beats_default(ratio: Interval, median_ns: f64, default_min_ns: Option<f64>) -> bool {
    let by_far = default_min_ns.is_some_and(|min_ns| median_ns * (1.0 + NOISE_CEILING) < min_ns);
    ratio.high < 1.0 || by_far && ratio.median < 1.0
}

/// Of a ranking, those within the noise of its first.
fn ties<'r, 'a: 'r>(
    ranking: impl Iterator<Item = &'r Standing<'a>> + Clone,
    margin: f64,
) -> impl Iterator<Item = &'r Standing<'a>> {
    let leader = ranking.clone().next();
    ranking.filter(move |standing| {
        leader.is_some_and(|leader| {
            let band = tie_band([standing, leader].map(Standing::relative_noise));
            standing.score <= leader.score * (1.0 + band.max(margin))
        })
    })
}

/// The winner of a ranking: of the near-ties the default, else the least id among those that beat
/// the default; if none does, the default all the same.
fn choose<'r, 'a: 'r>(
    ranking: impl Iterator<Item = &'r Standing<'a>> + Clone,
) -> Option<&'r Standing<'a>> {
    let default = ranking.clone().find(|standing| standing.default);
    let mut ties: Vec<&Standing<'a>> = ties(ranking, 0.0).collect();
    ties.sort_by_key(|standing| (!standing.default, standing.algo));
    let eligible =
        |standing: &&&Standing<'a>| standing.default || standing.beats_default || default.is_none();
    ties.iter().find(eligible).copied().or(default)
}
