//! Where records came from.

use std::time::Duration;

use proptest::prelude::*;
use voxtune_cache::{CacheDir, CacheError, Evidence, Provenance, Record};

use crate::samples::{ARCH, device, entry, measured, operation, small};
use crate::strategies::evidence;

const WAIT: Duration = Duration::from_secs(5);

fn named(evidence: &Evidence, source: &str) -> Provenance {
    let mut provenance = Provenance::new();
    provenance.add_where_missing(evidence, source);
    provenance
}

fn union(left: &(Evidence, Provenance), right: &(Evidence, Provenance)) -> (Evidence, Provenance) {
    let (mut evidence, mut provenance) = left.clone();
    evidence.merge(right.0.clone());
    provenance.merge(right.1.clone());
    provenance.retain_of(&evidence);
    (evidence, provenance)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// As merging of evidence is, in spite of what collisions drop on the way.
    #[test]
    fn is_associative_commutative_and_idempotent(
        a in evidence(), b in evidence(), c in evidence()
    ) {
        let [a, b, c] = [(a, "a"), (b, "b"), (c, "c")]
            .map(|(evidence, name)| (evidence.clone(), named(&evidence, name)));
        prop_assert_eq!(union(&union(&a, &b), &c), union(&a, &union(&b, &c)));
        prop_assert_eq!(union(&a, &b), union(&b, &a));
        let both = union(&a, &b);
        prop_assert_eq!(union(&both, &b), both);
    }

    #[test]
    fn whatever_is_kept_has_its_sources(a in evidence(), b in evidence()) {
        let merged = union(&(a.clone(), named(&a, "a")), &(b.clone(), named(&b, "b")));
        for (entry, records) in merged.0.entries() {
            for record in records.iter() {
                let of = |side: &Evidence| {
                    let records = side.records(entry);
                    records.and_then(|all| all.get(&record.algo, record.kernel_hash)) == Some(record)
                };
                let expected: Vec<&str> =
                    [(of(&a), "a"), (of(&b), "b")].iter().filter(|s| s.0).map(|s| s.1).collect();
                prop_assert_eq!(merged.1.sources(entry, record).collect::<Vec<_>>(), expected);
            }
        }
    }
}

/// The file of version 1: made once, never written again.
const PROVENANCE_V1: &[u8] = include_bytes!("../fixtures/v1/sm_90.provenance.msgpack");

/// Reading holds for ever; writing the same bytes only while 1 is the current version.
#[test]
fn version_1_is_read_and_written() {
    let folder = tempfile::tempdir().unwrap();
    let folder = CacheDir::new(folder.path());
    std::fs::write(folder.provenance_path(ARCH), PROVENANCE_V1).unwrap();
    let mut expected = named(&small(), "node2/sm_90.evidence.msgpack");
    let (entry, records) = small().entries().next().map(|(a, b)| (a.clone(), b.clone())).unwrap();
    expected.add(&entry, records.iter().next().unwrap(), "node1/sm_90.evidence.msgpack");
    assert_eq!(folder.read_provenance(ARCH).unwrap(), expected);

    std::fs::remove_file(folder.provenance_path(ARCH)).unwrap();
    stored(&folder);
    folder.add_provenance(ARCH, WAIT, expected).unwrap();
    assert!(std::fs::read(folder.provenance_path(ARCH)).unwrap() == PROVENANCE_V1);
}

fn stored(folder: &CacheDir) {
    let update = folder.update(ARCH, WAIT, |evidence| evidence.merge(small())).unwrap();
    assert!(update.evidence_written);
}

#[test]
fn sources_live_as_long_as_their_records() {
    let folder = tempfile::tempdir().unwrap();
    let folder = CacheDir::new(folder.path());
    stored(&folder);
    assert!(folder.read_provenance(ARCH).unwrap().is_empty());
    assert!(folder.add_provenance(ARCH, WAIT, Provenance::new()).unwrap().is_none());
    assert!(!folder.provenance_path(ARCH).exists(), "nothing to say is no file");

    let mut added = named(&small(), "node1/sm_90.evidence.msgpack");
    let elsewhere = entry(&device(), operation(3, 3), 10);
    added.add(&elsewhere, &measured("a", 1), "of a record that is not here");
    folder.add_provenance(ARCH, WAIT, added.clone()).unwrap();
    folder.add_provenance(ARCH, WAIT, named(&small(), "node2")).unwrap();
    let provenance = folder.read_provenance(ARCH).unwrap();
    assert_eq!(provenance.len(), 2);
    for (entry, records) in small().entries() {
        for record in records.iter() {
            let sources: Vec<&str> = provenance.sources(entry, record).collect();
            assert_eq!(sources, ["node1/sm_90.evidence.msgpack", "node2"]);
            let changed = Record { default: !record.default, ..record.clone() };
            assert_eq!(provenance.sources(entry, &changed).count(), 0);
        }
    }

    let bytes = std::fs::read(folder.provenance_path(ARCH)).unwrap();
    folder.add_provenance(ARCH, WAIT, added).unwrap();
    assert_eq!(std::fs::read(folder.provenance_path(ARCH)).unwrap(), bytes);

    let update = folder.update(ARCH, WAIT, |evidence| evidence.retain(|_, _| false)).unwrap();
    assert!(update.evidence_written);
    folder.add_provenance(ARCH, WAIT, Provenance::new()).unwrap();
    assert!(folder.read_provenance(ARCH).unwrap().is_empty());
}

#[test]
fn damage_is_found_and_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let folder = CacheDir::new(folder.path());
    stored(&folder);
    folder.add_provenance(ARCH, WAIT, named(&small(), "a")).unwrap();
    let path = folder.provenance_path(ARCH);
    let sound = std::fs::read(&path).unwrap();
    for index in 0..sound.len() {
        let mut bytes = sound.clone();
        bytes[index] ^= 0x10;
        std::fs::write(&path, &bytes).unwrap();
        assert!(folder.read_provenance(ARCH).is_err(), "byte {index}");
        std::fs::write(&path, &sound[..index]).unwrap();
        assert!(folder.read_provenance(ARCH).is_err(), "cut at {index}");
    }
    std::fs::write(&path, &sound[..40]).unwrap();
    let aside = folder.add_provenance(ARCH, WAIT, named(&small(), "b")).unwrap().unwrap();
    assert_eq!(std::fs::read(aside.to).unwrap(), &sound[..40]);
    assert_eq!(folder.read_provenance(ARCH).unwrap(), named(&small(), "b"));

    let elsewhere = path.with_file_name("sm_80.provenance.msgpack");
    std::fs::copy(&path, elsewhere).unwrap();
    let error = folder.read_provenance(voxtune_types::Arch::sm(8, 0)).unwrap_err();
    assert!(matches!(error, CacheError::Misnamed { .. }), "{error}");
}
