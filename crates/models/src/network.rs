//! Networks by name.

use std::fmt;
use std::str::FromStr;

use voxtune::{AxisOrder, Device, Voxel};

use crate::chain::{Chain, NetworkStep};
use crate::checkpoint::Checkpoint;
use crate::error::ModelError;
use crate::load::{Definition, LoadOptions};
use crate::model::{AnyModel, Kind, Model};
use crate::random;
use crate::{bevfusion, centerpoint, minkunet, second, spconv_bench, spunet, trellis};

/// A network that is known by name, at the widths of its authors.
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
    /// [`SpconvBench`](crate::SpconvBench), with 3 input channels.
    SpconvBench,
    /// [`TrellisBlock`](crate::TrellisBlock) of 512 channels.
    Trellis,
}

impl Network {
    /// All networks.
    pub const ALL: [Self; 7] = [
        Self::CenterPoint,
        Self::Second,
        Self::BevFusion,
        Self::SpUNet,
        Self::MinkUNet,
        Self::SpconvBench,
        Self::Trellis,
    ];

    pub(crate) const fn definition(self) -> &'static Definition {
        match self {
            Self::CenterPoint => &centerpoint::DEFINITION,
            Self::Second => &second::DEFINITION,
            Self::BevFusion => &bevfusion::DEFINITION,
            Self::SpUNet => &spunet::DEFINITION,
            Self::MinkUNet => &minkunet::DEFINITION,
            Self::SpconvBench => &spconv_bench::DEFINITION,
            Self::Trellis => &trellis::DEFINITION,
        }
    }

    /// The network's name on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.definition().name
    }

    /// Its convolutions and maxima in the order in which they run. Each reads the voxels that the
    /// one before made; an inverse one goes back to the inputs of the strided one that made them.
    /// Axes are those of the network ([`Self::axes`]).
    #[must_use]
    pub fn steps(self) -> Vec<NetworkStep> {
        let mut chain = Chain::default();
        (self.definition().layers)(&mut chain);
        chain.steps
    }

    /// The order of its coordinates: z, y, x of CenterPoint and SECOND.
    #[must_use]
    pub const fn axes(self) -> AxisOrder {
        self.definition().axes
    }

    /// Cells along x, y and z of the grid that detectors are run on here. It is that of nuScenes at
    /// 0.075 m, with one cell more along z than the range holds. `None` of networks that take
    /// clouds of any extent.
    #[must_use]
    pub const fn usual_grid(self) -> Option<[u32; 3]> {
        match self {
            Self::CenterPoint | Self::Second | Self::BevFusion => Some([1440, 1440, 41]),
            Self::SpUNet | Self::MinkUNet | Self::SpconvBench | Self::Trellis => None,
        }
    }

    /// A cell at x, y, z in the order of the network's coordinates.
    #[must_use]
    pub const fn turned(self, cell: Voxel) -> Voxel {
        let Voxel { batch, x, y, z } = cell;
        match self.axes() {
            AxisOrder::Xyz => cell,
            AxisOrder::Zyx => Voxel::new(batch, z, y, x),
        }
    }

    /// Cells along x, y, z in the order of the network's coordinates.
    #[must_use]
    pub const fn turned_shape(self, shape: [u32; 3]) -> [u32; 3] {
        let [x, y, z] = shape;
        match self.axes() {
            AxisOrder::Xyz => shape,
            AxisOrder::Zyx => [z, y, x],
        }
    }

    /// Channels of a voxel, as its authors have them.
    #[must_use]
    pub fn c_in(self) -> u32 {
        let first = self.steps().into_iter().find_map(|step| match step {
            NetworkStep::Convolution(layer) => Some(layer.c_in),
            NetworkStep::Pool(_) => None,
        });
        first.expect("every network has a convolution")
    }

    /// A checkpoint of random numbers, the same for the same seed, for measuring the network
    /// without one of its own. With other channels of a voxel than its authors' if they are given.
    ///
    /// ```
    /// use voxtune::Device;
    /// use voxtune_models::{CenterPointBackbone, LoadOptions, Network};
    ///
    /// let checkpoint = Network::CenterPoint.random_checkpoint(Some(4), 0)?;
    /// let device = Device::cpu()?;
    /// CenterPointBackbone::from_checkpoint(&device, &checkpoint, &LoadOptions::new())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If there are no channels.
    pub fn random_checkpoint(self, c_in: Option<u32>, seed: u64) -> Result<Checkpoint, ModelError> {
        random::checkpoint(self.definition(), c_in, seed)
    }

    /// The network of a checkpoint's tensors, of whichever kind it is.
    ///
    /// # Errors
    /// As [`Model::from_checkpoint`].
    pub fn load(
        self,
        device: &Device,
        checkpoint: &Checkpoint,
        options: &LoadOptions,
    ) -> Result<Box<dyn AnyModel>, ModelError> {
        match self {
            Self::CenterPoint => boxed::<centerpoint::CenterPoint>(device, checkpoint, options),
            Self::Second => boxed::<second::Second>(device, checkpoint, options),
            Self::BevFusion => boxed::<bevfusion::BevFusion>(device, checkpoint, options),
            Self::SpUNet => boxed::<spunet::PointceptSpUNet>(device, checkpoint, options),
            Self::MinkUNet => boxed::<minkunet::MinkowskiUNet>(device, checkpoint, options),
            Self::SpconvBench => {
                boxed::<spconv_bench::SpconvBenchmark>(device, checkpoint, options)
            }
            Self::Trellis => boxed::<trellis::ConvNeXtBlock>(device, checkpoint, options),
        }
    }
}

