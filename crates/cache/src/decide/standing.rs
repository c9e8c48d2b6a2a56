//! What one algorithm did on the workloads of a key.

use std::collections::{BTreeMap, BTreeSet};

use voxtune_types::AlgoId;

use super::timer::{NOISE_CEILING, NOISE_FLOOR, Timer};
use crate::evidence::Records;
use crate::record::{Outcome, Record, Requirement};
use crate::timing::{Interval, Timing};

/// Samples below which nothing is proven: of one or two rounds any difference may be a late sample.
pub const MIN_SHARED_ROUNDS: u32 = 3;

/// Samples from which on an interval of a median holds it in nineteen cases of twenty.
pub const SURE_ROUNDS: u32 = 6;

/// What the rounds that an algorithm shared with the default say, the strongest last: it counts of
/// several workloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum AgainstDefault {
    /// Nothing: there are none, or too few to prove what they hint at.
    Nothing,
    /// It beat the default.
    Beat,
    /// It did not.
    Lost,
}

/// One algorithm on one workload.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    /// Natural logarithm of the time in nanoseconds, as if measured in the default's session.
    pub(super) log_ns: f64,
    /// See [`Timer::relative_noise`].
    pub(super) relative_noise: f64,
    /// See [`Timing::relative_error`].
    pub(super) relative_error: f64,
}

/// What one algorithm did on all workloads of a key.
#[derive(Clone, Debug)]
pub(super) struct Standing<'a> {
    pub(super) algo: &'a AlgoId,
    pub(super) default: bool,
    /// Whether the tool that measured any workload ships it as the winner.
    pub(super) shipped: bool,
    /// Whether any workload has both it and the default.
    pub(super) met_default: bool,
    pub(super) against_default: AgainstDefault,
    pub(super) requires: Option<Requirement>,
    /// By number of the workload; those of a workload that raced beside the default stand apart
    /// from those that did not, as if on two.
    pub(super) runs: BTreeMap<usize, Run>,
}

impl Standing<'_> {
    /// The mean over some of its workloads.
    pub(super) fn mean(&self, workloads: &[usize], of: impl Fn(&Run) -> f64) -> f64 {
        workloads.iter().map(|workload| of(&self.runs[workload])).sum::<f64>()
            / workloads.len() as f64
    }

    /// The workloads that both were measured on, in order.
    pub(super) fn shared(&self, other: &Self) -> Vec<usize> {
        self.runs.keys().copied().filter(|workload| other.runs.contains_key(workload)).collect()
    }

    /// Whether any workload has both.
    pub(super) fn met(&self, other: &Self) -> bool {
        self.runs.keys().any(|workload| other.runs.contains_key(workload))
    }
}

/// The algorithms, in the order of their ids, that nothing rules out: verified on every decisive
/// workload that they met, and in quarantine on no other.
pub(super) fn collect_standings<'a>(
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
        let default = preferred.iter().filter(|one| one.default).find_map(|one| one.timing());
        let sessions = match default {
            Some(default) if contradict(timer, &preferred, default) => Sessions::Mixed,
            _ => Sessions::One,
        };
        for record in preferred {
            let Outcome::Measured(timing) = &record.outcome else {
                out.insert(&record.algo);
                continue;
            };
            let standing = standings.entry(&record.algo).or_insert_with(|| Standing {
                algo: &record.algo,
                default: false,
                shipped: false,
                met_default: false,
                against_default: AgainstDefault::Nothing,
                requires: None,
                runs: BTreeMap::new(),
            });
            standing.default |= record.default;
            standing.shipped |= record.shipped;
            standing.requires = standing.requires.or(record.requires);
            // The default raced, and this one not beside it: its time is of an hour of its own.
            let is_apart = default.is_some_and(|one| one.met_default()) && !timing.met_default();
            let default = default.filter(|_| !is_apart);
            if let Some(default) = default {
                standing.met_default = true;
                let here = against_default(timing, default);
                standing.against_default = standing.against_default.max(here);
            }
            let place = 2 * workload + usize::from(is_apart);
            standing.runs.insert(place, run(timer, record, timing, default, sessions));
        }
    }
    standings.retain(|algo, _| !out.contains(algo));
    standings.into_values().collect()
}

/// Of how many sessions the records of a workload are known to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sessions {
    One,
    Mixed,
}

