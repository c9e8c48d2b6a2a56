//! What a network is made of, and getting it ready before its first call.

mod batch_norm;
mod conv;
mod conv_builder;
mod conv_products;
mod fused;
mod gradients;
#[cfg(test)]
mod groups_tests;
mod kinds;
mod module;
mod pitch;
mod pool;
mod prepare;
mod rows;
mod sequential;
mod skip;
mod slices;
mod sparse_tensor;
mod tape;
mod weights;

pub use batch_norm::{BatchNorm, BatchStatistics};
pub use conv::{Conv, SparseConv3d, SparseConvTranspose3d, SparseInverseConv3d, SubmConv3d};
pub use conv_builder::{Axes, ConvBuilder};
pub use conv_products::ConvGradients;
pub use gradients::Gradients;
pub use kinds::{ConvKind, Inverse, Sparse, Submanifold, Transposed};
pub use module::{Module, Pointwise};
pub use pool::{Average, AvgPool3d, GlobalPool, MaxPool3d, Maximum, Pool, PoolBuilder, PoolKind};
pub use prepare::Prepared;
pub(crate) use prepare::{Preparations, RegisteredLayer};
pub use rows::{LayerNorm, Linear};
pub use sequential::{Residual, Sequential};
pub use skip::Skip;
pub use sparse_tensor::SparseTensor;
pub use tape::Tape;
pub use weights::WeightLayout;
