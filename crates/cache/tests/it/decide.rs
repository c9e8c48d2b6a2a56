//! Which algorithm wins.

use proptest::prelude::*;
use voxtune_cache::{
    Charge, Decision, EntryKey, Evidence, Interval, KernelHash, Outcome, Reason, Record,
    Requirement, Timing, Workload, decide, significantly_beaten,
};
use voxtune_types::{Arch, CpuIsa, DeviceIdentity};

use crate::samples::{
    algo, device, device_of, entry, entry_on, measured, operation, quarantined, timing,
};
use crate::strategies::evidence;

fn evidence_of(records: impl IntoIterator<Item = (EntryKey, Record)>) -> Evidence {
    let mut evidence = Evidence::new();
    for (entry, record) in records {
        evidence.insert(entry, record).unwrap();
    }
    evidence
}

/// The decision over these records of one entry of a GPU.
fn decision(records: impl IntoIterator<Item = Record>) -> Option<Decision> {
    decision_on(&device(), records)
}

fn decision_on(
    device: &DeviceIdentity,
    records: impl IntoIterator<Item = Record>,
) -> Option<Decision> {
    let entry = entry(device, operation(32, 64), 100_000);
    let evidence = evidence_of(records.into_iter().map(|record| (entry.clone(), record)));
    decide(&evidence).get(&entry.device, &entry.key)
}

fn winner(records: impl IntoIterator<Item = Record>) -> String {
    winner_on(&device(), records)
}

fn winner_on(device: &DeviceIdentity, records: impl IntoIterator<Item = Record>) -> String {
    decision_on(device, records).unwrap().winner.to_string()
}

fn default(record: Record) -> Record {
    Record { default: true, ..record }
}

/// Times long enough that the step of the timer does not count.
fn noisy(id: &str, median_us: u64, spread_us: u64) -> Record {
    let mut timing = timing(median_us * 1_000);
    timing.spread_ns = spread_us * 1_000;
    Record { outcome: Outcome::Measured(timing), ..measured(id, 1) }
}

#[test]
fn the_fastest_wins_and_the_next_is_runner_up() {
    let all = [measured("c", 300), measured("b", 100), measured("a", 200)];
    let decision = decision(all).unwrap();
    assert_eq!(decision.winner, algo("b"));
    assert_eq!(decision.runner_up, Some(algo("a")));
    assert_eq!(decision.without_libraries, None);
    assert_eq!(decision.safe, [algo("b")]);
}

/// Nothing that was not verified at full size wins, is second or is safe anywhere, however fast it
/// looks beside others of a record.
#[test]
fn the_beaten_never_win() {
    let on =
        |cloud, record| (entry_on(cloud, &device(), operation(32, 64), 100_000, 500_000), record);
    let beaten = |id, us: u64| Record { outcome: Outcome::Beaten(timing(us)), ..measured(id, 1) };
    let evidence = evidence_of([
        on("uniform", default(measured("a", 300))),
        on("uniform", beaten("b", 100)),
        on("surface", default(measured("a", 300))),
        on("surface", measured("b", 10)),
    ]);
    let decision = decide(&evidence).iter().next().unwrap();
    assert_eq!((decision.winner, decision.runner_up), (algo("a"), None));
    assert_eq!(decision.safe, [algo("a")]);
    assert!(decide(&evidence_of([on("uniform", beaten("b", 100))])).iter().next().is_none());
}

#[test]
fn near_ties_fall_to_the_default_then_to_the_lesser_id() {
    let steady = |id, median_us| noisy(id, median_us, 0);
    assert_eq!(winner([steady("b", 10_000), steady("a", 10_090)]), "a");
    assert_eq!(winner([steady("b", 10_000), steady("a", 10_110)]), "b");
    let three = [steady("c", 10_000), steady("a", 10_050), default(steady("b", 10_080))];
    assert_eq!(winner(three), "b");
    assert_eq!(winner([steady("c", 10_000), default(steady("b", 10_120))]), "c");
}

#[test]
fn the_band_of_noise_of_a_host_grows_with_the_spread_up_to_its_ceiling() {
    let host = device_of(Arch::Cpu(CpuIsa::X86Avx2), "a host", 2);
    let winner = |records| winner_on(&host, records);
    assert_eq!(winner([noisy("b", 10_000, 200), noisy("a", 10_400, 250)]), "a");
    assert_eq!(winner([noisy("b", 10_000, 200), noisy("a", 10_500, 200)]), "b");
    assert_eq!(winner([noisy("b", 10_000, 5_000), noisy("a", 10_900, 5_000)]), "a");
    assert_eq!(winner([noisy("b", 10_000, 5_000), noisy("a", 11_100, 5_000)]), "b");
}

