//! Populate from end to end: resume, forget, repetition, failure.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use voxtune_cache::{CacheDir, EntryKey, Evidence, Records};
use voxtune_types::Product;

use crate::command::{Finished, run, small_populate, voxtune};

/// The evidence that a folder holds.
pub(crate) fn evidence(folder: &Path) -> Evidence {
    let cache = CacheDir::new(folder);
    let mut all = Evidence::new();
    for arch in cache.archs().unwrap() {
        all.merge(cache.read_evidence(arch).unwrap().unwrap());
    }
    all
}

fn entries(folder: &Path) -> BTreeMap<EntryKey, Records> {
    evidence(folder).entries().map(|(key, records)| (key.clone(), records.clone())).collect()
}

fn populate(folder: &Path, more: &[&str]) -> Finished {
    Finished::of(small_populate(folder).args(more).output().unwrap())
}

#[test]
fn every_entry_is_verified_and_ranked() {
    let folder = tempfile::tempdir().unwrap();
    let finished = populate(folder.path(), &[]).success();
    assert_eq!(finished.last_line(), "requested 3 = measured 3 + skipped 0 + failed 0");
    assert_eq!(finished.stdout.matches("added").count(), 9, "{finished:?}");
    let entries = entries(folder.path());
    assert_eq!(entries.len(), 9);
    for (key, records) in &entries {
        assert!(records.len() >= 3, "{key:?}");
        assert!(records.iter().all(|record| record.timing().is_some()), "{records:?}");
        assert_eq!(records.iter().filter(|record| record.default).count(), 1);
        assert!(records.iter().any(|record| record.timing().unwrap().samples >= 3));
        assert!(records.iter().all(|record| record.timing().unwrap().max_error < 1e-5));
    }
}

/// Measures the layers of a file on a full box of 10 x 10 x 6 voxels. Gives what the last line
/// says, and the evidence by operation, cloud, rows and pairs.
fn populate_model(layers: &str, more: &[&str]) -> (Finished, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let inside = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let points: String =
        (0..600).map(|i| format!("{}.5 {}.5 {}.5\n", i / 60, i / 6 % 10, i % 6)).collect();
    let header = "ply\nformat ascii 1.0\nelement vertex 600\nproperty float x\nproperty float y\n\
                  property float z\nend_header\n";
    fs::write(inside("scan.ply"), format!("{header}{points}")).unwrap();
    fs::write(inside("layers.json"), layers).unwrap();
    let (scan, model, out) = (inside("scan.ply"), inside("layers.json"), inside("out"));
    let arguments = [
        "populate",
        "--model",
        &model,
        "--cloud",
        &scan,
        "--voxel-size",
        "1",
        "--dtypes",
        "float32",
        "--device",
        "cpu",
        "--threads",
        "1",
        "--forward-only",
        "--budget",
        "0",
        "--out",
        &out,
    ];
    let finished = run(&[&arguments[..], more].concat());
    let mut found: Vec<String> = entries(Path::new(&out))
        .keys()
        .map(|entry| {
            let (operation, workload) = (entry.key.operation, &entry.workload);
            let (cloud, rows_in, rows_out) = (&workload.cloud, workload.rows_in, workload.rows_out);
            let pairs = workload.pairs;
            format!("{operation} over {cloud}: {rows_in} to {rows_out}, {pairs} pairs")
        })
        .collect();
    found.sort_unstable();
    (finished, found)
}

/// Down and back: the strided layer and the inverse one over the scan, the layer between over what
/// the first made of it. Each key names its kind, and the worker reads the levels from files.
#[test]
fn a_models_layers_are_measured() {
    let layers = r#"[
        {"layer": "SparseConv3d", "kernel": [2, 2, 2], "stride": [2, 2, 2], "in": 4, "out": 8},
        {"layer": "SubmConv3d", "kernel": [3, 3, 3], "in": 8, "out": 8},
        {"layer": "SubmConv3d", "kernel": [3, 3, 3], "in": 8, "out": 8},
        {"layer": "SparseInverseConv3d", "kernel": [2, 2, 2], "stride": [2, 2, 2], "in": 8, "out": 4}
    ]"#;
    let (finished, found) = populate_model(layers, &[]);
    let finished = finished.success();
    assert_eq!(finished.last_line(), "requested 3 = measured 3 + skipped 0 + failed 0");
    let expected = [
        "forward float32 4→8 k2 s2x2x2 over scan: 600 to 75, 600 pairs",
        "forward float32 8→4 k2 s2x2x2 inverse over scan: 75 to 600, 600 pairs",
        "forward float32 8→8 k3 over scan-level1: 75 to 75, 1183 pairs",
    ];
    assert_eq!(found, expected);
}

