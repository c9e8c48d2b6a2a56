//! The bytes of the files.

use proptest::prelude::*;
use serde::Serialize;
use voxtune_cache::{
    CacheError, Charge, Decisions, Evidence, Outcome, Record, Timing, decide, decode_decisions,
    decode_evidence, encode_decisions, encode_evidence,
};
use voxtune_types::{AlgoId, Arch, Operation};
use xxhash_rust::xxh3::xxh3_64;

use crate::samples::{
    ARCH, algo, device, device_of, entry, measured, operation, record, small, timing,
};
use crate::strategies::evidence;

const DECISIONS: &str = "sm_90.msgpack";
const EVIDENCE: &str = "sm_90.evidence.msgpack";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn files_round_trip(evidence in evidence()) {
        let bytes = encode_evidence(ARCH, &evidence).unwrap();
        let read = decode_evidence(&bytes, EVIDENCE).unwrap();
        prop_assert_eq!(&read, &evidence);
        prop_assert_eq!(encode_evidence(ARCH, &read).unwrap(), bytes);

        let decisions = decide(&evidence);
        let bytes = encode_decisions(ARCH, &decisions).unwrap();
        let read = decode_decisions(&bytes, DECISIONS).unwrap();
        prop_assert_eq!(&read, &decisions);
        prop_assert_eq!(read.iter().collect::<Decisions>(), decisions);
        prop_assert_eq!(encode_decisions(ARCH, &read).unwrap(), bytes);
    }

    #[test]
    fn random_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(decode_evidence(&bytes, EVIDENCE).is_err());
        prop_assert!(decode_decisions(&bytes, DECISIONS).is_err());
    }

    /// The checksum keeps accidents out; what is behind it must hold without.
    #[test]
    fn random_bodies_are_refused(tail in prop::collection::vec(any::<u8>(), 0..200)) {
        let head = b"\xA6format\xB0voxtune evidence\xA7version\x02\xA4body";
        prop_assert!(decode_evidence(&sealed(&[head, tail.as_slice()].concat()), EVIDENCE).is_err());
        let head = b"\xA6format\xB1voxtune decisions\xA7version\x01\xA4body";
        prop_assert!(
            decode_decisions(&sealed(&[head, tail.as_slice()].concat()), DECISIONS).is_err()
        );
    }

    /// Every flip but the few that give another sound file.
    #[test]
    fn flips_behind_a_right_checksum_never_panic(at in 0_usize..2000, bit in 0_u8..8) {
        for (bytes, is_evidence) in small_files() {
            let mut checked = bytes[19..].to_vec();
            let at = at % checked.len();
            checked[at] ^= 1 << bit;
            let bytes = sealed(&checked);
            // What is accepted must be canonical.
            if is_evidence {
                if let Ok(read) = decode_evidence(&bytes, EVIDENCE) {
                    prop_assert_eq!(encode_evidence(ARCH, &read).unwrap(), bytes);
                }
            } else if let Ok(read) = decode_decisions(&bytes, DECISIONS) {
                prop_assert_eq!(read.iter().collect::<Decisions>(), read.clone());
                prop_assert_eq!(encode_decisions(ARCH, &read).unwrap(), bytes);
            }
        }
    }
}

/// Both files of the small set, and whether it is the evidence.
fn small_files() -> [(Vec<u8>, bool); 2] {
    let evidence = small();
    [
        (encode_evidence(ARCH, &evidence).unwrap(), true),
        (encode_decisions(ARCH, &decide(&evidence)).unwrap(), false),
    ]
}

fn decode(bytes: &[u8], is_evidence: bool) -> Result<(), CacheError> {
    if is_evidence {
        decode_evidence(bytes, EVIDENCE).map(drop)
    } else {
        decode_decisions(bytes, DECISIONS).map(drop)
    }
}

/// A file with a right checksum over these bytes.
pub(crate) fn sealed(checked: &[u8]) -> Vec<u8> {
    [b"\x84\xA8checksum\xCF".as_slice(), &xxh3_64(checked).to_be_bytes(), checked].concat()
}

