//! What layers of a network do beside convolutions, forward and backward.
//!
//! Operands are rows of channels, row-major and dense; results are overwritten whole. Storage is
//! any [`DType`](voxtune_types::DType), arithmetic float32 or wider. Every sum has an order that
//! sizes alone decide, so results are the same bits on any number of threads.
//!
//! | idea | where |
//! |---|---|
//! | activations and their slopes | [`Activation`] |
//! | `act(x · scale + shift)` by channel | [`affine`] |
//! | adding two tensors | [`add`] |
//! | joining and splitting channels | [`columns`] |
//! | another storage type | [`cast`] |
//! | sums, means and variances of channels | [`statistics`] |
//! | normalising channels over rows, and rows over channels | [`batch_norm`], [`layer_norm`] |
//! | maximum and average over a kernel map | [`map_pool`] |
//! | which group a row belongs to: gathering, adding up, pooling of samples | [`groups`] |
//! | a dense tensor of the same cells | [`dense`] |

pub mod add;
pub mod affine;
pub mod batch_norm;
pub mod cast;
pub mod columns;
pub mod dense;
mod error;
pub mod groups;
pub mod layer_norm;
pub mod map_pool;
mod number;
pub mod statistics;

pub use affine::Affine;
pub use dense::DenseGrid;
pub use error::OpError;
pub use groups::RowGroups;
pub use voxtune_types::{Activation, Pooling, Reduction};

#[cfg(test)]
mod testing;