/// What acts on the map alone reaches the worker. The full box of 10 x 10 x 6 has so many pairs of
/// voxels one or two apart, and so many windows that begin in it.
#[test]
fn a_models_layers_keep_dilation_padding_and_grid() {
    let layers = r#"{"spatial_shape": [10, 10, 6], "layers": [
        {"layer": "SubmConv3d", "kernel": [3, 3, 3], "in": 4, "out": 4, "bias": true},
        {"layer": "SubmConv3d", "kernel": [3, 3, 3], "dilation": [2, 2, 2], "in": 4, "out": 4},
        {"layer": "SparseConv3d", "kernel": [3, 3, 3], "stride": [2, 2, 2], "in": 4, "out": 8},
        {"layer": "SparseInverseConv3d", "kernel": [3, 3, 3], "stride": [2, 2, 2],
         "in": 8, "out": 4},
        {"layer": "SparseConv3d", "kernel": [3, 3, 3], "stride": [2, 2, 2],
         "padding": [1, 1, 1], "in": 4, "out": 8},
        {"layer": "SubmConv3d", "kernel": [3, 3, 3], "in": 8, "out": 8}
    ]}"#;
    let (finished, found) = populate_model(layers, &[]);
    let finished = finished.success();
    assert_eq!(finished.last_line(), "requested 6 = measured 6 + skipped 0 + failed 0");
    for layer in ["3 d2x2x2", "3 s2 sparse p0x0x0", "3 s2 inverse p0x0x0"] {
        assert!(finished.stdout.contains(layer), "{layer}: {finished:?}");
    }
    // One apart: 28 · 28 · 16 pairs; two apart: 26 · 26 · 14. Windows of 0 to 2 begin at 4 · 4 · 2
    // even cells within the output's shape. Those of −1 to 1 begin at 5 · 5 · 3, one cell of each
    // axis outside.
    let expected = [
        "forward float32 4→4 k3 over scan: 600 to 600, 12544 pairs",
        "forward float32 4→4 k3 over scan: 600 to 600, 9464 pairs",
        "forward float32 4→8 k3 s2x2x2 over scan: 600 to 32, 864 pairs",
        "forward float32 4→8 k3 s2x2x2 over scan: 600 to 75, 1568 pairs",
        "forward float32 8→4 k3 s2x2x2 inverse over scan: 32 to 600, 864 pairs",
        "forward float32 8→8 k3 over scan-level1: 75 to 75, 1183 pairs",
    ];
    assert_eq!(found, expected);

    // A grid of the command line stands for the file's.
    let (finished, found) = populate_model(layers, &["--grid", "12,12,8"]);
    finished.success();
    let padded = "forward float32 4→8 k3 s2x2x2 over scan: 600 to 144, 2025 pairs".to_owned();
    assert!(found.contains(&padded), "{found:?}");
    let (finished, found) = populate_model(layers, &["--grid", "10,10,5"]);
    assert_eq!((finished.status, found.len()), (Some(2), 0), "{finished:?}");
    assert!(finished.stderr.contains("10 x 10 x 5") && finished.stderr.contains("--grid"));
}