/// A file with this version and body, which any mix of types may make up.
fn file_with(format: &str, version: u32, body: &impl Serialize) -> Vec<u8> {
    let mut checked = Vec::new();
    let mut fields = rmp_serde::Serializer::new(&mut checked).with_struct_map();
    ("format".serialize(&mut fields)).unwrap();
    format.serialize(&mut fields).unwrap();
    "version".serialize(&mut fields).unwrap();
    version.serialize(&mut fields).unwrap();
    "body".serialize(&mut fields).unwrap();
    body.serialize(&mut fields).unwrap();
    sealed(&checked)
}

fn reason(bytes: &[u8], is_evidence: bool) -> String {
    match decode(bytes, is_evidence) {
        Err(CacheError::Corrupt { reason, .. }) => reason,
        other => panic!("expected a corrupt file, got {other:?}"),
    }
}

#[test]
fn every_prefix_is_corrupt() {
    for (bytes, is_evidence) in small_files() {
        for len in 0..bytes.len() {
            reason(&bytes[..len], is_evidence);
        }
        decode(&bytes, is_evidence).unwrap();
    }
}

#[test]
fn every_flipped_bit_is_an_error() {
    for (bytes, is_evidence) in small_files() {
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                let error = decode(&flipped, is_evidence).unwrap_err();
                // Where a file begins otherwise nobody can tell that it was a cache.
                let foreign = matches!(error, CacheError::NotACache { .. });
                assert_eq!(foreign, at < 11, "byte {at}: {error}");
            }
        }
    }
}

#[test]
fn what_follows_the_end_is_corrupt() {
    for (bytes, is_evidence) in small_files() {
        let longer = sealed(&[&bytes[19..], b"\xC0"].concat());
        assert_eq!(reason(&longer, is_evidence), "1 bytes follow its end");
    }
}

#[test]
fn foreign_files_are_told_from_damaged_ones() {
    for bytes in [b"{\"a\": 1}".as_slice(), b"\x84\xA8checksuM\xCF", b"\x80", b"PK\x03\x04"] {
        let error = decode(bytes, false).unwrap_err();
        assert!(matches!(error, CacheError::NotACache { .. }), "{error}");
    }
    assert_eq!(reason(b"", false), "the file is empty");
}

#[test]
fn newer_files_are_told_from_damaged_ones() {
    // The body of a later version may be anything.
    let newer = file_with("voxtune decisions", 3, &[1, 2, 3]);
    let error = decode(&newer, false).unwrap_err();
    assert!(matches!(error, CacheError::Newer { found: 3, supported: 2, .. }), "{error}");
    let newest = file_with("voxtune evidence", u32::MAX, &"text");
    let error = decode(&newest, true).unwrap_err();
    assert!(matches!(error, CacheError::Newer { found: u32::MAX, .. }), "{error}");
    reason(&file_with("voxtune decisions", 0, &0), false);
    reason(&file_with("voxtune somethings", 9, &0), false);
}

#[test]
fn misnamed_files_name_their_right_name() {
    let [(evidence, _), (decisions, _)] = small_files();
    for (error, right_name) in [
        (decode_decisions(&decisions, "sm_80.msgpack").unwrap_err(), DECISIONS),
        (decode_decisions(&decisions, "copy of sm_90.msgpack").unwrap_err(), DECISIONS),
        (decode_decisions(&evidence, DECISIONS).unwrap_err(), EVIDENCE),
        (decode_evidence(&evidence, "sm_80.evidence.msgpack").unwrap_err(), EVIDENCE),
        (decode_evidence(&decisions, EVIDENCE).unwrap_err(), DECISIONS),
    ] {
        let CacheError::Misnamed { expected, .. } = &error else { panic!("{error}") };
        assert_eq!(expected, right_name);
    }
    decode_decisions(&decisions, "/some/folder/sm_90.msgpack").unwrap();
}

#[test]
fn arrays_said_to_be_huge_cost_nothing() {
    let head = b"\xA6format\xB1voxtune decisions\xA7version\x02\xA4body\x85\xA4arch\xA5sm_90";
    for huge in [
        b"\xA7devices\xDD\xFF\xFF\xFF\xFF".as_slice(),
        b"\xA7devices\x90\xAAoperations\xDD\xFF\xFF\xFF\xFF",
        b"\xA7devices\x91\x82\xA4name\xDB\xFF\xFF\xFF\xFF",
        b"\xA7devices\x90\xAAoperations\x90\xAAalgorithms\x90\xA9decisions\x8A\xA6device\xDD\xFF\xFF\xFF\xFF",
    ] {
        reason(&sealed(&[head, huge].concat()), false);
    }
}

