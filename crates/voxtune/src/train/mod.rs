//! The training step: a loss, gradients by name, and new parameters.
//!
//! | what | item |
//! |---|---|
//! | a forward pass that notes what backward needs | [`Module::forward_on_tape`], [`Tape`] |
//! | gradients by the names of parameters | [`Tape::backward`], [`Gradients`] |
//! | a loss | [`cross_entropy`] |
//! | gradients that float16 can hold | [`LossScale`] |
//! | new parameters, kept in float32 | [`Optimizer`] |
//!
//! ```
//! use voxtune::train::{LossScale, Optimizer, cross_entropy};
//! use voxtune::{
//!     Device, Module, Sequential, SparseTensor, SubmConv3d, Tape, Tensor, Voxel, Voxels,
//! };
//!
//! let device = Device::cpu()?;
//! let mut network = Sequential::new().then(SubmConv3d::builder(2, 2).build(&device)?);
//! let voxels = Voxels::new(&device, (0..4).map(|x| Voxel::new(0, 3 * x, 0, 0)).collect())?;
//! let rows = [[1.0, 0.0], [0.0, 1.0], [1.0, 0.5], [0.5, 1.0]];
//! let input = SparseTensor::new(voxels, Tensor::from_rows(&device, &rows)?)?;
//! let labels = [Some(0), Some(1), Some(0), Some(1)];
//!
//! let (mut optimizer, mut scale) = (Optimizer::adam_w(0.05), LossScale::dynamic());
//! let (mut tape, mut losses) = (Tape::new(), Vec::new());
//! for _ in 0..20 {
//!     let output = network.forward_on_tape(&input, &mut tape)?;
//!     let (loss, gradient) = cross_entropy(&device, output.features(), &labels, scale.factor())?;
//!     let mut gradients = tape.backward(&network, &gradient)?;
//!     if scale.unscale(&mut gradients)? {
//!         optimizer.step(&mut network, &gradients)?;
//!     }
//!     losses.push(loss);
//! }
//! assert!(losses[19] < 0.5 * losses[0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(doc)]
use crate::{Gradients, Module, Tape};

mod loss;
mod loss_scale;
mod optimizer;
#[cfg(test)]
mod tests;

pub use loss::cross_entropy;
pub use loss_scale::LossScale;
pub use optimizer::Optimizer;
