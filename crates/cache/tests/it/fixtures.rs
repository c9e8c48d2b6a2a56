//! Files that earlier releases wrote: the current code must read each of them for ever.
//!
//! When a version is added, its files join the others here; none is ever written again.

use voxtune_cache::{
    Charge, Outcome, Reason, Record, Requirement, Timing, decide, decode_decisions,
    decode_evidence, encode_decisions, encode_evidence,
};

use voxtune_types::{LayerKind, Operation, PitchClass};

use crate::samples::{
    ARCH, algo, device, entry, measured, operation, quarantined, record, small, timing,
};

const DECISIONS_V1: &[u8] = include_bytes!("../fixtures/v1/sm_90.msgpack");
const DECISIONS_V2: &[u8] = include_bytes!("../fixtures/v2/sm_90.msgpack");
const EVIDENCE_V5: &[u8] = include_bytes!("../fixtures/v5/sm_90.evidence.msgpack");
const EVIDENCE_V4: &[u8] = include_bytes!("../fixtures/v4/sm_90.evidence.msgpack");
const EVIDENCE_V3: &[u8] = include_bytes!("../fixtures/v3/sm_90.evidence.msgpack");
const EVIDENCE_V2: &[u8] = include_bytes!("../fixtures/v2/sm_90.evidence.msgpack");
const EVIDENCE_V1: &[u8] = include_bytes!("../fixtures/v1/sm_90.evidence.msgpack");

/// What the files of version 1 were made from.
fn contents() -> voxtune_cache::Evidence {
    let mut evidence = small();
    let entry = entry(&device(), operation(128, 256), 500_000);
    let mut fast = measured("explicit_gemm:batched=1", 70_000);
    fast.requires = Some(Requirement::Cublas);
    let mut slow = measured("implicit_gemm:rows=64", 100_000);
    slow.default = true;
    for record in [fast, slow, quarantined("mask_gemm:rows=256", Reason::LaunchFailure)] {
        evidence.insert(entry.clone(), record).unwrap();
    }
    evidence
}

#[test]
fn version_1_is_read() {
    let evidence = decode_evidence(EVIDENCE_V1, "sm_90.evidence.msgpack").unwrap();
    assert_eq!(evidence, contents());
    let decisions = decode_decisions(DECISIONS_V1, "sm_90.msgpack").unwrap();
    assert_eq!(decisions, decide(&contents()));
    let entry = entry(&device(), operation(128, 256), 500_000);
    let decision = decisions.get(&entry.device, &entry.key).unwrap();
    assert_eq!(decision.winner, algo("explicit_gemm:batched=1"));
    assert_eq!(decision.without_libraries, Some(algo("implicit_gemm:rows=64")));
}

/// What the evidence of version 2 was made from: what is new in it, beside the rest.
fn contents_2() -> voxtune_cache::Evidence {
    let mut evidence = contents();
    let entry = entry(&device(), operation(128, 256), 500_000);
    let beaten = record("pair_gemm:rows=32", Outcome::Beaten(timing(900_000)));
    evidence.insert(entry, beaten).unwrap();
    evidence
}

#[test]
fn version_2_of_evidence_is_read() {
    let evidence = decode_evidence(EVIDENCE_V2, "sm_90.evidence.msgpack").unwrap();
    assert_eq!(evidence, contents_2());
    assert_eq!(decide(&evidence), decide(&contents()));
}

/// What version 3 of evidence and version 2 of decisions were made from: what is new in them,
/// beside the rest.
fn contents_3() -> voxtune_cache::Evidence {
    let mut evidence = contents_2();
    for kind in LayerKind::ALL {
        let operation = Operation { stride: [2, 2, 1], groups: 4, ..operation(64, 128) };
        let operation = Operation { pitch: PitchClass::Pitched, ..operation.with_kind(kind) };
        let mut slow = measured("implicit_gemm:rows=64", 100_000);
        slow.default = true;
        for record in [slow, measured("mask_gemm:rows=256", 50_000)] {
            evidence.insert(entry(&device(), operation, 500_000), record).unwrap();
        }
    }
    evidence
}

#[test]
fn version_3_of_evidence_and_2_of_decisions_are_read() {
    let evidence = decode_evidence(EVIDENCE_V3, "sm_90.evidence.msgpack").unwrap();
    assert_eq!(evidence, contents_3());
    let decisions = decode_decisions(DECISIONS_V2, "sm_90.msgpack").unwrap();
    assert_eq!(decisions, decide(&contents_3()));
}

/// What version 4 of evidence was made from: what is new in it, beside the rest.
fn contents_4() -> voxtune_cache::Evidence {
    let mut evidence = contents_3();
    let entry = entry(&device(), operation(16, 16), 30_000);
    for (id, made_ns, share_ns) in
        [("implicit_gemm:rows=64", 0, 0), ("mask_gemm:rows=64", 9_000, 2_250)]
    {
        let charge = Some(Charge { made_ns, share_ns });
        let outcome = Outcome::Measured(Timing { charge, ..timing(20_000) });
        evidence.insert(entry.clone(), record(id, outcome)).unwrap();
    }
    evidence
}

#[test]
fn version_4_of_evidence_is_read() {
    let evidence = decode_evidence(EVIDENCE_V4, "sm_90.evidence.msgpack").unwrap();
    assert_eq!(evidence, contents_4());
    // What was not charged is charged nothing.
    let nothing = |record: &Record| record.timing().is_none_or(|timing| timing.share_ns() == 0);
    assert!(contents_3().entries().all(|(_, records)| records.iter().all(nothing)));
}

/// What version 5 of evidence was made from: what is new in it, beside the rest.
fn contents_5() -> voxtune_cache::Evidence {
    let mut evidence = contents_4();
    let entry = entry(&device(), operation(32, 32), 30_000);
    for (id, shipped) in [("mask_gemm:rows=128", false), ("mask_gemm:rows=64", true)] {
        evidence.insert(entry.clone(), Record { shipped, ..measured(id, 20_000) }).unwrap();
    }
    evidence
}

#[test]
fn version_5_of_evidence_is_read() {
    let evidence = decode_evidence(EVIDENCE_V5, "sm_90.evidence.msgpack").unwrap();
    assert_eq!(evidence, contents_5());
    let entry = entry(&device(), operation(32, 32), 30_000);
    let decision = decide(&evidence).get(&entry.device, &entry.key).unwrap();
    assert_eq!(decision.winner, algo("mask_gemm:rows=64"));
}

/// Only while 2 is the current version of decisions, and 5 that of evidence.
#[test]
fn the_current_versions_are_written() {
    let evidence = encode_evidence(ARCH, &contents_5()).unwrap();
    assert!(evidence == EVIDENCE_V5, "the bytes of evidence changed: {evidence:02X?}");
    let decisions = encode_decisions(ARCH, &decide(&contents_3())).unwrap();
    assert!(decisions == DECISIONS_V2, "the bytes of decisions changed: {decisions:02X?}");
}