/// The layout of a decision file, to write wrong ones.
#[derive(Clone, Serialize)]
struct Body {
    arch: Arch,
    devices: Vec<Device>,
    operations: Vec<Operation>,
    algorithms: Vec<AlgoId>,
    decisions: Columns,
}

#[derive(Clone, Serialize)]
struct Device {
    name: &'static str,
    units: u32,
}

#[derive(Clone, Serialize)]
struct Columns {
    device: Vec<u32>,
    operation: Vec<u32>,
    bucket_in: Vec<u64>,
    bucket_out: Vec<u8>,
    density: Vec<u8>,
    winner: Vec<u32>,
    runner_up: Vec<Option<u32>>,
    without_libraries: Vec<Option<u32>>,
    safe_end: Vec<u32>,
    safe: Vec<u32>,
}

fn sound_body() -> Body {
    Body {
        arch: ARCH,
        devices: vec![Device { name: "A", units: 1 }, Device { name: "B", units: 1 }],
        operations: vec![operation(3, 32), operation(32, 32)],
        algorithms: vec![algo("a"), algo("b")],
        decisions: Columns {
            device: vec![0, 1],
            operation: vec![0, 1],
            bucket_in: vec![15, 15],
            bucket_out: vec![15, 15],
            density: vec![2, 2],
            winner: vec![0, 1],
            runner_up: vec![Some(1), None],
            without_libraries: vec![None, None],
            safe_end: vec![2, 3],
            safe: vec![0, 1, 1],
        },
    }
}

#[test]
fn only_the_canonical_form_is_accepted() {
    let file = |body: &Body| file_with("voxtune decisions", 2, body);
    decode(&file(&sound_body()), false).unwrap();
    type Change = fn(&mut Body);
    let wrong: [(&str, Change); 16] = [
        ("devices swapped", |body| body.devices.reverse()),
        ("a device twice", |body| body.devices[1].name = "A"),
        ("an unused device", |body| body.devices.push(Device { name: "C", units: 1 })),
        ("operations swapped", |body| body.operations.reverse()),
        ("algorithms swapped", |body| body.algorithms.reverse()),
        ("an unused algorithm", |body| body.algorithms.push(algo("c"))),
        ("decisions swapped", |body| body.decisions.device.reverse()),
        ("a device out of its table", |body| body.decisions.device[1] = 2),
        ("an operation out of its table", |body| body.decisions.operation[1] = u32::MAX),
        ("an algorithm out of its table", |body| body.decisions.winner[1] = 2),
        ("safe ones swapped", |body| body.decisions.safe.swap(0, 1)),
        ("safe ones that overrun", |body| body.decisions.safe_end[1] = 4),
        ("safe ones that go back", |body| body.decisions.safe_end[0] = 4),
        ("a short column", |body| _ = body.decisions.density.pop()),
        ("a bucket that does not exist", |body| body.decisions.bucket_in[0] = 64),
        ("an operation without channels", |body| body.operations[0].c_in = 0),
    ];
    for (what, change) in wrong {
        let mut body = sound_body();
        change(&mut body);
        let reason = reason(&file(&body), false);
        assert!(!reason.is_empty(), "{what}");
    }
}

#[test]
fn integers_in_a_wider_form_are_not_canonical() {
    let bytes = file_with("voxtune decisions", 2, &sound_body());
    let version = bytes.windows(9).position(|bytes| bytes == b"\xA7version\x02").unwrap() + 8;
    let wider = [&bytes[19..version], b"\xCC\x02", &bytes[version + 1..]].concat();
    assert!(reason(&sealed(&wider), false).starts_with("not in canonical form"));
}

