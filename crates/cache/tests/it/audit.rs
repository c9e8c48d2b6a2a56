//! What the audit of two files finds.

use proptest::prelude::*;
use voxtune_cache::{
    Decision, Decisions, Evidence, Inconsistency, Reason, audit, decide, encode_decisions, rederive,
};

use crate::samples::{ARCH, algo, device, entry, measured, operation, quarantined, small};
use crate::strategies::evidence;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_was_decided_follows(evidence in evidence()) {
        let decisions = decide(&evidence);
        prop_assert_eq!(&rederive(&decisions, &evidence), &decisions);
        let found = audit(&decisions, &evidence);
        prop_assert!(found.iter().all(|one| matches!(
            one,
            Inconsistency::Misfiled { .. } | Inconsistency::ImpossiblePairs { .. }
        )), "{found:?}");
    }

    /// The findings and the bytes say the same, whatever the decisions are.
    #[test]
    fn findings_explain_the_bytes(evidence in evidence(), other in evidence()) {
        let stored = decide(&other);
        let contradicted = audit(&stored, &evidence).iter().any(|one| matches!(
            one,
            Inconsistency::Underived { .. }
                | Inconsistency::Undecided { .. }
                | Inconsistency::Unfounded { .. }
        ));
        let bytes = |decisions: &Decisions| encode_decisions(ARCH, decisions).unwrap();
        prop_assert_eq!(contradicted, bytes(&stored) != bytes(&rederive(&stored, &evidence)));
    }
}

fn only_decision(evidence: &Evidence) -> Decision {
    decide(evidence).iter().next().unwrap()
}

#[test]
fn another_winner_is_found() {
    let evidence = small();
    let derived = only_decision(&evidence);
    let stored = Decision { winner: algo("explicit_gemm"), ..derived.clone() };
    let found = audit(&Decisions::from_iter([stored.clone()]), &evidence);
    let expected =
        Inconsistency::Underived { stored: Box::new(stored), derived: Box::new(derived) };
    assert_eq!(found, [expected]);
}

#[test]
fn a_missing_decision_is_found() {
    let evidence = small();
    let derived = Box::new(only_decision(&evidence));
    assert_eq!(audit(&Decisions::default(), &evidence), [Inconsistency::Undecided { derived }]);
}

#[test]
fn a_winner_among_the_quarantined_is_found() {
    let stored = only_decision(&small());
    let mut evidence = Evidence::new();
    let key = entry(&device(), operation(32, 64), 100_000);
    evidence.insert(key, quarantined("explicit_gemm", Reason::WrongResult)).unwrap();
    let found = audit(&Decisions::from_iter([stored.clone()]), &evidence);
    assert_eq!(found, [Inconsistency::Unfounded { stored: Box::new(stored) }]);
}

#[test]
fn decisions_without_evidence_are_a_doubt() {
    let stored = only_decision(&small());
    let found = audit(&Decisions::from_iter([stored.clone()]), &Evidence::new());
    assert_eq!(found, [Inconsistency::Unproven { stored: Box::new(stored) }]);
    assert!(!found[0].is_contradiction());
}

#[test]
fn entries_under_foreign_keys_are_found() {
    let mut wrong = entry(&device(), operation(32, 64), 100_000);
    let expected = wrong.key;
    wrong.key = entry(&device(), operation(32, 64), 500_000).key;
    let mut evidence = Evidence::new();
    evidence.insert(wrong.clone(), measured("explicit_gemm", 90_000)).unwrap();
    let found = audit(&decide(&evidence), &evidence);
    assert_eq!(found, [Inconsistency::Misfiled { entry: Box::new(wrong), expected }]);
}

#[test]
fn more_pairs_than_neighbours_are_found() {
    let rows = 100_000;
    let many = crate::samples::entry_on("dense", &device(), operation(32, 64), rows, rows * 28);
    let mut evidence = Evidence::new();
    evidence.insert(many.clone(), measured("explicit_gemm", 90_000)).unwrap();
    let found = audit(&decide(&evidence), &evidence);
    let most_pairs = rows as u64 * 27;
    assert_eq!(found, [Inconsistency::ImpossiblePairs { entry: Box::new(many), most_pairs }]);
}
