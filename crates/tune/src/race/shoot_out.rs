//! The shoot-out: more rounds for those about whom the decision could go either way.
//!
//! Ties are decided by who is preferred, so a preferred candidate wins or not by the side of the band of
//! noise on which it lies. Where its distance from the leader is that of the edge, give or take its
//! error, two runs would differ; both run on, in the same rounds, until it is clear of the edge or as much
//! was measured as a policy allows.

use voxtune_cache::decide::{relative_noise, tie_band};

use super::lane::{Centre, Lane};
use super::policy::Policy;
use super::{Track, record};

/// Standard errors by which a distance must be off the edge of the band.
const CLEAR_BY: f64 = 2.5;

/// Few samples may lie together by chance: nobody's are believed to deviate less than this fraction.
const LEAST_DEVIATION: f64 = 0.002;

/// How much less certain the median of normal noise is than its mean: the root of half of π.
const MEDIAN_TO_MEAN: f64 = 1.2533;

/// Runs whoever is undecided, beside the leader, until nobody is. `ranks` are those of the lanes when
/// ties fall, the preferred one's the least.
pub(super) fn shoot_out<T: Track>(
    field: &mut [Lane<T::Failure>],
    ranks: &[usize],
    policy: &Policy,
    track: &mut T,
) {
    for round in 0.. {
        let due = undecided(field, ranks, policy);
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
fn undecided<F>(field: &[Lane<F>], ranks: &[usize], policy: &Policy) -> Vec<usize> {
    // Nobody else is looked at in the end.
    let may_win = |lane: &Lane<F>| lane.failure.is_none() && lane.proofs >= policy.proofs;
    let standings: Vec<(usize, Centre)> = (0..field.len())
        .filter(|&lane| may_win(&field[lane]))
        .filter_map(|lane| Some((lane, field[lane].centre()?)))
        .collect();
    let leader = standings.iter().min_by(|a, b| a.1.median_ns.total_cmp(&b.1.median_ns));
    let Some(&(leader, best)) = leader else { return Vec::new() };

    let sides = standings.iter().filter(|(lane, _)| *lane != leader);
    let sides: Vec<(usize, Side)> =
        sides.map(|(lane, centre)| (*lane, Side::of(centre, &best))).collect();
    let within = sides.iter().filter(|(_, side)| *side == Side::Within).map(|(lane, _)| *lane);
    let Some(preferred) = within.chain([leader]).map(|lane| ranks[lane]).min() else {
        return Vec::new();
    };
    let mut due: Vec<usize> = sides
        .into_iter()
        .filter(|(lane, side)| *side == Side::Unclear && ranks[*lane] < preferred)
        .map(|(lane, _)| lane)
        .filter(|&lane| field[lane].samples().count() < policy.most_in_shoot_out(&field[lane]))
        .collect();
    if !due.is_empty() {
        due.push(leader);
    }
    due
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
        let distance = centre.median_ns / best.median_ns - 1.0;
        let noise = [centre, best].map(|one| relative_noise(one.median_ns, one.spread_ns));
        let off = distance - tie_band(noise);
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

/// A standard error of the median.
fn relative_error(centre: &Centre) -> f64 {
    let least = LEAST_DEVIATION / (centre.samples as f64).sqrt();
    MEDIAN_TO_MEAN * (centre.error_ns() / centre.median_ns).max(least)
}
