//! Runs of `bench` side by side: how times change over versions.

use std::collections::BTreeMap;

use serde::Serialize;

/// A run of `bench` of layers or of networks, as far as its file tells.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunFile {
    /// What the version is called: the name of the file.
    pub name: String,
    /// The device that it ran on.
    pub device: String,
    /// The command that wrote the file, where it tells.
    pub command: Option<String>,
    /// What was timed.
    pub points: Vec<(RunName, RunPoint)>,
    /// Times beside other libraries'.
    pub peers: Vec<super::peers::PeerPass>,
}

/// What a time is of: a cloud, a layer or network, and a way to run it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct RunName {
    /// Whether it is a whole network.
    pub network: bool,
    /// The cloud.
    pub cloud: String,
    /// Channels of a layer, or the name of a network.
    pub subject: String,
    /// Storage type.
    pub dtype: String,
    /// Direction of a layer, or the way in which frames are run.
    pub way: String,
}

/// What a run measured of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunPoint {
    /// Median of the fastest algorithm, or of the frames.
    pub ms: f64,
    /// How far samples lie from it: their median, or the 95th percentile of frames less the median.
    pub deviation_ms: f64,
    /// The algorithm.
    pub algorithm: Option<String>,
    /// The least time that the device allows.
    pub floor_ms: Option<f64>,
}

/// A run as a column.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunColumn {
    /// The version.
    pub name: String,
    /// The device.
    pub device: String,
    /// The command that measured it, where the file tells.
    pub command: Option<String>,
}

/// One thing timed over all runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunSeries {
    /// What it is.
    #[serde(flatten)]
    pub name: RunName,
    /// A time for each run; nothing where a run left it out.
    pub points: Vec<Option<RunPoint>>,
}

/// Runs as columns, and as rows what they timed.
pub(super) fn over_versions(runs: &[RunFile]) -> (Vec<RunColumn>, Vec<RunSeries>) {
    let mut rows: BTreeMap<&RunName, Vec<Option<RunPoint>>> = BTreeMap::new();
    for (column, run) in runs.iter().enumerate() {
        for (name, point) in &run.points {
            let row = rows.entry(name).or_insert_with(|| vec![None; runs.len()]);
            row[column] = Some(point.clone());
        }
    }
    let columns = runs.iter().map(|run| RunColumn {
        name: run.name.clone(),
        device: run.device.clone(),
        command: run.command.clone(),
    });
    let rows = rows.into_iter().map(|(name, points)| RunSeries { name: name.clone(), points });
    (columns.collect(), rows.collect())
}
