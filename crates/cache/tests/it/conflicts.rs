//! What a merge says about what it drops.

use proptest::prelude::*;
use voxtune_cache::{Evidence, Outcome, Reason, Record, Rule, conflicts};

use crate::samples::{device, entry, measured, operation, quarantined, timing};
use crate::strategies::evidence;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn conflicts_tell_what_merging_does(ours in evidence(), theirs in evidence()) {
        let found = conflicts(&ours, &theirs);
        let mut merged = ours.clone();
        merged.merge(theirs.clone());
        for one in &found {
            let (kept, dropped) = (&one.kept, &one.dropped);
            let place = |evidence: &Evidence| {
                evidence.records(&one.entry).unwrap().get(&kept.algo, kept.kernel_hash).cloned()
            };
            prop_assert_eq!(place(&merged), Some(kept.clone()));
            let (winner, loser) = if one.kept_is_ours { (&ours, &theirs) } else { (&theirs, &ours) };
            prop_assert_eq!(place(winner), Some(kept.clone()));
            prop_assert_eq!(place(loser), Some(dropped.clone()));
        }
        // And nothing else is lost.
        let lost = |side: &Evidence| -> usize {
            side.entries()
                .map(|(entry, records)| {
                    let kept = merged.records(entry).unwrap();
                    let stays = |one: &&Record| kept.get(&one.algo, one.kernel_hash) == Some(one);
                    records.iter().filter(|one| !stays(one)).count()
                })
                .sum()
        };
        prop_assert_eq!(found.len(), lost(&ours) + lost(&theirs));
    }

    #[test]
    fn conflicts_do_not_depend_on_the_order(ours in evidence(), theirs in evidence()) {
        let key = |one: &voxtune_cache::Conflict| {
            (one.entry.clone(), format!("{:?} {:?} {:?}", one.kept, one.dropped, one.rule))
        };
        let mut there: Vec<_> = conflicts(&ours, &theirs).iter().map(key).collect();
        let mut back: Vec<_> = conflicts(&theirs, &ours).iter().map(key).collect();
        there.sort();
        back.sort();
        prop_assert_eq!(there, back);
    }
}

#[test]
fn each_part_of_the_rule_is_named() {
    let with = |change: fn(&mut voxtune_cache::Timing)| {
        let mut timing = timing(500);
        change(&mut timing);
        Record { outcome: Outcome::Measured(timing), ..measured("a", 1) }
    };
    let plain = with(|_| ());
    let set = |record: &Record| {
        let mut evidence = Evidence::new();
        let entry = entry(&device(), operation(3, 32), 1000);
        evidence.insert(entry, record.clone()).unwrap();
        evidence
    };
    for (better, rule) in [
        (plain.clone(), None),
        (with(|timing| timing.samples += 1), Some(Rule::MoreSamples)),
        (with(|timing| timing.spread_ns = 0), Some(Rule::SmallerSpread)),
        (with(|timing| timing.median_ns += 1), Some(Rule::SmallerEncoding)),
    ] {
        let found = conflicts(&set(&plain), &set(&better));
        assert_eq!(found.first().map(|one| one.rule), rule, "{better:?}");
    }
    let found = conflicts(&set(&plain), &set(&quarantined("a", Reason::Crash)));
    assert_eq!((found[0].rule, found[0].kept_is_ours), (Rule::Quarantined, false));
}
