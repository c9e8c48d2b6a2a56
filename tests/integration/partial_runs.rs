//! Runs that measure a part of the candidates of a key: whatever the order, none takes the place
//! of who beat it.

use std::path::Path;

use voxtune::AlgoId;
use voxtune_cache::{CacheDir, Decision, Decisions, Evidence};
use voxtune_tune::Event;
use voxtune_types::AlgoMode;
use voxtune_types::mode::AlgoModes;

use crate::command::{Finished, run, small_populate};
use crate::faulty::{Fault, Injected, spec};
use crate::injected::Run;
use crate::populating::evidence;

/// The default takes 25 ms more than the quickest, and the slow one 100: farther than a machine
/// that others use delays them.
fn candidates() -> [Injected; 3] {
    [
        Injected::new("plain", Fault::Takes(25)).default(),
        Injected::new("quick", Fault::None),
        Injected::new("slow", Fault::Takes(100)),
    ]
}

fn decisions(folder: &Path) -> Decisions {
    let cache = CacheDir::new(folder);
    let arch = cache.archs().unwrap()[0];
    cache.read_decisions(arch).unwrap().unwrap()
}

/// Runs the candidates of a mode over a cloud; what is told must be what the file decides.
fn populate(run: &mut Run, mode: &str, seed: u64) {
    run.request.protocol.modes = AlgoModes::uniform(mode.parse::<AlgoMode>().unwrap());
    run.request.protocol.seed = seed;
    let mut told = Vec::new();
    let mut watch = |event: &Event| {
        if let Event::ConfigurationEnded { reports, .. } = event {
            told.extend(reports.iter().map(|one| (one.measured.entry.clone(), one.winner.clone())));
        }
    };
    run.watched_here(&spec(&candidates()), &mut watch);
    assert_eq!(told.len(), 1);
    for (entry, winner) in told {
        let decided = decisions(run.folder()).get(&entry.device, &entry.key);
        assert_eq!(decided.map(|decision| decision.winner), winner, "{mode}");
    }
}

/// The one decision, over so many workloads.
#[track_caller]
fn assert_decided(folder: &Path, winner: &str, workloads: usize) {
    let decisions = decisions(folder);
    assert_eq!((decisions.len(), evidence(folder).len()), (1, workloads));
    let decision = decisions.iter().next().unwrap();
    assert_eq!(decision.winner.as_str(), winner);
    let slow: AlgoId = "slow".parse().unwrap();
    assert_eq!(decision.safe.contains(&slow), winner == "slow", "{decision:?}");
}

#[test]
fn f01_one_name_after_a_full_run_keeps_the_full_ranking() {
    for name in ["slow", "plain"] {
        let mut run = Run::small();
        populate(&mut run, "all", 0);
        populate(&mut run, name, 1);
        assert_decided(run.folder(), "quick", 2);
        // A candidate that is to take a winner's place met it and the default.
        let evidence = evidence(run.folder());
        for (_, records) in evidence.entries() {
            for met in ["plain", "quick"] {
                assert!(records.iter().any(|record| record.algo.as_str() == met), "{met}");
            }
        }
    }
}

#[test]
fn f01_a_full_run_after_one_name_ranks_all() {
    let mut run = Run::small();
    populate(&mut run, "slow", 1);
    assert_decided(run.folder(), "slow", 1);
    populate(&mut run, "all", 0);
    assert_decided(run.folder(), "quick", 2);
}

/// Clouds of one key: all candidates on one of them, in any order, and a part on the others.
#[test]
fn f01_three_runs_decide_alike_in_every_order() {
    const RUNS: [(&str, u64); 3] = [("all", 0), ("slow", 1), ("plain", 2)];
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut run = Run::small();
        for (mode, seed) in order.map(|number: usize| RUNS[number]) {
            populate(&mut run, mode, seed);
        }
        assert_decided(run.folder(), "quick", 3);
        populate(&mut run, "[slow,plain]", 3);
        assert_decided(run.folder(), "quick", 4);
    }
}

#[test]
fn f01_merges_decide_alike_in_both_orders() {
    let (mut whole, mut named) = (Run::small(), Run::small());
    populate(&mut whole, "all", 0);
    populate(&mut named, "slow", 1);
    let parts = [whole.folder(), named.folder()];
    for order in [[0, 1], [1, 0]] {
        let out = tempfile::tempdir().unwrap();
        let [first, second] = order.map(|number: usize| parts[number].to_str().unwrap());
        run(&["merge", first, second, "--out", out.path().to_str().unwrap()]).success();
        assert_decided(out.path(), "quick", 2);
    }
}

/// Another cloud, and a mode that somebody left in the environment.
#[test]
fn f01_a_variable_left_behind_displaces_no_ranking() {
    let folder = tempfile::tempdir().unwrap();
    let populate = |seed: &str, variable: Option<&str>| {
        let mut command = small_populate(folder.path());
        command.args(["--forward-only", "--seed", seed]);
        if let Some(name) = variable {
            command.env("WARPCONVNET_FWD_ALGO_MODE", name);
        } else {
            command.args(["--algo-mode", "all"]);
        }
        Finished::of(command.output().unwrap()).success()
    };
    populate("0", None);
    let before = decisions(folder.path());
    let told = populate("1", Some("explicit_gemm"));
    let (after, evidence) = (decisions(folder.path()), evidence(folder.path()));
    let is_of_both = |one: &Decision| {
        let workloads = evidence.workloads(&one.device, &one.key).count();
        workloads > 1 && before.get(&one.device, &one.key).is_some()
    };
    for decision in after.iter().filter(is_of_both) {
        let row = told.stdout.lines().find(|line| line.ends_with(decision.winner.as_str()));
        assert!(row.is_some(), "{}: {told:?}", decision.winner);
        assert_beat_default(&evidence, &decision);
    }
    run(&["verify", folder.path().to_str().unwrap()]).success();
}

/// The winner met the default wherever it was measured, and lost to it nowhere.
fn assert_beat_default(evidence: &Evidence, decision: &Decision) {
    for (entry, records) in evidence.workloads(&decision.device, &decision.key) {
        let Some(own) = records.iter().find(|one| one.algo == decision.winner) else { continue };
        assert!(records.iter().any(|one| one.default), "{} alone on {entry:?}", own.algo);
        let ratio = own.timing().and_then(|timing| timing.ratio_to_default);
        assert!(ratio.is_none_or(|ratio| ratio.median <= 1.0), "{own:?}");
    }
}

/// Files that the rule of 0.1 wrote: `explicit_gemm` alone on a second cloud took everybody's
/// place.
#[test]
fn f01_verify_finds_the_old_rule() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/cache/tests/fixtures/f01");
    let folder = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(fixture).unwrap() {
        let path = file.unwrap().path();
        std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    let place = folder.path().to_str().unwrap();
    let verify = || run(&["verify", place, "--kernels", "no/such/folder"]);
    let found = verify();
    assert_eq!(found.status, Some(1), "{found:?}");
    let wrong = "decided for explicit_gemm, and the evidence for implicit_gemm:rows=256:cols=32";
    assert!(found.stdout.contains(wrong), "{found:?}");
    let repair = format!("repair  `cargo xtask merge {place} -o {place}` decides");
    assert!(found.stdout.contains(&repair), "{found:?}");
    run(&["merge", place, "-o", place]).success();
    assert_eq!(verify().success().stdout.matches("wrong  ").count(), 0);
}