#[test]
fn the_band_of_noise_of_a_gpu_does_not_move_with_the_spread() {
    for spread_us in [0, 200, 5_000] {
        assert_eq!(winner([noisy("b", 10_000, spread_us), noisy("a", 10_090, spread_us)]), "a");
        assert_eq!(winner([noisy("b", 10_000, spread_us), noisy("a", 10_110, spread_us)]), "b");
    }
}

/// One that is charged for what it reads, with its ratio to the default's time if one is given.
fn charged(id: &str, median_us: u64, share_us: u64, ratio: Option<f64>) -> Record {
    let charge = Some(Charge { made_ns: 2_000 * share_us, share_ns: 1_000 * share_us });
    let interval = |median: f64| Interval { low: median * 0.995, median, high: median * 1.005 };
    let ratio_to_default = ratio.map(interval);
    let timing = Timing { charge, ratio_to_default, ..timing(median_us * 1_000) };
    Record { outcome: Outcome::Measured(timing), ..measured(id, 1) }
}

#[test]
fn what_wins_by_less_than_its_charge_loses() {
    for device in [device(), device_of(Arch::Cpu(CpuIsa::X86Avx2), "a host", 2)] {
        let winner = |share_us| {
            winner_on(&device, [charged("b", 900, share_us, None), charged("c", 1_000, 0, None)])
        };
        assert_eq!(winner(80), "b", "{device}");
        assert_eq!(winner(120), "c", "{device}");
    }
    // Both read something, and one of them more than the other.
    let two = |share_us| [charged("b", 900, share_us, None), charged("c", 1_000, 200, None)];
    assert_eq!([winner(two(280)), winner(two(320))], ["b", "c"]);
    let decision = decision(two(320)).unwrap();
    assert_eq!((decision.runner_up, decision.safe.len()), (Some(algo("b")), 2));
}

#[test]
fn a_winner_that_its_charge_slows_down_beats_no_default() {
    let default = || default(charged("d", 1_000, 100, Some(1.0)));
    let winner = |share_us: u64| {
        let ratio = (900 + share_us) as f64 / 1_100.0;
        winner([charged("b", 900, share_us, Some(ratio)), default()])
    };
    assert_eq!([winner(150), winner(250)], ["b", "d"]);
    let is_beaten = |share_us: u64| {
        let ratio = (900 + share_us) as f64 / 1_100.0;
        let records = [charged("b", 900, share_us, Some(ratio)), default()];
        let entry = entry(&device(), operation(32, 64), 100_000);
        let evidence = evidence_of(records.map(|record| (entry.clone(), record)));
        significantly_beaten(&algo("b"), &evidence, &entry.device, &entry.key)
    };
    assert!(is_beaten(500) && !is_beaten(200));
}

/// What an earlier release measured was not charged: it gains nothing by that.
#[test]
fn who_was_not_charged_is_compared_by_the_default() {
    let default = || default(charged("d", 1_000, 200, Some(1.0)));
    let earlier = |median_us, ratio| {
        let mut record = charged("a", median_us, 0, Some(ratio));
        let Outcome::Measured(timing) = &mut record.outcome else { panic!("{record:?}") };
        timing.charge = None;
        record
    };
    let today = || charged("b", 900, 180, Some(0.9));
    assert_eq!(winner([default(), today(), earlier(950, 0.95)]), "b");
    assert_eq!(winner([default(), today(), earlier(850, 0.85)]), "a");
}

/// Midway between the least and the median.
#[test]
fn neither_a_few_late_samples_nor_one_early_one_decides() {
    let of = |id, median_us: u64, min_us: u64| {
        let timing = Timing { min_ns: min_us * 1_000, ..timing(median_us * 1_000) };
        Record { outcome: Outcome::Measured(timing), ..measured(id, 1) }
    };
    assert_eq!(winner([of("a", 10_300, 9_980), of("b", 10_000, 9_990)]), "b");
    assert_eq!(winner([of("a", 10_300, 9_880), of("b", 10_000, 9_990)]), "a");
    assert_eq!(winner([of("a", 10_000, 9_990), of("b", 10_000, 9_700)]), "b");
    // A host's least sample may be luck: there the medians tie.
    let host = device_of(Arch::Cpu(CpuIsa::X86Avx2), "a host", 2);
    assert_eq!(winner_on(&host, [of("a", 10_000, 9_990), of("b", 10_000, 9_700)]), "a");
}

