//! What a network is put together from.

use std::fmt;

use super::{Gradients, SparseTensor, Tape};
use crate::{Activation, ConvError, Direction, Resolution, Tensor};

/// A layer, or several, from features over voxels to features over voxels.
pub trait Module: fmt::Debug + Send + Sync {
    /// The output.
    ///
    /// # Errors
    /// If the input does not fit the module, or a kernel fails.
    fn forward(&self, input: &SparseTensor) -> Result<SparseTensor, ConvError>;

    /// The output with a residual added and an activation behind it, by the module's own last
    /// kernel where that [can](Self::adds).
    ///
    /// # Errors
    /// If input or residual do not fit the module, or a kernel fails.
    fn forward_added(
        &self,
        input: &SparseTensor,
        residual: &SparseTensor,
        activation: Activation,
    ) -> Result<SparseTensor, ConvError> {
        self.forward(input)?.add(residual, activation)
    }

    /// Whether the module's last kernel adds a residual itself.
    fn adds(&self) -> bool {
        false
    }

    /// What the module does to each value by itself, if that is all it does.
    fn as_pointwise(&self) -> Option<Pointwise> {
        None
    }

    /// This module with what follows it done by the same kernel; `None` if its kernel cannot.
    ///
    /// # Errors
    /// If the device cannot hold what the kernel then reads.
    fn with_following(&self, next: &Pointwise) -> Result<Option<Box<dyn Module>>, ConvError> {
        let _ = next;
        Ok(None)
    }

    /// The parameters and running statistics, by the names that PyTorch would give them: `weight`,
    /// `bias`, `running_mean`, `running_var`, behind the number of the module in a sequence. A
    /// convolution's weights are in the order of [`WeightLayout::Rsck`](crate::WeightLayout). What
    /// was [fused](Self::fuse) has none.
    ///
    /// # Errors
    /// If the device fails to hand them over.
    fn parameters(&self) -> Result<Vec<(String, Vec<f32>)>, ConvError> {
        Ok(Vec::new())
    }

    /// Sets a parameter of [`Self::parameters`]. Whether there is one of this name.
    ///
    /// # Errors
    /// If it has another number of values, or the device fails.
    fn set_parameter(&mut self, name: &str, values: &[f32]) -> Result<bool, ConvError> {
        let _ = (name, values);
        Ok(false)
    }

    /// The shapes of [`Self::parameters`], by the same names in the same order.
    ///
    /// # Errors
    /// As there.
    fn parameter_shapes(&self) -> Result<Vec<(String, Vec<usize>)>, ConvError> {
        let all = self.parameters()?.into_iter();
        Ok(all.map(|(name, values)| (name, vec![values.len()])).collect())
    }

    /// What the convolutions within ran the last time in a direction, and how that was found, in
    /// the order of the modules. Names are those of [`Self::parameters`], without that of the
    /// parameter. A convolution that has not run in the direction is left out.
    fn resolutions(&self, direction: Direction) -> Vec<(String, Resolution)> {
        let _ = direction;
        Vec::new()
    }

    /// The output as training has it, batch normalisations by the batch's own statistics; and on
    /// the tape, what [`Tape::backward`] needs of the pass.
    ///
    /// # Errors
    /// If the input does not fit the module, a kernel fails, or the module cannot be trained, such
    /// as one that was [fused](Self::fuse).
    fn forward_on_tape(
        &mut self,
        input: &SparseTensor,
        tape: &mut Tape,
    ) -> Result<SparseTensor, ConvError> {
        let _ = (input, tape);
        Err(untrainable(format!("{self:?}")))
    }

    /// The gradient of the input, given that of the output; those of the parameters are added to
    /// `gradients`. [`Tape::backward`] calls it: it takes from the tape what
    /// [`Self::forward_on_tape`] has put there.
    ///
    /// # Shapes
    /// `grad_output`: that of the output's features. The result: that of the input's.
    ///
    /// # Errors
    /// If the tape does not hold a pass of this module, or a kernel fails.
    fn backward_on_tape(
        &self,
        tape: &mut Tape,
        grad_output: &Tensor,
        gradients: &mut Gradients,
    ) -> Result<Tensor, ConvError> {
        let _ = (tape, grad_output, gradients);
        Err(untrainable(format!("{self:?}")))
    }

    /// Lets kernels do what follows them, wherever within the module that gives the same results
    /// but for rounding. Appends what was done, a line each. For inference: normalisations become
    /// fixed.
    ///
    /// # Errors
    /// If the device fails.
    fn fuse(&mut self, done: &mut Vec<String>) -> Result<(), ConvError> {
        let _ = done;
        Ok(())
    }
}

/// The resolutions of a part of a module, by the names that the module has for them.
pub(super) fn resolutions_of(
    part: &str,
    module: &dyn Module,
    direction: Direction,
) -> impl Iterator<Item = (String, Resolution)> + use<> {
    let part = part.to_owned();
    module.resolutions(direction).into_iter().map(move |(name, resolution)| match &*name {
        "" => (part.clone(), resolution),
        name => (format!("{part}.{name}"), resolution),
    })
}

fn untrainable(layer: String) -> ConvError {
    let problem =
        "it has no training step: train a network before it is fused, of layers that have one";
    ConvError::Layer { layer, problem: problem.to_owned() }
}

/// Work on each value by itself.
#[derive(Clone, Debug, PartialEq)]
pub enum Pointwise {
    /// `x · scale + shift`, by channel.
    Affine {
        /// Factors of the channels.
        scale: Vec<f32>,
        /// Terms of the channels.
        shift: Vec<f32>,
    },
    /// An activation.
    Activation(Activation),
}
