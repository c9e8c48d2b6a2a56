//! What partial runs, merges and few rounds must not do to a decision.

use std::slice;

use proptest::prelude::*;
use voxtune_cache::{
    CacheDir, Decision, EntryKey, Evidence, Inconsistency, Interval, Outcome, Record, Timing,
    audit, decide, decide_key, decode_decisions, decode_evidence,
};
use voxtune_types::{Arch, CpuIsa, DeviceIdentity};

use crate::samples::{algo, device_of, entry_on, operation, record};

fn host() -> DeviceIdentity {
    device_of(Arch::Cpu(CpuIsa::X86Avx2), "a host", 2)
}

/// Workloads of one key.
fn workload(number: usize) -> EntryKey {
    entry_on(&format!("cloud{number}"), &host(), operation(8, 8), 2_000, 9_000)
}

/// What a run left on one workload: who took how many microseconds in so many rounds, one for each
/// candidate. The one called `d` is the default.
fn race(number: usize, samples: u32, times_us: &[(&str, f64)]) -> Evidence {
    let default = times_us.iter().find(|(name, _)| *name == "d").map(|(_, us)| *us);
    let mut evidence = Evidence::new();
    for (name, us) in times_us {
        let ratio = default.map(|default| us / default);
        let interval =
            |ratio: f64| Interval { low: ratio * 0.995, median: ratio, high: ratio * 1.005 };
        let timing = Timing {
            median_ns: (us * 1e3) as u64,
            spread_ns: (us * 2.0) as u64,
            min_ns: (us * 995.0) as u64,
            samples,
            clock_mhz: None,
            ratio_to_default: ratio.map(interval),
            max_error: 0.0,
            charge: None,
        };
        let outcome = Outcome::Measured(timing);
        let record = Record { default: *name == "d", ..record(name, outcome) };
        evidence.insert(workload(number), record).unwrap();
    }
    evidence
}

fn union(parts: &[Evidence]) -> Evidence {
    let mut all = Evidence::new();
    for part in parts {
        all.merge(part.clone());
    }
    all
}

fn decision(parts: &[Evidence]) -> Decision {
    let all = union(parts);
    let key = workload(0);
    let decision = decide(&all).get(&key.device, &key.key).unwrap();
    assert_eq!(decide_key(&all, &key.device, &key.key).as_ref(), Some(&decision));
    let reversed: Vec<Evidence> = parts.iter().rev().cloned().collect();
    assert_eq!(decide(&union(&reversed)), decide(&all), "the order matters");
    decision
}

fn winner(parts: &[Evidence]) -> String {
    decision(parts).winner.to_string()
}

/// All candidates on the first workload.
fn full() -> Evidence {
    race(0, 11, &[("d", 60_000.0), ("best", 53_000.0), ("middling", 57_000.0), ("slow", 90_000.0)])
}

#[test]
fn f01_a_partial_run_over_another_cloud_displaces_nobody() {
    for name in ["slow", "middling", "d"] {
        let alone = race(1, 11, &[(name, 20_000.0)]);
        let decision = decision(&[full(), alone]);
        assert_eq!(decision.winner, algo("best"), "{name}");
        assert_eq!(decision.runner_up, Some(algo("middling")), "{name}");
        assert!(!decision.safe.contains(&algo("slow")), "{name}: {decision:?}");
    }
    // Nor do two of them, with the default or without.
    for pair in [["slow", "middling"], ["slow", "d"], ["middling", "d"]] {
        let two =
            race(1, 11, &pair.map(|name| (name, if name == "d" { 61_000.0 } else { 58_000.0 })));
        assert_eq!(winner(&[full(), two]), "best", "{pair:?}");
    }
}

#[test]
fn f01_a_stranger_to_the_default_is_neither_winner_nor_safe() {
    let decision = decision(&[full(), race(1, 11, &[("a", 10_000.0), ("b", 11_000.0)])]);
    assert_eq!(decision.winner, algo("best"));
    assert_eq!(decision.runner_up, Some(algo("middling")));
    assert!(decision.safe.iter().all(|id| !["a", "b"].contains(&id.as_str())), "{decision:?}");
}

#[test]
fn f01_those_that_never_met_are_compared_by_the_default() {
    let first = race(0, 11, &[("d", 100_000.0), ("x", 50_000.0)]);
    // On a workload that takes less time, `e` is quicker than `x` ever was.
    let second = race(1, 11, &[("d", 50_000.0), ("e", 40_000.0)]);
    let decision = decision(&[first, second]);
    assert_eq!((decision.winner, decision.runner_up), (algo("x"), Some(algo("e"))));
}

