//! Layers that take each row by itself.

use voxtune_types::DType;

use super::tape::Record;
use super::weights::transposed;
use super::{Gradients, Module, Pointwise, SparseTensor, SubmConv3d, Tape, WeightLayout};
use crate::{Activation, ConvError, Device, Tensor, ops};

/// A linear layer of each voxel's channels: `y = x · W + b`. It is a submanifold convolution of
/// 1×1×1, tuned and fused as any other.
///
/// ```
/// use voxtune::{Device, Linear, Module, SparseTensor, Tensor, Voxel, Voxels};
///
/// let device = Device::cpu()?;
/// // As PyTorch stores it, a row an output.
/// let weights = [[1.0, 2.0], [0.0, 1.0], [1.0, 0.0]];
/// let layer = Linear::from_rows(&device, &weights, &[0.0, 0.5, 0.0])?;
/// let voxels = Voxels::new(&device, vec![Voxel::new(0, 0, 0, 0)])?;
/// let input = SparseTensor::new(voxels, Tensor::from_rows(&device, &[[3.0, 4.0]])?)?;
/// assert_eq!(layer.forward(&input)?.features().to_f32()?, [11.0, 4.5, 3.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Linear {
    conv: SubmConv3d,
}

impl Linear {
    /// The layer of PyTorch's weights and bias, in float32.
    ///
    /// # Shapes
    /// `weights`: a row of `C_IN` for each output; `bias`: `(c_out)`.
    ///
    /// # Errors
    /// If there are not as many biases as rows, or the device cannot hold them.
    pub fn from_rows<const C_IN: usize>(
        device: &Device,
        weights: &[[f32; C_IN]],
        bias: &[f32],
    ) -> Result<Self, ConvError> {
        Self::new(device, DType::Float32, C_IN, weights.len(), weights.as_flattened(), Some(bias))
    }

    /// The layer of PyTorch's weights, `(c_out, c_in)`, and bias.
    ///
    /// # Errors
    /// If a length does not follow from the channels, or the device cannot hold them.
    pub fn new(
        device: &Device,
        dtype: DType,
        c_in: usize,
        c_out: usize,
        weights: &[f32],
        bias: Option<&[f32]>,
    ) -> Result<Self, ConvError> {
        let (expected, found) = (c_in.saturating_mul(c_out), weights.len());
        if found != expected {
            return Err(ConvError::Length { what: "weights", expected, found });
        }
        let turned = transposed(weights, c_out);
        let channels = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let builder = SubmConv3d::builder(channels(c_in), channels(c_out))
            .kernel(1)
            .dtype(dtype)
            .weights(WeightLayout::Rsck, &turned);
        let conv = match bias {
            Some(bias) => builder.bias(bias).build(device)?,
            None => builder.build(device)?,
        };
        Ok(Self { conv })
    }

    /// The convolution that it is.
    #[must_use]
    pub const fn as_conv(&self) -> &SubmConv3d {
        &self.conv
    }

    fn channels(&self) -> [usize; 2] {
        let operation = self.conv.operation();
        [operation.c_in as usize, operation.c_out as usize]
    }
}

impl Module for Linear {
    fn forward(&self, input: &SparseTensor) -> Result<SparseTensor, ConvError> {
        self.conv.forward(input)
    }

    fn forward_added(
        &self,
        input: &SparseTensor,
        residual: &SparseTensor,
        activation: Activation,
    ) -> Result<SparseTensor, ConvError> {
        Module::forward_added(&self.conv, input, residual, activation)
    }

    fn adds(&self) -> bool {
        true
    }

    /// The weights as PyTorch stores them, a row an output.
    fn parameters(&self) -> Result<Vec<(String, Vec<f32>)>, ConvError> {
        let [c_in, _] = self.channels();
        let mut all = self.conv.parameters()?;
        for (_, weights) in all.iter_mut().filter(|(name, _)| name == "weight") {
            *weights = transposed(weights, c_in);
        }
        Ok(all)
    }

    fn set_parameter(&mut self, name: &str, values: &[f32]) -> Result<bool, ConvError> {
        let [c_in, c_out] = self.channels();
        match name {
            "weight" if values.len() == c_in * c_out => {
                self.conv.set_parameter(name, &transposed(values, c_out))
            }
            _ => self.conv.set_parameter(name, values),
        }
    }

    fn parameter_shapes(&self) -> Result<Vec<(String, Vec<usize>)>, ConvError> {
        let [c_in, c_out] = self.channels();
        let mut all = self.conv.parameter_shapes()?;
        for (_, shape) in all.iter_mut().filter(|(name, _)| name == "weight") {
            *shape = vec![c_out, c_in];
        }
        Ok(all)
    }

