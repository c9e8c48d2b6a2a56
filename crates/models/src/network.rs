//! The convolutions of known networks, one behind the other, without weights: what a tuner measures.

use std::fmt;
use std::str::FromStr;

use voxtune::{Geometry, KernelSize, LayerKind};

/// A convolution of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkLayer {
    /// Where its rows meet.
    pub geometry: Geometry,
    /// Input channels, those that are joined included.
    pub c_in: u32,
    /// Output channels.
    pub c_out: u32,
}

/// A network whose layers are known by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Network {
    /// `SpMiddleResNetFHD`, `VoxelResBackBone8x`, with 5 input channels.
    CenterPoint,
    /// `VoxelBackBone8x` of SECOND, PV-RCNN and Voxel R-CNN, with 4 input channels.
    Second,
    /// `SpUNet-v1m1` with the widths of MinkUNet34C, 4 input channels and 20 classes.
    SpUNet,
}

impl Network {
    /// All networks.
    pub const ALL: [Self; 3] = [Self::CenterPoint, Self::Second, Self::SpUNet];

    /// The network's name on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CenterPoint => "centerpoint",
            Self::Second => "second",
            Self::SpUNet => "spunet",
        }
    }

    /// Its convolutions in the order in which they run. Each reads the voxels that the one before made;
    /// an inverse one goes back to the inputs of the strided one that made them. Axes are those of the
    /// network: z, y, x of CenterPoint and SECOND.
    #[must_use]
    pub fn layers(self) -> Vec<NetworkLayer> {
        let mut chain = Chain::default();
        match self {
            Self::CenterPoint => {
                chain.submanifold(3, 5, 16);
                chain.repeat(4, 3, 16);
                for (padding, c_in, c_out) in
                    [([1; 3], 16, 32), ([1; 3], 32, 64), ([0, 1, 1], 64, 128)]
                {
                    chain.strided([3; 3], [2; 3], padding, c_in, c_out);
                    chain.repeat(4, 3, c_out);
                }
                chain.strided([3, 1, 1], [2, 1, 1], [0; 3], 128, 128);
            }
            Self::Second => {
                chain.submanifold(3, 4, 16);
                chain.repeat(1, 3, 16);
                for (padding, c_in, c_out) in
                    [([1; 3], 16, 32), ([1; 3], 32, 64), ([0, 1, 1], 64, 64)]
                {
                    chain.strided([3; 3], [2; 3], padding, c_in, c_out);
                    chain.repeat(2, 3, c_out);
                }
                chain.strided([3, 1, 1], [2, 1, 1], [0; 3], 64, 128);
            }
            Self::SpUNet => {
                chain.submanifold(5, 4, 32);
                let widths = [32, 32, 64, 128, 256];
                for (stage, blocks) in [2, 3, 4, 6].into_iter().enumerate() {
                    chain.strided([2; 3], [2; 3], [0; 3], widths[stage], widths[stage + 1]);
                    chain.repeat(2 * blocks, 3, widths[stage + 1]);
                }
                let mut c_in = 256;
                for (stage, c_out) in [256, 128, 96, 96].into_iter().enumerate() {
                    chain.inverse(2, c_in, c_out);
                    let joined = c_out + widths[3 - stage];
                    chain.submanifold(3, joined, c_out);
                    chain.submanifold(1, joined, c_out);
                    chain.repeat(3, 3, c_out);
                    c_in = c_out;
                }
                chain.submanifold(1, 96, 20);
            }
        }
        chain.0
    }
}

/// Layers so far.
#[derive(Default)]
struct Chain(Vec<NetworkLayer>);

impl Chain {
    fn submanifold(&mut self, extent: u8, c_in: u32, c_out: u32) {
        let geometry = Geometry::submanifold(size([extent; 3]), [1; 3]);
        self.0.push(NetworkLayer { geometry, c_in, c_out });
    }

    fn repeat(&mut self, times: usize, extent: u8, channels: u32) {
        for _ in 0..times {
            self.submanifold(extent, channels, channels);
        }
    }

    fn strided(
        &mut self,
        extents: [u8; 3],
        stride: [u8; 3],
        padding: [i16; 3],
        c_in: u32,
        c_out: u32,
    ) {
        let geometry = Geometry { padding, ..Geometry::strided(size(extents), stride) };
        self.0.push(NetworkLayer { geometry, c_in, c_out });
    }

    fn inverse(&mut self, extent: u8, c_in: u32, c_out: u32) {
        let down = Geometry::strided(size([extent; 3]), [extent; 3]);
        let geometry = down.with_kind(LayerKind::Inverse);
        self.0.push(NetworkLayer { geometry, c_in, c_out });
    }
}

fn size(extents: [u8; 3]) -> KernelSize {
    KernelSize::try_from(extents).expect("extents of known networks are 1 to 7")
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that names no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown network `{0}`: expected centerpoint, second or spunet")]
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
        assert_eq!(Network::ALL.map(count), [21, 12, 1 + 4 + 30 + 4 * 6 + 1]);
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
            assert_eq!(voxels.is_same(&start), network == Network::SpUNet, "{network}");
        }
    }
}
