//! The residual backbone of CenterPoint.

use voxtune::{DType, Device, Module, Sequential, SparseTensor, Tensor};

use crate::blocks::Source;
use crate::{Checkpoint, ModelError};

/// `SpMiddleResNetFHD` of CenterPoint (Yin et al., *Center-based 3D Object Detection and Tracking*,
/// 2021), which OpenPCDet calls `VoxelResBackBone8x`: 21 convolutions from voxels of a LiDAR to a
/// bird's-eye view an eighth as wide.
///
/// Coordinates are `(batch, z, y, x)`, within the grid's shape in that order, one cell more along z than
/// the range holds: `[41, 1440, 1440]` for nuScenes at 0.075 m.
#[derive(Debug)]
pub struct CenterPointBackbone {
    layers: Sequential,
    channels: u32,
}

const NETWORK: &str = "CenterPoint's or OpenPCDet's backbone";

impl CenterPointBackbone {
    /// The network of a checkpoint's tensors. Before their names may stand any module's, such as
    /// `backbone_3d.`.
    ///
    /// # Errors
    /// If a tensor is missing or of another shape, or a layer cannot be made.
    pub fn new(device: &Device, dtype: DType, checkpoint: &Checkpoint) -> Result<Self, ModelError> {
        let prefix = checkpoint.prefix("conv_input.0.weight", NETWORK)?;
        let at = |name: &str| format!("{prefix}{name}");
        let source = Source { device, dtype, checkpoint, network: NETWORK, epsilon: 1e-3 };
        let of_openpcdet = checkpoint.contains(&at("conv_out.0.weight"));

        let (stem, mut channels) = source.stage::<voxtune::Submanifold>(
            &at("conv_input.0"),
            &at("conv_input.1"),
            [3; 3],
            None,
            |conv| conv,
        )?;
        let mut layers = Sequential::new().then(stem);
        for level in 1..=4 {
            let mut first_block = 0;
            if level > 1 {
                let (conv, norm) = match of_openpcdet {
                    true => (format!("conv{level}.0.0"), format!("conv{level}.0.1")),
                    false => (format!("conv{level}.0"), format!("conv{level}.1")),
                };
                first_block = if of_openpcdet { 1 } else { 3 };
                let padding = if level == 4 { [0, 1, 1] } else { [1; 3] };
                let (down, c_out) = source.stage::<voxtune::Sparse>(
                    &at(&conv),
                    &at(&norm),
                    [3; 3],
                    Some(channels),
                    |conv| conv.stride(2).padding(padding),
                )?;
                layers = layers.then(down);
                channels = c_out;
            }
            for number in first_block..first_block + 2 {
                let (block, c_out) =
                    source.block(&at(&format!("conv{level}.{number}")), channels)?;
                layers = layers.then(block);
                channels = c_out;
            }
        }
        let last = at(if of_openpcdet { "conv_out" } else { "extra_conv" });
        let (out, channels) = source.stage::<voxtune::Sparse>(
            &format!("{last}.0"),
            &format!("{last}.1"),
            [3, 1, 1],
            Some(channels),
            |conv| conv.stride([2, 1, 1]),
        )?;
        Ok(Self { layers: layers.then(out), channels })
    }

    /// Channels of the outputs.
    #[must_use]
    pub const fn channels(&self) -> u32 {
        self.channels
    }

    /// Lets the kernels of convolutions do what follows them, for inference. Says what was done.
    ///
    /// # Errors
    /// If the device fails.
    pub fn fuse(&mut self) -> Result<Vec<String>, ModelError> {
        Ok(self.layers.fuse()?)
    }

    /// The features of the last level.
    ///
    /// # Errors
    /// If the input does not fit the network, or a kernel fails.
    pub fn forward(&self, input: &SparseTensor) -> Result<SparseTensor, ModelError> {
        Ok(self.layers.forward(input)?)
    }

    /// The bird's-eye view of so many samples: what is left along z lies with the channels, channels
    /// outside.
    ///
    /// # Shapes
    /// Result: `(samples · channels, depth · height · width)`, which is `(samples, channels · depth,
    /// height, width)`, row-major.
    ///
    /// # Errors
    /// As [`Self::forward`], and if the input has no shape or the device cannot hold the result.
    pub fn forward_bev(&self, input: &SparseTensor, samples: u32) -> Result<Tensor, ModelError> {
        Ok(self.forward(input)?.to_dense(samples as usize)?)
    }
}
