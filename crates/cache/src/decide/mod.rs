//! From evidence to decisions: a pure function.
//!
//! A key may have been measured on several workloads, by several runs, each with a part of the
//! algorithms. So two algorithms are compared on the workloads that both were measured on, and on
//! no others. An algorithm that a workload lacks gains nothing by that, and takes nothing from
//! those that it has.

mod ranking;
mod standing;
mod timer;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use voxtune_types::{AlgoId, Arch, DeviceIdentity, ShapeKey};

use crate::decision::{Decision, Decisions};
use crate::evidence::{Evidence, Records};
use ranking::{Pair, Ranked, rank};
use standing::{AgainstDefault, Standing, collect_standings};

pub use standing::{MIN_SHARED_ROUNDS, SURE_ROUNDS, beats_default};
pub use timer::{NOISE_CEILING, NOISE_FLOOR, TIMER_STEP_NS, Timer, tie_band};

/// How far from the best an algorithm is still safe to use for a neighbouring key.
pub const SAFE_MARGIN: f64 = 0.10;

/// The decisions that follow from the evidence, and from nothing else.
///
/// 1. A key is decided over all workloads that it was measured on. Where some of them are cold, the
///    times and defeats of warm ones do not count, though their quarantine does.
/// 2. Of several versions of one algorithm a measured one stands before a quarantined one. Then
///    comes the one that raced beside the default, has more samples, the smaller spread and the
///    smaller encoding.
/// 3. An algorithm that is quarantined on any workload is out, and so is one that was beaten there
///    before it was verified at full size.
/// 4. Two algorithms are compared on the workloads that both were measured on: by the geometric
///    mean of the ratios of their [times](Timer::time_ns). Those that share none are compared by
///    what each took against the default. A workload that lacks an algorithm says nothing for or
///    against it. Those of a workload on which the default raced that did not race beside it are
///    compared among themselves.
/// 5. Where an algorithm's time over the default's is outside the interval of their ratio by more
///    than [`NOISE_CEILING`], the two are of different sessions. The ratio times the default's time
///    then stands for the algorithm's. So it does for all algorithms of a workload whose times and
///    ratios contradict each other. They do where one lost to another by the whole intervals of
///    both ratios and more than [`NOISE_FLOOR`], the [margin](Timer::incumbent_margin) of fewer
///    than six rounds, and is as fast by its time.
/// 6. Beside the default only those may win that [beat it](beats_default) on some workload, in
///    [`MIN_SHARED_ROUNDS`] rounds or more that both ran, and did not lose to it on any. Fewer
///    rounds prove nothing in an algorithm's favour, and rounds that only one of them ran prove
///    nothing at all. Where no workload has a default, every algorithm may win that shared
///    workloads lead to from the one that met the most others.
/// 7. Of those the leader is the one whose worst defeat by another of them is the least: one
///    without a defeat, where there is one.
/// 8. The winner is, among those within the noise of the leader, the one that ships as the winner,
///    else the default, else the one whose id is the least text: near-ties fall the same way on
///    every run. Noise is the sum of both
///    [relative noises](Timer::relative_noise), at least [`NOISE_FLOOR`] and at most
///    [`NOISE_CEILING`].
/// 9. The runner-up is the next by defeats, whether it may win or not. Candidates within
///    [`SAFE_MARGIN`] of the best are safe. One that never met the default is neither.
///
/// So no algorithm wins that lost to the default, or, beyond noise, to one that may win and lost to
/// none. That holds whatever subset was measured, and in which order. A key none of whose
/// algorithms is left has no decision.
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
            Standings::over(Timer::of(&device.arch), &workloads).decision(device, key)
        })
        .collect()
}

/// The decision for one key: that of [`decide`] over the whole evidence.
#[must_use]
pub fn decide_key(
    evidence: &Evidence,
    device: &DeviceIdentity,
    key: &ShapeKey,
) -> Option<Decision> {
    Standings::of_key(evidence, device, key).decision(device, key)
}

/// Whether an algorithm that was the winner of a key must go. It must if it is absent or
/// quarantined, or lost to one that may win by more than noise and its
/// [margin](Timer::incumbent_margin).
#[must_use]
pub fn significantly_beaten(
    incumbent: &AlgoId,
    evidence: &Evidence,
    device: &DeviceIdentity,
    key: &ShapeKey,
) -> bool {
    let timer = Timer::of(&device.arch);
    let set = Standings::of_key(evidence, device, key);
    let Some(own) = set.comparable().find(|standing| standing.algo == incumbent) else {
        return true;
    };
    let mut members = set.members();
    if choose(&rank(&members, set.reference()), set.reference())
        .is_some_and(|one| one.algo == incumbent)
    {
        return false;
    }
    if !members.iter().any(|standing| standing.algo == incumbent) {
        members.push(own);
    }
    let ranking = rank(&members, set.reference());
    let Some(leader) = ranking.first() else { return true };
    let (margin, reference) = (timer.incumbent_margin(), set.reference());
    let stays = |one: &Ranked<'_, '_>| {
        one.standing.algo == incumbent && one.ties_with(leader, margin, reference)
    };
    !ranking.iter().any(stays)
}

/// How far apart two algorithms are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distance {
    /// By how much the second was slower, as a fraction of the first one's time; negative if it was
    /// faster.
    pub slower_by: f64,
    /// Whether noise explains it: it is within the band of ties, give or take two standard errors.
    pub is_noise: bool,
}

