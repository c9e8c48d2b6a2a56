//! What a JSON file is: a run of `bench` over layers or networks, or a report of `regret`.
//!
//! Files of earlier and later versions are read as far as they tell what a page shows, and unknown
//! fields are left alone. The page is about how versions differ.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use voxtune_types::ShapeKey;
use voxtune_types::text::without_mark;

use super::LossFile;
use super::losses::{Loss, LossPoint};
use super::numbers::short;
use super::peers::PeerPass;
use super::runs::{RunFile, RunName, RunPoint};

/// What a JSON file holds.
#[derive(Debug)]
pub enum Given {
    /// Times, by `bench --json`.
    Run(RunFile),
    /// Regret, by `regret --json`.
    Losses(LossFile),
}

/// A JSON file that a report can show nothing of.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SniffError {
    /// It is no JSON, or no object.
    #[error("expected one JSON object: {0}")]
    Malformed(String),
    /// It is some other object.
    #[error(
        "expected what `bench --json` or `regret --json` writes: an object with `rows`, `networks` \
         or `points`; found {0}"
    )]
    Foreign(String),
    /// It is one of these, and says nothing.
    #[error("holds no time and no regret")]
    Empty,
}

/// Reads a JSON file; `name` is what a person calls it.
///
/// # Errors
/// If it is something else, or holds nothing to show.
pub fn json(bytes: &[u8], name: &str) -> Result<Given, SniffError> {
    let malformed = |error: &dyn std::fmt::Display| SniffError::Malformed(error.to_string());
    let text = without_mark(bytes).map_err(|error| malformed(&error))?;
    let value: Value = serde_json::from_slice(text).map_err(|error| malformed(&error))?;
    let Value::Object(fields) = &value else {
        return Err(SniffError::Malformed("found another value".to_owned()));
    };
    let command = fields.get("command").and_then(Value::as_str).map(str::to_owned);
    let is_list = |name: &str| fields.get(name).is_some_and(Value::is_array);
    let mut run = RunFile { name: name.to_owned(), command: command.clone(), ..Default::default() };
    if is_list("rows") {
        read_layers(value, &mut run)?;
    } else if is_list("networks") {
        read_networks(value, &mut run)?;
    } else {
        let mut losses = Vec::new();
        find_losses(&value, "all", &mut losses);
        if losses.is_empty() {
            let names: Vec<&str> = fields.keys().take(8).map(String::as_str).collect();
            return Err(SniffError::Foreign(names.join(", ")));
        }
        return Ok(Given::Losses(LossFile { name: name.to_owned(), command, losses }));
    }
    if run.points.is_empty() {
        return Err(SniffError::Empty);
    }
    Ok(Given::Run(run))
}

#[derive(Deserialize)]
struct Layers {
    #[serde(default)]
    device: String,
    rows: Vec<LayerRow>,
    peers: Option<LayerPeers>,
}

#[derive(Deserialize)]
struct LayerRow {
    cloud: String,
    dtype: String,
    c_in: u32,
    c_out: u32,
    #[serde(default = "one")]
    groups: u32,
    direction: String,
    floor: Option<Floor>,
    #[serde(default)]
    ranking: Vec<Ranked>,
}

const fn one() -> u32 {
    1
}

#[derive(Deserialize)]
struct Floor {
    floor_ms: f64,
}

#[derive(Deserialize)]
struct Ranked {
    algorithm: String,
    median_ms: f64,
    #[serde(default)]
    deviation_ms: f64,
}

#[derive(Deserialize)]
struct LayerPeers {
    #[serde(default)]
    layers: Vec<PeerLayer>,
}

#[derive(Deserialize)]
struct PeerLayer {
    cloud: String,
    dtype: String,
    c_in: u32,
    c_out: u32,
    forward: Option<Beside>,
    backward: Option<Beside>,
}

#[derive(Deserialize)]
struct Beside {
    own_ms: f64,
    peer: Peer,
}

#[derive(Deserialize)]
struct Peer {
    peer: String,
    ms: f64,
}

