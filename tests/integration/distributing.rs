//! Work on several machines: parts of a plan, what merging says, and recorded samples.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use voxtune_cache::CacheDir;

use crate::command::{Finished, run, small_populate, voxtune};
use crate::populating::evidence;

fn listed(more: &[&str]) -> Vec<String> {
    let finished = run(&[&["populate", "--dry-run"], more].concat()).success();
    let mut lines: Vec<String> = finished.stdout.lines().map(str::to_owned).collect();
    let last = lines.pop().unwrap();
    assert_eq!(last, format!("{} configurations", lines.len()));
    lines
}

#[test]
fn parts_make_up_the_whole() {
    let whole = listed(&[]);
    let mut parts: Vec<String> = (1..=4)
        .flat_map(|part| {
            let lines = listed(&["--partition", &format!("slice:{part}/4")]);
            assert!((80..=102).contains(&lines.len()), "{}", lines.len());
            lines
        })
        .collect();
    let mut expected = whole;
    parts.sort();
    expected.sort();
    assert_eq!(parts, expected);
}

#[test]
fn machines_populate_their_parts() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    assert!(small_populate(&at("whole")).output().unwrap().status.success());
    // Four machines for three configurations: one has nothing to do, and that is no failure.
    let mut configurations = 0;
    for part in 1..=4 {
        let mut command = small_populate(&at(&format!("part{part}")));
        command.args(["--partition", &format!("slice:{part}/4")]);
        let finished = Finished::of(command.output().unwrap()).success();
        let measured = finished.last_line().split(' ').nth(1).unwrap();
        configurations += measured.parse::<usize>().unwrap();
    }
    assert_eq!(configurations, 3);
    let mut merge = voxtune();
    merge.arg("merge").arg("--out").arg(at("merged"));
    for part in 1..=4 {
        let part = at(&format!("part{part}"));
        if CacheDir::new(&part).archs().is_ok_and(|archs| !archs.is_empty()) {
            merge.arg(part);
        }
    }
    Finished::of(merge.output().unwrap()).success();
    let keys = |folder: &Path| -> BTreeSet<String> {
        evidence(folder).entries().map(|(entry, _)| format!("{entry:?}")).collect()
    };
    assert_eq!(keys(&at("merged")), keys(&at("whole")));
}

#[test]
fn schedulers_name_the_part() {
    let with = |variables: &[(&str, &str)]| {
        let mut command = voxtune();
        for name in ["VOXTUNE_PARTITION_INDEX", "VOXTUNE_PARTITION_TOTAL", "JOB_COMPLETION_INDEX"] {
            command.env_remove(name);
        }
        command.env_remove("SLURM_ARRAY_TASK_ID").args(["populate", "--dry-run", "--preset"]);
        command.args(["quick", "--partition", "env"]).envs(variables.iter().copied());
        Finished::of(command.output().unwrap())
    };
    let slice = run(&["populate", "--dry-run", "--preset", "quick", "--partition", "slice:2/3"]);
    for variables in [
        [("VOXTUNE_PARTITION_INDEX", "1"), ("VOXTUNE_PARTITION_TOTAL", "3"), ("X", "")],
        [("JOB_COMPLETION_INDEX", "1"), ("VOXTUNE_PARTITION_TOTAL", "3"), ("X", "")],
        [
            ("SLURM_ARRAY_TASK_ID", "6"),
            ("SLURM_ARRAY_TASK_MIN", "5"),
            ("SLURM_ARRAY_TASK_COUNT", "3"),
        ],
    ] {
        let finished = with(&variables).success();
        assert_eq!(finished.stdout, slice.stdout, "{variables:?}");
    }
    for (variables, expected) in
        [(vec![], "SLURM_ARRAY_TASK_ID"), (vec![("JOB_COMPLETION_INDEX", "0")], "_TOTAL")]
    {
        let finished = with(&variables);
        assert_eq!(finished.status, Some(2), "{finished:?}");
        assert!(finished.stderr.contains(expected), "{finished:?}");
    }
    let finished = run(&["populate", "--dry-run", "--partition", "slice:5/4"]);
    assert_eq!(finished.status, Some(2), "{finished:?}");

    // Without the flag the variables change nothing, and that is said.
    let mut command = voxtune();
    command
        .args(["populate", "--dry-run", "--preset", "quick"])
        .env("VOXTUNE_PARTITION_INDEX", "1");
    let whole = Finished::of(command.output().unwrap()).success();
    assert_eq!(whole.last_line(), "6 configurations");
    assert!(whole.stderr.contains("without --partition env"), "{whole:?}");
}

