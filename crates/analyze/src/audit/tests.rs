//! Audits of made-up folders.

use std::time::Duration;

use tempfile::TempDir;
use voxtune::{
    AlgoId, DType, DeviceIdentity, Direction, KernelHash, KernelSize, Operation, ShapeKey,
};
use voxtune_cache::{Interval, Outcome, Timing, Workload, decide};
use voxtune_cuda::model::LearnedModel;
use voxtune_tune::Preset;
use xxhash_rust::xxh3::xxh3_64;

use super::*;
use voxtune_tune::testing;

const ARCH: Arch = Arch::sm(9, 0);
const HASH: KernelHash = KernelHash::new(7);

fn entry(direction: Direction, rows: usize, cloud: &str) -> EntryKey {
    let kernel = KernelSize::submanifold(3).unwrap();
    let operation = Operation::submanifold(direction, DType::Float16, 32, 32, kernel);
    EntryKey {
        device: DeviceIdentity { arch: ARCH, name: "NVIDIA H100".to_owned(), units: 132 },
        key: ShapeKey::new(operation, rows, rows, rows * 5),
        workload: Workload {
            cloud: cloud.to_owned(),
            rows_in: rows as u64,
            rows_out: rows as u64,
            pairs: rows as u64 * 5,
            batch: 1,
            cold: true,
        },
    }
}

/// The one called `slow` is the default.
fn record(algo: &str, median_ns: u64) -> Record {
    let ratio = Interval { low: 0.4, median: 0.5, high: 0.6 };
    let timing = Timing {
        spread_ns: 10,
        ratio_to_default: (algo != "slow").then_some(ratio),
        ..testing::timing(median_ns)
    };
    Record {
        kernel_hash: HASH,
        default: algo == "slow",
        shipped: false,
        outcome: Outcome::Measured(timing),
        ..testing::record(algo, 0, median_ns)
    }
}

/// A folder as populate would leave it.
fn folder(records: &[(EntryKey, Record)]) -> (TempDir, CacheDir) {
    let folder = tempfile::tempdir().unwrap();
    let cache = CacheDir::new(folder.path());
    let update = cache.update(ARCH, Duration::from_secs(5), |evidence| {
        for (entry, record) in records {
            evidence.insert(entry.clone(), record.clone()).unwrap();
        }
    });
    assert!(update.unwrap().evidence_written);
    (folder, cache)
}

fn sound() -> Vec<(EntryKey, Record)> {
    let entry = entry(Direction::Forward, 100_000, "uniform");
    vec![(entry.clone(), record("slow", 100_000)), (entry, record("quick", 50_000))]
}

/// The code that ran is what runs, except for the algorithms named.
struct Changed(&'static [&'static str]);

impl CurrentCode for Changed {
    fn of(&mut self, _: Arch, algo: &AlgoId, _: &Operation) -> Code {
        match self.0.iter().position(|name| *name == algo.as_str()) {
            None => Code::Runs(HASH),
            Some(0) => Code::Runs(KernelHash::new(8)),
            Some(1) => Code::Retired,
            Some(_) => Code::Unknown,
        }
    }
}

fn audited(cache: &CacheDir) -> ArchAudit {
    audit_arch(cache, ARCH, &mut Changed(&[]))
}

#[test]
fn what_populate_writes_is_sound() {
    let (_guard, cache) = folder(&sound());
    let audit = audited(&cache);
    assert_eq!(audit.findings, []);
    assert_eq!((audit.decision_count, audit.entry_count, audit.timing_count), (1, 1, 2));
}

#[test]
fn a_nanosecond_is_found() {
    let mut records = sound();
    records.push((entry(Direction::Wgrad, 1, "uniform"), record("slow", 1)));
    records.push((entry(Direction::Dgrad, 1_000_000, "uniform"), record("slow", 9_000)));
    let (_guard, cache) = folder(&records);
    let audit = audited(&cache);
    let found = audit.findings.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!((found.len(), audit.count(Severity::Wrong)), (2, 2), "{found:?}");
    assert!(found[0].contains("dgrad") && found[0].contains("slow took 9000 ns"), "{found:?}");
    assert!(found[1].contains("wgrad") && found[1].contains("slow took 1 ns"), "{found:?}");
}

#[test]
fn changed_code_is_stale_and_unknown_code_is_counted() {
    let entry = entry(Direction::Forward, 100_000, "uniform");
    let records: Vec<_> = ["slow", "quick", "gone", "elsewhere"]
        .iter()
        .zip([100_000, 50_000, 90_000, 95_000])
        .map(|(algo, ns)| (entry.clone(), record(algo, ns)))
        .collect();
    let (_guard, cache) = folder(&records);
    let audit = audit_arch(&cache, ARCH, &mut Changed(&["quick", "gone", "elsewhere"]));
    assert_eq!((audit.count(Severity::Stale), audit.findings.len()), (2, 2));
    assert_eq!(audit.unknown_code_count, 1);
    let decides = |finding: &Finding| match finding {
        Finding::Stale { algo, decides, current, .. } => {
            (algo.to_string(), *decides, current.is_some())
        }
        other => panic!("{other:?}"),
    };
    let found: Vec<_> = audit.findings.iter().map(decides).collect();
    assert_eq!(found, [("gone".to_owned(), false, false), ("quick".to_owned(), true, true)]);
    let remedies: Vec<_> = audit.findings.iter().map(Finding::remedy).collect();
    assert_eq!(remedies, [Some(Remedy::Forget), Some(Remedy::TopUp)]);
}