#[test]
fn f01_without_a_default_a_candidate_that_lost_does_not_win() {
    let first = || race(0, 11, &[("x", 50_000.0), ("m", 57_000.0), ("z", 90_000.0)]);
    assert_eq!(winner(&[first(), race(1, 11, &[("m", 10_000.0)])]), "x");
    assert_eq!(winner(&[first(), race(1, 11, &[("m", 10_000.0), ("z", 12_000.0)])]), "x");
    // Nor does who met nobody.
    assert_eq!(winner(&[first(), race(1, 11, &[("a", 10.0)])]), "x");
}

#[test]
fn f01_who_lost_to_the_default_on_one_workload_leaves_it_in_its_place() {
    let first = race(0, 11, &[("d", 100_000.0), ("x", 50_000.0)]);
    let second = race(1, 11, &[("d", 100_000.0), ("x", 120_000.0)]);
    assert_eq!(winner(&[first.clone(), second.clone()]), "d");
    // An opponent that beat it takes both places.
    let third = race(1, 11, &[("d", 100_000.0), ("x", 120_000.0), ("y", 80_000.0)]);
    assert_eq!(winner(&[first, third]), "y");
}

/// `u` looks fastest and has not beaten the default; `z` has, by more than noise: the default lost
/// to it.
#[test]
fn f01_the_default_does_not_hide_behind_who_proved_nothing() {
    let mut all = race(0, 11, &[("d", 100_000.0), ("z", 93_000.0)]);
    let mut unproven = race(0, 11, &[("d", 100_000.0), ("u", 92_000.0)]);
    let entry = workload(0);
    let mut record = unproven.records(&entry).unwrap().iter().last().unwrap().clone();
    let Outcome::Measured(timing) = &mut record.outcome else { unreachable!() };
    timing.ratio_to_default = Some(Interval { low: 0.7, median: 0.92, high: 1.3 });
    unproven.retain(|_, _| false);
    all.insert(entry, record).unwrap();
    assert_eq!(winner(&[all]), "z");
}

/// In session A everything takes two thirds of what it takes in B, and `x` beats `y` in both.
#[test]
fn f08_who_lost_in_both_sessions_does_not_win_their_merge() {
    for slower in [1.03, 1.08, 1.5, 4.0] {
        let times = |scale: f64| {
            [("d", 100_000.0 * scale), ("x", 70_000.0 * scale), ("y", 80_000.0 * scale)]
        };
        let (fast, slow) = (race(0, 9, &times(1.0)), race(0, 9, &times(slower)));
        assert_eq!(
            (winner(slice::from_ref(&fast)).as_str(), winner(slice::from_ref(&slow)).as_str()),
            ("x", "x")
        );
        // Whichever record of each a merge keeps.
        for kept in 0..8_u32 {
            let mut mixed = Evidence::new();
            for (number, name) in ["d", "x", "y"].into_iter().enumerate() {
                let from = if kept >> number & 1 == 0 { &fast } else { &slow };
                let records = from.records(&workload(0)).unwrap().iter();
                let record = records.clone().find(|record| record.algo == algo(name)).unwrap();
                mixed.insert(workload(0), record.clone()).unwrap();
            }
            let decision = decision(&[mixed]);
            assert_eq!(decision.winner, algo("x"), "{slower} {kept:03b}");
            assert_eq!(decision.runner_up, Some(algo("y")), "{slower} {kept:03b}");
        }
    }
}

/// A record without a ratio is of a run without the default: one that raced beside it is kept in
/// its stead.
#[test]
fn f08_a_merge_keeps_the_record_that_met_the_default() {
    let ranked = race(0, 3, &[("d", 100_000.0), ("x", 53_000.0), ("e", 108_000.0)]);
    let quick_hour = race(0, 11, &[("e", 50_000.0)]);
    assert_eq!(winner(&[ranked, quick_hour]), "x");
    // And whoever has no other is not compared with the default at all.
    let ranked = race(0, 3, &[("d", 100_000.0), ("x", 53_000.0)]);
    assert_eq!(winner(&[ranked, race(0, 11, &[("e", 40_000.0)])]), "x");
}

