//! What a person sees: pages of 80 columns, colours where they are wanted, silence, and JSON.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::command::{Finished, small_populate, voxtune};

const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// A command whose output goes to no terminal, and to a page of so many columns.
fn on_page(mut command: Command, columns: Option<usize>) -> Finished {
    match columns {
        Some(columns) => command.env("COLUMNS", columns.to_string()),
        None => command.env_remove("COLUMNS"),
    };
    Finished::of(command.output().unwrap())
}

fn with(arguments: &[&str]) -> Command {
    let mut command = voxtune();
    command.args(arguments);
    command
}

#[track_caller]
fn assert_fits(finished: &Finished, columns: usize) {
    for line in finished.stdout.lines().chain(finished.stderr.lines()) {
        assert!(line.chars().count() <= columns, "{line}");
    }
    assert!(!finished.stdout.contains('\u{1b}') && !finished.stderr.contains('\u{1b}'));
}

/// Names of algorithms have up to 86 characters, and reasons as many as they like.
#[test]
fn no_line_is_wider_than_the_page() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    let caches = format!("{REPOSITORY}/caches");
    let some = ["--channels", "64,64", "128,256", "--direction", "forward", "wgrad"];
    for columns in [None, Some(120), Some(60)] {
        let fits = |command| {
            let finished = on_page(command, columns);
            assert!(matches!(finished.status, Some(0 | 1)), "{finished:?}");
            assert_fits(&finished, columns.unwrap_or(80));
            finished
        };
        let populated = fits(small_populate(folder.path())).success();
        assert!(populated.stdout.contains("\n  forward  "), "{populated:?}");
        fits(with(&["populate", "--dry-run", "--preset", "lidar,unet", "--num-voxels", "65536"]));
        fits(with(&["populate", "--help"])).success();
        let inspected = fits(with(&[&["inspect", &caches][..], &some].concat())).success();
        assert!(inspected.stdout.contains("wgmma_gemm:rows="), "nothing wide was shown");
        fits(with(&["inspect", out])).success();
        let layer = ["--channels", "64,64", "128,256", "--num-voxels", "120000"];
        let explain = ["explain", "--arch", "sm_90", "--out", &caches];
        let explained = fits(with(&[&explain[..], &layer].concat())).success();
        assert!(explained.stdout.contains("safe"), "{explained:?}");
        fits(with(&["verify", out, "--coverage", "quick,lidar"]));
        fits(with(&["forget", "--out", out, "--all", "--dry-run"])).success();
        let bench = ["bench", "--device", "cpu", "--threads", "1", "--rounds", "1", "--all"];
        let clouds = ["--clouds", "uniform:90", "--channels", "4,4", "4,8"];
        fits(with(&[&bench[..], &clouds].concat())).success();
    }
}

#[test]
fn colours_mark_what_matters_where_they_are_wanted() {
    let caches = format!("{REPOSITORY}/caches");
    let explain = |variable: Option<(&str, &str)>| {
        let layer = ["--channels", "64,64", "--num-voxels", "120000", "--directions", "forward"];
        let mut command =
            with(&[&["explain", "--arch", "sm_90", "--out", &caches][..], &layer].concat());
        for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"] {
            command.env_remove(name);
        }
        command.envs(variable);
        Finished::of(command.output().unwrap()).success().stdout
    };
    let forced = explain(Some(("CLICOLOR_FORCE", "1")));
    assert!(forced.contains("\u{1b}[32m") && forced.contains("\u{1b}[36mexact"), "{forced}");
    for quiet in [None, Some(("NO_COLOR", "1"))] {
        assert!(!explain(quiet).contains('\u{1b}'));
    }
}

#[test]
fn quiet_leaves_results_warnings_and_errors() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = small_populate(folder.path());
    command.arg("--quiet");
    let finished = Finished::of(command.output().unwrap()).success();
    assert_eq!(finished.stderr, "");
    assert_eq!(finished.last_line(), "requested 3 = measured 3 + skipped 0 + failed 0");
    let edge = with(&["-q", "populate", "--dry-run", "--num-voxels", "65536"]);
    let finished = on_page(edge, Some(1000)).success();
    assert_eq!(finished.stderr.lines().count(), 1, "{finished:?}");
    assert!(finished.stderr.starts_with("warning: 65536 voxels are the last"), "{finished:?}");
    let wrong = on_page(with(&["-q", "inspect", "nowhere"]), None);
    assert!(wrong.status == Some(1) && wrong.stderr.starts_with("error: nowhere"), "{wrong:?}");
}

fn json(finished: &Finished) -> Value {
    serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished:?}"))
}

#[test]
fn populate_explain_forget_and_pack_speak_json() {
    let folder = tempfile::tempdir().unwrap();
    let (out, file) = (folder.path().join("caches"), folder.path().join("run.json"));
    let mut command = small_populate(&out);
    command.arg("--json").arg(&file);
    Finished::of(command.output().unwrap()).success();
    let read = |path: &Path| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
    let run = read(&file);
    assert_eq!((&run["requested"], &run["measured"]), (&3.into(), &3.into()));
    let entries: Vec<&Value> = run["configurations"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|one| one["entries"].as_array().unwrap())
        .collect();
    assert_eq!(entries.len(), 9);
    for entry in entries {
        assert!(entry["winner_ns"].as_u64().unwrap() > 0 && entry["cache"] == "added", "{entry}");
        assert!(entry["time_over_default"].as_f64().unwrap() <= 1.0, "{entry}");
        assert!(entry["candidates"].as_array().unwrap().len() >= 3);
    }

    let mut dry = small_populate(&out);
    dry.arg("--dry-run").arg("--json").arg(&file);
    Finished::of(dry.output().unwrap()).success();
    let planned = read(&file);
    assert_eq!(planned["configurations"][0]["clouds"], serde_json::json!(["uniform"]));

    let out = out.to_str().unwrap();
    let layer = ["--channels", "4,4", "--num-voxels", "1000", "--dtypes", "float32"];
    let explain = ["explain", "--json", "--device", "cpu", "--directions", "forward", "--out", out];
    let explained = json(&Finished::of(with(&[&explain[..], &layer].concat()).output().unwrap()));
    assert!(explained[0]["runs"].is_string() && explained[0]["grade"].is_string(), "{explained}");

    let forget = |more: &[&str]| {
        let command = ["forget", "--out", out, "--direction", "wgrad", "--json"];
        json(&Finished::of(with(&[&command[..], more].concat()).output().unwrap()).success())
    };
    let dry = forget(&["--dry-run"]);
    assert_eq!((dry["removed"].as_array().unwrap().len(), &dry["dry_run"]), (3, &true.into()));
    assert_eq!(forget(&[])["removed"], dry["removed"]);
    assert_eq!(forget(&[])["removed"], serde_json::json!([]));

    let mut pack = with(&["pack", "--dry-run", "--json", "--arch", "sm_90", "--out", out]);
    let packed = json(&Finished::of(pack.output().unwrap()).success());
    assert!(
        packed[0]["utilities"].as_u64().unwrap() > 0 && packed[0]["file"].is_null(),
        "{packed}"
    );
}
