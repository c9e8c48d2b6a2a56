//! What a network is made of, and getting it ready before its first call.

mod prepare;
mod sparse_tensor;
mod subm_conv3d;

pub use prepare::Prepared;
pub(crate) use prepare::{LayerHint, Preparations};
pub use sparse_tensor::SparseTensor;
pub use subm_conv3d::SubmConv3d;
