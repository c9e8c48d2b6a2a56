//! What needs a real scan.

use std::path::PathBuf;

use voxtune::{Device, KernelSize, Voxels};
use voxtune_pointcloud::{FileOptions, load_file};

use crate::command::{Finished, small_populate};
use crate::populating::evidence;
use crate::suite::Suite;

pub(crate) fn add(suite: &mut Suite) {
    suite.scan_test("scan::voxels_and_neighbours", voxels_and_neighbours);
    suite.scan_test("scan::populate_on_a_file", populate_on_a_file);
}

const CROP: &str = "-80,-80,-2,80,80,6";

/// The sweep that peers are measured on: 125,565 voxels with 6.28 mean neighbours.
fn voxels_and_neighbours(path: PathBuf) {
    let options = FileOptions { crop: Some(CROP.parse().unwrap()), ..FileOptions::default() };
    let cells = load_file(&path, &options).unwrap();
    assert_eq!(cells.len(), 125_565);
    let voxels = Voxels::new(&Device::cpu().unwrap(), cells).unwrap();
    let counts = voxels.kernel_map(KernelSize::submanifold(3).unwrap()).unwrap().counts();
    let mean = counts.pairs as f64 / counts.n_out as f64;
    assert_eq!(format!("{mean:.2}"), "6.28");
}

fn populate_on_a_file(path: PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = small_populate(folder.path());
    command.arg("--clouds").arg(&path).args(["--crop", CROP, "--forward-only"]);
    let finished = Finished::of(command.output().unwrap()).success();
    assert_eq!(finished.last_line(), "requested 4 = measured 4 + skipped 0 + failed 0");
    let rows: Vec<u64> =
        evidence(folder.path()).entries().map(|(key, _)| key.workload.rows_out).collect();
    assert!(rows.contains(&125_565), "{rows:?}");
}