#[test]
fn merging_tells_who_won() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let text = |name: &str| at(name).to_str().unwrap().to_owned();
    for name in ["a", "b"] {
        assert!(small_populate(&at(name)).output().unwrap().status.success());
    }
    let (a, b, out) = (text("a"), text("b"), text("out"));
    let merged = run(&["merge", &a, &b, "-o", &out]).success();
    let conflicts = merged.stdout.matches("\n    kept ").count();
    assert!(conflicts > 0, "{merged:?}");
    assert_eq!(merged.stdout.matches("\n    dropped ").count(), conflicts);
    assert!(merged.stdout.contains(&format!(", {conflicts} measured twice")), "{merged:?}");
    assert!(
        ["raced beside the default", "more samples", "smaller spread", "smaller encoding"]
            .iter()
            .any(|rule| merged.stdout.contains(rule)),
        "{merged:?}"
    );

    // Both sides are named by their files.
    let cache = CacheDir::new(&out);
    let arch = cache.archs().unwrap()[0];
    let file = |folder: &str| CacheDir::new(folder).evidence_path(arch).display().to_string();
    assert!(merged.stdout.contains(&format!(" of {}", file(&b))), "{merged:?}");
    assert!(merged.stdout.contains(&format!(" of {}", file(&out))), "{merged:?}");

    // In whichever order the folders are merged, the same comes out.
    let back = text("back");
    let json = run(&["merge", &b, &a, "-o", &back, "--json"]).success();
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    let total = |value: &serde_json::Value| value["conflicts"].as_array().unwrap().len();
    assert_eq!(json.as_array().unwrap().iter().map(total).sum::<usize>(), conflicts);
    let conflict = &json[1]["conflicts"][0];
    let sides = BTreeSet::from(
        [&conflict["kept_from"], &conflict["dropped_from"]]
            .map(|side| side.as_str().unwrap().to_owned()),
    );
    assert_eq!(sides, BTreeSet::from([file(&a), file(&back)]));
    let other = CacheDir::new(&back);
    for path in [CacheDir::decisions_path, CacheDir::evidence_path] {
        assert_eq!(fs::read(path(&cache, arch)).unwrap(), fs::read(path(&other, arch)).unwrap());
    }
}

#[test]
fn a_bad_input_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in ["a", "b"] {
        assert!(small_populate(&at(name)).output().unwrap().status.success());
    }
    let cache = CacheDir::new(at("b"));
    let path = cache.evidence_path(cache.archs().unwrap()[0]);
    fs::write(&path, &fs::read(&path).unwrap()[..200]).unwrap();
    let mut merge = voxtune();
    merge.arg("merge").args([at("a"), at("b")]).arg("-o").arg(at("out"));
    let finished = Finished::of(merge.output().unwrap());
    assert_eq!(finished.status, Some(1), "{finished:?}");
    assert!(!at("out").exists(), "{finished:?}");
}