#[test]
fn the_step_of_the_timer_is_noise() {
    // Half a microsecond each: 5 % of 20 microseconds, next to nothing of 10 milliseconds.
    assert_eq!(winner([measured("b", 20_000), measured("a", 20_900)]), "a");
    assert_eq!(winner([measured("b", 20_000), measured("a", 21_100)]), "b");
    assert_eq!(winner([measured("b", 10_000_000), measured("a", 10_450_000)]), "b");
}

#[test]
fn the_default_stays_unless_it_was_beaten_in_the_same_rounds() {
    let with_interval = |id: &str, median_us: u64, interval: Interval| {
        let mut timing = timing(median_us * 1_000);
        timing.ratio_to_default = Some(interval);
        Record { outcome: Outcome::Measured(timing), ..measured(id, 1) }
    };
    let with_ratio = |id: &str, median_us: u64, low: f64, high: f64| {
        let median = f64::midpoint(low, high);
        with_interval(id, median_us, Interval { low, median, high })
    };
    let default = || default(noisy("d", 10_000, 0));
    assert_eq!(winner([default(), with_ratio("a", 8_000, 0.7, 0.9)]), "a");
    let unproven = || with_ratio("a", 9_300, 0.9, 1.01);
    assert_eq!(winner([default(), unproven()]), "d");
    // Another that ties with the leader and did beat the default takes its place.
    assert_eq!(winner([default(), unproven(), with_ratio("z", 9_350, 0.9, 0.99)]), "z");
    assert_eq!(winner([unproven()]), "a");
    // One late sample of three does not keep a default that never was nearly as fast.
    let late = Interval { low: 0.29, median: 0.31, high: 9.3 };
    assert_eq!(winner([default(), with_interval("a", 3_000, late)]), "a");
    // A default of a day on which the machine was slow does not lose to what it beat in their race.
    assert_eq!(winner([default(), with_ratio("a", 3_000, 1.16, 1.31)]), "d");
    let unclear = Interval { low: 0.4, median: 1.02, high: 1.03 };
    assert_eq!(winner([default(), with_interval("a", 3_000, unclear)]), "d");
    assert!(decision([default(), unproven()]).unwrap().safe.contains(&algo("d")));
}

#[test]
fn what_is_within_the_margin_of_the_best_is_safe() {
    let all = [measured("c", 1_000), measured("b", 1_090), measured("a", 1_101)];
    assert_eq!(decision(all).unwrap().safe, [algo("b"), algo("c")]);
}

#[test]
fn a_winner_that_needs_a_library_has_a_substitute() {
    let cublas = Record { requires: Some(Requirement::Cublas), ..measured("z", 100) };
    let all = [cublas.clone(), measured("b", 200), measured("a", 300)];
    let with = decision(all).unwrap();
    assert_eq!(with.winner, algo("z"));
    assert_eq!(with.without_libraries, Some(algo("b")));
    assert_eq!(decision([cublas]).unwrap().without_libraries, None);
}

#[test]
fn one_quarantined_workload_is_enough_to_be_out() {
    let uniform = entry_on("uniform", &device(), operation(32, 64), 100_000, 900_000);
    let surface = entry_on("surface", &device(), operation(32, 64), 100_000, 900_000);
    assert_eq!(uniform.key, surface.key);
    let evidence = evidence_of([
        (uniform.clone(), measured("fast", 100)),
        (surface.clone(), quarantined("fast", Reason::WrongResult)),
        (uniform.clone(), measured("slow", 300)),
        (surface, measured("slow", 300)),
    ]);
    assert_eq!(decide(&evidence).get(&device(), &uniform.key).unwrap().winner, algo("slow"));
    assert!(decision([quarantined("only", Reason::Timeout)]).is_none());
}

