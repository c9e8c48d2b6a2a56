//! Reports on made-up caches.

use serde_json::Value;
use voxtune::{AlgoId, DType, Registry};
use voxtune_cache::{Evidence, Interval, Outcome, Reason, Record, decide};
use voxtune_tune::testing::{entry, record};
use voxtune_types::DeviceIdentity;

use super::*;

/// A text that would end the script, the page's markup and a sentence of JSON.
const HOSTILE: &str = "</script><script>alert(1)</script><!-- \u{2028}{{SCRIPT}} \"'&amp; \u{202e}";

fn commands() -> Commands {
    Commands { program: "voxtune".to_owned(), typed: "voxtune report caches".to_owned() }
}

/// A cache in which `fast` takes a millisecond, `default` so many times as long, and `other` three.
fn cache(name: &str, factor: f64, change: impl Fn(&mut EntryOf, &mut Vec<Record>)) -> NamedCache {
    let mut evidence = Evidence::new();
    let mut at = EntryOf { entry: entry() };
    let mut records =
        vec![record("default", 1, (1e6 * factor) as u64), fast(1_000_000), other(3_000_000)];
    change(&mut at, &mut records);
    for mut one in records {
        race_beside(&mut one, 1e6 * factor);
        evidence.insert(at.entry.clone(), one).unwrap();
    }
    let population = Population { decisions: decide(&evidence), evidence };
    NamedCache { name: name.to_owned(), argument: name.to_owned(), population }
}

fn fast(ns: u64) -> Record {
    record("fast:rows=64", 2, ns)
}

fn other(ns: u64) -> Record {
    record("other", 3, ns)
}

/// Gives a candidate the ratio and the spread of a race in which the default took this long.
fn race_beside(record: &mut Record, default_ns: f64) {
    if let Outcome::Measured(timing) = &mut record.outcome {
        let ratio = timing.median_ns as f64 / default_ns;
        timing.ratio_to_default = Some(Interval { low: ratio, median: ratio, high: ratio });
        timing.spread_ns = timing.median_ns / 50;
    }
}

struct EntryOf {
    entry: voxtune_cache::EntryKey,
}

fn report(contents: &Contents) -> Report {
    Report::of(contents, &commands())
}

