//! Algorithms against each other, two at a time, on the workloads that both were measured on.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::standing::Standing;
use super::timer::tie_band;

/// One algorithm among others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ranked<'s, 'a> {
    pub(super) standing: &'s Standing<'a>,
    /// The natural logarithm of its time divided by that of the candidate it lost to by most; 0 if
    /// to none.
    pub(super) defeat: f64,
    /// Up to which fraction it ties with that one.
    band: f64,
    /// How many of the others share a workload with it.
    opponents: usize,
}

impl<'a> Ranked<'_, 'a> {
    /// The leader comes first: the least defeat, and of those without any the one that met the most
    /// others.
    fn order(&self, other: &Self) -> Ordering {
        self.defeat
            .total_cmp(&other.defeat)
            .then_with(|| other.opponents.cmp(&self.opponents))
            .then_with(|| self.standing.algo.cmp(other.standing.algo))
    }

    /// Whether noise, or this margin, does not tell it from a leader.
    pub(super) fn ties_with(
        &self,
        leader: &Self,
        margin: f64,
        reference: Option<&Standing<'a>>,
    ) -> bool {
        self.is_within(self.band.max(margin), leader, reference)
    }

    /// Whether it can be compared with a leader, and is not slower by more than this fraction.
    pub(super) fn is_within(
        &self,
        margin: f64,
        leader: &Self,
        reference: Option<&Standing<'a>>,
    ) -> bool {
        self.defeat <= leader.defeat + margin.ln_1p()
            && Ground::between(self.standing, leader.standing, reference).is_some()
    }
}

/// On what two algorithms can be compared.
enum Ground {
    /// Workloads that both were measured on.
    Shared(Vec<usize>),
    /// There is none, and each shares these with the reference.
    Through([Vec<usize>; 2]),
}

impl Ground {
    fn between(
        first: &Standing<'_>,
        second: &Standing<'_>,
        reference: Option<&Standing<'_>>,
    ) -> Option<Self> {
        let shared = first.shared(second);
        if !shared.is_empty() {
            return Some(Self::Shared(shared));
        }
        let through = [first, second].map(|one| reference.map(|other| one.shared(other)));
        let [Some(first), Some(second)] = through else { return None };
        (!first.is_empty() && !second.is_empty()).then_some(Self::Through([first, second]))
    }

    /// The workloads of the first and of the second.
    fn workloads(&self) -> [&[usize]; 2] {
        match self {
            Self::Shared(shared) => [shared, shared],
            Self::Through([first, second]) => [first, second],
        }
    }

    /// The mean logarithm of an algorithm's time on these workloads, over the reference's where two
    /// are compared through it.
    fn log(
        &self,
        standing: &Standing<'_>,
        workloads: &[usize],
        reference: Option<&Standing<'_>>,
    ) -> f64 {
        let own = standing.mean(workloads, |run| run.log_ns);
        match (self, reference) {
            (Self::Through(_), Some(reference)) => {
                own - reference.mean(workloads, |run| run.log_ns)
            }
            _ => own,
        }
    }
}

/// Two algorithms against each other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair {
    /// The natural logarithm of the second one's time divided by the first one's.
    pub(super) log_ratio: f64,
    /// Up to which fraction they tie.
    pub(super) band: f64,
    /// A standard error of the ratio, as a fraction.
    pub(super) error: f64,
}

impl Pair {
    /// `None` if they share no workload.
    pub(super) fn of(first: &Standing<'_>, second: &Standing<'_>) -> Option<Self> {
        let shared = first.shared(second);
        if shared.is_empty() {
            return None;
        }
        let [first_log, second_log] =
            [first, second].map(|one| one.mean(&shared, |run| run.log_ns));
        let noise = [first, second].map(|one| one.mean(&shared, |run| run.relative_noise));
        let [first_error, second_error] = [first, second].map(|one| {
            let squares = one.mean(&shared, |run| run.relative_error.powi(2));
            (squares / shared.len() as f64).sqrt()
        });
        Some(Self {
            log_ratio: second_log - first_log,
            band: tie_band(noise),
            error: first_error.hypot(second_error),
        })
    }
}

/// Ranks algorithms by their worst defeats; those without a workload in common are compared by what
/// each did against the reference.
///
/// A candidate is compared with the best of those that were measured on the same workloads. So this
/// takes as long as there are algorithms, unless there are as many sets of workloads.
pub(super) fn rank<'s, 'a>(
    members: &[&'s Standing<'a>],
    reference: Option<&Standing<'a>>,
) -> Vec<Ranked<'s, 'a>> {
    let mut groups: BTreeMap<Vec<usize>, Vec<&'s Standing<'a>>> = BTreeMap::new();
    for &member in members {
        groups.entry(member.runs.keys().copied().collect()).or_default().push(member);
    }
    let mut ranking = Vec::with_capacity(members.len());
    for own in groups.values() {
        let first = ranking.len();
        ranking.extend(own.iter().map(|&standing| Ranked {
            standing,
            defeat: 0.0,
            band: tie_band([0.0; 2]),
            opponents: 0,
        }));
        for others in groups.values() {
            let Some(ground) = Ground::between(own[0], others[0], reference) else { continue };
            let [here, there] = ground.workloads();
            let log = |one: &Standing<'_>, workloads| ground.log(one, workloads, reference);
            let logs = others.iter().map(|&opponent| (log(opponent, there), opponent));
            let best = logs.min_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.algo.cmp(b.1.algo)));
            let Some((best_log, best)) = best else { continue };
            let met = if matches!(ground, Ground::Shared(_)) { others.len() } else { 0 };
            let noise = |one: &Standing<'_>, on: &[usize]| one.mean(on, |run| run.relative_noise);
            let best_noise = noise(best, there);
            for ranked in &mut ranking[first..] {
                ranked.opponents += met;
                let defeat = log(ranked.standing, here) - best_log;
                if defeat > ranked.defeat {
                    ranked.defeat = defeat;
                    ranked.band = tie_band([noise(ranked.standing, here), best_noise]);
                }
            }
        }
    }
    ranking.sort_by(Ranked::order);
    ranking
}