#[test]
fn a_model_of_other_evidence_is_stale_and_a_damaged_one_wrong() {
    let (_guard, cache) = folder(&sound());
    let evidence = std::fs::read(cache.evidence_path(ARCH)).unwrap();
    let found = |bytes: &[u8]| {
        std::fs::write(model_path(cache.path(), ARCH), bytes).unwrap();
        let findings = audited(&cache).findings;
        findings.iter().map(|one| (one.severity(), one.remedy())).collect::<Vec<_>>()
    };
    let learned_from = |evidence: &[u8]| LearnedModel::new(xxh3_64(evidence), Vec::new()).encode();
    assert_eq!(found(&learned_from(&evidence)), []);
    assert_eq!(found(&learned_from(b"others")), [(Severity::Stale, Some(Remedy::Fit))]);
    assert_eq!(found(b"voxtune model 9"), [(Severity::Wrong, None)]);
}

#[test]
fn decisions_of_other_evidence_are_wrong() {
    let (guard, cache) = folder(&sound());
    let mut other = Evidence::new();
    for (entry, record) in sound().into_iter().filter(|(_, record)| record.default) {
        other.insert(entry, record).unwrap();
    }
    let bytes = encode_decisions(ARCH, &decide(&other)).unwrap();
    std::fs::write(cache.decisions_path(ARCH), bytes).unwrap();
    let audit = audited(&cache);
    let text = audit.findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    assert_eq!(audit.count(Severity::Wrong), 1, "{text}");
    assert!(text.contains("decided for slow, and the evidence for quick"), "{text}");

    std::fs::remove_file(cache.decisions_path(ARCH)).unwrap();
    let audit = audited(&cache);
    assert!(audit.findings[0].to_string().contains("not decided"), "{:?}", audit.findings);
    drop(guard);
}

#[test]
fn a_lone_decision_file_is_unproven() {
    let (_guard, cache) = folder(&sound());
    std::fs::remove_file(cache.evidence_path(ARCH)).unwrap();
    let audit = audited(&cache);
    assert_eq!((audit.findings.len(), audit.count(Severity::Unproven)), (1, 1));
}

#[test]
fn damage_names_the_file() {
    let (guard, cache) = folder(&sound());
    for path in [cache.decisions_path(ARCH), cache.evidence_path(ARCH)] {
        let sound = std::fs::read(&path).unwrap();
        let mut bytes = sound.clone();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let audit = audited(&cache);
        let name = path.file_name().unwrap().to_str().unwrap();
        let text = audit.findings[0].to_string();
        assert!(audit.count(Severity::Wrong) == 1 && text.contains(name), "{text}");
        assert!(text.contains("checksum"), "{text}");
        std::fs::write(&path, &sound).unwrap();
    }
    let stray = guard.path().join("sm_9x.msgpack");
    std::fs::write(&stray, b"").unwrap();
    std::fs::write(guard.path().join("sm_90.msgpack.corrupt-1"), b"").unwrap();
    let found = audit_names(guard.path()).unwrap();
    let severities: Vec<Severity> = found.iter().map(Finding::severity).collect();
    assert_eq!(severities, [Severity::Unproven, Severity::Wrong], "{found:?}");
}

#[test]
fn coverage_counts_what_a_device_lacks() {
    let records: Vec<(EntryKey, Record)> = Direction::ALL
        .into_iter()
        .flat_map(|direction| {
            // Any count of the bucket will do, and clouds of other names do not matter.
            [(direction, 70_000, "uniform"), (direction, 500_000, "scan")]
        })
        .map(|(direction, rows, cloud)| (entry(direction, rows, cloud), record("slow", 1_000_000)))
        .collect();
    let (_guard, cache) = folder(&records);
    let audit = audited(&cache);
    let of = |preset| coverage(preset, &audit.decisions, &audit.evidence).remove(0);
    let quick = of(Preset::Quick);
    assert_eq!((quick.wanted, quick.missing.len()), (18, 15));
    assert!(quick.missing.iter().all(|gap| gap.voxels != 100_000 || gap.operation.c_out != 32));
    let default = of(Preset::Default);
    assert_eq!((default.wanted, default.missing.len()), (364 * 3 * 2, 364 * 3 * 2 - 3));
    // Decisions alone do not tell clouds apart.
    let decisions_only = coverage(Preset::Quick, &audit.decisions, &Evidence::new()).remove(0);
    assert_eq!((decisions_only.wanted, decisions_only.missing.len()), (18, 12));
}

/// A writer between its two files: neither is damaged, and together they contradict each other.
#[test]
fn f07_a_save_between_two_reads_is_not_wrong() {
    let (_guard, cache) = folder(&sound());
    let other = entry(Direction::Dgrad, 100_000, "uniform");
    let more = [(other.clone(), record("slow", 100_000)), (other, record("quick", 50_000))];
    let (_later_guard, later) = folder(&[sound(), more.to_vec()].concat());
    let lock = voxtune_files::FileLock::acquire(&cache.lock_path(ARCH), Duration::ZERO).unwrap();
    std::fs::copy(later.evidence_path(ARCH), cache.evidence_path(ARCH)).unwrap();
    let auditing = {
        let cache = cache.clone();
        std::thread::spawn(move || audited(&cache))
    };
    // Time for an audit that does not wait to find fault.
    std::thread::sleep(Duration::from_millis(30));
    std::fs::copy(later.decisions_path(ARCH), cache.decisions_path(ARCH)).unwrap();
    drop(lock);
    let audit = auditing.join().unwrap();
    assert_eq!((audit.count(Severity::Wrong), audit.entry_count), (0, 2), "{:?}", audit.findings);
}