#[test]
fn samples_of_runs_are_json_lines() {
    let folder = tempfile::tempdir().unwrap();
    let samples = folder.path().join("run.jsonl");
    let samples_text = samples.to_str().unwrap();
    let mut seen = Vec::new();
    for run in ["first", "second"] {
        let mut command = small_populate(&folder.path().join(run));
        command.args(["--samples", samples_text]);
        Finished::of(command.output().unwrap()).success();
        seen.push(fs::read(&samples).unwrap());
    }
    assert!(seen[1].starts_with(&seen[0]) && seen[1].len() > seen[0].len());

    // A head, then three configurations in three directions, twice.
    let races = races(&samples);
    assert_eq!(races.len(), 18);
    for race in &races {
        let candidates = race["candidates"].as_array().unwrap();
        let sound =
            |one: &serde_json::Value| one["rounds_ns"][0].is_u64() && one["algo"].is_string();
        assert!(!candidates.is_empty() && candidates.iter().all(sound), "{race}");
    }
    let cache = folder.path().join("first");
    let judged = run(&["regret", samples_text, "--cache", cache.to_str().unwrap()]).success();
    assert!(judged.stdout.starts_with("regret of"), "{judged:?}");
}

/// The lines of a file of samples, without its head.
fn races(path: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Who is named beside the mode races wherever it can run, and once.
#[test]
fn algorithms_beside_the_mode_race() {
    let folder = tempfile::tempdir().unwrap();
    let samples = folder.path().join("samples.jsonl");
    let mut command = small_populate(&folder.path().join("a"));
    command.args(["--forward-only", "--algo-mode", "explicit_gemm", "--samples"]).arg(&samples);
    command.args(["--also", "implicit_gemm", "explicit_gemm"]);
    Finished::of(command.output().unwrap()).success();
    for race in races(&samples) {
        let candidates = race["candidates"].as_array().unwrap();
        let ids: Vec<&str> = candidates.iter().map(|one| one["algo"].as_str().unwrap()).collect();
        assert!(ids.iter().any(|id| id.starts_with("implicit_gemm:")), "{ids:?}");
        let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len(), "{ids:?}");
    }
}