fn boxed<K: Kind>(
    device: &Device,
    checkpoint: &Checkpoint,
    options: &LoadOptions,
) -> Result<Box<dyn AnyModel>, ModelError> {
    Ok(Box::new(Model::<K>::from_checkpoint(device, checkpoint, options)?))
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
    use voxtune::{DType, SparseTensor, Tensor, Voxel, Voxels};

    use super::*;

    #[test]
    fn networks_have_the_layers_of_their_sources() {
        let count = |network: Network| network.steps().len();
        let unet = 1 + 4 + 30 + 4 * 6 + 1;
        // MinkUNet34C widens within blocks, which then have shortcuts.
        assert_eq!(Network::ALL.map(count), [21, 12, 21, unet, unet + 3, 7 * 2 + 6, 3]);
        assert_eq!(Network::ALL.map(Network::c_in), [5, 4, 5, 4, 3, 3, 512]);
    }

    /// Channels follow each other, and every inverse layer finds what it undoes.
    #[test]
    fn chains_run() {
        let device = Device::cpu_with_threads(1).unwrap();
        for network in Network::ALL {
            let cells = (0..40).map(|x| Voxel::new(0, x, x / 2, x % 7)).collect();
            let mut voxels = Voxels::new(&device, cells).unwrap();
            let start = voxels.clone();
            for step in network.steps() {
                voxels = voxels.outputs_of(step.geometry()).unwrap().0;
            }
            let ends_where_it_began = [Network::SpUNet, Network::MinkUNet, Network::Trellis];
            assert_eq!(voxels.is_same(&start), ends_where_it_began.contains(&network), "{network}");
        }
    }

    #[test]
    fn random_checkpoints_repeat() {
        let of = |seed| Network::Second.random_checkpoint(None, seed).unwrap();
        assert!(of(7) == of(7) && of(7) != of(8));
        assert_eq!(of(7).get("conv_input.0.weight").unwrap().0, [16, 3, 3, 3, 4]);
    }

    /// A random checkpoint is one of its network, and a frame of it gives numbers.
    #[test]
    fn random_checkpoints_are_read_and_run() {
        let device = Device::cpu_with_threads(1).unwrap();
        for network in Network::ALL {
            let c_in = if network == Network::Trellis { network.c_in() } else { 6 };
            let checkpoint = network.random_checkpoint(Some(c_in), 7).unwrap();
            let mut model = network.load(&device, &checkpoint, &LoadOptions::new()).unwrap();
            model.fuse(&mut Vec::new()).unwrap();
            let cells = (0..40).map(|x| Voxel::new(0, x, x / 2, x % 7)).collect();
            let voxels = Voxels::within(&device, [96; 3], cells).unwrap();
            let value = |index: usize| (index % 13) as f32 / 6.0 - 1.0;
            let features = Tensor::from_fn(&device, DType::Float32, 40, c_in as usize, value);
            let input = SparseTensor::new(voxels, features.unwrap()).unwrap();
            let output = model.forward(&input).unwrap();
            let view = model.bird_eye_view(&output, 1).unwrap();
            let ends_in_view = [Network::CenterPoint, Network::Second, Network::BevFusion];
            assert_eq!(view.is_some(), ends_in_view.contains(&network), "{network}");
            let values = view.as_ref().unwrap_or(output.features()).to_f32().unwrap();
            assert!(values.iter().all(|value| value.is_finite()), "{network}");
            assert!(values.iter().any(|value| *value != 0.0), "{network}");
        }
    }
}
