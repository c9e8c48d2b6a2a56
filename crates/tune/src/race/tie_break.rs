//! The shoot-out: more rounds for those about whom the decision could go either way.
//!
//! Ties are decided by who is preferred, so a preferred candidate wins or not by the side of the band of
//! noise on which it lies. Where its distance from the leader is that of the edge, give or take its
//! error, two runs would differ; both run on, in the same rounds, until it is clear of the edge or as much
//! was measured as a policy allows. So do a winner and the default that it has not yet beaten in the rounds in
//! which both ran: of a few rounds, one late sample says otherwise.

use voxtune_cache::decide::{Timer, beats_default, tie_band};
use voxtune_cache::timing::standard_error;

use super::policy::Policy;
use super::sampler::Track;
use super::samples::{Centre, Lane, record};
use super::summarize::ratio_interval;

/// Standard errors by which a distance must be off the edge of the band.
const CLEAR_BY: f64 = 3.0;

/// Few samples may lie together by chance: nobody's are believed to deviate less than this fraction in the
/// median, or less than [`LEAST_SPREAD_NS`]. On an H100 about half do.
const LEAST_SPREAD: f64 = 0.0027;

/// See [`LEAST_SPREAD`].
const LEAST_SPREAD_NS: f64 = 200.0;

/// Runs whoever is undecided, beside the leader, until nobody is. `ranks` are those of the lanes when
/// ties fall, the preferred one's the least.
pub(super) fn shoot_out<T: Track>(
    field: &mut [Lane<T::Failure>],
    ranks: &[usize],
    default: Option<usize>,
    policy: &Policy,
    track: &mut T,
) {
    for round in 0.. {
        let due = undecided(field, ranks, default, policy);
        if due.is_empty() {
            return;
        }
        for step in 0..field.len() {
            let lane = (step + round) % field.len();
            if track.interrupted() {
                return;
            }
            if due.contains(&lane) {
                record(&mut field[lane], track.sample(lane));
            } else {
                field[lane].rounds.push(None);
            }
        }
    }
}

/// The leader and those who may take its win from it or not, as far as is known; empty if all is clear.
fn undecided<F>(
    field: &[Lane<F>],
    ranks: &[usize],
    default: Option<usize>,
    policy: &Policy,
) -> Vec<usize> {
    // Nobody else is looked at in the end.
    let may_win = |lane: &Lane<F>| lane.failure.is_none() && lane.proofs >= policy.proofs;
    let standings: Vec<(usize, Centre)> = (0..field.len())
        .filter(|&lane| may_win(&field[lane]))
        .filter_map(|lane| Some((lane, field[lane].centre()?)))
        .collect();
    let leader = standings.iter().min_by(|a, b| a.1.decisive_ns().total_cmp(&b.1.decisive_ns()));
    let Some(&(leader, best)) = leader else { return Vec::new() };

    let sides = standings.iter().filter(|(lane, _)| *lane != leader);
    let sides: Vec<(usize, Side)> =
        sides.map(|(lane, centre)| (*lane, Side::of(centre, &best))).collect();
    let within = sides.iter().filter(|(_, side)| *side == Side::Within).map(|(lane, _)| *lane);
    let Some(preferred) = within.chain([leader]).min_by_key(|&lane| ranks[lane]) else {
        return Vec::new();
    };
    let may_go_on =
        |lane: usize| field[lane].samples().count() < policy.most_in_shoot_out(&field[lane]);
    let mut due: Vec<usize> = sides
        .iter()
        .filter(|(lane, side)| *side == Side::Unclear && ranks[*lane] < ranks[preferred])
        .map(|(lane, _)| *lane)
        .filter(|&lane| may_go_on(lane))
        .collect();
    let beyond = |lane| sides.iter().any(|&(other, side)| other == lane && side == Side::Beyond);
    if let Some(default) = default.filter(|&default| beyond(default) && may_go_on(default))
        && !beats(&field[preferred], &field[default])
    {
        due.extend([default, preferred]);
    }
    if !due.is_empty() {
        due.push(leader);
    }
    due
}

/// Whether a candidate beat the default as decisions ask for.
fn beats<F>(lane: &Lane<F>, default: &Lane<F>) -> bool {
    let default_min_ns = default.least_ns().map(|least_ns| least_ns as f64);
    ratio_interval(&lane.ratios_to(default))
        .zip(lane.centre())
        .is_some_and(|(ratio, centre)| beats_default(ratio, centre.median_ns, default_min_ns))
}

/// Where a candidate lies beside the band of noise around the leader.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Within,
    Unclear,
    Beyond,
}

impl Side {
    fn of(centre: &Centre, best: &Centre) -> Self {
        let distance = centre.decisive_ns() / best.decisive_ns() - 1.0;
        let off = distance - tie_band([centre, best].map(noise));
        let [own, other] = [centre, best].map(relative_error);
        let error = own.hypot(other);
        if off.abs() <= CLEAR_BY * error {
            Self::Unclear
        } else if off < 0.0 {
            Self::Within
        } else {
            Self::Beyond
        }
    }
}

/// As decisions have it: only a GPU is quick enough for shoot-outs.
fn noise(centre: &Centre) -> f64 {
    Timer::Gpu.relative_noise(centre.decisive_ns(), centre.spread_ns)
}

/// A standard error of what decisions compare.
fn relative_error(centre: &Centre) -> f64 {
    let least_ns = (LEAST_SPREAD * centre.median_ns).max(LEAST_SPREAD_NS);
    standard_error(centre.spread_ns.max(least_ns), centre.samples) / centre.median_ns
}
