//! Merging is union with one rule for collisions.

use proptest::prelude::*;
use voxtune_cache::{Evidence, KernelHash, Outcome, Reason, Record, decide};

use crate::samples::{device, entry, measured, operation, quarantined, timing};
use crate::strategies::evidence;

fn union(mut left: Evidence, right: &Evidence) -> Evidence {
    left.merge(right.clone());
    left
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn is_associative(a in evidence(), b in evidence(), c in evidence()) {
        let left = union(union(a.clone(), &b), &c);
        let right = union(a, &union(b, &c));
        prop_assert_eq!(left, right);
    }

    #[test]
    fn is_commutative_and_so_are_decisions(a in evidence(), b in evidence()) {
        let left = union(a.clone(), &b);
        let right = union(b, &a);
        prop_assert_eq!(decide(&left), decide(&right));
        prop_assert_eq!(left, right);
    }

    #[test]
    fn is_idempotent(a in evidence(), b in evidence()) {
        let once = union(a, &b);
        let mut twice = once.clone();
        prop_assert!(!twice.merge(b));
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn loses_no_place(a in evidence(), b in evidence()) {
        let both = union(a.clone(), &b);
        for (entry, records) in a.entries().chain(b.entries()) {
            let merged = both.records(entry).unwrap();
            for record in records.iter() {
                prop_assert!(merged.get(&record.algo, record.kernel_hash).is_some());
            }
        }
    }
}

/// What is left of two records in one place.
fn kept(first: Record, second: Record) -> Record {
    let mut evidence = Evidence::new();
    let entry = entry(&device(), operation(3, 32), 1000);
    evidence.insert(entry.clone(), first).unwrap();
    evidence.insert(entry.clone(), second).unwrap();
    let records = evidence.records(&entry).unwrap();
    assert_eq!(records.len(), 1);
    records.iter().next().unwrap().clone()
}

#[test]
fn collisions_keep_the_more_trusted_record() {
    let mut many = timing(500);
    many.samples = 20;
    let many = Record { outcome: Outcome::Measured(many), ..measured("a", 1) };
    let mut steady = timing(400);
    steady.spread_ns = 0;
    let steady = Record { outcome: Outcome::Measured(steady), ..measured("a", 1) };
    let plain = measured("a", 90_000);
    let bad = quarantined("a", Reason::Crash);
    for (better, worse) in [(&many, &steady), (&steady, &plain), (&bad, &plain), (&bad, &many)] {
        assert_eq!(kept(better.clone(), worse.clone()), *better);
        assert_eq!(kept(worse.clone(), better.clone()), *better);
    }
}

#[test]
fn versions_of_a_kernel_lie_side_by_side() {
    let old = measured("a", 100);
    let new = Record { kernel_hash: KernelHash::new(1), ..old.clone() };
    let mut evidence = Evidence::new();
    let entry = entry(&device(), operation(3, 32), 1000);
    evidence.insert(entry.clone(), old).unwrap();
    evidence.insert(entry.clone(), new).unwrap();
    assert_eq!(evidence.records(&entry).unwrap().len(), 2);
    assert_eq!(evidence.records(&entry).unwrap().preferred().len(), 1);

    evidence.retain(|_, record| record.kernel_hash == KernelHash::new(1));
    assert_eq!(evidence.records(&entry).unwrap().len(), 1);
    evidence.retain(|_, _| false);
    assert!(evidence.is_empty(), "an entry without records is none");
}

#[test]
fn a_quarantine_holds_for_its_version_alone() {
    let entry = entry(&device(), operation(3, 32), 1000);
    let version = |record: Record, hash| Record { kernel_hash: KernelHash::new(hash), ..record };
    let evidence = |records: Vec<Record>| {
        let mut evidence = Evidence::new();
        for record in records {
            evidence.insert(entry.clone(), record).unwrap();
        }
        evidence
    };
    let bad = version(quarantined("a", Reason::Timeout), 1);
    let same = union(evidence(vec![version(measured("a", 100), 1)]), &evidence(vec![bad.clone()]));
    assert!(decide(&same).get(&entry.device, &entry.key).is_none());
    assert_eq!(same.quarantine().collect::<Vec<_>>(), [(&entry, &bad)]);
    let other = union(evidence(vec![version(measured("a", 100), 2)]), &evidence(vec![bad.clone()]));
    assert_eq!(decide(&other).get(&entry.device, &entry.key).unwrap().winner, bad.algo);
    assert_eq!(other.quarantine().count(), 1, "union keeps both");
}

#[test]
fn what_no_file_may_hold_is_refused() {
    let entry = entry(&device(), operation(3, 32), 1000);
    let with = |change: fn(&mut voxtune_cache::Timing)| {
        let mut timing = timing(100);
        change(&mut timing);
        Record { outcome: Outcome::Measured(timing), ..measured("a", 1) }
    };
    let ratio = |low, median, high| Some(voxtune_cache::Interval { low, median, high });
    let mut evidence = Evidence::new();
    for record in [
        with(|timing| timing.max_error = f64::NAN),
        with(|timing| timing.max_error = f64::INFINITY),
        with(|timing| timing.max_error = -1.0),
        with(|timing| timing.samples = 0),
        with(|timing| (timing.median_ns, timing.min_ns) = (0, 0)),
        with(|timing| timing.min_ns = timing.median_ns + 1),
    ] {
        assert!(evidence.insert(entry.clone(), record.clone()).is_err(), "{record:?}");
    }
    for interval in [
        ratio(0.0, 1.0, 1.0),
        ratio(1.0, 0.9, 1.0),
        ratio(1.0, 1.1, 1.0),
        ratio(1.0, 1.0, f64::INFINITY),
        ratio(f64::NAN, 1.0, 1.0),
    ] {
        let mut record = measured("a", 100);
        let Outcome::Measured(timing) = &mut record.outcome else { unreachable!() };
        timing.ratio_to_default = interval;
        assert!(evidence.insert(entry.clone(), record).is_err(), "{interval:?}");
    }
    for channels in [0, 1 << 21] {
        let mut entry = entry.clone();
        entry.key.operation.c_in = channels;
        assert!(evidence.insert(entry, measured("a", 100)).is_err(), "{channels}");
    }
    assert!(evidence.is_empty());
}