/// How far apart two algorithms are on the workloads that both were measured on; `None` if there
/// are none or either may not win. Takes the records of workloads of one key and architecture whose
/// times can be compared, such as [`Evidence::decisive_workloads`] gives.
#[must_use]
pub fn distance<'a>(
    [first, second]: [&AlgoId; 2],
    arch: &Arch,
    workloads: impl IntoIterator<Item = &'a Records>,
) -> Option<Distance> {
    /// Ninety-five of a hundred lie within so many.
    const STANDARD_ERRORS: f64 = 2.0;
    let set = Standings::of(Timer::of(arch), workloads, []);
    let standing = |algo: &AlgoId| set.standings.iter().find(|standing| standing.algo == algo);
    let Pair { log_ratio, band, error } = Pair::of(standing(first)?, standing(second)?)?;
    let reach = band + STANDARD_ERRORS * error;
    Some(Distance { slower_by: log_ratio.exp_m1(), is_noise: log_ratio.abs().exp_m1() <= reach })
}

/// The algorithms that nothing rules out on a key.
struct Standings<'a> {
    /// In the order of their ids.
    standings: Vec<Standing<'a>>,
    /// Number of the default, where there is one: of several the one with the most workloads.
    default: Option<usize>,
}

impl<'a> Standings<'a> {
    /// Over all workloads of a key.
    fn of_key(evidence: &'a Evidence, device: &'a DeviceIdentity, key: &'a ShapeKey) -> Self {
        let workloads = evidence.workloads(device, key);
        let workloads: Vec<(bool, &Records)> =
            workloads.map(|(entry, records)| (entry.workload.cold, records)).collect();
        Self::over(Timer::of(&device.arch), &workloads)
    }

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
        let standings = collect_standings(timer, decisive, others);
        let defaults = (0..standings.len()).filter(|&number| standings[number].default);
        let default =
            defaults.min_by_key(|&number| (Reverse(standings[number].runs.len()), number));
        Self { standings, default }
    }

    fn reference(&self) -> Option<&Standing<'a>> {
        self.default.map(|number| &self.standings[number])
    }

    /// Algorithms about which the evidence says something beside those that may win: the ones that
    /// met the default. Where there is none, those that shared workloads lead to from the one that
    /// met the most others.
    fn comparable(&self) -> impl Iterator<Item = &Standing<'a>> {
        let known = match self.reference() {
            Some(_) => None,
            None => Some(self.connected()),
        };
        self.standings.iter().enumerate().filter_map(move |(number, standing)| {
            let is_known = match &known {
                Some(connected) => connected.contains(&number),
                None => standing.default || standing.met_default,
            };
            is_known.then_some(standing)
        })
    }

    /// Numbers of those that shared workloads lead to from the one that met the most others.
    fn connected(&self) -> BTreeSet<usize> {
        let met = |number: usize| {
            let own = &self.standings[number];
            (0..self.standings.len()).filter(move |&other| own.met(&self.standings[other]))
        };
        let first = (0..self.standings.len()).min_by_key(|&number| {
            (Reverse(met(number).count()), Reverse(self.standings[number].runs.len()), number)
        });
        let mut found: BTreeSet<usize> = first.into_iter().collect();
        let mut frontier: Vec<usize> = found.iter().copied().collect();
        while let Some(number) = frontier.pop() {
            frontier.extend(met(number).filter(|&other| found.insert(other)));
        }
        found
    }

    /// Algorithms that may win: the default and those that beat it; where there is no default,
    /// every comparable one.
    fn members(&self) -> Vec<&Standing<'a>> {
        let may_win = |standing: &&Standing<'a>| {
            self.default.is_none()
                || standing.default
                || standing.against_default == AgainstDefault::Beat
        };
        self.comparable().filter(may_win).collect()
    }

    fn decision(&self, device: &DeviceIdentity, key: &ShapeKey) -> Option<Decision> {
        let members = self.members();
        let winner = choose(&rank(&members, self.reference()), self.reference())?;
        let comparable: Vec<&Standing<'a>> = self.comparable().collect();
        let ranking = rank(&comparable, self.reference());
        let leader = ranking.first()?;
        let is_safe = |one: &&Ranked<'_, 'a>| {
            one.is_within(SAFE_MARGIN, leader, self.reference()) || one.standing.algo == winner.algo
        };
        let mut safe: Vec<AlgoId> =
            ranking.iter().filter(is_safe).map(|one| one.standing.algo.clone()).collect();
        safe.sort_unstable();
        let without_libraries = winner.requires.and_then(|_| {
            self.best_without_libraries(&members)
                .or_else(|| self.best_without_libraries(&comparable))
        });
        let mut others = ranking.iter().filter(|one| one.standing.algo != winner.algo);
        Some(Decision {
            device: device.clone(),
            key: *key,
            winner: winner.algo.clone(),
            runner_up: others.next().map(|one| one.standing.algo.clone()),
            without_libraries: without_libraries.map(|standing| standing.algo.clone()),
            safe,
        })
    }

    fn best_without_libraries<'s>(
        &self,
        standings: &[&'s Standing<'a>],
    ) -> Option<&'s Standing<'a>> {
        let free = standings.iter().copied().filter(|standing| standing.requires.is_none());
        choose(&rank(&free.collect::<Vec<_>>(), self.reference()), self.reference())
    }
}

/// The winner of a ranking: of those that noise does not tell from the leader the one that ships,
/// else the default, else the least id.
fn choose<'s, 'a>(
    ranking: &[Ranked<'s, 'a>],
    reference: Option<&Standing<'a>>,
) -> Option<&'s Standing<'a>> {
    let leader = ranking.first()?;
    let ties = ranking.iter().filter(|one| one.ties_with(leader, 0.0, reference));
    let preference = |one: &&'s Standing<'a>| (!one.shipped, !one.default, one.algo);
    ties.map(|one| one.standing).min_by_key(preference)
}
