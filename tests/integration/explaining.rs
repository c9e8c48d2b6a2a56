//! What is said about a choice, by the library and on the command line.

use std::time::Duration;

use voxtune::{
    Arch, DType, DeviceIdentity, Direction, KernelHash, KernelSize, MissPolicy, Operation,
    Registry, ShapeKey, Tuner,
};
use voxtune_cache::{CacheDir, EntryKey, Environment, Interval, Outcome, Record, Timing, Workload};

use crate::command::{Finished, voxtune};

const DEFAULT: &str = "implicit_gemm:rows=128:cols=64:depth=16";
const FAST: &str = "explicit_gemm";
const ARCH: Arch = Arch::sm(9, 0);

fn device(name: &str) -> DeviceIdentity {
    DeviceIdentity { arch: ARCH, name: name.to_owned(), units: 132 }
}

fn operation(direction: Direction) -> Operation {
    let kernel = KernelSize::submanifold(3).unwrap();
    Operation::submanifold(direction, DType::Float32, 32, 64, kernel)
}

fn key(direction: Direction, rows: usize) -> ShapeKey {
    ShapeKey::new(operation(direction), rows, rows, rows * 5)
}

/// A race that cuBLAS has won, on this device.
fn race(name: &str, direction: Direction, rows: usize) -> (EntryKey, [Record; 2]) {
    let rows_64 = rows as u64;
    let workload = Workload {
        cloud: "uniform".to_owned(),
        rows_in: rows_64,
        rows_out: rows_64,
        pairs: rows_64 * 5,
        batch: 1,
        cold: true,
    };
    let entry = EntryKey { device: device(name), key: key(direction, rows), workload };
    let record = |id: &str, median_ns: u64, default: bool| Record {
        algo: id.parse().unwrap(),
        kernel_hash: KernelHash::new(1),
        default,
        shipped: false,
        requires: None,
        environment: Environment {
            tool: "voxtune 0.1.0".to_owned(),
            driver: "CUDA 13.0".to_owned(),
            toolkit: "CUDA 13.0".to_owned(),
        },
        outcome: Outcome::Measured(Timing {
            median_ns,
            spread_ns: median_ns / 100,
            min_ns: median_ns,
            samples: 9,
            clock_mhz: None,
            ratio_to_default: (!default).then_some(Interval { low: 0.79, median: 0.8, high: 0.81 }),
            max_error: 1e-7,
            charge: None,
        }),
    };
    (entry, [record(FAST, 40_000, false), record(DEFAULT, 50_000, true)])
}

/// A folder in which a device was measured at two sizes.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let cache = CacheDir::new(folder.path());
    let update = cache.update(ARCH, Duration::from_secs(9), |evidence| {
        for rows in [1 << 14, 1 << 17] {
            let (entry, records) = race("A GPU", Direction::Forward, rows);
            for record in records {
                evidence.insert(entry.clone(), record).unwrap();
            }
        }
    });
    assert!(update.unwrap().decisions_written);
    folder
}

#[test]
fn explain_names_the_grade_that_answers() {
    let folder = folder();
    let tuner = Tuner::builder().folder(folder.path()).build();
    let strict = Tuner::builder().folder(folder.path()).policy(MissPolicy::Fail).build();
    let pinned = Tuner::builder()
        .folder(folder.path())
        .pin(Direction::Forward, "implicit_gemm".parse().unwrap())
        .build();
    let registry = Registry::of_device(&device("H100"));
    let explain =
        |tuner: &Tuner, name: &str, key: ShapeKey| tuner.explain_at(&device(name), &registry, &key);
    use Direction::{Forward, Wgrad};
    let texts = [
        explain(&tuner, "A GPU", key(Forward, 1 << 17)),
        explain(&tuner, "A GPU", key(Forward, 1 << 16)),
        explain(&tuner, "Another GPU", key(Forward, 1 << 17)),
        explain(&tuner, "A GPU", key(Wgrad, 1 << 17)),
        explain(&tuner, "A GPU", key(Forward, 1 << 5)),
        explain(&pinned, "A GPU", key(Forward, 1 << 17)),
        explain(&strict, "A GPU", key(Forward, 1 << 16)),
    ]
    .map(|explanation| explanation.to_string());
    insta::assert_snapshot!("explanations", texts.join("\n"));

    let exact = explain(&tuner, "A GPU", key(Forward, 1 << 17)).answer.unwrap();
    assert_eq!(exact.measured.len(), 1);
    let margin = exact.measured[0].margin().unwrap();
    assert!((margin - 0.25).abs() < 1e-9, "{margin}");
}

