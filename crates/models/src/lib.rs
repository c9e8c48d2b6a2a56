//! Networks on voxels that people deploy, from their checkpoints.
//!
//! | what | type |
//! |---|---|
//! | CenterPoint's and OpenPCDet's residual backbone | [`CenterPointBackbone`] |
//! | the backbone of SECOND, PV-RCNN and Voxel R-CNN | [`SecondBackbone`] |
//! | BEVFusion's and TransFusion-L's encoder | [`BevFusionEncoder`] |
//! | Pointcept's U-Net | [`SpUNet`] |
//! | MinkowskiEngine's and torchsparse's U-Nets | [`MinkUNet`] |
//! | spconv's benchmark network | [`SpconvBench`] |
//! | a block of TRELLIS.2's autoencoder | [`TrellisBlock`] |
//! | what they have in common | [`Model`] |
//! | tensors by name, safetensors files | [`Checkpoint`] |
//! | what a checkpoint does not say | [`LoadOptions`], [`WeightOrder`] |
//! | networks by name: their steps, random checkpoints | [`Network`], [`AnyModel`] |
//!
//! Widths, numbers of blocks, biases and the order of weights follow from names and shapes of the
//! tensors. A checkpoint that is not one of the network, or can be read in two ways, is an error
//! that names the tensors ([`ModelError`]).
#![forbid(unsafe_code)]

mod bevfusion;
mod blocks;
mod centerpoint;
mod chain;
mod checkpoint;
mod encoder;
mod error;
mod load;
mod minkunet;
mod model;
mod names;
mod network;
mod random;
mod second;
mod source;
mod spconv_bench;
mod spunet;
mod trellis;
mod unet;

pub use bevfusion::{BevFusion, BevFusionEncoder};
pub use centerpoint::{CenterPoint, CenterPointBackbone};
pub use chain::{NetworkLayer, NetworkStep};
pub use checkpoint::Checkpoint;
pub use error::{ModelError, Problem, Unfit};
pub use load::LoadOptions;
pub use minkunet::{MinkUNet, MinkowskiUNet};
pub use model::{AnyModel, CompiledModel, Encoder, Kind, Model};
pub use names::WeightOrder;
pub use network::{Network, UnknownNetwork};
pub use second::{Second, SecondBackbone};
pub use spconv_bench::{SpconvBench, SpconvBenchmark};
pub use spunet::{PointceptSpUNet, SpUNet};
pub use trellis::{ConvNeXtBlock, TrellisBlock};

/// The programs of the README and of the guide compile when pasted whole.
#[cfg(doctest)]
mod guides {
    #[doc = include_str!("../README.md")]
    struct Readme;
    #[doc = include_str!("../../../docs/guide/checkpoints.md")]
    struct Checkpoints;
    #[doc = include_str!("../../../docs/guide/frames.md")]
    struct Frames;
}