#[test]
fn resume_measures_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    populate(folder.path(), &[]).success();
    let before = entries(folder.path());
    let resumed = populate(folder.path(), &["--resume"]).success();
    assert_eq!(resumed.last_line(), "requested 3 = measured 0 + skipped 3 + failed 0");

    let path = folder.path().to_str().unwrap();
    let forgotten = run(&["forget", "--direction", "wgrad", "--out", path]).success();
    assert!(forgotten.stdout.starts_with("3 entries removed"), "{forgotten:?}");
    assert_eq!(entries(folder.path()).len(), 6);
    let resumed = populate(folder.path(), &["--resume"]).success();
    assert_eq!(resumed.last_line(), "requested 3 = measured 3 + skipped 0 + failed 0");
    assert_eq!(resumed.stdout.matches(" wgrad ").count(), 3, "{resumed:?}");
    assert_eq!(resumed.stdout.matches(" forward ").count(), 0, "{resumed:?}");
    let after = entries(folder.path());
    assert!(before.keys().eq(after.keys()));
    let kept = |key: &&EntryKey| key.key.operation.direction != voxtune::Direction::Wgrad;
    assert!(before.keys().filter(kept).all(|key| before[key] == after[key]));
}

#[test]
fn resume_asks_for_the_whole_pool() {
    let folder = tempfile::tempdir().unwrap();
    populate(folder.path(), &["--algo-mode", "explicit_gemm", "--forward-only"]).success();
    assert!(entries(folder.path()).values().all(|records| records.len() == 1));
    // One candidate and one direction are no answer to the question for all of them.
    let resumed = populate(folder.path(), &["--resume"]).success();
    assert_eq!(resumed.last_line(), "requested 3 = measured 3 + skipped 0 + failed 0");
    let lone = ["--resume", "--algo-mode", "explicit_gemm", "--forward-only"];
    let resumed = populate(folder.path(), &lone).success();
    assert_eq!(resumed.last_line(), "requested 3 = measured 0 + skipped 3 + failed 0");
}

#[test]
fn a_repeat_keeps_keys_and_bytes() {
    let folder = tempfile::tempdir().unwrap();
    populate(folder.path(), &[]).success();
    let files = |folder: &Path| -> BTreeMap<_, Vec<u8>> {
        let list = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        list.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
    };
    let (bytes, before) = (files(folder.path()), entries(folder.path()));
    let again = populate(folder.path(), &[]).success();
    let after = entries(folder.path());
    assert!(before.keys().eq(after.keys()));
    // What was not significantly beaten is as it was, record for record; where that is all of
    // them, so are the bytes.
    let replaced = again.stdout.matches(" replaced ").count();
    let changed = before.iter().filter(|(key, records)| after[*key] != **records).count();
    assert_eq!(changed, replaced, "{again:?}");
    assert_eq!(again.stdout.matches(" kept ").count(), 9 - replaced, "{again:?}");
    assert_eq!(files(folder.path()) == bytes, replaced == 0);
}

#[test]
fn batches_and_directions_are_measured_as_asked() {
    let folder = tempfile::tempdir().unwrap();
    let more = ["--batch-size", "4", "--backward-only", "--clouds", "uniform", "surface"];
    populate(folder.path(), &more).success();
    let entries = entries(folder.path());
    assert_eq!(entries.len(), 3 * 2 * 2);
    for key in entries.keys() {
        assert_eq!(key.workload.batch, 4);
        assert_ne!(key.key.operation.direction, voxtune::Direction::Forward);
    }
}

#[test]
fn variables_choose_folder_and_pool() {
    let folder = tempfile::tempdir().unwrap();
    let user = folder.path().join("user");
    let mut command = voxtune();
    command
        .args(["populate", "--device", "cpu", "--threads", "1", "--clouds", "uniform"])
        .args(["--dtypes", "float32", "--channels", "4,4", "--num-voxels", "60"])
        .args(["--budget", "0", "--kernel-sizes", "1"])
        .env("WARPCONVNET_BENCHMARK_CACHE_DIR", &user)
        .env("WARPCONVNET_FWD_ALGO_MODE", "explicit_gemm")
        .env("WARPCONVNET_BWD_ALGO_MODE", "implicit_gemm")
        .env("WARPCONVNET_WGRAD_ALGO_MODE", "[explicit_gemm]");
    Finished::of(command.output().unwrap()).success();
    for (key, records) in entries(&user) {
        let family = match key.key.operation.direction.product() {
            Product::Dgrad => "implicit_gemm",
            _ => "explicit_gemm",
        };
        assert!(records.iter().all(|record| record.algo.family() == family), "{records:?}");
    }
}