/// What the page's script will read.
fn data_of(page: &str) -> Value {
    let (_, rest) = page.split_once(r#"<script type="application/json" id="data">"#).unwrap();
    let (json, _) = rest.split_once("</script>").unwrap();
    serde_json::from_str(json).unwrap()
}

#[test]
fn a_key_says_who_wins_by_how_much_and_how_surely() {
    let report =
        report(&Contents { caches: vec![cache("a", 2.0, |_, _| ())], ..Contents::default() });
    let [key] = &report.keys[..] else { panic!("{:?}", report.keys) };
    let name = |number: usize| report.tables.algorithms[number].as_str();
    assert_eq!(name(key.winner.unwrap()), "fast:rows=64");
    assert_eq!(key.over_default, Some(2.0));
    assert_eq!((key.margin, key.tied, key.default), (Some(1.0), false, false));
    assert_eq!((key.spread, key.winner_ns), (Some(0.02), Some(1e6)));
    let [workload] = &key.workloads[..] else { panic!("{key:?}") };
    let best: Vec<(&str, u64)> = workload.best.iter().map(|one| (name(one.0), one.1)).collect();
    assert_eq!(best[0], ("fast:rows=64", 1_000_000));
    assert_eq!((workload.timed, workload.quarantined, best.len()), (3, 0, 3));
    let [population] = &report.populations[..] else { panic!("{:?}", report.populations) };
    assert_eq!((population.decided, population.entries, population.records), (1, 1, 3));
    assert_eq!(population.command, "voxtune inspect a --device 'a processor'");
}

#[test]
fn near_ties_and_quarantine_are_told() {
    let near = cache("a", 1.02, |_, records| {
        records[2] = Record {
            outcome: Outcome::Quarantined {
                reason: Reason::WrongResult,
                detail: "off by one".to_owned(),
            },
            ..other(1)
        };
    });
    let report = report(&Contents { caches: vec![near], ..Contents::default() });
    let key = &report.keys[0];
    assert!(key.tied && key.default, "{key:?}");
    assert_eq!(key.over_default, Some(1.0));
    let [row] = &report.quarantine[..] else { panic!("{:?}", report.quarantine) };
    assert_eq!((row.reason, row.rows_out), ("wrong_result", 1000));
    assert_eq!(report.tables.details, ["off by one"]);
    assert_eq!(key.workloads[0].quarantined, 1);
}

#[test]
fn the_evidence_itself_says_what_choices_lose() {
    let report =
        report(&Contents { caches: vec![cache("a", 2.0, |_, _| ())], ..Contents::default() });
    let losses = report.losses.iter().find(|one| one.own).unwrap();
    let mean = |kind: &str| {
        let kind = losses.kinds.iter().find(|one| one.kind == kind).unwrap();
        kind.summary.map(|one| one.mean)
    };
    assert_eq!(mean("stored choice"), Some(0.0));
    assert_eq!(mean("default"), Some(1.0));
    assert_eq!(mean("neighbouring bucket"), None);
}

#[test]
fn each_grade_is_judged_as_if_the_better_ones_were_silent() {
    let entry = entry();
    let registry = Registry::of_device(&entry.device);
    let operation = &entry.key.operation;
    let default = registry.default_for(operation).unwrap().id().clone();
    let mut ids = registry.algorithms().map(|one| one.id().clone());
    let other = ids.find(|id| *id != default && registry.usable(id, operation).is_some()).unwrap();
    let real = |_: &mut EntryOf, records: &mut Vec<Record>| {
        let rename =
            |record: &Record, algo: &AlgoId| Record { algo: algo.clone(), ..record.clone() };
        *records = vec![rename(&records[0], &default), rename(&records[1], &other)];
    };
    let report = report(&Contents { caches: vec![cache("a", 2.0, real)], ..Contents::default() });
    let graded = report.losses.iter().find(|one| one.name.ends_with("grade by grade")).unwrap();
    let means: Vec<(&str, f64)> =
        graded.kinds.iter().map(|one| (one.kind.as_str(), one.summary.unwrap().mean)).collect();
    assert_eq!(means, [("exact", 0.0), ("default", 1.0)]);
}

#[test]
fn two_devices_and_two_caches_are_compared() {
    let swapped = |at: &mut EntryOf, records: &mut Vec<Record>| {
        at.entry.device =
            DeviceIdentity { name: "another processor".to_owned(), ..at.entry.device.clone() };
        // `other` wins there, so that the two differ beyond noise.
        (records[1], records[2]) = (fast(3_000_000), other(1_000_000));
    };
    let contents = Contents {
        caches: vec![cache("a", 2.0, |_, _| ()), cache("b", 2.0, swapped)],
        ..Contents::default()
    };
    let report = report(&contents);
    let [difference] = &report.differences[..] else { panic!("{:?}", report.differences) };
    assert_eq!((difference.first, difference.second, difference.keys), (0, 1, 1));
    let [flip] = &difference.flipped[..] else { panic!("{difference:?}") };
    let name = |number: usize| report.tables.algorithms[number].as_str();
    assert_eq!((name(flip.first), name(flip.second)), ("fast:rows=64", "other"));
    assert_eq!((flip.slower_by, flip.noise), ([Some(2.0), Some(2.0)], false));
    assert_eq!(difference.arguments, "a b");
}

#[test]
fn winners_stand_beside_peers_of_the_same_layer_and_cloud() {
    let peer = |cloud: &str| PeerLayer {
        cloud: cloud.to_owned(),
        dtype: DType::Float16,
        c_in: 32,
        c_out: 32,
        forward: Some(("other".to_owned(), 2.5)),
        backward: Some(("other".to_owned(), 2.5)),
    };
    let contents = Contents {
        caches: vec![cache("a", 2.0, |_, _| ())],
        peers: vec![peer("uniform"), peer("elsewhere")],
        ..Contents::default()
    };
    // No dgrad was measured, so there is no backward pass to compare.
    let report = report(&contents);
    let [ratio] = &report.peers[..] else { panic!("{:?}", report.peers) };
    assert_eq!((ratio.speedup, ratio.pass.own_ms), (2.5, 1.0));
    assert_eq!(ratio.pass.pass, "forward");
}

#[test]
fn runs_become_columns_in_their_order() {
    let run = |name: &str, ms: f64, way: &str| {
        let text = format!(
            r#"{{"rows":[{{"cloud":"c","dtype":"float16","c_in":8,"c_out":8,"direction":"{way}",
               "ranking":[{{"algorithm":"a","median_ms":{ms}}}]}}]}}"#
        );
        let Ok(sniff::Given::Run(run)) = sniff::json(text.as_bytes(), name) else { panic!() };
        run
    };
    let runs = vec![run("v2", 1.0, "forward"), run("v1", 2.0, "forward"), run("v3", 3.0, "dgrad")];
    let report = report(&Contents { runs, ..Contents::default() });
    let names: Vec<&str> = report.runs.iter().map(|run| run.name.as_str()).collect();
    assert_eq!(names, ["v2", "v1", "v3"]);
    let times: Vec<Vec<Option<f64>>> = report
        .series
        .iter()
        .map(|one| one.points.iter().map(|point| point.as_ref().map(|one| one.ms)).collect())
        .collect();
    assert_eq!(times, [vec![None, None, Some(3.0)], vec![Some(1.0), Some(2.0), None]]);
}