#[test]
fn f09_fewer_than_three_rounds_prove_nothing() {
    for (samples, expected) in [(1, "d"), (2, "d"), (3, "x"), (9, "x")] {
        let once = race(0, samples, &[("d", 400_000.0), ("x", 94_000.0)]);
        assert_eq!(winner(&[once]), expected, "{samples} rounds");
        // They take nothing from what was proven elsewhere, unless they look like a defeat.
        let elsewhere = || race(1, 9, &[("d", 100_000.0), ("x", 50_000.0)]);
        let here = |us| race(0, samples, &[("d", 100_000.0), ("x", us)]);
        assert_eq!(winner(&[elsewhere(), here(94_000.0)]), "x", "{samples} rounds beside 9");
        assert_eq!(winner(&[elsewhere(), here(104_000.0)]), "d", "{samples} rounds beside 9");
    }
    // Rounds of different runs are not rounds of both.
    let apart = [race(0, 9, &[("x", 50_000.0)]), race(0, 9, &[("d", 100_000.0)])];
    assert_eq!(winner(&apart), "d");
}

/// Files that the rule of 0.1 wrote: a full ranking of one cloud, then one mediocre candidate on
/// another of the same key, which took everybody's place.
#[test]
fn f01_what_the_old_rule_decided_is_found_and_repaired() {
    const DECISIONS: &[u8] = include_bytes!("../fixtures/f01/cpu-x86_64-avx2.msgpack");
    const EVIDENCE: &[u8] = include_bytes!("../fixtures/f01/cpu-x86_64-avx2.evidence.msgpack");
    let stored = decode_decisions(DECISIONS, "cpu-x86_64-avx2.msgpack").unwrap();
    let evidence = decode_evidence(EVIDENCE, "cpu-x86_64-avx2.evidence.msgpack").unwrap();
    assert_eq!(stored.iter().next().unwrap().winner, algo("explicit_gemm"));
    let found = audit(&stored, &evidence);
    let [Inconsistency::Underived { derived, .. }] = &found[..] else { panic!("{found:?}") };
    assert_eq!(derived.winner, algo("implicit_gemm:rows=256:cols=32"));

    let folder = tempfile::tempdir().unwrap();
    let arch = Arch::Cpu(CpuIsa::X86Avx2);
    let caches = CacheDir::new(folder.path());
    std::fs::write(caches.decisions_path(arch), DECISIONS).unwrap();
    std::fs::write(caches.evidence_path(arch), EVIDENCE).unwrap();
    // Any update does, such as every populate and merge begins with.
    let wait = std::time::Duration::from_secs(5);
    assert!(caches.update(arch, wait, |_| ()).unwrap().decisions_written);
    let repaired = caches.read_decisions(arch).unwrap().unwrap();
    assert_eq!(repaired, decide(&evidence));
    assert!(audit(&repaired, &evidence).is_empty());
}

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// A run: a workload, a session's pace, who takes part (by bits), and rounds.
type PartialRun = (usize, u32, u8, u32);

fn runs() -> impl Strategy<Value = Vec<PartialRun>> {
    let pace = prop_oneof![3 => Just(100_u32), 1 => Just(104), 1 => Just(150), 1 => Just(70)];
    prop::collection::vec((0_usize..4, pace, 1_u8..64, 1_u32..7), 1..8)
}

/// How many times the default's each takes, on every workload; steps of a tenth, beyond any noise
/// of these.
fn ranks() -> impl Strategy<Value = Vec<usize>> {
    Just((0..NAMES.len()).collect::<Vec<_>>()).prop_shuffle()
}

/// Runs without the default have no ratio by which sessions could be told apart: they have one
/// pace.
fn of_one_pace_without_default(runs: &[PartialRun]) -> Vec<PartialRun> {
    let pace = |bits: u8, pace| if bits >> 3 & 1 == 1 { pace } else { 100 };
    runs.iter()
        .map(|&(number, own, bits, samples)| (number, pace(bits, own), bits, samples))
        .collect()
}

fn evidence_of(run: &PartialRun, ranks: &[usize]) -> Evidence {
    let &(number, pace, bits, samples) = run;
    let scale = f64::from(pace) / 100.0 * [10_000.0, 70_000.0, 500_000.0, 30_000.0][number];
    let present = NAMES.iter().enumerate().filter(|(index, _)| bits >> index & 1 == 1);
    let times: Vec<(&str, f64)> =
        present.map(|(index, name)| (*name, scale * 1.2_f64.powi(ranks[index] as i32))).collect();
    race(number, samples, &times)
}

