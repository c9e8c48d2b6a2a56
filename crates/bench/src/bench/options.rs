//! What to measure.

use voxtune::{AlgoMode, DType, Direction, KernelSize, L2State, Operation};
use voxtune_tune::plan::grid::ChannelPair;
use voxtune_tune::plan::groups::Groups;

use super::peers::Peers;
use super::roofline::Rates;
use crate::named_cloud::NamedCloud;

/// Layers that are measured where none are named.
pub const DEFAULT_CHANNELS: [ChannelPair; 9] = [
    ChannelPair { c_in: 3, c_out: 32 },
    ChannelPair { c_in: 32, c_out: 32 },
    ChannelPair { c_in: 96, c_out: 20 },
    ChannelPair { c_in: 64, c_out: 64 },
    ChannelPair { c_in: 96, c_out: 96 },
    ChannelPair { c_in: 128, c_out: 128 },
    ChannelPair { c_in: 128, c_out: 256 },
    ChannelPair { c_in: 256, c_out: 256 },
    ChannelPair { c_in: 512, c_out: 512 },
];

/// What to measure.
#[derive(Clone, Debug)]
pub struct BenchOptions {
    /// The clouds.
    pub clouds: Vec<NamedCloud>,
    /// Layers for every cloud; without them those that the peers have for it, else the default
    /// ones.
    pub channels: Option<Vec<ChannelPair>>,
    /// Groups of these channels; layers whose channels do not divide into them are left out.
    pub groups: Groups,
    /// Kernel size of the layers.
    pub kernel: KernelSize,
    /// Directions.
    pub directions: Vec<Direction>,
    /// Storage types.
    pub dtypes: Vec<DType>,
    /// Candidates; the default is always among them.
    pub mode: AlgoMode,
    /// Only candidates whose id contains one of these, and the default; none admits all.
    pub filter: Vec<String>,
    /// Samples that each median is of.
    pub rounds: usize,
    /// How many calls of the public layer are timed, if any.
    pub calls: Option<usize>,
    /// What a GPU's L2 cache holds when a sample begins.
    pub l2_state: L2State,
    /// Seed of operands.
    pub seed: u64,
    /// Times of other libraries.
    pub peers: Option<Peers>,
    /// Rates that floors are computed with instead of measured ones.
    pub rates: Option<Rates>,
}

impl BenchOptions {
    /// The layers of a cloud in a storage type.
    #[must_use]
    pub fn channels_on(&self, cloud: &str, dtype: DType) -> Vec<ChannelPair> {
        if let Some(channels) = &self.channels {
            return channels.clone();
        }
        let of_peers = self.peers.as_ref().map(|peers| peers.channels(cloud, dtype));
        match of_peers {
            Some(channels) if !channels.is_empty() => channels,
            _ => DEFAULT_CHANNELS.to_vec(),
        }
    }

    /// The operations on a cloud, one layer after another.
    pub(super) fn operations(&self, cloud: &str) -> Vec<Operation> {
        let mut operations = Vec::new();
        for &dtype in &self.dtypes {
            for ChannelPair { c_in, c_out } in self.channels_on(cloud, dtype) {
                let Some(groups) = self.groups.of(c_in, c_out) else { continue };
                operations.extend(self.directions.iter().map(|&direction| {
                    Operation::submanifold(direction, dtype, c_in, c_out, self.kernel)
                        .with_groups(groups)
                }));
            }
        }
        operations
    }
}
