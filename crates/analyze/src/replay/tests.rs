//! Policies against each other on made-up records.

use std::convert::Infallible;

use super::*;
use crate::testing::{candidate, race};

/// SplitMix64, as numbers in [-1, 1).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (bits ^ (bits >> 31)) as f64 / u64::MAX as f64 * 2.0 - 1.0
    }
}

/// Races of candidates whose times are known, with noise of this share, recorded for many rounds.
fn races(count: usize, noise_share: f64) -> Vec<RaceSamples> {
    const ROUNDS: usize = 40;
    let mut noise = Noise(7);
    (0..count)
        .map(|_| {
            let candidates = (0..8).map(|number| {
                // From the best to 3.8 times as much, the default in the middle.
                let ns = 100_000.0 * (1.0 + 0.4 * f64::from(number));
                let samples: Vec<u64> =
                    (0..ROUNDS).map(|_| (ns * (1.0 + noise_share * noise.next())) as u64).collect();
                candidate(&format!("algo{number}"), number == 4, &samples)
            });
            race(candidates.collect())
        })
        .collect()
}

fn reports(races: &[RaceSamples], policies: &[&str]) -> Vec<PolicyReport> {
    let policies: Vec<SearchPolicy> = policies.iter().map(|text| text.parse().unwrap()).collect();
    let races = races.iter().cloned().map(Ok::<_, Infallible>);
    replay(races, &policies).unwrap()
}

#[test]
fn a_race_is_cheaper_and_as_good() {
    let races = races(20, 0.05);
    let [race, rounds, all] = &reports(&races, &["race", "rounds:samples=11", "exhaustive"])[..]
    else {
        panic!()
    };
    for report in [race, rounds, all] {
        assert_eq!((report.races, report.undecided, report.repeated_samples), (20, 0, 0));
        assert_eq!(report.regret.unwrap().worst, 0.0, "{report:?}");
        assert_eq!((report.halved, report.flips), (20, 0));
    }
    assert!(race.kernel_seconds < 0.4 * rounds.kernel_seconds, "{race:?} {rounds:?}");
    assert_eq!(all.kernel_seconds, all.recorded_kernel_seconds);
    assert_eq!(all.samples, 20 * 8 * 40);
}

/// Two candidates whose distance is that of the edge of the band of noise, more or less: who wins
/// by its name is left to chance.
#[test]
fn a_shoot_out_makes_near_ties_fall_alike() {
    let mut noise = Noise(3);
    let races: Vec<RaceSamples> = (0..100)
        .map(|number| {
            let behind = 1.006 + 0.008 * f64::from(number) / 99.0;
            let mut samples = |ns: f64| -> Vec<u64> {
                (0..240).map(|_| (ns * (1.0 + 0.008 * noise.next())) as u64).collect()
            };
            let candidates = [
                candidate("a", false, &samples(200_000.0 * behind)),
                candidate("b", false, &samples(200_000.0)),
            ];
            let mut race = race(candidates.into());
            // There are none on a CPU.
            race.entry.device.arch = "sm_90".parse().unwrap();
            race
        })
        .collect();
    let [without, with] = &reports(&races, &["race:shootout=0", "race"])[..] else { panic!() };
    assert!(2 * with.flips <= without.flips && without.flips > 10, "{with:?} {without:?}");
}

#[test]
fn one_noisy_sample_each_is_worse() {
    let races = races(60, 0.5);
    let [one, all] =
        &reports(&races, &["rounds:samples=1:pick=fastest", "exhaustive:pick=fastest"])[..]
    else {
        panic!()
    };
    assert_eq!(all.regret.unwrap().worst, 0.0, "{all:?}");
    assert!(one.regret.unwrap().mean > 0.02, "{one:?}");
    assert!(one.flips > all.flips && one.worst_entry.is_some(), "{one:?} {all:?}");
    assert!(one.kernel_seconds < all.kernel_seconds / 30.0);
}

#[test]
fn regret_is_the_distance_from_the_best() {
    // The first sample of the best misleads: it looks slower than that of the next.
    let races = [race(vec![
        candidate("a", true, &[130, 100, 100]),
        candidate("b", false, &[120, 125, 130]),
    ])];
    let report = &reports(&races, &["rounds:samples=1:pick=fastest"])[0];
    assert!((report.regret.unwrap().worst - 0.25).abs() < 1e-12, "{report:?}");
    assert_eq!(report.kernel_seconds, 250e-9);
    assert_eq!(report.recorded_kernel_seconds, 705e-9);
}

#[test]
fn the_tuner_keeps_the_default_in_a_tie_and_the_fastest_does_not() {
    let races = [race(vec![
        candidate("a", false, &[99_900, 99_900, 99_900]),
        candidate("b", true, &[100_000, 100_000, 100_000]),
    ])];
    let [decide, fastest] = &reports(&races, &["exhaustive", "exhaustive:pick=fastest"])[..] else {
        panic!()
    };
    assert!(decide.regret.unwrap().worst > 0.0, "{decide:?}");
    assert_eq!(fastest.regret.unwrap().worst, 0.0, "{fastest:?}");
}

#[test]
fn samples_beyond_the_record_are_repeated_and_counted() {
    let races = [race(vec![candidate("a", true, &[100, 110]), candidate("b", false, &[500])])];
    let report = &reports(&races, &["rounds:samples=5"])[0];
    assert_eq!((report.samples, report.repeated_samples), (10, 3 + 4));
}

#[test]
fn whoever_failed_cannot_be_chosen() {
    let mut broken = candidate("a", false, &[10, 10]);
    broken.failed = true;
    let alone = race(vec![broken.clone()]);
    let races = [race(vec![broken, candidate("b", true, &[100, 100])]), alone];
    for policy in ["race", "exhaustive", "rounds:samples=3:pick=fastest"] {
        let report = &reports(&races, &[policy])[0];
        assert_eq!((report.races, report.undecided), (2, 1), "{policy}");
        assert_eq!(report.regret.unwrap().worst, 0.0, "{policy}");
    }
}

#[test]
fn halves_share_what_cannot_be_halved() {
    assert!(halves(&race(vec![candidate("a", true, &[1]), candidate("b", false, &[2])])).is_none());
    let [even, odd] =
        halves(&race(vec![candidate("a", true, &[1, 2, 3]), candidate("b", false, &[4])])).unwrap();
    let samples = |race: &RaceSamples| -> Vec<Vec<u64>> {
        race.candidates.iter().map(|candidate| candidate.samples().collect()).collect()
    };
    assert_eq!(samples(&even), [vec![1, 3], vec![4]]);
    assert_eq!(samples(&odd), [vec![2], vec![4]]);
}
