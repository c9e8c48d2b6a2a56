//! What needs a real scan.

use voxtune::{Device, KernelSize, Voxels};
use voxtune_pointcloud::{FileOptions, load_file};

use crate::command::{Finished, small_populate};
use crate::needs::scan_file;
use crate::populating::evidence;

const CROP: &str = "-80,-80,-2,80,80,6";

/// The sweep that peers are measured on: 125,565 voxels with 6.28 mean neighbours.
#[test]
#[ignore = "needs a scan: VOXTUNE_SCAN"]
fn a_scan_has_the_voxels_and_neighbours_that_peers_count() {
    let path = scan_file();
    let options = FileOptions { crop: Some(CROP.parse().unwrap()), ..FileOptions::default() };
    let cells = load_file(&path, &options).unwrap();
    assert_eq!(cells.len(), 125_565);
    let voxels = Voxels::new(&Device::cpu().unwrap(), cells).unwrap();
    let counts = voxels.kernel_map(KernelSize::submanifold(3).unwrap()).unwrap().counts();
    let mean = counts.pairs as f64 / counts.n_out as f64;
    assert_eq!(format!("{mean:.2}"), "6.28");
}

#[test]
#[ignore = "needs a scan: VOXTUNE_SCAN"]
fn populate_measures_a_scan_whole() {
    let path = scan_file();
    let folder = tempfile::tempdir().unwrap();
    let mut command = small_populate(folder.path());
    command.arg("--clouds").arg(&path).args(["--crop", CROP, "--forward-only"]);
    let finished = Finished::of(command.output().unwrap()).success();
    assert_eq!(finished.last_line(), "requested 4 = measured 4 + skipped 0 + failed 0");
    let rows: Vec<u64> =
        evidence(folder.path()).entries().map(|(key, _)| key.workload.rows_out).collect();
    assert!(rows.contains(&125_565), "{rows:?}");
}