#[test]
fn workloads_count_alike_and_all_of_them() {
    let uniform = entry_on("uniform", &device(), operation(32, 64), 100_000, 900_000);
    let surface = entry_on("surface", &device(), operation(32, 64), 100_000, 900_000);
    // `b` is 2 times slower on one and 3 times faster on the other.
    let both = [
        (uniform.clone(), measured("a", 1_000_000)),
        (uniform.clone(), measured("b", 2_000_000)),
        (surface.clone(), measured("a", 90_000_000)),
        (surface.clone(), measured("b", 30_000_000)),
    ];
    let decided = |more: &[(EntryKey, Record)]| {
        let evidence = evidence_of(both.iter().chain(more).cloned());
        let Decision { winner, runner_up, .. } =
            decide(&evidence).get(&device(), &uniform.key).unwrap();
        [winner.to_string(), runner_up.unwrap().to_string()]
    };
    assert_eq!(decided(&[]), ["b", "a"]);
    // Whoever ran on one only is compared on that one: neither promoted nor put last for it.
    let slow = (uniform.clone(), measured("c", 2_500_000));
    assert_eq!(decided(&[slow]), ["b", "a"]);
    let fast = (uniform.clone(), measured("c", 500_000));
    assert_eq!(decided(&[fast])[0], "c");
    // A workload of a single one compares nobody.
    let alone = entry_on("scan", &device(), operation(32, 64), 100_000, 900_000);
    assert_eq!(decided(&[(alone, measured("a", 1))]), ["b", "a"]);
}

fn on(cloud: &str, cold: bool, record: Record) -> (EntryKey, Record) {
    let mut entry = entry_on(cloud, &device(), operation(32, 64), 100_000, 900_000);
    entry.workload.cold = cold;
    (entry, record)
}

/// The winner over all workloads of the key.
fn winner_over(records: impl IntoIterator<Item = (EntryKey, Record)>) -> String {
    decide(&evidence_of(records)).iter().next().unwrap().winner.to_string()
}

#[test]
fn warm_times_decide_where_there_are_no_cold_ones() {
    let warm = [on("uniform", false, measured("a", 50)), on("uniform", false, measured("b", 20))];
    assert_eq!(winner_over(warm.clone()), "b");
    // Neither are they mixed with cold ones, of the same cloud or of another, nor do they rule out
    // whom they do not know.
    for cloud in ["uniform", "surface"] {
        let cold = [on(cloud, true, measured("a", 60)), on(cloud, true, measured("b", 90))];
        let c = on(cloud, true, measured("c", 30));
        assert_eq!(winner_over(warm.iter().cloned().chain(cold.clone())), "a", "{cloud}");
        assert_eq!(winner_over(warm.iter().cloned().chain(cold).chain([c])), "c", "{cloud}");
    }
}

#[test]
fn a_quarantine_holds_whatever_the_caches_held() {
    let cold = [on("uniform", true, measured("a", 60)), on("uniform", true, measured("b", 90))];
    let warm = |record| on("uniform", false, record);
    let wrong = warm(quarantined("a", Reason::WrongResult));
    assert_eq!(winner_over(cold.iter().cloned().chain([wrong])), "b");
    let slow = Record { outcome: Outcome::Beaten(timing(900)), ..measured("a", 1) };
    assert_eq!(winner_over(cold.into_iter().chain([warm(slow)])), "a");
}

#[test]
fn decisive_workloads_are_of_one_regime() {
    let records = [true, false].map(|cold| on("uniform", cold, measured("a", 60)));
    let (cold, warm) = (&records[0].0, &records[1].0);
    let assert_of = |evidence: &Evidence, expected: &EntryKey| {
        let entries = evidence.decisive_workloads(&cold.device, &cold.key);
        assert_eq!(entries.map(|(entry, _)| entry).collect::<Vec<_>>(), [expected]);
    };
    assert_of(&evidence_of(records.clone()), cold);
    assert_of(&evidence_of([records[1].clone()]), warm);
}

#[test]
fn the_trusted_version_of_a_kernel_stands_for_it() {
    let mut more = timing(500);
    more.samples = 50;
    let new = Record {
        kernel_hash: KernelHash::new(1),
        outcome: Outcome::Measured(more),
        ..measured("a", 1)
    };
    assert_eq!(winner([measured("a", 100), new, measured("b", 300)]), "b");
}

#[test]
fn what_ships_wins_ties_and_nothing_else() {
    let shipped = |record: Record| Record { shipped: true, ..record };
    // Before the default and the least id, within one percent of the fastest.
    let near = [measured("a", 100_000), default(measured("d", 100_900))];
    assert_eq!(winner(near.clone()), "d");
    let [first, second] = near;
    assert_eq!(winner([first.clone(), second.clone(), shipped(measured("z", 100_990))]), "z");
    assert_eq!(winner([first.clone(), second, shipped(measured("z", 102_100))]), "d");
    // Two releases shipped two winners.
    let two = [first, shipped(measured("x", 100_500)), shipped(measured("y", 100_100))];
    assert_eq!(winner(two), "x");
}