    fn forward_on_tape(
        &mut self,
        input: &SparseTensor,
        tape: &mut Tape,
    ) -> Result<SparseTensor, ConvError> {
        self.conv.forward_on_tape(input, tape)
    }

    fn backward_on_tape(
        &self,
        tape: &mut Tape,
        grad_output: &Tensor,
        gradients: &mut Gradients,
    ) -> Result<Tensor, ConvError> {
        let input = tape.pop_input(self)?;
        let found = self.conv.backward(&input, grad_output)?;
        gradients.add_transposed("weight", found.weights)?;
        if let Some(bias) = found.bias {
            gradients.add("bias", bias)?;
        }
        Ok(found.input)
    }

    fn with_following(&self, next: &Pointwise) -> Result<Option<Box<dyn Module>>, ConvError> {
        Module::with_following(&self.conv, next)
    }
}

/// A layer normalisation of each voxel's channels (Ba et al., *Layer Normalization*, 2016).
///
/// ```
/// use voxtune::{Device, LayerNorm, Module, SparseTensor, Tensor, Voxel, Voxels};
///
/// let device = Device::cpu()?;
/// let norm = LayerNorm::new(&device, &[1.0, 1.0], &[0.0, 0.5], 0.0)?;
/// let voxels = Voxels::new(&device, vec![Voxel::new(0, 0, 0, 0)])?;
/// let input = SparseTensor::new(voxels, Tensor::from_rows(&device, &[[1.0, 3.0]])?)?;
/// assert_eq!(norm.forward(&input)?.features().to_f32()?, [-1.0, 1.5]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct LayerNorm {
    gamma: Tensor,
    beta: Tensor,
    epsilon: f32,
}

impl LayerNorm {
    /// A normalisation with these parameters.
    ///
    /// # Shapes
    /// `gamma`, `beta`: `(channels)`.
    ///
    /// # Errors
    /// If they differ in length, `epsilon` is not a finite number of at least 0, or the device
    /// cannot hold them.
    pub fn new(
        device: &Device,
        gamma: &[f32],
        beta: &[f32],
        epsilon: f32,
    ) -> Result<Self, ConvError> {
        let (expected, found) = (gamma.len(), beta.len());
        if found != expected {
            let what = "beta of a layer normalisation";
            return Err(ConvError::Length { what, expected, found });
        }
        if !epsilon.is_finite() || epsilon < 0.0 {
            return Err(ConvError::Epsilon { found: epsilon });
        }
        let row =
            |values: &[f32]| Tensor::from_f32(device, DType::Float32, 1, values.len(), values);
        Ok(Self { gamma: row(gamma)?, beta: row(beta)?, epsilon })
    }

    const fn numbers(&self) -> ops::LayerNorm<'_> {
        let Self { gamma, beta, epsilon } = self;
        ops::LayerNorm { epsilon: *epsilon, gamma: Some(gamma), beta: Some(beta) }
    }

    /// The gradients of the input and of both parameters.
    ///
    /// # Shapes
    /// `grad_output`: `(voxels, channels)`.
    ///
    /// # Errors
    /// If an operand has another shape, or the device fails.
    pub fn backward(
        &self,
        input: &SparseTensor,
        grad_output: &Tensor,
    ) -> Result<ops::NormGradients, ConvError> {
        let device = input.voxels().device();
        ops::layer_norm_backward(device, self.numbers(), input.features(), grad_output)
    }
}

impl Module for LayerNorm {
    fn forward(&self, input: &SparseTensor) -> Result<SparseTensor, ConvError> {
        let device = input.voxels().device();
        let output = ops::layer_norm(device, self.numbers(), input.features())?;
        SparseTensor::new(input.voxels().clone(), output)
    }

    fn forward_on_tape(
        &mut self,
        input: &SparseTensor,
        tape: &mut Tape,
    ) -> Result<SparseTensor, ConvError> {
        let output = self.forward(input)?;
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
        gradients.add("weight", found.gamma)?;
        gradients.add("bias", found.beta)?;
        Ok(found.x)
    }

    fn parameters(&self) -> Result<Vec<(String, Vec<f32>)>, ConvError> {
        let (gamma, beta) = (self.gamma.to_f32()?, self.beta.to_f32()?);
        Ok(vec![("weight".to_owned(), gamma), ("bias".to_owned(), beta)])
    }

    fn set_parameter(&mut self, name: &str, values: &[f32]) -> Result<bool, ConvError> {
        match name {
            "weight" => self.gamma.write_f32(values)?,
            "bias" => self.beta.write_f32(values)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}