fn read_layers(value: Value, run: &mut RunFile) -> Result<(), SniffError> {
    let layers: Layers = typed(value)?;
    run.device = layers.device;
    for row in layers.rows {
        let Some(best) = row.ranking.into_iter().next() else { continue };
        let groups = if row.groups == 1 { String::new() } else { format!(" g{}", row.groups) };
        let name = RunName {
            network: false,
            cloud: row.cloud,
            subject: format!("{}→{}{groups}", row.c_in, row.c_out),
            dtype: row.dtype,
            way: row.direction,
        };
        let point = RunPoint {
            ms: short(best.median_ms),
            deviation_ms: short(best.deviation_ms),
            algorithm: Some(best.algorithm),
            floor_ms: row.floor.map(|floor| short(floor.floor_ms)),
        };
        run.points.push((name, point));
    }
    for layer in layers.peers.into_iter().flat_map(|peers| peers.layers) {
        let subject = format!("{}→{}", layer.c_in, layer.c_out);
        for (pass, beside) in [("forward", layer.forward), ("backward", layer.backward)] {
            let Some(Beside { own_ms, peer: Peer { peer, ms } }) = beside else { continue };
            run.peers.push(PeerPass {
                cloud: layer.cloud.clone(),
                subject: subject.clone(),
                dtype: layer.dtype.clone(),
                pass: pass.to_owned(),
                own_ms: short(own_ms),
                peer,
                peer_ms: short(ms),
            });
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct Frames {
    #[serde(default)]
    device: String,
    networks: Vec<Network>,
    #[serde(default)]
    peers: Vec<PeerFrame>,
}

#[derive(Deserialize)]
struct Network {
    network: String,
    cloud: String,
    dtype: String,
    floor: Option<Floor>,
    #[serde(default)]
    ways: Vec<Way>,
}

#[derive(Deserialize)]
struct Way {
    way: String,
    wall_ms: Wall,
}

#[derive(Deserialize)]
struct PeerFrame {
    network: String,
    cloud: String,
    way: String,
    peer: String,
    wall_ms: Option<BothWalls>,
}

#[derive(Deserialize)]
struct BothWalls {
    own: f64,
    peer: f64,
}

#[derive(Deserialize)]
struct Wall {
    median: f64,
    p95: f64,
}

fn read_networks(value: Value, run: &mut RunFile) -> Result<(), SniffError> {
    let frames: Frames = typed(value)?;
    run.device = frames.device;
    let mut dtypes: BTreeMap<(String, String), String> = BTreeMap::new();
    for network in frames.networks {
        dtypes.insert((network.network.clone(), network.cloud.clone()), network.dtype.clone());
        let floor_ms = network.floor.map(|floor| short(floor.floor_ms));
        for Way { way, wall_ms } in network.ways {
            let name = RunName {
                network: true,
                cloud: network.cloud.clone(),
                subject: network.network.clone(),
                dtype: network.dtype.clone(),
                way,
            };
            let point = RunPoint {
                ms: short(wall_ms.median),
                deviation_ms: short((wall_ms.p95 - wall_ms.median).max(0.0)),
                algorithm: None,
                floor_ms,
            };
            run.points.push((name, point));
        }
    }
    for row in frames.peers {
        let Some(BothWalls { own, peer }) = row.wall_ms else { continue };
        let dtype = dtypes.get(&(row.network.clone(), row.cloud.clone()));
        run.peers.push(PeerPass {
            dtype: dtype.cloned().unwrap_or_default(),
            cloud: row.cloud,
            subject: row.network,
            pass: row.way,
            own_ms: short(own),
            peer: row.peer,
            peer_ms: short(peer),
        });
    }
    Ok(())
}

fn typed<T: for<'de> Deserialize<'de>>(value: Value) -> Result<T, SniffError> {
    serde_json::from_value(value).map_err(|error| SniffError::Malformed(error.to_string()))
}

/// Every kind of choice in a report of `regret`, however it is arranged: an object with `points`.
fn find_losses(value: &Value, called: &str, losses: &mut Vec<Loss>) {
    match value {
        Value::Object(fields) => {
            let own = ["grade", "kind", "name"].iter().find_map(|name| fields.get(*name)?.as_str());
            let name_of = |field: &str| own.unwrap_or(field).to_owned();
            let called = own.unwrap_or(called);
            if let Some(Value::Array(points)) = fields.get("points") {
                let points: Vec<LossPoint> = points.iter().filter_map(loss_point).collect();
                let count = |name: &str| fields.get(name).and_then(Value::as_u64).unwrap_or(0);
                let without = count("without_choice") + count("not_measured");
                if !points.is_empty() {
                    losses.push(Loss::of(&kind(called), without as usize, points));
                }
            } else {
                for (field, inner) in fields {
                    find_losses(inner, &name_of(field), losses);
                }
            }
        }
        Value::Array(all) => all.iter().for_each(|one| find_losses(one, called, losses)),
        _ => {}
    }
}

/// The words of a person for the name of a field.
fn kind(field: &str) -> String {
    match field {
        "cached" => "stored choice".to_owned(),
        "resolved" => "what runs".to_owned(),
        "bucket_transfer" => "neighbouring bucket".to_owned(),
        "density_transfer" => "neighbouring density".to_owned(),
        other => other.replace('_', " "),
    }
}

fn loss_point(value: &Value) -> Option<LossPoint> {
    let regret = value.get("regret")?.as_f64().filter(|regret| regret.is_finite())?;
    let text = |name: &str| match value.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => match serde_json::from_value::<ShapeKey>(other.clone()) {
            Ok(key) => key.to_string(),
            Err(_) => other.to_string(),
        },
    };
    Some(LossPoint {
        key: text("key"),
        cloud: text("cloud"),
        rows_out: value.get("rows_out").and_then(Value::as_u64).unwrap_or(0),
        choice: text("choice"),
        best: text("best"),
        regret: short(regret),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str) -> RunFile {
        match json(text.as_bytes(), "v1").unwrap() {
            Given::Run(run) => run,
            Given::Losses(losses) => panic!("{losses:?}"),
        }
    }

    #[test]
    fn a_run_over_layers_is_known_by_its_rows() {
        let run = run(r#"{"command":"voxtune bench","device":"one","rounds":7,"new":[1],"rows":[
            {"cloud":"street","dtype":"float16","c_in":32,"c_out":64,"direction":"dgrad",
             "floor":{"floor_ms":0.25},"ranking":[{"algorithm":"a","median_ms":0.5,"deviation_ms":0.01},
             {"algorithm":"b","median_ms":0.75}]},
            {"cloud":"street","dtype":"float16","c_in":8,"c_out":8,"groups":8,"direction":"forward",
             "ranking":[]}],
            "peers":{"layers":[{"cloud":"street","dtype":"float16","c_in":32,"c_out":64,
             "forward":{"own_ms":0.5,"peer":{"peer":"other","ms":1.5},"ratio":0.3},"backward":null}]}}"#);
        assert_eq!((run.device.as_str(), run.command.as_deref()), ("one", Some("voxtune bench")));
        let [(name, point)] = &run.points[..] else { panic!("{:?}", run.points) };
        assert_eq!((name.subject.as_str(), name.way.as_str()), ("32→64", "dgrad"));
        assert_eq!((point.ms, point.floor_ms), (0.5, Some(0.25)));
        assert_eq!(run.peers.len(), 1);
        assert_eq!((run.peers[0].own_ms, run.peers[0].peer_ms), (0.5, 1.5));
    }

    #[test]
    fn a_run_over_networks_is_known_by_them() {
        let run = run(r#"{"device":"one","networks":[{"network":"spunet","cloud":"street",
            "dtype":"float16","ways":[{"way":"fresh","wall_ms":{"median":2.0,"p95":2.5}}]}]}"#);
        let [(name, point)] = &run.points[..] else { panic!("{:?}", run.points) };
        assert!(name.network && name.subject == "spunet" && name.way == "fresh");
        assert_eq!((point.ms, point.deviation_ms), (2.0, 0.5));
    }

    #[test]
    fn regret_is_found_wherever_it_stands() {
        let text = r#"{"races":3,"cached":{"points":[{"key":"k","regret":0.25},{"regret":"no"}]},
            "grades":[{"grade":"near","comparison":{"points":[{"regret":0.5,"choice":"a"}]}}],
            "empty":{"points":[]}}"#;
        let Given::Losses(file) = json(text.as_bytes(), "r").unwrap() else { panic!("a run") };
        let kinds: Vec<(&str, f64)> =
            file.losses.iter().map(|loss| (loss.kind.as_str(), loss.worst[0].regret)).collect();
        assert_eq!(kinds, [("stored choice", 0.25), ("near", 0.5)]);
    }

    #[test]
    fn other_files_are_refused_by_what_they_are() {
        let message = |text: &str| json(text.as_bytes(), "x").unwrap_err().to_string();
        assert!(message("[1]").contains("one JSON object"));
        assert!(message("{").contains("one JSON object"));
        assert!(message(r#"{"a":1,"b":2}"#).ends_with("found a, b"));
        assert!(message(r#"{"rows":[3]}"#).contains("expected struct"));
        assert_eq!(message(r#"{"rows":[]}"#), "holds no time and no regret");
    }
}
