//! The command line of WarpConvNet's script, taken by populate.

use std::path::Path;

use voxtune_cache::CacheDir;
use voxtune_types::Direction;

use crate::command::{Finished, run, small_populate, voxtune};
use crate::populating::evidence;

/// Every flag of their script, as they document it.
#[test]
fn every_flag_of_their_script_is_taken() {
    for flags in [
        "--preset default",
        "--preset quick",
        "--num-voxels 100000 500000",
        "--channels 32,64 128,256",
        "--kernel-sizes 3 5",
        "--dtypes float16 bfloat16 float32",
        "--algo-mode auto",
        "--algo-mode trimmed",
        "--algo-mode all",
        "--algo-mode implicit_gemm",
        "--clear-cache",
        "--forward-only",
        "--backward-only",
        "--batch-size 2",
        "--resume",
    ] {
        let line: Vec<&str> =
            ["populate", "--dry-run"].into_iter().chain(flags.split(' ')).collect();
        let finished = run(&line).success();
        assert!(finished.last_line().ends_with(" configurations"), "{flags}: {finished:?}");
    }
    let count = |preset| run(&["populate", "--dry-run", "--preset", preset]).success();
    assert_eq!(count("default").last_line(), "364 configurations");
    assert_eq!(count("script").last_line(), "296 configurations");
    assert_eq!(count("quick").last_line(), "6 configurations");
}

#[test]
fn several_presets_are_one_plan() {
    let dry = |presets: &[&str]| {
        let all = [&["populate", "--dry-run", "--preset"], presets].concat();
        let finished = run(&all).success();
        let lines = finished.stdout.lines().count();
        (lines - 1, finished.last_line().to_owned())
    };
    let (count, last) = dry(&["lidar,unet,default"]);
    assert_eq!(last, format!("{count} configurations"));
    assert!((44 + 109 + 300..44 + 109 + 364).contains(&count), "{count}");
    assert_eq!(dry(&["lidar", "unet", "default"]), (count, last));
    assert_eq!(dry(&["quick,quick"]).0, 6);
}

/// What one run measures of two presets, another one skips.
#[test]
fn presets_together_are_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = small_populate(folder.path());
    command.args(["--preset", "quick,script"]);
    let finished = Finished::of(command.output().unwrap()).success();
    assert_eq!(finished.last_line(), "requested 3 = measured 3 + skipped 0 + failed 0");
    let mut again = small_populate(folder.path());
    again.args(["--preset", "script,quick", "--resume"]);
    let finished = Finished::of(again.output().unwrap()).success();
    assert_eq!(finished.last_line(), "requested 3 = measured 0 + skipped 3 + failed 0");
}

#[test]
fn the_override_is_stronger_than_the_variable() {
    let folder = tempfile::tempdir().unwrap();
    let [theirs, ours] = ["theirs", "override"].map(|name| folder.path().join(name));
    let line = small_populate(Path::new("unused"));
    let arguments = line.get_args().filter(|one| *one != "--out" && *one != "unused");
    let mut command = voxtune();
    command.args(arguments).env("WARPCONVNET_BENCHMARK_CACHE_DIR", &theirs);
    command.env("WARPCONVNET_BENCHMARK_CACHE_DIR_OVERRIDE", &ours);
    Finished::of(command.output().unwrap()).success();
    assert!(!theirs.exists());
    assert_eq!(evidence(&ours).len(), 9);
}

#[test]
fn clearing_removes_what_was_there_before_and_a_dry_run_does_not() {
    let folder = tempfile::tempdir().unwrap();
    Finished::of(small_populate(folder.path()).output().unwrap()).success();
    let before = evidence(folder.path());
    let cleared = |more: &[&str]| {
        let mut command = small_populate(folder.path());
        command.args(["--clear-cache", "--forward-only"]).args(more);
        Finished::of(command.output().unwrap()).success()
    };
    let dry = cleared(&["--dry-run"]);
    assert!(dry.stderr.contains("a dry run clears nothing"), "{dry:?}");
    assert_eq!(evidence(folder.path()), before);
    let finished = cleared(&[]);
    assert!(finished.stderr.contains("Cleared 9 entries of "), "{finished:?}");
    let after = evidence(folder.path());
    let is_forward = |direction| direction == Direction::Forward;
    assert_eq!(after.len(), 3);
    assert!(after.entries().all(|(entry, _)| is_forward(entry.key.operation.direction)));
    let cache = CacheDir::new(folder.path());
    for arch in cache.archs().unwrap() {
        let decisions = cache.read_decisions(arch).unwrap().unwrap();
        assert!(decisions.iter().all(|one| is_forward(one.key.operation.direction)));
    }
}