/// Every text that a file may bring along.
fn names_full_of_markup() -> Contents {
    let cache = cache(HOSTILE, 2.0, |at, records| {
        at.entry.device.name = HOSTILE.to_owned();
        at.entry.workload.cloud = HOSTILE.to_owned();
        records[0].environment.driver = HOSTILE.to_owned();
        records[2].outcome =
            Outcome::Quarantined { reason: Reason::Crash, detail: HOSTILE.to_owned() };
    });
    let run = RunFile {
        name: HOSTILE.to_owned(),
        device: HOSTILE.to_owned(),
        command: Some(HOSTILE.to_owned()),
        ..RunFile::default()
    };
    Contents { caches: vec![cache], runs: vec![run], ..Contents::default() }
}

#[test]
fn no_text_ends_the_script_or_the_markup() {
    let report = report(&names_full_of_markup());
    let page = page(&report);
    // The data, and the script: nothing else opens or closes one.
    assert_eq!(page.matches("<script").count(), 2);
    assert_eq!(page.matches("</script").count(), 2);
    assert!(!page.contains("<!-- "), "a comment would swallow what follows");
    assert!(!page.contains("\u{2028}"));
    let data = data_of(&page);
    assert_eq!(data["runs"][0]["name"], HOSTILE);
    assert_eq!(data["tables"]["clouds"][0], HOSTILE);
    assert_eq!(data["tables"]["details"][0], HOSTILE);
    assert_eq!(data, serde_json::to_value(&report).unwrap());
}

#[test]
fn the_page_is_whole_and_fetches_nothing() {
    let page = page(&report(&Contents::default()));
    assert!(page.starts_with("<!doctype html>"));
    assert!(page.trim_end().ends_with("</html>"));
    for fetching in ["http://", "https://", "src=", "@import", "url(", "fetch(", "innerHTML"] {
        // The namespace of SVG is a name and no address.
        let found = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!found.contains(fetching), "{fetching}");
    }
    assert!(!page.contains("{{"), "every place is filled");
}

proptest::proptest! {
    #[test]
    fn any_text_comes_out_of_the_page_as_it_went_in(text in ".*") {
        let run = RunFile { name: text.clone(), ..RunFile::default() };
        let page = page(&report(&Contents { runs: vec![run], ..Contents::default() }));
        proptest::prop_assert_eq!(&data_of(&page)["runs"][0]["name"], &Value::String(text));
    }
}
