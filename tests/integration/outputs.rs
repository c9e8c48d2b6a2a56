//! Where results go: files that cannot be written, ends from outside, names that nobody expects.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::command::{Finished, run, small_populate, voxtune};

const SMALL: [&str; 14] = [
    "--num-voxels",
    "300",
    "--channels",
    "4,4",
    "--dtypes",
    "float32",
    "--kernel-sizes",
    "1",
    "--clouds",
    "uniform",
    "--device",
    "cpu",
    "--threads",
    "1",
];

fn populated() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    assert!(small_populate(&folder.path().join("caches")).output().unwrap().status.success());
    folder
}

/// `regret` over a populated folder, with its build folder in it.
fn regret(folder: &Path) -> Command {
    let mut command = voxtune();
    command.arg("regret").arg("--cache").arg(folder.join("caches"));
    command.env("CARGO_TARGET_DIR", folder.join("target"));
    command
}

#[test]
fn f13_regret_refuses_files_before_it_measures() {
    let folder = populated();
    for flag in ["--json", "--svg"] {
        let mut command = regret(folder.path());
        command.args([flag, "/nonexistent/report"]).arg("--").args(SMALL);
        let finished = Finished::of(command.output().unwrap());
        assert_eq!(finished.status, Some(2), "{finished:?}");
        assert!(finished.stderr.contains(flag), "{finished:?}");
    }
    assert!(!folder.path().join("target").exists(), "something was measured");
}

#[test]
fn f15_old_gpus_get_the_least_that_runs() {
    let layer = ["explain", "--num-voxels", "1000", "--channels", "32,32", "--arch"];
    for arch in ["sm_70", "sm_75"] {
        let finished = run(&[&layer[..], &[arch]].concat());
        assert_eq!(finished.status, Some(2), "{finished:?}");
        assert!(finished.stderr.contains("sm_80 or later"), "{finished:?}");
        assert!(finished.stdout.is_empty(), "{finished:?}");
    }
    run(&[&layer[..], &["sm_80"]].concat()).success();
}

#[test]
fn f17_an_empty_filter_removes_nothing() {
    let folder = populated();
    let caches = folder.path().join("caches");
    let caches = caches.to_str().unwrap();
    let held = |text: &str| text.matches(" voxels, ").count();
    let before = held(&run(&["inspect", caches, "--best-only"]).success().stdout);
    let finished = run(&["forget", "--device", "", "--out", caches]);
    assert_eq!(finished.status, Some(2), "{finished:?}");
    assert!(finished.stderr.contains("no filter"), "{finished:?}");
    let after = held(&run(&["inspect", caches, "--best-only"]).success().stdout);
    assert_eq!((before, after), (9, 9));
}

