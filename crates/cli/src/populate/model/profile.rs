//! What a network's levels have over the scans that it is populated for.

use voxtune::{ConvError, DType, Device, FrameProfile, SparseTensor, Tensor, Voxel, Voxels};
use voxtune_models::{LoadOptions, Network};

use super::Step;
use crate::exit::Failure;

/// A network's way over some scans.
pub(crate) struct Walk {
    /// Whose layers are known, and so can run.
    pub(super) network: Option<Network>,
    pub(super) steps: Vec<Step>,
    /// Of its frames.
    pub(super) dtype: DType,
    /// The cells of each scan, and where they end.
    pub(super) inputs: Vec<(Option<[u32; 3]>, Vec<Voxel>)>,
}

impl Walk {
    /// The profile of frames over the scans. A network that is known runs on the device, with
    /// random weights: so the profile says what its layers read of each map. Of another one only
    /// levels and maps are made.
    pub(crate) fn profile(&self, device: &Device) -> Result<FrameProfile, Failure> {
        let frames = self.inputs.iter().map(|input| self.frame(device, input));
        let frames = frames.collect::<Result<Vec<_>, _>>().map_err(Failure::failed)?;
        match self.network.filter(|_| device.identity().arch.is_cuda()) {
            Some(network) => {
                let checkpoint = network.random_checkpoint(None, 0).map_err(Failure::failed)?;
                let options = LoadOptions::new().dtype(self.dtype);
                let mut model =
                    network.load(device, &checkpoint, &options).map_err(Failure::failed)?;
                model.fuse(&mut Vec::new()).map_err(Failure::failed)?;
                model.frame_profile(frames).map_err(Failure::failed)
            }
            None => FrameProfile::of(frames, |frame| self.levels(frame)).map_err(Failure::failed),
        }
    }

    /// An input of which nothing is made yet.
    fn frame(
        &self,
        device: &Device,
        (shape, cells): &(Option<[u32; 3]>, Vec<Voxel>),
    ) -> Result<SparseTensor, ConvError> {
        let first = self.steps.iter().find_map(|step| step.convolution);
        let channels = first.map_or(1, |(channels, _)| channels.c_in as usize);
        let voxels = match *shape {
            None => Voxels::new(device, cells.clone())?,
            Some(shape) => Voxels::within(device, shape, cells.clone())?,
        };
        SparseTensor::new(voxels, Tensor::zeros(device, self.dtype, cells.len(), channels)?)
    }

    /// The levels and maps of the steps, without their products.
    fn levels(&self, frame: &SparseTensor) -> Result<Voxels, ConvError> {
        let next = |at: Voxels, step: &Step| Ok(at.outputs_of(&step.geometry)?.0);
        self.steps.iter().try_fold(frame.voxels().clone(), next)
    }
}
