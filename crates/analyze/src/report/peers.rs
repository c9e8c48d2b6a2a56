//! Times beside those of other libraries.

use serde::Serialize;
use voxtune_cache::decide::Timer;
use voxtune_cache::{EntryKey, Records};
use voxtune_types::{DType, Direction, KernelSize};

use super::numbers::short;
use super::{Commands, Contents, Part};

/// The best times of other libraries for a layer on a cloud: submanifold, kernel 3, one group.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerLayer {
    /// The cloud.
    pub cloud: String,
    /// Storage type.
    pub dtype: DType,
    /// Input channels.
    pub c_in: u32,
    /// Output channels.
    pub c_out: u32,
    /// The best library and its time of the forward pass, in milliseconds.
    pub forward: Option<(String, f64)>,
    /// The same of both gradients together.
    pub backward: Option<(String, f64)>,
}

/// A pass of a layer, or a frame of a network, beside the best peer's.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PeerPass {
    /// The cloud.
    pub cloud: String,
    /// Channels of a layer, or the name of a network.
    pub subject: String,
    /// Storage type.
    pub dtype: String,
    /// Forward, backward, or the way in which frames are run.
    pub pass: String,
    /// Our time.
    pub own_ms: f64,
    /// The library.
    pub peer: String,
    /// Its time.
    pub peer_ms: f64,
}

/// The same, and where it is from.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PeerRatio {
    /// The cache or the run that our time is of.
    pub source: String,
    /// The command that prints it.
    pub command: String,
    /// Both times.
    #[serde(flatten)]
    pub pass: PeerPass,
    /// The peer's time over ours: above 1, we are faster.
    pub speedup: f64,
}

/// Everything that can be compared: what runs of `bench` compared themselves, and the winners of
/// caches on clouds that a peer was measured on.
pub(super) fn ratios(
    parts: &[Part<'_>],
    contents: &Contents,
    commands: &Commands,
) -> Vec<PeerRatio> {
    let mut all = Vec::new();
    for run in &contents.runs {
        let command = run
            .command
            .clone()
            .unwrap_or_else(|| format!("{} bench --peers FILE --json FILE", commands.program));
        let of_run = run.peers.iter().cloned();
        all.extend(of_run.map(|pass| ratio(run.name.clone(), command.clone(), pass)));
    }
    for part in parts {
        let command = format!("{} inspect {}", commands.program, part.cache.argument);
        for layer in &contents.peers {
            let of_cache = passes(part, layer).into_iter().flatten();
            all.extend(of_cache.map(|pass| ratio(part.name(), command.clone(), pass)));
        }
    }
    all.sort_by(|a, b| b.speedup.total_cmp(&a.speedup));
    all
}

fn ratio(source: String, command: String, pass: PeerPass) -> PeerRatio {
    let speedup = short(pass.peer_ms / pass.own_ms);
    PeerRatio { source, command, pass, speedup }
}

fn passes(part: &Part<'_>, layer: &PeerLayer) -> [Option<PeerPass>; 2] {
    use Direction::{Dgrad, Forward, Wgrad};
    let own_ms = |directions: &[Direction]| {
        let each = directions.iter().map(|&direction| winner_ms(part, layer, direction));
        each.sum::<Option<f64>>()
    };
    let pass = |name: &str, directions: &[Direction], peer: &Option<(String, f64)>| {
        let (peer, peer_ms) = peer.clone()?;
        Some(PeerPass {
            cloud: layer.cloud.clone(),
            subject: format!("{}→{}", layer.c_in, layer.c_out),
            dtype: layer.dtype.to_string(),
            pass: name.to_owned(),
            own_ms: short(own_ms(directions)?),
            peer,
            peer_ms: short(peer_ms),
        })
    };
    [
        pass("forward", &[Forward], &layer.forward),
        pass("backward", &[Dgrad, Wgrad], &layer.backward),
    ]
}

/// What the winner took on the peer's cloud.
fn winner_ms(part: &Part<'_>, layer: &PeerLayer, direction: Direction) -> Option<f64> {
    let kernel = KernelSize::submanifold(3).ok()?;
    let is_same = |entry: &EntryKey| {
        let operation = &entry.key.operation;
        entry.workload.cloud == layer.cloud
            && operation.is_submanifold()
            && operation.kernel == kernel
            && operation.groups == 1
            && operation.direction == direction
            && operation.dtype == layer.dtype
            && (operation.c_in, operation.c_out) == (layer.c_in, layer.c_out)
    };
    let mut entries = part.population.evidence.entries().filter(|(entry, _)| is_same(entry));
    let (entry, records): (&EntryKey, &Records) = entries.next()?;
    let decision = part.population.decisions.get(&part.device, &entry.key)?;
    let winner = records.preferred().into_iter().find(|record| record.algo == decision.winner)?;
    // Peers were timed without what they read, too.
    Some(Timer::of(&part.device.arch).own_ns(winner.timing()?) / 1e6)
}
