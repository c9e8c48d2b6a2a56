//! Regret on made-up oracles.

use voxtune::Density;
use voxtune::VoxelBucket;
use voxtune_cache::{Evidence, decide};

use super::*;
use crate::samples::RaceSamples;
use crate::testing::{candidate, race};
use voxtune_tune::testing::record;

/// A race at so many rows and pairs per row in which `algo` is best and the default takes twice as
/// long.
fn samples(rows: usize, pairs_per_row: usize, times: &[(&str, u64)]) -> RaceSamples {
    let candidates =
        times.iter().map(|&(algo, ns)| candidate(algo, algo == "slow", &[ns, ns + 1, ns + 2]));
    let mut race = race(candidates.collect());
    race.entry.key = ShapeKey::new(race.entry.key.operation, rows, rows, rows * pairs_per_row);
    race.entry.workload.rows_out = rows as u64;
    race
}

fn oracle(rows: usize, pairs_per_row: usize, times: &[(&str, u64)]) -> Race {
    Race::of_samples(&samples(rows, pairs_per_row, times)).unwrap()
}

fn judged(races: &[Race], cache: &Population, against: Option<&Population>) -> Report {
    assess(races, cache, against, &mut Registries::new())
}

fn decision(race: &Race, winner: &str) -> Decision {
    Decision {
        device: race.entry.device.clone(),
        key: race.entry.key,
        winner: winner.parse().unwrap(),
        runner_up: None,
        without_libraries: None,
        safe: Vec::new(),
    }
}

/// A population that says nothing of why.
fn population(decisions: impl IntoIterator<Item = Decision>) -> Population {
    Population { decisions: decisions.into_iter().collect(), evidence: Evidence::new() }
}

fn percent(regret: f64) -> i64 {
    (regret * 100.0).round() as i64
}

#[test]
fn stored_choices_default_and_transfers() {
    let times = [("slow", 3_000_000), ("a", 1_000_000), ("b", 1_100_000)];
    let here = oracle(1000, 5, &times);
    let fewer = oracle(500, 5, &times);
    let denser = oracle(1000, 9, &times);
    assert_eq!(fewer.entry.key.bucket_out.distance(here.entry.key.bucket_out), 1);
    assert_eq!(denser.entry.key.density.distance(here.entry.key.density), 1);
    let cache =
        population([decision(&here, "b"), decision(&fewer, "a"), decision(&denser, "slow")]);
    let report = judged(&[here, fewer, denser], &cache, None);
    assert_eq!(report.races, 3);
    let cached: Vec<i64> = report.cached.points.iter().map(|one| percent(one.regret)).collect();
    assert_eq!(cached, [200, 10, 0]);
    assert_eq!(report.default.regret.unwrap().count, 3);
    assert_eq!(percent(report.default.regret.unwrap().median), 200);
    // `here` borrows "a" from half its rows, which borrows "b" in return; nobody is next to
    // `denser`.
    let bucket: Vec<i64> =
        report.bucket_transfer.points.iter().map(|one| percent(one.regret)).collect();
    assert_eq!((bucket, report.bucket_transfer.without_choice), (vec![10, 0], 1));
    let density: Vec<i64> =
        report.density_transfer.points.iter().map(|one| percent(one.regret)).collect();
    assert_eq!((density, report.density_transfer.without_choice), (vec![200, 10], 1));
    assert_eq!(report.flips, None);
}

#[test]
fn what_cannot_be_compared_is_counted() {
    let mut here = samples(1000, 5, &[("slow", 300), ("a", 100)]);
    here.candidates[1].failed = true;
    let here = Race::of_samples(&here).unwrap();
    let elsewhere = oracle(9000, 5, &[("slow", 300)]);
    let cache = population([decision(&here, "a")]);
    let report = judged(&[here, elsewhere], &cache, None);
    let Comparison { regret, without_choice, not_measured, unraced, points } = report.cached;
    assert_eq!((regret, without_choice, not_measured, points.len()), (None, 1, 1, 0));
    assert_eq!(unraced.len(), 1);
    let worst = report.default.regret.unwrap().worst;
    assert_eq!(worst, 0.0, "who failed is no oracle");
}

#[test]
fn flips_cost_what_lies_between_the_winners() {
    let times = [("slow", 3_000_000), ("a", 1_000_000), ("b", 1_020_000)];
    let races: Vec<Race> =
        [1000, 3000, 9000, 30_000].iter().map(|&rows| oracle(rows, 5, &times)).collect();
    let decided = |winners: [&str; 4]| {
        population(races.iter().zip(winners).map(|(race, winner)| decision(race, winner)))
    };
    let report =
        judged(&races, &decided(["a", "a", "a", "b"]), Some(&decided(["a", "b", "a", "b"])));
    let flips = report.flips.unwrap();
    assert_eq!((flips.keys, flips.flipped.len(), flips.rate()), (4, 1, 0.25));
    assert_eq!(percent(flips.cost.unwrap().worst), 2);
    assert_eq!(flips.beyond_noise()[0].slower_by, [None, None], "nobody knows why");
}

/// On the edge of the band one run finds a tie and the other does not; far from it they contradict
/// each other.
#[test]
fn flips_on_the_edge_of_the_band_are_noise() {
    let entry = oracle(1000, 5, &[("a", 1_000_000)]).entry;
    let run = |times_ns: [(&str, u64); 2]| {
        let mut evidence = Evidence::new();
        for (algo, median_ns) in times_ns {
            evidence.insert(entry.clone(), record(algo, 1, median_ns)).unwrap();
        }
        Population { decisions: decide(&evidence), evidence }
    };
    let flips = |first, second| judged(&[], &run(first), Some(&run(second))).flips.unwrap();
    // The band is as wide as two steps of the timer, five percent here.
    let edge = flips([("a", 21_000), ("b", 20_100)], [("a", 21_100), ("b", 20_000)]);
    assert_eq!((edge.flipped.len(), edge.beyond_noise().len()), (1, 0));
    let by = edge.flipped[0].slower_by.map(|by| percent(by.unwrap() * 10.0));
    assert_eq!(by, [-43, 55], "the preferred one won although it was slower");
    let apart = flips([("a", 20_000), ("b", 30_000)], [("a", 30_000), ("b", 20_000)]);
    assert_eq!((apart.flipped.len(), apart.beyond_noise().len()), (1, 1));
    let same = flips([("a", 20_000), ("b", 30_000)], [("a", 20_000), ("b", 25_000)]);
    assert_eq!((same.keys, same.flipped.len()), (1, 0));
}

#[test]
fn keys_are_octaves_apart() {
    // What the transfers rely on: neighbours are one class away.
    assert_eq!(VoxelBucket::of(500).distance(VoxelBucket::of(1000)), 1);
    assert_eq!(Density::of(5000, 1000).distance(Density::of(9000, 1000)), 1);
}

#[test]
fn a_plot_shows_what_there_is() {
    let times = [("slow", 3_000_000), ("a", 1_000_000), ("b", 1_100_000)];
    let here = oracle(1000, 5, &times);
    let cache = population([decision(&here, "b")]);
    let svg = plot_svg(&judged(&[here], &cache, None)).unwrap();
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{svg}");
    assert!(svg.contains("the default instead (1)"), "{svg}");
    assert!(!svg.contains("neighbouring"), "{svg}");
    // Nothing to show is a picture too.
    let svg = plot_svg(&judged(&[], &cache, None)).unwrap();
    assert!(!svg.contains("instead"), "{svg}");
}
