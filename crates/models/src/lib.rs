//! Networks on voxels that people deploy, from the tensors of their checkpoints.
//!
//! | what | type |
//! |---|---|
//! | tensors by name | [`Checkpoint`] |
//! | CenterPoint's and OpenPCDet's residual backbone | [`CenterPointBackbone`] |
//! | Pointcept's U-Net | [`SpUNet`] |
//! | the convolutions of a network by its name, without weights | [`Network`] |
//!
//! Widths, numbers of blocks and the order of weights follow from names and shapes of the tensors.
#![forbid(unsafe_code)]

mod blocks;
mod centerpoint;
mod checkpoint;
mod network;
mod spunet;

pub use centerpoint::CenterPointBackbone;
pub use checkpoint::{Checkpoint, ModelError};
pub use network::{Network, NetworkLayer, UnknownNetwork};
pub use spunet::SpUNet;
