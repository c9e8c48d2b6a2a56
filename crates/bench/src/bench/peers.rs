//! Times of other libraries, to print ratios beside.
//!
//! One JSON object a line: `peer`, `cloud`, `cin`, `cout`, `dtype`, `fwd_kernel_ms`, and
//! `train_kernel_ms` for forward and backward together where the latter was measured. Other fields
//! are left alone. Several lines of one layer are several peers, or several runs: the best of them
//! counts, forward and backward each by itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use voxtune::DType;
use voxtune_tune::plan::grid::ChannelPair;
use voxtune_types::text::{lines, without_mark};

/// A layer on a cloud.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LayerKey {
    /// The cloud's name.
    pub cloud: String,
    /// How features are stored.
    pub dtype: DType,
    /// Input channels.
    pub c_in: u32,
    /// Output channels.
    pub c_out: u32,
}

/// A time and whose it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PeerTime {
    /// The library.
    pub peer: String,
    /// Kernel time.
    pub ms: f64,
}

/// The best peers of a layer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BestPeers {
    /// Of the forward pass.
    pub forward: Option<PeerTime>,
    /// Of both gradients together.
    pub backward: Option<PeerTime>,
}

/// The best peers of every layer of a file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Peers {
    layers: BTreeMap<LayerKey, BestPeers>,
    order: Vec<LayerKey>,
}

/// A line that is no measurement.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct MalformedPeers {
    /// Its number, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub why: String,
}

#[derive(Deserialize)]
struct Line {
    peer: String,
    cloud: String,
    cin: u32,
    cout: u32,
    dtype: String,
    fwd_kernel_ms: f64,
    train_kernel_ms: Option<f64>,
}

impl Peers {
    /// Reads the lines of a file.
    ///
    /// # Errors
    /// If a line is no measurement, or there is none.
    pub fn parse(text: impl AsRef<[u8]>) -> Result<Self, MalformedPeers> {
        let mut peers = Self::default();
        let text = without_mark(text.as_ref())
            .map_err(|error| MalformedPeers { line: 1, why: error.to_string() })?;
        let numbered = (1..).zip(lines(text));
        for (number, line) in numbered.filter(|(_, line)| !line.trim_ascii().is_empty()) {
            let malformed = |why: String| MalformedPeers { line: number, why };
            let line: Line =
                serde_json::from_slice(line).map_err(|error| malformed(error.to_string()))?;
            let dtype = line.dtype.parse().map_err(|error| malformed(format!("dtype: {error}")))?;
            let backward_ms = line.train_kernel_ms.map(|train_ms| train_ms - line.fwd_kernel_ms);
            for ms in [Some(line.fwd_kernel_ms), backward_ms].into_iter().flatten() {
                if !(ms > 0.0 && ms.is_finite()) {
                    return Err(malformed(format!("expected times above 0, found {ms} ms")));
                }
            }
            let (c_in, c_out) = (line.cin, line.cout);
            let key = LayerKey { cloud: line.cloud, dtype, c_in, c_out };
            if !peers.layers.contains_key(&key) {
                peers.order.push(key.clone());
            }
            let best = peers.layers.entry(key).or_default();
            keep_better(&mut best.forward, &line.peer, Some(line.fwd_kernel_ms));
            keep_better(&mut best.backward, &line.peer, backward_ms);
        }
        if peers.order.is_empty() {
            return Err(MalformedPeers {
                line: 1,
                why: "the file holds no measurement".to_owned(),
            });
        }
        Ok(peers)
    }

    /// The best peers of a layer.
    #[must_use]
    pub fn best(&self, layer: &LayerKey) -> Option<&BestPeers> {
        self.layers.get(layer)
    }

    /// The layers of a cloud in a storage type, in the order of the file.
    #[must_use]
    pub fn channels(&self, cloud: &str, dtype: DType) -> Vec<ChannelPair> {
        let of_cloud = self.order.iter().filter(|key| key.cloud == cloud && key.dtype == dtype);
        of_cloud.map(|key| ChannelPair { c_in: key.c_in, c_out: key.c_out }).collect()
    }

    /// Every layer, in the order of the file.
    pub fn layers(&self) -> impl Iterator<Item = &LayerKey> {
        self.order.iter()
    }
}

fn keep_better(best: &mut Option<PeerTime>, peer: &str, ms: Option<f64>) {
    let Some(ms) = ms else { return };
    if best.as_ref().is_none_or(|held| ms < held.ms) {
        *best = Some(PeerTime { peer: peer.to_owned(), ms });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
{"peer": "one", "cloud": "street", "N": 9, "cin": 32, "cout": 64, "dtype": "float16", "fwd_kernel_ms": 0.5, "train_kernel_ms": 2.5}
{"peer": "two", "cloud": "street", "cin": 32, "cout": 64, "dtype": "float16", "fwd_kernel_ms": 0.75, "train_kernel_ms": 1.75, "more": [1]}
{"peer": "one", "cloud": "street", "cin": 32, "cout": 64, "dtype": "float16", "fwd_kernel_ms": 0.25}
{"peer": "one", "cloud": "field", "cin": 3, "cout": 8, "dtype": "float16", "fwd_kernel_ms": 0.125}
"#;

    fn layer(cloud: &str, c_in: u32, c_out: u32) -> LayerKey {
        LayerKey { cloud: cloud.to_owned(), dtype: DType::Float16, c_in, c_out }
    }

    #[test]
    fn the_best_of_peers_and_runs_counts() {
        let peers = Peers::parse(TEXT).unwrap();
        for end in ["\r\n", "\r"] {
            let other = format!("\u{feff}{}", TEXT.replace('\n', end));
            assert_eq!(Peers::parse(other).unwrap(), peers);
        }
        let time = |peer: &str, ms| Some(PeerTime { peer: peer.to_owned(), ms });
        let street = peers.best(&layer("street", 32, 64)).unwrap();
        assert_eq!((&street.forward, &street.backward), (&time("one", 0.25), &time("two", 1.0)));
        let field = peers.best(&layer("field", 3, 8)).unwrap();
        assert_eq!((&field.forward, &field.backward), (&time("one", 0.125), &None));
        assert!(peers.best(&layer("street", 3, 8)).is_none());
        assert_eq!(peers.channels("street", DType::Float16), [ChannelPair { c_in: 32, c_out: 64 }]);
        assert!(peers.channels("street", DType::Float32).is_empty());
        assert_eq!(peers.layers().count(), 2);
    }

    #[test]
    fn malformed_lines_are_named() {
        let message = |text: &str| Peers::parse(text).unwrap_err().to_string();
        assert_eq!(message(" \n"), "line 1: the file holds no measurement");
        assert!(message("\n{\"peer\": 3}").starts_with("line 2: "));
        let line = |dtype: &str, forward: &str, train: &str| {
            message(&format!(
                r#"{{"peer":"p","cloud":"c","cin":1,"cout":1,"dtype":"{dtype}","fwd_kernel_ms":{forward},"train_kernel_ms":{train}}}"#
            ))
        };
        assert!(line("int8", "1", "2").contains("dtype"));
        assert!(line("float16", "0", "2").contains("found 0 ms"));
        assert!(line("float16", "2", "1").contains("found -1 ms"));
    }
}
