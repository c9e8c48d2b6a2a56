//! Convolutions whose kernels do what follows them.

use std::fmt;

use super::conv::Conv;
use super::kinds::ConvKind;
use super::tape::Record;
use super::{Gradients, Module, Pointwise, SparseTensor, Tape, WeightLayout};
use crate::{Activation, ConvError, Direction, Epilogue, Resolution, Tensor};

/// A convolution with work on its output in the same kernel.
/// [`Sequential::fuse`](crate::Sequential) makes it.
pub(super) struct FusedConv<K> {
    /// Without its bias, which the epilogue has.
    conv: Conv<K>,
    epilogue: Epilogue<'static>,
    activation: Activation,
}

impl<K: ConvKind> FusedConv<K> {
    /// The work of a convolution's bias alone.
    fn of(conv: &Conv<K>) -> Result<Self, ConvError> {
        let (mut conv, epilogue) = (conv.clone(), Epilogue::new());
        let epilogue = match conv.bias()? {
            None => epilogue,
            Some(bias) => epilogue.with_bias(conv.device(), &bias)?,
        };
        conv.set_bias(None)?;
        Ok(Self { conv, epilogue, activation: Activation::Identity })
    }

    /// The same with something behind it; `None` where the epilogue has no place for that.
    fn followed_by(&self, next: &Pointwise) -> Result<Option<Self>, ConvError> {
        if self.activation != Activation::Identity {
            return Ok(None);
        }
        let (conv, device) = (self.conv.clone(), self.conv.device());
        Ok(match next {
            Pointwise::Affine { scale, shift } => {
                let epilogue = self.epilogue.scaled(device, scale, shift)?;
                Some(Self { conv, epilogue, activation: Activation::Identity })
            }
            Pointwise::Activation(Activation::Relu) => {
                let epilogue = self.epilogue.clone().with_relu();
                Some(Self { conv, epilogue, activation: Activation::Relu })
            }
            Pointwise::Activation(_) => None,
        })
    }
}

impl<K: ConvKind> Module for FusedConv<K> {
    fn forward(&self, input: &SparseTensor) -> Result<SparseTensor, ConvError> {
        self.conv.forward_with(input, &self.epilogue)
    }

    fn forward_added(
        &self,
        input: &SparseTensor,
        residual: &SparseTensor,
        activation: Activation,
    ) -> Result<SparseTensor, ConvError> {
        if !self.adds() || !matches!(activation, Activation::Identity | Activation::Relu) {
            return self.forward(input)?.add(residual, activation);
        }
        self.conv.forward_onto(input, &self.epilogue, residual, activation)
    }

    fn adds(&self) -> bool {
        self.activation == Activation::Identity
    }

    fn with_following(&self, next: &Pointwise) -> Result<Option<Box<dyn Module>>, ConvError> {
        Ok(self.followed_by(next)?.map(|fused| Box::new(fused) as Box<dyn Module>))
    }

    fn resolutions(&self, direction: Direction) -> Vec<(String, Resolution)> {
        self.conv.resolutions(direction)
    }
}

impl<K: ConvKind> Module for Conv<K> {
    fn forward(&self, input: &SparseTensor) -> Result<SparseTensor, ConvError> {
        Self::forward(self, input)
    }

    fn forward_added(
        &self,
        input: &SparseTensor,
        residual: &SparseTensor,
        activation: Activation,
    ) -> Result<SparseTensor, ConvError> {
        if !matches!(activation, Activation::Identity | Activation::Relu) {
            return Self::forward(self, input)?.add(residual, activation);
        }
        self.forward_onto(input, &Epilogue::new(), residual, activation)
    }

    fn adds(&self) -> bool {
        true
    }

    fn parameters(&self) -> Result<Vec<(String, Vec<f32>)>, ConvError> {
        let weights = ("weight".to_owned(), self.weights(WeightLayout::Rsck)?);
        let bias = self.bias()?.map(|bias| ("bias".to_owned(), bias));
        Ok(std::iter::once(weights).chain(bias).collect())
    }

    fn set_parameter(&mut self, name: &str, values: &[f32]) -> Result<bool, ConvError> {
        match name {
            "weight" => self.set_weights(WeightLayout::Rsck, values)?,
            "bias" => self.set_bias(Some(values))?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn parameter_shapes(&self) -> Result<Vec<(String, Vec<usize>)>, ConvError> {
        let operation = self.operation();
        let [k0, k1, k2] = operation.kernel.extents().map(usize::from);
        let (c_in, c_out) = (operation.c_in as usize / self.groups(), operation.c_out as usize);
        let weights = ("weight".to_owned(), vec![k0, k1, k2, c_in, c_out]);
        let bias = self.bias()?.map(|bias| ("bias".to_owned(), vec![bias.len()]));
        Ok(std::iter::once(weights).chain(bias).collect())
    }

    fn resolutions(&self, direction: Direction) -> Vec<(String, Resolution)> {
        self.last_resolution(direction).map(|last| (String::new(), last)).into_iter().collect()
    }

    fn forward_on_tape(
        &mut self,
        input: &SparseTensor,
        tape: &mut Tape,
    ) -> Result<SparseTensor, ConvError> {
        let output = Self::forward(self, input)?;
        tape.push(Record::Input(input.clone()))?;
        Ok(output)
    }

    fn backward_on_tape(
        &self,
        tape: &mut Tape,
        grad_output: &Tensor,
        gradients: &mut Gradients,
    ) -> Result<Tensor, ConvError> {
        let input = tape.pop_input(self)?;
        let found = self.backward(&input, grad_output)?;
        // In the order of `WeightLayout::Rsck`, as layers hold weights.
        gradients.add("weight", found.weights)?;
        if let Some(bias) = found.bias {
            gradients.add("bias", bias)?;
        }
        Ok(found.input)
    }

    fn with_following(&self, next: &Pointwise) -> Result<Option<Box<dyn Module>>, ConvError> {
        FusedConv::of(self)?.with_following(next)
    }
}

impl<K: ConvKind> fmt::Debug for FusedConv<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fused {:?}", self.conv)
    }
}
