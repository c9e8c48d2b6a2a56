//! Runs that are killed, at any moment.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use voxtune_cache::CacheDir;

use crate::command::{Finished, times, voxtune};
use crate::populating::evidence;

/// Sixty configurations of one entry each.
fn many(folder: &std::path::Path) -> Command {
    let mut command = voxtune();
    command
        .args(["populate", "--device", "cpu", "--threads", "1", "--clouds", "uniform"])
        .args(["--dtypes", "float32", "--kernel-sizes", "1", "--budget", "0", "--forward-only"])
        .args(["--num-voxels", "20", "50", "100", "200", "400", "--channels"])
        .args((1..=12).map(|channels| format!("{channels},{channels}")))
        .args(["--resume", "--out"])
        .arg(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

/// Configurations that the process reported as saved, counted until its end.
fn reported_until_end(child: &mut Child) -> usize {
    let stderr = child.stderr.take().expect("stderr is a pipe");
    let lines = BufReader::new(stderr).lines().map_while(Result::ok);
    lines.filter(|line| line.trim_start().starts_with("Measured ")).count()
}

/// How many runs each test kills; `VOXTUNE_KILLS` says otherwise.
const USUAL: usize = 50;

#[test]
fn kills_lose_one_each_at_most() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = StdRng::seed_from_u64(50);
    let (mut stored, mut whole) = (0, 0);
    let count = times("VOXTUNE_KILLS", USUAL);
    for kill in 0..count {
        let mut child = many(folder.path()).spawn().unwrap();
        let wait = Duration::from_millis(random.random_range(1..120));
        std::thread::sleep(wait);
        child.kill().unwrap();
        let reported = reported_until_end(&mut child);
        child.wait().unwrap();
        // Every file that is there can be read, and every configuration that was reported is in it.
        let after = evidence_if_any(folder.path());
        assert!(after >= stored + reported, "kill {kill}: {stored} + {reported} became {after}");
        assert!(after <= 60);
        stored = after;
        if stored == 60 {
            std::fs::remove_dir_all(folder.path()).unwrap();
            (stored, whole) = (0, whole + 1);
        }
    }
    let finished = many(folder.path()).output().unwrap();
    assert!(finished.status.success(), "{}", String::from_utf8_lossy(&finished.stderr));
    assert_eq!(evidence(folder.path()).len(), 60);
    if count != USUAL {
        println!("{count} kills of populate: nothing was lost ({whole} folders were complete)");
    }
}

/// Sixty folders of an entry each, merged into another until somebody kills that.
#[test]
fn kills_of_merges_lose_nothing() {
    let root = tempfile::tempdir().unwrap();
    let whole = root.path().join("whole");
    let finished = many(&whole).output().unwrap();
    assert!(finished.status.success(), "{}", String::from_utf8_lossy(&finished.stderr));
    let all = evidence(&whole);
    let arch = CacheDir::new(&whole).archs().unwrap()[0];
    let parts: Vec<_> = all.entries().map(|(entry, records)| (entry.clone(), records)).collect();
    let parts = parts.into_iter().enumerate().map(|(number, (entry, records))| {
        let part = CacheDir::new(root.path().join(number.to_string()));
        let add = |evidence: &mut voxtune_cache::Evidence| {
            for record in records.iter() {
                evidence.insert(entry.clone(), record.clone()).unwrap();
            }
        };
        _ = part.update(arch, Duration::from_secs(5), add).unwrap();
        part.path().to_owned()
    });
    let parts: Vec<_> = parts.collect();
    let out = root.path().join("out");
    let merge = || {
        let mut command = voxtune();
        command.arg("merge").args(&parts).arg("--out").arg(&out).stderr(Stdio::null());
        command
    };
    let mut random = StdRng::seed_from_u64(60);
    let (mut stored, mut whole) = (0, 0);
    let count = times("VOXTUNE_KILLS", USUAL);
    for kill in 0..count {
        let mut child = merge().stdout(Stdio::piped()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(random.random_range(1..150)));
        child.kill().unwrap();
        let told = child.wait_with_output().unwrap().stdout;
        let told = String::from_utf8(told).unwrap().matches(" entries into ").count();
        let after = evidence_if_any(&out);
        assert!(after >= stored.max(told), "kill {kill}: {stored}, told {told}, became {after}");
        stored = after;
        if stored == parts.len() {
            std::fs::remove_dir_all(&out).unwrap();
            (stored, whole) = (0, whole + 1);
        }
    }
    assert!(merge().stdout(Stdio::null()).status().unwrap().success());
    assert_eq!(evidence(&out), all);
    if count != USUAL {
        println!("{count} kills of merge: nothing was lost ({whole} folders were complete)");
    }
}

fn evidence_if_any(folder: &std::path::Path) -> usize {
    let cache = CacheDir::new(folder);
    let archs = cache.archs().unwrap();
    let entries = archs.into_iter().map(|arch| {
        let decisions = cache.read_decisions(arch).unwrap();
        let evidence = cache.read_evidence(arch).unwrap().unwrap_or_default();
        // Decisions are written after their evidence, so they never run ahead of it.
        assert!(decisions.is_none_or(|decisions| decisions.len() <= evidence.len()));
        evidence.len()
    });
    entries.sum()
}

#[cfg(unix)]
#[cfg(unix)]
#[test]
fn ctrl_c_ends_cleanly() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = voxtune();
    command
        .args(["populate", "--device", "cpu", "--threads", "1", "--clouds", "uniform"])
        .args(["--preset", "default", "--out"])
        .arg(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    std::thread::sleep(Duration::from_millis(700));
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let finished = Finished::of(child.wait_with_output().unwrap());
    assert_eq!(finished.status, Some(1), "{finished:?}");
    assert!(finished.last_line().starts_with("requested 364 = "), "{finished:?}");
    assert!(finished.last_line().ends_with("(interrupted)"), "{finished:?}");
    evidence_if_any(folder.path());
}
