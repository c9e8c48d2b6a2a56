//! Times of whole networks in other libraries, to print ratios beside.
//!
//! One JSON object per line: `peer`, `net`, `cloud`; of frames `ms` (wall clock), `kernel_ms` (sum
//! of kernel times), `first_ms` and `peak_bytes` (the most memory beyond the weights); of training
//! steps `step_ms` and `step_peak_bytes`. `folded` says that normalisations were part of the
//! weights. All but the first three may be missing, other fields are left alone, and a line with
//! `error` is left out.
//!
//! Several lines of a network and a cloud are several runs or peers. The least of each number
//! counts, of frames those that are folded if there are any.

use serde::{Deserialize, Serialize};
use voxtune_types::text::{lines, without_mark};

use super::report::{NetworkReport, WayReport};
use super::way::Way;
use crate::bench::peers::MalformedPeers;

/// The lines of a file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FramePeers {
    lines: Vec<Line>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Line {
    peer: String,
    net: String,
    cloud: String,
    #[serde(rename = "N")]
    voxels: Option<usize>,
    #[serde(default)]
    folded: bool,
    ms: Option<f64>,
    kernel_ms: Option<f64>,
    first_ms: Option<f64>,
    peak_bytes: Option<f64>,
    step_ms: Option<f64>,
    step_peak_bytes: Option<f64>,
    error: Option<String>,
}

impl Line {
    fn numbers(&self) -> impl Iterator<Item = f64> {
        let all = [self.ms, self.kernel_ms, self.first_ms, self.peak_bytes];
        all.into_iter().chain([self.step_ms, self.step_peak_bytes]).flatten()
    }
}

/// A number of ours, the best peer's, and the ratio.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Beside {
    /// Ours.
    pub own: f64,
    /// The peer's.
    pub peer: f64,
    /// Ours over the peer's.
    pub ratio: f64,
}

impl Beside {
    fn of(own: Option<f64>, peer: Option<f64>) -> Option<Self> {
        let (own, peer) = own.zip(peer)?;
        Some(Self { own, peer, ratio: own / peer })
    }
}

/// Frames of one way beside the best peer's.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PeerRow {
    /// The network's name.
    pub network: String,
    /// The cloud's name.
    pub cloud: String,
    /// How our frames were run.
    pub way: Way,
    /// Libraries of which numbers are.
    pub peer: String,
    /// Voxels of the peer's cloud, where they are others than ours.
    pub other_voxels: Option<usize>,
    /// Wall clock.
    pub wall_ms: Option<Beside>,
    /// Our device's own time beside the peer's sum of kernel times.
    pub device_ms: Option<Beside>,
    /// Memory beyond the weights.
    pub peak_bytes: Option<Beside>,
}

impl FramePeers {
    /// Reads the lines of a file.
    ///
    /// # Errors
    /// If a line is no measurement, or there is none.
    pub fn parse(text: impl AsRef<[u8]>) -> Result<Self, MalformedPeers> {
        let text = without_mark(text.as_ref())
            .map_err(|error| MalformedPeers { line: 1, why: error.to_string() })?;
        let mut all = Vec::new();
        let numbered = (1..).zip(lines(text));
        for (number, line) in numbered.filter(|(_, line)| !line.trim_ascii().is_empty()) {
            let malformed = |why: String| MalformedPeers { line: number, why };
            let line: Line =
                serde_json::from_slice(line).map_err(|error| malformed(error.to_string()))?;
            if let Some(wrong) = line.numbers().find(|one| !(*one > 0.0 && one.is_finite())) {
                return Err(malformed(format!("expected numbers above 0, found {wrong}")));
            }
            if line.error.is_none() {
                all.push(line);
            }
        }
        if all.is_empty() {
            let why = "the file holds no measurement of a network".to_owned();
            return Err(MalformedPeers { line: 1, why });
        }
        Ok(Self { lines: all })
    }

    /// Every way of every network that peers have measured, beside them.
    pub(super) fn beside(&self, networks: &[NetworkReport]) -> Vec<PeerRow> {
        let rows = networks
            .iter()
            .flat_map(|network| network.ways.iter().filter_map(|way| self.row(network, way)));
        rows.collect()
    }

    fn row(&self, network: &NetworkReport, way: &WayReport) -> Option<PeerRow> {
        let is_same = |line: &&Line| {
            line.cloud == network.cloud && line.net.replace('_', "-") == network.network
        };
        let mut lines: Vec<&Line> = self.lines.iter().filter(is_same).collect();
        let is_step = match way.way {
            Way::Fresh | Way::Expected | Way::Graph => false,
            Way::Step => true,
            // Peers build their maps in every call.
            Way::Held => return None,
        };
        if !is_step && lines.iter().any(|line| line.folded) {
            lines.retain(|line| line.folded);
        }
        let first = lines.first()?;
        let least = |of: fn(&Line) -> Option<f64>| {
            lines.iter().filter_map(|line| of(line)).min_by(f64::total_cmp)
        };
        let (wall, kernels, peak) = match is_step {
            false => {
                (least(|line| line.ms), least(|line| line.kernel_ms), least(|line| line.peak_bytes))
            }
            true => (least(|line| line.step_ms), None, least(|line| line.step_peak_bytes)),
        };
        let over_weights = network.over_weights(way).map(|bytes| bytes as f64);
        let mut names: Vec<&str> = lines.iter().map(|line| line.peer.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let (wall_ms, device_ms) =
            (Beside::of(Some(way.wall_ms.median), wall), Beside::of(way.device_ms, kernels));
        let peak_bytes = Beside::of(over_weights, peak);
        if [wall_ms, device_ms, peak_bytes].iter().all(Option::is_none) {
            return None;
        }
        Some(PeerRow {
            network: network.network.clone(),
            cloud: network.cloud.clone(),
            way: way.way,
            peer: names.join(", "),
            other_voxels: first.voxels.filter(|voxels| *voxels != network.voxels),
            wall_ms,
            device_ms,
            peak_bytes,
        })
    }
}