fn run(
    timer: Timer,
    record: &Record,
    timing: &Timing,
    default: Option<&Timing>,
    sessions: Sessions,
) -> Run {
    let own_ns = timer.time_ns(timing);
    let elsewhere = default.filter(|_| !record.default).and_then(|default| {
        let ratio = timing.ratio_to_default?;
        let is_elsewhere =
            sessions == Sessions::Mixed || is_of_another_session(timing, ratio, default);
        is_elsewhere.then(|| timer.time_ns(default) * ratio.median)
    });
    Run {
        log_ns: elsewhere.unwrap_or(own_ns).max(1.0).ln(),
        relative_noise: timer.relative_noise(own_ns, timing.spread_ns as f64),
        relative_error: timing.relative_error(),
    }
}

/// Whether the times of a workload contradict its ratios to the default. They do where an algorithm
/// that seems as fast as another by its time, or faster, lost to it by the whole intervals of both
/// ratios, by more than noise. Then a merge has kept records of different sessions, and times say
/// nothing of who is faster.
fn contradict(timer: Timer, preferred: &[&Record], default: &Timing) -> bool {
    if !default.met_default() {
        return false;
    }
    let with_ratio = preferred.iter().filter_map(|record| {
        let Outcome::Measured(timing) = &record.outcome else { return None };
        let rounds = timing.samples.min(default.samples);
        let ratio = timing.ratio_to_default.filter(|_| rounds >= MIN_SHARED_ROUNDS)?;
        let run = run(timer, record, timing, Some(default), Sessions::One);
        Some((run.log_ns, ratio, rounds >= SURE_ROUNDS))
    });
    let mut with_ratio: Vec<(f64, Interval, bool)> = with_ratio.collect();
    with_ratio.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut opponents = with_ratio.iter().peekable();
    // The greatest lower end of those who seem as fast, and of the sure ones among them.
    let (mut worst, mut worst_sure) = (0.0_f64, 0.0_f64);
    with_ratio.iter().any(|&(log_ns, ratio, is_sure)| {
        let limit = log_ns + NOISE_FLOOR.ln_1p();
        while let Some((_, opponent, is_sure)) = opponents.next_if(|opponent| opponent.0 <= limit) {
            worst = worst.max(opponent.low);
            worst_sure = worst_sure.max(if *is_sure { opponent.low } else { 0.0 });
        }
        let lost_by = |margin: f64, worst: f64| ratio.high * (1.0 + margin) < worst;
        // An interval of few rounds is narrow by luck: in one session, too, times say otherwise.
        is_sure && lost_by(NOISE_FLOOR, worst_sure) || lost_by(timer.incumbent_margin(), worst)
    })
}

/// Whether an algorithm's time and the default's cannot be of one session. Their ratio is then
/// outside the interval of the rounds that both ran, by more than any noise. Nor can they if one of
/// them was charged for what it reads and the other was not.
fn is_of_another_session(timing: &Timing, ratio: Interval, default: &Timing) -> bool {
    // A default that was in no race itself has no session.
    if default.ratio_to_default.is_none() {
        return false;
    }
    if timing.charge.is_some() != default.charge.is_some() {
        return true;
    }
    let found = timing.charged_median_ns() as f64 / default.charged_median_ns().max(1) as f64;
    found > ratio.high * (1.0 + NOISE_CEILING) || found * (1.0 + NOISE_CEILING) < ratio.low
}

/// What a workload says that has both an algorithm and the default.
fn against_default(timing: &Timing, default: &Timing) -> AgainstDefault {
    let are_few = timing.samples.min(default.samples) < MIN_SHARED_ROUNDS;
    let beat = match timing.ratio_to_default {
        Some(ratio) if are_few && ratio.median < 1.0 => return AgainstDefault::Nothing,
        Some(_) if are_few => false,
        Some(ratio) => {
            let default_min_ns = default.min_ns.saturating_add(default.share_ns()) as f64;
            beats_default(ratio, timing.charged_median_ns() as f64, Some(default_min_ns))
        }
        // Nobody noted rounds: the times alone decide.
        None if are_few => return AgainstDefault::Nothing,
        None => true,
    };
    if beat { AgainstDefault::Beat } else { AgainstDefault::Lost }
}

/// Whether an algorithm beat the default, by the interval of their ratio in the rounds in which
/// both ran. It did if that stays below 1. It also did if the median does, and the algorithm's
/// median is faster than the default ever was by more than [`NOISE_CEILING`]: of three rounds one
/// late sample widens the interval to anything. The default's time may be of another day, when the
/// machine was slower: by itself it says nothing. Of fewer than [`MIN_SHARED_ROUNDS`] rounds there
/// is no such interval.
///
/// # Units
/// Both times in one.
#[must_use]
pub fn beats_default(ratio: Interval, median_ns: f64, default_min_ns: Option<f64>) -> bool {
    let by_far = default_min_ns.is_some_and(|min_ns| median_ns * (1.0 + NOISE_CEILING) < min_ns);
    ratio.high < 1.0 || by_far && ratio.median < 1.0
}
