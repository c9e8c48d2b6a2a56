//! `report`: what its page holds, and what it refuses.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::command::{Finished, run, small_populate, voxtune};

/// What the page's script reads.
fn data(page: &Path) -> Value {
    let page = fs::read_to_string(page).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.trim_end().ends_with("</html>"));
    let (_, rest) = page.split_once(r#"<script type="application/json" id="data">"#).unwrap();
    serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
}

/// Makes a report of these arguments in a folder.
fn report(folder: &Path, arguments: &[&Path]) -> (Finished, std::path::PathBuf) {
    let page = folder.join("report.html");
    let mut command = voxtune();
    command.arg("report").args(arguments).arg("-o").arg(&page);
    (Finished::of(command.output().unwrap()), page)
}

#[test]
fn a_page_holds_caches_samples_regret_and_benches() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let samples = at("oracle.jsonl");
    let mut first = small_populate(&at("one"));
    first.arg("--samples").arg(&samples);
    let populated = Finished::of(first.output().unwrap()).success();
    let advised = "report ";
    assert!(populated.stderr.contains(advised), "{populated:?}");
    Finished::of(small_populate(&at("two")).output().unwrap()).success();
    let mut judged = voxtune();
    judged.arg("regret").arg(&samples).arg("--cache").arg(at("one"));
    judged.arg("--json").arg(at("regret.json"));
    let judged = Finished::of(judged.output().unwrap()).success();
    assert!(judged.stderr.contains(advised), "{judged:?}");
    for version in ["v1.json", "v2.json"] {
        let mut bench = voxtune();
        bench.args(["bench", "--device", "cpu", "--threads", "1", "--rounds", "2"]);
        bench.args(["--clouds", "uniform:60", "--channels", "4,4", "--json"]).arg(at(version));
        Finished::of(bench.output().unwrap()).success();
    }
    fs::write(
        at("peers.jsonl"),
        r#"{"peer":"other","cloud":"uniform","cin":4,"cout":4,"dtype":"float32","fwd_kernel_ms":1e3}"#,
    )
    .unwrap();
    let names =
        ["one", "two", "oracle.jsonl", "regret.json", "v1.json", "v2.json", "peers.jsonl"].map(at);
    let arguments: Vec<&Path> = names.iter().map(AsRef::as_ref).collect();
    let (finished, page) = report(folder.path(), &arguments);
    finished.success();
    let data = data(&page);
    let length = |name: &str| data[name].as_array().unwrap().len();
    assert_eq!((length("populations"), length("runs")), (2, 2));
    // Three sizes in three directions, in either cache.
    assert_eq!((length("keys"), length("series")), (18, 3));
    assert!(data["keys"][0]["workloads"][0]["best"].as_array().unwrap().len() > 1);
    assert_eq!(length("differences"), 1);
    assert_eq!(data["differences"][0]["keys"], 9);
    let own = data["losses"].as_array().unwrap().iter().filter(|one| one["own"] == true).count();
    // Two caches by themselves and grade by grade, both in the races of the file, and the file that
    // regret wrote.
    assert_eq!((own, length("losses")), (2, 7));
    assert!(length("peers") > 0);
    let command = data["runs"][1]["command"].as_str().unwrap();
    assert!(command.contains("bench --device cpu") && command.contains("v2.json"), "{command}");
    assert!(data["command"].as_str().unwrap().contains("report "), "{}", data["command"]);
}

#[test]
fn a_damaged_file_is_named_and_the_rest_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let caches = folder.path().join("caches");
    Finished::of(small_populate(&caches).output().unwrap()).success();
    let files: Vec<_> = fs::read_dir(&caches).unwrap().map(|entry| entry.unwrap().path()).collect();
    let evidence = |path: &&std::path::PathBuf| {
        path.file_name().unwrap().to_str().unwrap().ends_with(".evidence.msgpack")
    };
    let evidence = files.iter().find(evidence).unwrap();
    let bytes = fs::read(evidence).unwrap();
    fs::write(evidence, &bytes[..bytes.len() / 2]).unwrap();
    let (finished, page) = report(folder.path(), &[&caches]);
    assert_eq!(finished.status, Some(1), "{finished:?}");
    assert!(finished.stderr.contains(".evidence.msgpack"), "{finished:?}");
    let data = data(&page);
    assert_eq!(data["keys"].as_array().unwrap().len(), 9, "the decisions are shown");
    assert_eq!(data["keys"][0]["workloads"], Value::Array(Vec::new()));
    assert_eq!(fs::read(evidence).unwrap().len(), bytes.len() / 2, "nothing is set aside");
}

#[test]
fn what_is_no_report_is_refused_by_name_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let foreign = folder.path().join("foreign.json");
    fs::write(&foreign, r#"{"name":"something else"}"#).unwrap();
    let (finished, page) = report(folder.path(), &[&foreign]);
    assert_eq!(finished.status, Some(2), "{finished:?}");
    for words in ["foreign.json", "bench --json", "found name"] {
        assert!(finished.stderr.contains(words), "{words}: {finished:?}");
    }
    assert!(!page.exists());
    let lines = folder.path().join("lines.jsonl");
    fs::write(&lines, "{}\n").unwrap();
    let (finished, _) = report(folder.path(), &[&lines]);
    assert_eq!(finished.status, Some(2), "{finished:?}");
    let (finished, _) = report(folder.path(), &[&folder.path().join("nothing here")]);
    assert_eq!(finished.status, Some(1), "{finished:?}");
    let empty = folder.path().to_str().unwrap();
    let nowhere = run(&["report", empty, "-o", "/no such folder/report.html"]);
    assert_eq!(nowhere.status, Some(2), "{nowhere:?}");
}