#[test]
fn an_unwritable_folder_fails_before_measuring() {
    // A file in place of the folder: even the superuser cannot write below it.
    let folder = tempfile::tempdir().unwrap();
    let blocked = folder.path().join("file");
    fs::write(&blocked, "not a folder").unwrap();
    let finished = populate(&blocked.join("caches"), &[]);
    assert_eq!(finished.status, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("file"), "{finished:?}");
    assert!(!finished.stdout.contains("forward"), "measured before it looked: {finished:?}");
    assert_eq!(fs::read_to_string(blocked).unwrap(), "not a folder");
}

#[test]
fn too_large_is_failed_with_its_size() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = voxtune();
    command
        .args(["populate", "--device", "cpu", "--channels", "8192,8192", "--out"])
        .arg(folder.path())
        .args(["--num-voxels", "2000000", "--dtypes", "float32", "--forward-only"]);
    let finished = Finished::of(command.output().unwrap());
    assert_eq!(finished.status, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("GiB of memory"), "{finished:?}");
    assert_eq!(finished.last_line(), "requested 1 = measured 0 + skipped 0 + failed 1");
}

#[test]
fn forget_needs_a_selection() {
    let folder = tempfile::tempdir().unwrap();
    populate(folder.path(), &[]).success();
    let path = folder.path().to_str().unwrap();
    assert_eq!(run(&["forget", "--out", path]).status, Some(2));
    assert_eq!(entries(folder.path()).len(), 9);
    run(&["forget", "--all", "--out", path]).success();
    assert!(entries(folder.path()).is_empty());
}

#[test]
fn a_dry_run_of_forget_lists_what_would_go_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    populate(folder.path(), &[]).success();
    let path = folder.path().to_str().unwrap();
    let before = entries(folder.path());
    let forget = ["forget", "--direction", "wgrad", "--out", path];
    let listed = run(&[&forget[..], &["--dry-run"]].concat()).success();
    assert_eq!(entries(folder.path()), before);
    assert_eq!(listed.stdout.matches("wgrad ").count(), 3, "{listed:?}");
    assert_eq!(listed.stdout.lines().count(), 4, "{listed:?}");
    let removed = run(&forget).success();
    assert!(removed.last_line().starts_with("3 entries removed from "), "{removed:?}");
    assert_eq!(listed.last_line(), removed.last_line().replace("removed", "would be removed"));
}

/// A forget that writes sets it aside.
#[test]
fn a_dry_run_of_forget_leaves_a_damaged_file_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    populate(folder.path(), &[]).success();
    let cache = CacheDir::new(folder.path());
    let path = cache.evidence_path(cache.archs().unwrap()[0]);
    let bytes = fs::read(&path).unwrap();
    let half = &bytes[..bytes.len() / 2];
    fs::write(&path, half).unwrap();
    let out = folder.path().to_str().unwrap();
    let finished = run(&["forget", "--all", "--dry-run", "--out", out]);
    assert_eq!(finished.status, Some(1), "{finished:?}");
    assert_eq!(fs::read(&path).unwrap(), half);
}

#[test]
fn merging_brings_folders_together() {
    let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let [first, second, target] = folders.each_ref().map(|folder| folder.path());
    populate(first, &["--forward-only"]).success();
    populate(second, &["--backward-only"]).success();
    let merge = |inputs: &[&Path]| {
        let mut command = voxtune();
        command.arg("merge").args(inputs).arg("--out").arg(target);
        Finished::of(command.output().unwrap())
    };
    merge(&[first, second]).success();
    let mut expected = evidence(first);
    expected.merge(evidence(second));
    assert!(evidence(target) == expected);
    assert_eq!(expected.len(), 9);
    let again = merge(&[second, first]).success();
    assert_eq!(again.stdout.matches("nothing new").count(), 2, "{again:?}");
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(merge(&[empty.path()]).status, Some(1));
}