/// A decision of the program's own is not explained by what a folder measured that decided nothing.
#[test]
fn explain_shows_evidence_of_sibling_devices() {
    let folder = folder();
    let cache = CacheDir::new(folder.path());
    let decisions = cache.read_decisions(ARCH).unwrap().unwrap();
    let explain = || {
        let tuner = Tuner::builder().folder(folder.path()).decisions(decisions.clone()).build();
        let registry = Registry::of_device(&device("H100"));
        let key = key(Direction::Forward, 1 << 17);
        tuner.explain_at(&device("A GPU"), &registry, &key).answer.unwrap()
    };
    assert_eq!(explain().measured.len(), 1);
    std::fs::remove_file(folder.path().join("sm_90.msgpack")).unwrap();
    let answer = explain();
    assert!(answer.entry.is_some() && answer.measured.is_empty(), "{answer:?}");
}

#[test]
fn the_command_says_what_the_library_says() {
    let folder = folder();
    let explain = |more: &[&str]| {
        let mut command = voxtune();
        command.args(["explain", "--no-embedded", "--arch", "sm_90", "--channels", "32,64"]);
        command.args(["--dtypes", "float32", "--directions", "forward"]).args(more);
        command.arg("--out").arg(folder.path());
        Finished::of(command.output().unwrap()).success().stdout
    };
    let exact = explain(&["--num-voxels", "131072"]);
    assert!(exact.contains("grade      exact (user)"), "{exact}");
    assert!(exact.contains("on         A GPU (sm_90, 132 SMs)"), "{exact}");
    assert!(exact.contains("driver CUDA 13.0"), "{exact}");
    // Rows of both sides are in the key of a layer between two clouds.
    let strided = ["--num-voxels", "100000", "--kind", "sparse", "--kernel-sizes", "3,1,1"];
    let down = explain(&[&strided[..], &["--stride", "2,1,1", "--other-side", "40000"]].concat());
    assert!(down.contains("k3x1x1 s2x1x1 2^16 (in 2^17)"), "{down}");
    let up = ["--num-voxels", "100000", "--kind", "inverse", "--kernel-sizes", "2"];
    let up = explain(&[&up[..], &["--other-side", "40000", "--density", "1"]].concat());
    assert!(up.contains("k2 s2x2x2 inverse 2^17 (in 2^16) density 1-2"), "{up}");
    let named =
        explain(&["--num-voxels", "131072", "9", "--device-name", "Other", "--units", "99"]);
    assert!(named.contains("same architecture (user: A GPU (sm_90, 132 SMs))"), "{named}");
    assert!(named.contains("Other (sm_90, 99 SMs)"), "{named}");
    assert_eq!(named.matches("  runs ").count(), 2, "{named}");
    let dense = explain(&["--num-voxels", "131072", "--density", "20"]);
    assert!(dense.contains("2^17 density 16-32"), "{dense}");
}

/// A user's folder counts here as it does in a program.
#[cfg(unix)]
#[cfg(unix)]
#[test]
fn a_folder_that_others_can_write_to_is_left_out() {
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt as _;

    let folder = folder();
    let explain = || {
        let mut command = voxtune();
        command.args(["explain", "--no-embedded", "--arch", "sm_90", "--channels", "32,64"]);
        command.args(["--dtypes", "float32", "--directions", "forward"]);
        command.args(["--num-voxels", "131072", "--device-name", "A GPU", "--units", "132"]);
        command.env("VOXTUNE_CACHE_DIR", folder.path());
        Finished::of(command.output().unwrap()).success()
    };
    assert!(explain().stdout.contains("grade      exact (user)"));
    set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
    let open = explain();
    assert!(open.stdout.contains("grade      default"), "{open:?}");
    assert!(open.stderr.contains("mode 777"), "{open:?}");
}

#[test]
fn bad_arguments_of_explain_are_refused() {
    for (arguments, mention) in [
        (&["explain", "--channels", "32,64"][..], "--num-voxels"),
        (&["explain", "--num-voxels", "9", "--channels", "32"], "C_in,C_out"),
        (
            &["explain", "--num-voxels", "9", "--channels", "3,4", "--kernel-sizes", "2"],
            "1, 3 or 5",
        ),
        (&["explain", "--num-voxels", "9", "--channels", "3,4", "--arch", "sm9"], "sm_90"),
        (&["explain", "--num-voxels", "9", "--channels", "3,4", "--stride", "2"], "add --kind"),
        (&["explain", "--num-voxels", "9", "--channels", "3,4", "--kind", "given"], "transposed"),
        (&["pack", "--dry-run", "--caches", "no/such/folder"], "no/such/folder"),
    ] {
        let finished = crate::command::run(arguments);
        assert_eq!(finished.status, Some(2), "{finished:?}");
        assert!(finished.stderr.contains(mention), "{finished:?}");
    }
}
