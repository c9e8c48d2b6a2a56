//! What a network is made of, and getting it ready before its first call.

mod conv;
mod conv_builder;
mod kinds;
mod prepare;
mod sparse_tensor;
mod weights;

pub use conv::{
    Conv, ConvGradients, SparseConv3d, SparseConvTranspose3d, SparseInverseConv3d, SubmConv3d,
};
pub use conv_builder::{Axes, ConvBuilder};
pub use kinds::{ConvKind, Inverse, Sparse, Submanifold, Transposed};
pub use prepare::Prepared;
pub(crate) use prepare::{LayerHint, Preparations};
pub use sparse_tensor::SparseTensor;
pub use weights::WeightLayout;
