//! This run's times over those of the best peers.

use serde::Serialize;
use voxtune::{DType, Direction};

use super::peers::{LayerKey, PeerTime, Peers};
use super::report::RowReport;

/// One layer beside its best peers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ComparedLayer {
    /// The cloud's name.
    pub cloud: String,
    /// How features are stored.
    pub dtype: DType,
    /// Input channels.
    pub c_in: u32,
    /// Output channels.
    pub c_out: u32,
    /// The forward pass, where both sides measured it.
    pub forward: Option<Ratio>,
    /// Both gradients together, likewise.
    pub backward: Option<Ratio>,
}

/// A time over a peer's.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ratio {
    /// This run's time.
    pub own_ms: f64,
    /// The best peer's.
    pub peer: PeerTime,
    /// The first over the second: below 1 is faster.
    pub ratio: f64,
}

/// What the ratios of many layers come to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Number of ratios.
    pub rows: usize,
    /// Their geometric mean.
    pub geometric_mean: f64,
    /// The largest.
    pub largest: f64,
    /// How many exceed 1.
    pub above_one: usize,
}

/// This run beside the peers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Layers that both measured.
    pub layers: Vec<ComparedLayer>,
    /// Layers of the peers that this run left out.
    pub left_out: usize,
    /// Over forward passes; nothing where there are none.
    pub forward: Option<Summary>,
    /// Over backward passes, likewise.
    pub backward: Option<Summary>,
}

/// Compares the best times of a run with those of the peers.
#[must_use]
pub fn compare(rows: &[RowReport], peers: &Peers) -> Comparison {
    let mut layers = Vec::new();
    let mut left_out = 0;
    for key in peers.layers() {
        match compare_layer(key, rows, peers) {
            Some(layer) => layers.push(layer),
            None => left_out += 1,
        }
    }
    let over = |of: fn(&ComparedLayer) -> Option<&Ratio>| {
        summarise(layers.iter().filter_map(of).map(|ratio| ratio.ratio))
    };
    let forward = over(|layer| layer.forward.as_ref());
    let backward = over(|layer| layer.backward.as_ref());
    Comparison { layers, left_out, forward, backward }
}

fn compare_layer(key: &LayerKey, rows: &[RowReport], peers: &Peers) -> Option<ComparedLayer> {
    let best_ms = |direction| {
        let row = rows.iter().find(|row| row.is_of(key) && row.direction == direction)?;
        Some(row.best()?.median_ms)
    };
    let backward_ms = || Some(best_ms(Direction::Dgrad)? + best_ms(Direction::Wgrad)?);
    let best = peers.best(key)?;
    let ratio = |own_ms: Option<f64>, peer: &Option<PeerTime>| {
        let (own_ms, peer) = (own_ms?, peer.clone()?);
        Some(Ratio { own_ms, ratio: own_ms / peer.ms, peer })
    };
    let forward = ratio(best_ms(Direction::Forward), &best.forward);
    let backward = ratio(backward_ms(), &best.backward);
    if forward.is_none() && backward.is_none() {
        return None;
    }
    let LayerKey { cloud, dtype, c_in, c_out } = key.clone();
    Some(ComparedLayer { cloud, dtype, c_in, c_out, forward, backward })
}

/// Summarises ratios; nothing where there are none.
fn summarise(ratios: impl Iterator<Item = f64>) -> Option<Summary> {
    let ratios: Vec<f64> = ratios.collect();
    let rows = ratios.len();
    let logarithms: f64 = ratios.iter().map(|ratio| ratio.ln()).sum();
    (rows > 0).then(|| Summary {
        rows,
        geometric_mean: (logarithms / rows as f64).exp(),
        largest: ratios.iter().copied().fold(0.0, f64::max),
        above_one: ratios.iter().filter(|ratio| **ratio > 1.0).count(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::report::tests::row;

    fn peers() -> Peers {
        let line = |c_out: u32, forward: f64, train: f64| {
            format!(
                r#"{{"peer":"p","cloud":"street","cin":32,"cout":{c_out},"dtype":"float16","fwd_kernel_ms":{forward},"train_kernel_ms":{train}}}"#
            )
        };
        Peers::parse([line(32, 0.5, 1.5), line(64, 1.0, 5.0), line(128, 1.0, 2.0)].join("\n"))
            .unwrap()
    }

    #[test]
    fn ratios_are_over_the_best_peer_and_both_gradients() {
        use Direction::{Dgrad, Forward, Wgrad};
        let rows = [
            row("street", 32, 32, Forward, 0.25),
            row("street", 32, 32, Dgrad, 0.5),
            row("street", 32, 32, Wgrad, 1.5),
            row("street", 32, 64, Forward, 2.0),
            row("street", 32, 64, Dgrad, 0.5),
            row("field", 32, 128, Forward, 0.1),
        ];
        let comparison = compare(&rows, &peers());
        assert_eq!(comparison.left_out, 1);
        let ratios: Vec<(Option<f64>, Option<f64>)> = comparison
            .layers
            .iter()
            .map(|layer| {
                let ratio = |side: &Option<Ratio>| side.as_ref().map(|side| side.ratio);
                (ratio(&layer.forward), ratio(&layer.backward))
            })
            .collect();
        // A backward pass without its weight gradient is no backward pass.
        assert_eq!(ratios, [(Some(0.5), Some(2.0)), (Some(2.0), None)]);
        let forward = Summary { rows: 2, geometric_mean: 1.0, largest: 2.0, above_one: 1 };
        assert_eq!(comparison.forward, Some(forward));
        let backward = comparison.backward.unwrap();
        assert_eq!((backward.rows, backward.above_one), (1, 1));
        assert!((backward.geometric_mean - 2.0).abs() < 1e-12);
    }

    #[test]
    fn nothing_has_no_summary() {
        let comparison = compare(&[], &peers());
        assert_eq!((comparison.left_out, comparison.forward), (3, None));
    }
}
