//! Networks by name.

use std::fmt;
use std::str::FromStr;

use crate::chain::{Chain, NetworkLayer};
use crate::load::Definition;
use crate::{bevfusion, centerpoint, minkunet, second, spunet, trellis};

/// A network whose layers are known by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Network {
    /// [`CenterPointBackbone`](crate::CenterPointBackbone), with 5 input channels.
    CenterPoint,
    /// [`SecondBackbone`](crate::SecondBackbone), with 4 input channels.
    Second,
    /// [`BevFusionEncoder`](crate::BevFusionEncoder), with 5 input channels.
    BevFusion,
    /// [`SpUNet`](crate::SpUNet) with the widths of MinkUNet34C, 4 input channels and 20 classes.
    SpUNet,
    /// [`MinkUNet`](crate::MinkUNet), which is MinkUNet34C here, with 3 input channels and 20
    /// classes.
    MinkUNet,
    /// [`TrellisBlock`](crate::TrellisBlock) of 512 channels.
    Trellis,
}

impl Network {
    /// All networks.
    pub const ALL: [Self; 6] = [
        Self::CenterPoint,
        Self::Second,
        Self::BevFusion,
        Self::SpUNet,
        Self::MinkUNet,
        Self::Trellis,
    ];

    pub(crate) const fn definition(self) -> &'static Definition {
        match self {
            Self::CenterPoint => &centerpoint::DEFINITION,
            Self::Second => &second::DEFINITION,
            Self::BevFusion => &bevfusion::DEFINITION,
            Self::SpUNet => &spunet::DEFINITION,
            Self::MinkUNet => &minkunet::DEFINITION,
            Self::Trellis => &trellis::DEFINITION,
        }
    }

    /// The network's name on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.definition().name
    }

    /// Its convolutions in the order in which they run. Each reads the voxels that the one before
    /// made; an inverse one goes back to the inputs of the strided one that made them. Axes are
    /// those of the network: z, y, x of CenterPoint and SECOND.
    #[must_use]
    pub fn layers(self) -> Vec<NetworkLayer> {
        let mut chain = Chain::default();
        (self.definition().layers)(&mut chain);
        chain.0
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that names no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown network `{name}`: expected {}",
    Network::ALL.map(Network::as_str).join(", "),
    name = .0
)]
pub struct UnknownNetwork(pub String);

impl FromStr for Network {
    type Err = UnknownNetwork;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|network| network.as_str() == text)
            .ok_or_else(|| UnknownNetwork(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use voxtune::{Device, Voxel, Voxels};

    use super::*;

    #[test]
    fn networks_have_the_layers_of_their_sources() {
        let count = |network: Network| network.layers().len();
        let unet = 1 + 4 + 30 + 4 * 6 + 1;
        // MinkUNet34C widens within blocks, which then have shortcuts.
        assert_eq!(Network::ALL.map(count), [21, 12, 21, unet, unet + 3, 3]);
    }

    /// Channels follow each other, and every inverse layer finds what it undoes.
    #[test]
    fn chains_run() {
        let device = Device::cpu_with_threads(1).unwrap();
        for network in Network::ALL {
            let cells = (0..40).map(|x| Voxel::new(0, x, x / 2, x % 7)).collect();
            let mut voxels = Voxels::new(&device, cells).unwrap();
            let start = voxels.clone();
            for layer in network.layers() {
                voxels = voxels.outputs_of(&layer.geometry).unwrap().0;
            }
            let ends_where_it_began = [Network::SpUNet, Network::MinkUNet, Network::Trellis];
            assert_eq!(voxels.is_same(&start), ends_where_it_began.contains(&network), "{network}");
        }
    }
}