#[test]
fn evidence_that_is_not_canonical_is_refused() {
    // Swapping the two records, or the two algorithms, keeps every length.
    let (bytes, _) = &small_files()[0];
    let swap = |left: &[u8], right: &[u8]| {
        let find = |what: &[u8]| bytes.windows(what.len()).position(|found| found == what).unwrap();
        let mut bytes = bytes.clone();
        let (first, second) = (find(left), find(right));
        bytes[first..first + right.len()].copy_from_slice(right);
        bytes[second..second + left.len()].copy_from_slice(left);
        sealed(&bytes[19..])
    };
    reason(&swap(b"\xA9algorithm\x00", b"\xA9algorithm\x01"), true);
    // The same algorithm twice.
    let mut twice = bytes.clone();
    let at = twice.windows(11).position(|found| found == b"\xA9algorithm\x01").unwrap();
    twice[at + 10] = 0;
    reason(&sealed(&twice[19..]), true);
    // Not a number, for the largest error.
    let mut nan = bytes.clone();
    let at = nan.windows(11).position(|found| found == b"\xA9max_error\xCB").unwrap() + 11;
    nan[at..at + 8].copy_from_slice(&f64::NAN.to_be_bytes());
    assert!(reason(&sealed(&nan[19..]), true).contains("NaN"));
}

/// A reader of version 3 would not know what to make of it.
#[test]
fn charges_are_of_version_4() {
    let charge = Some(Charge { made_ns: 9_000, share_ns: 3_000 });
    let outcome = Outcome::Measured(Timing { charge, ..timing(20_000) });
    let mut evidence = Evidence::new();
    let entry = entry(&device(), operation(3, 32), 1000);
    evidence.insert(entry.clone(), record("a", outcome)).unwrap();
    let bytes = encode_evidence(ARCH, &evidence).unwrap();
    let earlier = of_version(3, &bytes);
    assert_eq!(reason(&sealed(&earlier[19..]), true), "version 3 knows no field `charge`");
    let too_much = Some(Charge { made_ns: 2_999, share_ns: 3_000 });
    let outcome = Outcome::Measured(Timing { charge: too_much, ..timing(20_000) });
    let error = evidence.insert(entry, record("b", outcome)).unwrap_err().to_string();
    assert!(error.contains("3000") && error.contains("2999"), "{error}");
}

#[test]
fn devices_of_another_architecture_are_not_written() {
    let other = device_of(Arch::sm(8, 0), "NVIDIA A100", 108);
    let mut evidence = Evidence::new();
    evidence.insert(entry(&other, operation(3, 32), 1000), measured("a", 100)).unwrap();
    evidence.insert(entry(&device(), operation(3, 32), 1000), measured("a", 100)).unwrap();
    let error = encode_evidence(ARCH, &evidence).unwrap_err();
    assert!(matches!(error, CacheError::ForeignDevice { .. }), "{error}");
    let error = encode_decisions(ARCH, &decide(&evidence)).unwrap_err();
    assert!(matches!(error, CacheError::ForeignDevice { .. }), "{error}");
}

#[test]
fn empty_sets_are_sound_files() {
    let bytes = encode_evidence(ARCH, &Evidence::new()).unwrap();
    assert!(decode_evidence(&bytes, EVIDENCE).unwrap().is_empty());
    let bytes = encode_decisions(ARCH, &Decisions::default()).unwrap();
    assert!(decode_decisions(&bytes, DECISIONS).unwrap().is_empty());
}

/// Nor would a reader of version 4.
#[test]
fn what_ships_is_of_version_5() {
    let mut evidence = Evidence::new();
    let shipped = Record { shipped: true, ..measured("a", 20_000) };
    evidence.insert(entry(&device(), operation(3, 32), 1000), shipped).unwrap();
    let earlier = of_version(4, &encode_evidence(ARCH, &evidence).unwrap());
    assert_eq!(reason(&sealed(&earlier[19..]), true), "version 4 knows no field `shipped`");
}

/// The bytes of evidence of today, with an earlier version's number.
fn of_version(version: u8, evidence: &[u8]) -> Vec<u8> {
    let mut earlier = evidence.to_vec();
    let at = earlier.windows(9).position(|found| found == b"\xA7version\x05").unwrap() + 8;
    earlier[at] = version;
    earlier
}