/// It is no way past the default, nor out of quarantine.
#[test]
fn what_ships_must_beat_the_default_too() {
    let lost = Interval { low: 1.001, median: 1.005, high: 1.008 };
    let Outcome::Measured(timing) = measured("z", 100_500).outcome else { unreachable!() };
    let outcome = Outcome::Measured(Timing { ratio_to_default: Some(lost), ..timing });
    let ships = Record { shipped: true, outcome, ..measured("z", 1) };
    assert_eq!(winner([default(measured("d", 100_000)), ships]), "d");
    let broken = Record { shipped: true, ..quarantined("broken", Reason::Crash) };
    assert_eq!(winner([measured("a", 100_000), broken]), "a");
}

#[test]
fn an_incumbent_stays_within_the_noise() {
    let entry = entry(&device(), operation(32, 64), 100_000);
    let evidence = evidence_of([
        (entry.clone(), noisy("best", 10_000, 0)),
        (entry.clone(), noisy("near", 10_290, 0)),
        (entry.clone(), noisy("far", 10_310, 0)),
        (entry.clone(), quarantined("broken", Reason::Crash)),
    ]);
    let beaten = |id| significantly_beaten(&algo(id), &evidence, &entry.device, &entry.key);
    assert!(!beaten("best"));
    assert!(!beaten("near"));
    assert!(beaten("far"));
    assert!(beaten("broken"));
    assert!(beaten("absent"));
}

/// Its time decides there, but it may not win.
#[test]
fn who_is_quarantined_on_a_warm_workload_beats_nobody() {
    let cold = entry(&device(), operation(32, 64), 100_000);
    let warm =
        EntryKey { workload: Workload { cold: false, ..cold.workload.clone() }, ..cold.clone() };
    let cold = EntryKey { workload: Workload { cold: true, ..cold.workload }, ..cold };
    let evidence = evidence_of([
        (cold.clone(), measured("fast", 100_000)),
        (cold.clone(), measured("slow", 200_000)),
        (warm, quarantined("fast", Reason::WrongResult)),
    ]);
    assert_eq!(decide(&evidence).iter().next().unwrap().winner, algo("slow"));
    assert!(!significantly_beaten(&algo("slow"), &evidence, &cold.device, &cold.key));
}

/// The same evidence with every charge replaced.
fn with_charges(evidence: &Evidence, charge: Option<Charge>) -> Evidence {
    let mut all = Evidence::new();
    for (entry, records) in evidence.entries() {
        for record in records.iter() {
            let mut record = record.clone();
            if let Outcome::Measured(timing) | Outcome::Beaten(timing) = &mut record.outcome {
                timing.charge = charge;
            }
            all.insert(entry.clone(), record).unwrap();
        }
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Decisions of earlier releases knew no charges.
    #[test]
    fn charges_of_nothing_change_no_decision(evidence in evidence()) {
        let none = with_charges(&evidence, None);
        for made_ns in [0, 5_000] {
            let nothing = with_charges(&evidence, Some(Charge { made_ns, share_ns: 0 }));
            prop_assert_eq!(decide(&nothing), decide(&none));
        }
    }

    #[test]
    fn a_decision_names_only_what_may_run(evidence in evidence()) {
        let decisions = decide(&evidence);
        for decision in decisions.iter() {
            let named = [Some(&decision.winner), decision.runner_up.as_ref()];
            let named = named.into_iter().flatten().chain(&decision.safe);
            for id in named.chain(&decision.without_libraries) {
                for (_, records) in evidence.workloads(&decision.device, &decision.key) {
                    let records = records.preferred();
                    let record = records.iter().find(|record| record.algo == *id);
                    prop_assert!(record.is_none_or(|record| record.timing().is_some()));
                }
            }
            prop_assert!(decision.safe.contains(&decision.winner));
            prop_assert_ne!(Some(&decision.winner), decision.runner_up.as_ref());
            let Decision { device, key, winner, .. } = &decision;
            prop_assert!(!significantly_beaten(winner, &evidence, device, key));
        }
    }
}