/// Whether a run says that the first took less time than the second, in enough rounds beside the
/// default.
fn has_beaten_default(runs: &[PartialRun], ranks: &[usize], name: usize) -> bool {
    let default = 3;
    runs.iter().any(|(_, _, bits, samples)| {
        *samples >= 3 && bits >> name & 1 == 1 && bits >> default & 1 == 1
    }) && ranks[name] < ranks[default]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Each algorithm has one rank, so nobody can win by right who is behind another that met the
    /// default.
    #[test]
    fn f01_nobody_wins_who_lost(runs in runs(), ranks in ranks()) {
        let has_default = |run: &PartialRun| run.2 >> 3 & 1 == 1;
        let any_default = runs.iter().any(has_default);
        let runs = if any_default { runs } else { of_one_pace_without_default(&runs) };
        let parts: Vec<Evidence> = runs.iter().map(|run| evidence_of(run, &ranks)).collect();
        let decision = decision(&parts);
        let index = |id: &str| NAMES.iter().position(|name| *name == id).unwrap();
        let winner = index(decision.winner.as_str());
        let default = 3;
        if any_default {
            // Who lost to the default is not there, nor is who never met it.
            prop_assert!(ranks[winner] <= ranks[default], "{decision:?}");
            let beat = has_beaten_default(&runs, &ranks, winner);
            prop_assert!(winner == default || beat, "{decision:?}");
        } else {
            // Nobody in a run with the winner was quicker.
            for (number, ..) in &runs {
                let same = |other: &&PartialRun| other.0 == *number;
                let all = runs.iter().filter(same).fold(0, |all, other| all | other.2);
                if all >> winner & 1 == 0 {
                    continue;
                }
                for opponent in (0..NAMES.len()).filter(|opponent| all >> opponent & 1 == 1) {
                    prop_assert!(ranks[winner] <= ranks[opponent], "{decision:?}");
                }
            }
        }
        prop_assert!(decision.safe.contains(&decision.winner));
    }

    /// Records of sessions whose paces differ by less than any noise, whichever a merge keeps:
    /// who lost to another in each of them does not win.
    #[test]
    fn f08_who_lost_by_little_in_every_session_does_not_win_their_merge(
        paces in prop::collection::vec(90_u32..116, 2..5),
        kept in prop::collection::vec(0_usize..4, NAMES.len()),
        ranks in ranks(),
        step in 103_u32..112,
    ) {
        let step = f64::from(step) / 100.0;
        let mut mixed = Evidence::new();
        for (index, name) in NAMES.iter().enumerate() {
            let pace = f64::from(paces[kept[index] % paces.len()]) / 100.0;
            let times: Vec<(&str, f64)> = NAMES
                .iter()
                .zip(&ranks)
                .map(|(name, rank)| (*name, 100_000.0 * pace * step.powi(*rank as i32)))
                .collect();
            let session = race(0, 9, &times);
            let mut records = session.records(&workload(0)).unwrap().iter();
            let record = records.find(|record| record.algo == algo(name)).unwrap();
            mixed.insert(workload(0), record.clone()).unwrap();
        }
        let best = |rank: usize| NAMES[ranks.iter().position(|other| *other == rank).unwrap()];
        let decision = decision(&[mixed]);
        prop_assert_eq!(&decision.winner, &algo(best(0)));
        prop_assert_eq!(decision.runner_up, Some(algo(best(1))));
    }

    /// A run without the default takes nobody's place, whatever it measured.
    #[test]
    fn f01_a_workload_without_the_default_changes_no_winner(
        runs in runs(),
        ranks in ranks(),
        extra in (0_usize..4, Just(100_u32), 1_u8..64, 1_u32..7),
    ) {
        let default = 1_u8 << 3;
        let mut parts: Vec<Evidence> = runs
            .iter()
            .map(|&(number, _, bits, _)| evidence_of(&(number, 100, bits | default, 5), &ranks))
            .collect();
        let before = decision(&parts);
        let (number, pace, bits, samples) = extra;
        if bits & !default != 0 {
            parts.push(evidence_of(&(number, pace, bits & !default, samples), &ranks));
        }
        parts.push(race(4, samples, &[("s", 10.0), ("t", 500.0)]));
        prop_assert_eq!(before.winner, decision(&parts).winner);
    }

    /// A full ranking is decided as if it stood alone, whichever run comes on top, and however it
    /// is split.
    #[test]
    fn f01_a_full_ranking_stands(runs in runs(), ranks in ranks(), split in 0_usize..8) {
        let whole = evidence_of(&(0, 100, 63, 9), &ranks);
        let best = NAMES[ranks.iter().position(|rank| *rank == 0).unwrap()];
        let mut parts = vec![whole];
        let runs = of_one_pace_without_default(&runs);
        parts.extend(runs.iter().map(|run| evidence_of(run, &ranks)));
        prop_assert_eq!(winner(&parts), best);
        let (left, right) = parts.split_at(split.min(parts.len()));
        prop_assert_eq!(decide(&union(&[union(left), union(right)])), decide(&union(&parts)));
    }
}
