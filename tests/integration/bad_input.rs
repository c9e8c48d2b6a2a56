//! Bad input: a clear line on stderr, the right status, nothing written.

use std::fs;

use crate::command::{Finished, voxtune};

/// Arguments, status, and what the complaint must mention.
const CASES: &[(&str, i32, &[&str])] = &[
    ("--channels 32", 2, &["32", "C_in,C_out"]),
    ("--channels 0,32", 2, &["0,32"]),
    ("--channels a,b", 2, &["a,b"]),
    ("--num-voxels 0", 2, &["0", "2000000"]),
    ("--num-voxels=-5", 2, &["-5"]),
    ("--num-voxels -5", 2, &["-5"]),
    ("--num-voxels 2000001", 2, &["2000001", "2000000"]),
    ("--num-voxels 1e5", 2, &["1e5"]),
    ("--kernel-sizes 0", 2, &["0", "1, 3 or 5"]),
    ("--kernel-sizes 2", 2, &["2", "1, 3 or 5"]),
    ("--kernel-sizes 7", 2, &["7", "1, 3 or 5"]),
    ("--dtypes float8", 2, &["float8", "float16, bfloat16 or float32"]),
    ("--preset tiny", 2, &["tiny", "default, quick, script, lidar or unet"]),
    ("--preset lidar,tiny", 2, &["tiny", "--preset"]),
    ("--clear-cache --resume", 2, &["--clear-cache", "--resume"]),
    ("--clear-cache --partition slice:1/2", 2, &["--clear-cache", "--partition"]),
    ("--algo-mode nonesuch", 2, &["nonesuch", "explicit_gemm", "implicit_gemm"]),
    ("--algo-mode implicit_gemm:rows=7", 2, &["implicit_gemm:rows=7", "implicit_gemm:rows=256"]),
    ("--algo-mode mask_gemm --device cpu", 2, &["mask_gemm", "cpu-", "explicit_gemm"]),
    ("--device cuda:9 --dry-run", 3, &["cuda:9", "cpu"]),
    ("--algo-mode [explicit_gemm,nonesuch]", 2, &["nonesuch"]),
    ("--algo-mode a,b", 2, &["a,b", "[a,b]"]),
    ("--device gpu", 2, &["gpu", "cuda:N"]),
    ("--device cuda:9", 3, &["cuda:9", "cpu"]),
    ("--forward-only --backward-only", 2, &["--forward-only", "--backward-only"]),
    ("--user --out elsewhere", 2, &["--user", "--out"]),
    ("--batch-size 0", 2, &["0"]),
    ("--threads 0", 2, &["0", "1024"]),
    ("--threads 100000", 2, &["100000", "1024"]),
    ("--budget -1", 2, &["-1"]),
    ("--clouds nowhere.npy", 2, &["nowhere.npy"]),
    ("--crop 1,2,3", 2, &["1,2,3"]),
    ("--voxel-size 0", 2, &["0"]),
    ("--nonesuch", 2, &["--nonesuch"]),
];

#[test]
fn bad_arguments_are_refused_before_anything_is_written() {
    for (arguments, status, mentions) in CASES {
        refuses(arguments, *status, mentions);
    }
}

fn refuses(arguments: &str, status: i32, mentions: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = voxtune();
    command.current_dir(folder.path()).arg("populate").args(arguments.split(' '));
    if !arguments.contains("--out") {
        command.arg("--out").arg(folder.path().join("caches"));
    }
    if arguments.contains("--user") {
        command.env("VOXTUNE_CACHE_DIR", folder.path().join("user"));
    }
    let finished = Finished::of(command.output().unwrap());
    assert_eq!(finished.status, Some(status), "{arguments}: {finished:?}");
    assert!(finished.stdout.is_empty(), "{finished:?}");
    assert!(!finished.stderr.contains("panicked"), "{finished:?}");
    for mention in mentions {
        assert!(finished.stderr.contains(mention), "no `{mention}` in {finished:?}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "something was written");
}

#[test]
fn a_malformed_variable_is_refused() {
    let command = |value| {
        let mut command = voxtune();
        command.args(["populate", "--dry-run"]).env("WARPCONVNET_BWD_ALGO_MODE", value);
        Finished::of(command.output().unwrap())
    };
    let finished = command("a b");
    assert_eq!(finished.status, Some(2));
    assert!(finished.stderr.contains("WARPCONVNET_BWD_ALGO_MODE"), "{finished:?}");
    command("all").success();
}

#[test]
fn an_unknown_pin_is_refused() {
    let mut command = voxtune();
    command.args(["populate", "--dry-run"]).env("WARPCONVNET_FWD_ALGO_MODE", "nonesuch");
    let finished = Finished::of(command.output().unwrap());
    assert_eq!(finished.status, Some(2));
    assert!(finished.stderr.contains("nonesuch"), "{finished:?}");
}