/// One population judged by an oracle that is measured on the spot, then again by the recorded one
/// and against a second population.
#[test]
fn regret_is_measured() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in ["a", "b"] {
        assert!(small_populate(&at(name)).output().unwrap().status.success());
    }
    let mut command = voxtune();
    command.env("CARGO_TARGET_DIR", at("target")).arg("regret").arg("--cache").arg(at("a"));
    command.arg("--json").arg(at("regret.json")).arg("--svg").arg(at("regret.svg"));
    command.args(["--", "--device", "cpu", "--threads", "1", "--clouds", "uniform"]);
    command.args(["--dtypes", "float32", "--channels", "4,4", "--num-voxels", "60", "250"]);
    let measured = Finished::of(command.output().unwrap()).success();
    let json: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(at("regret.json")).unwrap()).unwrap();
    // Two of the cache's three configurations, in three directions.
    assert_eq!((&json["races"], &json["flips"]), (&6.into(), &serde_json::Value::Null));
    // All of what runs is found by its very key.
    assert_eq!(json["grades"][0]["grade"], "exact", "{measured:?}");
    assert_eq!(json["grades"].as_array().unwrap().len(), 1, "{measured:?}");
    assert_eq!(json["resolved"], json["cached"], "{measured:?}");
    let cached = &json["cached"];
    assert_eq!(cached["points"].as_array().unwrap().len(), 6, "{measured:?}");
    assert!(cached["regret"]["worst"].as_f64().unwrap() < 100.0, "{measured:?}");
    let default = json["default"]["regret"]["mean"].as_f64().unwrap();
    assert!(default >= 0.0 && json["default"]["points"][0]["best"].is_string());
    assert!(fs::read_to_string(at("regret.svg")).unwrap().contains("what runs (6)"));

    // Nobody left the oracle's races early: eleven samples each.
    let samples = at("target").join("regret").join("oracle.jsonl");
    for race in races(&samples) {
        for candidate in race["candidates"].as_array().unwrap() {
            let rounds = candidate["rounds_ns"].as_array().unwrap();
            let taken = rounds.iter().filter(|round| round.is_u64()).count();
            assert!(candidate["failed"] == true || taken == 11, "{candidate}");
        }
    }

    // What runs is judged, also where populate would not race it.
    for mode in ["explicit_gemm", "implicit_gemm"] {
        let mut command = voxtune();
        command.env("CARGO_TARGET_DIR", at("target")).arg("regret").arg("--cache").arg(at("a"));
        command.arg("--json").arg(at("judged.json")).args(["--", "--device", "cpu"]);
        command.args(["--threads", "1", "--clouds", "uniform", "--algo-mode", mode]);
        command.args(["--dtypes", "float32", "--channels", "4,4", "--num-voxels", "60"]);
        let judged = Finished::of(command.output().unwrap()).success();
        let json: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(at("judged.json")).unwrap()).unwrap();
        assert_eq!((&json["races"], &json["resolved"]["not_measured"]), (&3.into(), &0.into()));
        let (again, count) = (judged.stderr.contains("did not race"), "Sampling into");
        assert_eq!(judged.stderr.matches(count).count(), 1 + usize::from(again), "{judged:?}");
    }

    // What measures nothing leaves them alone, and is told without flags that nobody gave.
    let before = fs::read(&samples).unwrap();
    for (flags, status) in [
        (&["--nonesuch"][..], 2),
        (&["--device", "cuda:99"], 3),
        (&["--dry-run", "--num-voxels", "60", "--channels", "4,4"], 0),
        (&["--help"], 0),
    ] {
        let mut command = voxtune();
        command.env("CARGO_TARGET_DIR", at("target")).arg("regret").arg("--cache").arg(at("a"));
        let finished = Finished::of(command.arg("--").args(flags).output().unwrap());
        assert_eq!(finished.status, Some(status), "{finished:?}");
        assert!(!finished.stderr.contains("--exhaustive"), "{finished:?}");
        assert!(!finished.stderr.contains("error: error"), "{finished:?}");
        assert_eq!(fs::read(&samples).unwrap(), before);
    }
    let grid = ["--device", "cpu", "--channels", "4,4", "--num-voxels", "60"];
    for (flags, status, says) in [
        (["--budget", "1"], 2, "`--budget` does not go with what regret asks of populate itself"),
        (["--samples", "mine"], 2, "does not go with what regret asks of populate itself"),
        (["--partition", "slice:9/9"], 1, "nothing was measured"),
    ] {
        let mut command = voxtune();
        command.env("CARGO_TARGET_DIR", at("target")).arg("regret").arg("--cache").arg(at("a"));
        command.arg("--").args(flags);
        let given = if status == 1 { &grid[..] } else { &[] };
        let finished = Finished::of(command.args(given).output().unwrap());
        assert_eq!(finished.status, Some(status), "{finished:?}");
        assert!(finished.stderr.contains(says), "{finished:?}");
        assert_eq!(fs::read(&samples).unwrap(), before);
    }

    let (a, b) = (at("a"), at("b"));
    let again = run(&[
        "regret",
        samples.to_str().unwrap(),
        "--cache",
        a.to_str().unwrap(),
        "--against",
        b.to_str().unwrap(),
    ])
    .success();
    assert!(again.stdout.contains(" of 9 keys"), "{again:?}");
    assert!(again.stdout.starts_with("regret of"), "nothing is measured again: {again:?}");
}

#[test]
fn other_files_are_no_samples() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    fs::write(&path, "not samples").unwrap();
    let caches = folder.path().join("caches");
    Finished::of(small_populate(&caches).output().unwrap()).success();
    let finished = run(&["regret", path.to_str().unwrap(), "--cache", caches.to_str().unwrap()]);
    assert_eq!(finished.status, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("notes.txt"), "{finished:?}");
    let mut command = small_populate(&folder.path().join("out"));
    let finished = Finished::of(command.arg("--samples").arg(&path).output().unwrap());
    assert_eq!(finished.status, Some(1), "{finished:?}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "not samples");
    assert!(finished.stdout.is_empty(), "nothing was measured: {finished:?}");
}