/// A run of many configurations, as a program is started that way.
#[cfg(target_os = "linux")]
fn long_run(folder: &Path, way: Option<&str>) -> Child {
    let mut command = voxtune();
    if let Some(way) = way {
        let mut wrapped = Command::new(way);
        wrapped.arg(command.get_program());
        command = wrapped;
    }
    command
        .args(["populate", "--device", "cpu", "--threads", "1", "--clouds", "uniform"])
        .args(["--dtypes", "float32", "--kernel-sizes", "1", "--budget", "0", "--forward-only"])
        .args(["--num-voxels", "20", "200", "2000", "20000", "40000", "80000", "--channels"])
        .args((1..=12).map(|channels| format!("{channels},{channels}")))
        .arg("--out")
        .arg(folder.join("long"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Sends a signal once the run has come so far that it listens; what it says until its end.
#[cfg(target_os = "linux")]
fn signalled(mut child: Child, signal: &str) -> (Option<i32>, String) {
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.trim_start().starts_with("Cache ") {
        line.clear();
        assert!(stderr.read_line(&mut line).unwrap() > 0, "it ended before it began");
    }
    let id = child.id().to_string();
    assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    let rest = std::thread::spawn(move || stderr.read_to_string(&mut String::new()));
    let output = child.wait_with_output().unwrap();
    rest.join().unwrap().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[cfg(target_os = "linux")]
#[test]
fn f13_signals_end_a_run_cleanly() {
    for signal in ["-TERM", "-HUP", "-INT"] {
        let folder = tempfile::tempdir().unwrap();
        let (status, stdout) = signalled(long_run(folder.path(), None), signal);
        assert_eq!(status, Some(1), "{signal}: {stdout}");
        assert!(stdout.trim_end().ends_with("(interrupted)"), "{signal}: {stdout}");
    }
}

/// Whoever starts a run with nohup wants it to go on when the terminal is closed.
#[cfg(target_os = "linux")]
#[test]
fn f13_nohup_is_respected() {
    let folder = tempfile::tempdir().unwrap();
    let (status, stdout) = signalled(long_run(folder.path(), Some("nohup")), "-HUP");
    assert_eq!(status, Some(0), "{stdout}");
    assert!(!stdout.contains("(interrupted)"), "{stdout}");
}

/// Killed where it cannot say anything: what it had measured is kept by the next run, which says
/// so.
#[cfg(target_os = "linux")]
#[test]
fn f13_a_killed_regret_is_found_by_the_next() {
    let folder = populated();
    let mut command = regret(folder.path());
    command.arg("--").args(SMALL).stderr(Stdio::piped()).stdout(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("under-way-") {
        line.clear();
        assert!(stderr.read_line(&mut line).unwrap() > 0, "it did not say where it works");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let place = folder.path().join("target").join("regret");
    let left = |prefix: &str| {
        let names = fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().starts_with(prefix)).count()
    };
    assert_eq!(left("under-way-"), 1);
    let finished = Finished::of(regret(folder.path()).arg("--").args(SMALL).output().unwrap());
    assert!(finished.stderr.contains("of a run that was killed"), "{finished:?}");
    assert_eq!(left("under-way-"), 0, "{finished:?}");
    assert!(finished.success().stdout.contains("what runs"));
}

/// The bytes of a `.npy` file of voxels.
#[cfg(target_os = "linux")]
fn voxels() -> Vec<u8> {
    let header = "{'descr': '<i4', 'fortran_order': False, 'shape': (40, 3), }";
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    for voxel in 0..40_i32 {
        for coordinate in [voxel % 5, voxel / 5, 0] {
            bytes.extend(coordinate.to_le_bytes());
        }
    }
    bytes
}

#[cfg(target_os = "linux")]
fn not_unicode(text: &[u8]) -> OsString {
    use std::os::unix::ffi::OsStrExt as _;
    OsStr::from_bytes(text).to_owned()
}

#[cfg(target_os = "linux")]
#[test]
fn f19_names_need_not_be_unicode() {
    let folder = populated();
    let scan = folder.path().join(not_unicode(b"a\xff.npy"));
    fs::write(&scan, voxels()).unwrap();
    let odd = folder.path().join(not_unicode(b"odd\xff"));
    let mut command = voxtune();
    command.args(["populate", "--device", "cpu", "--threads", "1", "--channels", "4,4"]);
    command.args(["--dtypes", "float32", "--kernel-sizes", "1", "--budget", "0"]);
    command.arg("--clouds").arg(&scan).arg("--out").arg(&odd);
    Finished::of(command.output().unwrap()).success();

    let mut command = voxtune();
    command.arg("merge").arg(&odd).arg("-o").arg(folder.path().join("merged")).arg("--json");
    let merged = Finished::of(command.output().unwrap()).success();
    let json: serde_json::Value = serde_json::from_str(&merged.stdout).unwrap();
    let bytes = json[0]["input_bytes"].as_array().unwrap();
    assert_eq!(bytes.last().unwrap(), &255);
    for command in ["inspect", "verify"] {
        let output = voxtune().arg(command).arg(&odd).arg("--json").output().unwrap();
        serde_json::from_str::<serde_json::Value>(&Finished::of(output).stdout).unwrap();
    }

    let mut command = voxtune();
    command.args(["bench", "--device", "cpu", "--threads", "1", "--rounds", "1"]);
    command.args(["--channels", "4,4", "--kernel-size", "1", "--directions", "forward"]);
    let benched = Finished::of(command.arg("--clouds").arg(&scan).output().unwrap()).success();
    assert!(benched.stdout.contains("a\u{fffd}"), "{benched:?}");

    // As the build folder and as a cloud of regret.
    let mut command = regret(folder.path());
    command.env("CARGO_TARGET_DIR", folder.path().join(not_unicode(b"t\xff")));
    command.arg("--").args(["--device", "cpu", "--threads", "1", "--channels", "4,4"]);
    command.args(["--dtypes", "float32", "--kernel-sizes", "1", "--clouds"]).arg(&scan);
    Finished::of(command.output().unwrap()).success();
}

#[cfg(target_os = "linux")]
#[test]
fn f19_names_cannot_steer_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let scan = folder.path().join("ev\u{1b}[31mil\nforged line.npy");
    fs::write(&scan, voxels()).unwrap();
    let caches = folder.path().join("ca\u{9b}ches");
    let mut command = voxtune();
    command.args(["populate", "--device", "cpu", "--threads", "1", "--channels", "4,4"]);
    command.args(["--dtypes", "float32", "--kernel-sizes", "1", "--budget", "0"]);
    command.arg("--clouds").arg(&scan).arg("--out").arg(&caches);
    let populated = Finished::of(command.output().unwrap()).success();
    let path = caches.to_str().unwrap();
    let merged = folder.path().join("merged");
    let bench =
        ["bench", "--device", "cpu", "--threads", "1", "--rounds", "1", "--channels", "4,4"];
    let layer = ["--kernel-size", "1", "--directions", "forward", "--clouds"];
    let all = [
        populated,
        run(&["inspect", path]).success(),
        run(&["inspect", path, "--json"]).success(),
        run(&["verify", path]),
        run(&["merge", path, "-o", merged.to_str().unwrap()]).success(),
        run(&[&bench[..], &layer[..], &[scan.to_str().unwrap()]].concat()).success(),
        run(&["populate", "--clouds", "no\u{1b}[2Jsuch.npy", "--dry-run"]),
        run(&["populate", "--no\u{1b}[2Jsuch"]),
        run(&["inspect", "no\u{1b}[2Jsuch\nerror: forged"]),
    ];
    for Finished { stdout, stderr, .. } in &all {
        for text in [stdout, stderr] {
            let steers = |char: char| char.is_control() && char != '\n';
            assert!(!text.contains(steers), "{text:?}");
            let forged =
                |line: &str| line.starts_with("forged") || line.starts_with("error: forged");
            assert!(!text.lines().any(forged), "{text:?}");
        }
    }
    assert!(all[0].stdout.contains(r"ev\u{1b}[31mil\nforged line"), "{:?}", all[0]);
    assert!(all[1].stdout.contains(r"ev\u{1b}[31mil\nforged line"), "{:?}", all[1]);
    let json: serde_json::Value = serde_json::from_str(&all[2].stdout).unwrap();
    let cloud = &json[0]["keys"][0]["workloads"][0]["workload"]["cloud"];
    assert_eq!(cloud, "ev\u{1b}[31mil\nforged line");
}
