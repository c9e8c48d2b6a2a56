//! Normalising channels over rows.

use std::sync::Arc;

use voxtune_types::DType;

use super::tape::{Record, other_pass};
use super::{Gradients, Module, Pointwise, SparseTensor, Tape};
use crate::{Activation, ConvError, Device, Tensor, ops};

/// A batch normalisation (Ioffe and Szegedy, *Batch Normalization*, 2015):
/// `y = (x - mean) / sqrt(variance + epsilon) · gamma + beta`, by channel. In inference with the
/// running statistics that it holds, in training with those of the batch.
///
/// spconv's networks have an epsilon of 1e-3, MinkowskiEngine's and torchsparse's 1e-5.
#[derive(Clone, Debug)]
pub struct BatchNorm {
    device: Device,
    gamma: Vec<f32>,
    beta: Vec<f32>,
    mean: Vec<f32>,
    variance: Vec<f32>,
    epsilon: f32,
    /// What inference computes, where its device reads it: the scales, then the shifts.
    folded: Arc<[Tensor; 2]>,
}

impl BatchNorm {
    /// A normalisation with these parameters and running statistics.
    ///
    /// # Shapes
    /// `gamma`, `beta`, `mean`, `variance`: `(channels)`.
    ///
    /// # Errors
    /// As [`Epilogue::batch_norm`](crate::Epilogue::batch_norm).
    pub fn new(
        device: &Device,
        gamma: &[f32],
        beta: &[f32],
        mean: &[f32],
        variance: &[f32],
        epsilon: f32,
    ) -> Result<Self, ConvError> {
        let (scale, shift) = crate::epilogue::folded(gamma, beta, mean, variance, epsilon)?;
        Ok(Self {
            device: device.clone(),
            gamma: gamma.to_vec(),
            beta: beta.to_vec(),
            mean: mean.to_vec(),
            variance: variance.to_vec(),
            epsilon,
            folded: Arc::new([row(device, &scale)?, row(device, &shift)?]),
        })
    }

    /// A normalisation to be trained: factors and variances of 1, terms and means of 0.
    ///
    /// # Errors
    /// If `epsilon` is not a finite number of at least 0, or the device cannot hold the parameters.
    pub fn untrained(device: &Device, channels: u32, epsilon: f32) -> Result<Self, ConvError> {
        let [zeros, ones] = [0.0, 1.0].map(|value| vec![value; channels as usize]);
        Self::new(device, &ones, &zeros, &zeros, &ones, epsilon)
    }

    /// Factors of the channels.
    #[must_use]
    pub fn gamma(&self) -> &[f32] {
        &self.gamma
    }

    /// Terms of the channels.
    #[must_use]
    pub fn beta(&self) -> &[f32] {
        &self.beta
    }

    /// Running means of the channels.
    #[must_use]
    pub fn mean(&self) -> &[f32] {
        &self.mean
    }

    /// Running variances of the channels.
    #[must_use]
    pub fn variance(&self) -> &[f32] {
        &self.variance
    }

    /// What is added to the variance.
    #[must_use]
    pub const fn epsilon(&self) -> f32 {
        self.epsilon
    }
}

impl Module for BatchNorm {
    fn forward(&self, input: &SparseTensor) -> Result<SparseTensor, ConvError> {
        let [scale, shift] = &*self.folded;
        let of = ops::Affine {
            scale: Some(scale),
            shift: Some(shift),
            activation: Activation::Identity,
        };
        let output = ops::affine(input.voxels().device(), of, input.features())?;
        SparseTensor::new(input.voxels().clone(), output)
    }

    fn parameters(&self) -> Result<Vec<(String, Vec<f32>)>, ConvError> {
        let Self { gamma, beta, mean, variance, .. } = self;
        let names = ["weight", "bias", "running_mean", "running_var"].map(str::to_owned);
        Ok(names.into_iter().zip([gamma, beta, mean, variance].map(Clone::clone)).collect())
    }

    fn set_parameter(&mut self, name: &str, values: &[f32]) -> Result<bool, ConvError> {
        let Self { device, gamma, beta, mean, variance, epsilon, folded } = self;
        let mut all = [gamma.clone(), beta.clone(), mean.clone(), variance.clone()];
        let place = ["weight", "bias", "running_mean", "running_var"];
        let Some(place) = place.iter().position(|one| *one == name) else { return Ok(false) };
        let (expected, found) = (all[place].len(), values.len());
        if found != expected {
            let what = "parameter of a batch normalisation";
            return Err(ConvError::Length { what, expected, found });
        }
        all[place] = values.to_vec();
        // Numbers that no normalisation has leave it as it was.
        let [a, b, c, d] = &all;
        let (scale, shift) = crate::epilogue::folded(a, b, c, d, *epsilon)?;
        *folded = Arc::new([row(device, &scale)?, row(device, &shift)?]);
        [*gamma, *beta, *mean, *variance] = all;
        Ok(true)
    }

    fn forward_on_tape(
        &mut self,
        input: &SparseTensor,
        tape: &mut Tape,
    ) -> Result<SparseTensor, ConvError> {
        let (output, statistics) = self.forward_training(input, tape.norm_momentum())?;
        tape.push(Record::Normalised(input.clone(), statistics))?;
        Ok(output)
    }

    fn backward_on_tape(
        &self,
        tape: &mut Tape,
        grad_output: &Tensor,
        gradients: &mut Gradients,
    ) -> Result<Tensor, ConvError> {
        let Record::Normalised(input, statistics) = tape.pop(self)? else {
            return Err(other_pass(self));
        };
        let found = self.backward(&input, &statistics, grad_output)?;
        gradients.add("weight", &found.gamma.to_f32()?)?;
        gradients.add("bias", &found.beta.to_f32()?)?;
        Ok(found.x)
    }

    fn as_pointwise(&self) -> Option<Pointwise> {
        let Self { gamma, beta, mean, variance, epsilon, .. } = self;
        let (scale, shift) = crate::epilogue::folded(gamma, beta, mean, variance, *epsilon).ok()?;
        Some(Pointwise::Affine { scale, shift })
    }
}

impl Module for Activation {
    fn forward(&self, input: &SparseTensor) -> Result<SparseTensor, ConvError> {
        let of = ops::Affine { scale: None, shift: None, activation: *self };
        let output = ops::affine(input.voxels().device(), of, input.features())?;
        SparseTensor::new(input.voxels().clone(), output)
    }

    fn forward_on_tape(
        &mut self,
        input: &SparseTensor,
        tape: &mut Tape,
    ) -> Result<SparseTensor, ConvError> {
        let output = Module::forward(self, input)?;
        tape.push(Record::Input(input.clone()))?;
        Ok(output)
    }

    fn backward_on_tape(
        &self,
        tape: &mut Tape,
        grad_output: &Tensor,
        _: &mut Gradients,
    ) -> Result<Tensor, ConvError> {
        let input = tape.pop_input(self)?;
        let of = ops::Affine { scale: None, shift: None, activation: *self };
        ops::affine_backward(input.voxels().device(), of, input.features(), grad_output)
    }

    fn as_pointwise(&self) -> Option<Pointwise> {
        Some(Pointwise::Activation(*self))
    }
}

/// What a batch's channels were like: a normalisation's backward pass reads it.
#[derive(Debug)]
pub struct BatchStatistics {
    mean: Tensor,
    variance: Tensor,
}

impl BatchNorm {
    /// The output of training: normalised by the batch's own statistics, towards which the running
    /// ones move by `momentum`, the variance without its bias, as PyTorch has it (0.1 there by
    /// default).
    ///
    /// # Errors
    /// If the input has other channels, or the device fails.
    pub fn forward_training(
        &mut self,
        input: &SparseTensor,
        momentum: f32,
    ) -> Result<(SparseTensor, BatchStatistics), ConvError> {
        let (device, features) = (input.voxels().device(), input.features());
        let (expected, found) = (self.gamma.len(), features.channels());
        if found != expected {
            return Err(ConvError::Channels { what: "input", expected, found });
        }
        let (mean, variance) = ops::column_statistics(device, features)?;
        let statistics = BatchStatistics { mean, variance };
        let [gamma, beta] = self.parameters(device)?;
        let of = statistics.with(&gamma, &beta, self.epsilon);
        let output = ops::batch_norm(device, of, Activation::Identity, features)?;
        self.follow(device, &statistics, features.rows(), momentum)?;
        Ok((SparseTensor::new(input.voxels().clone(), output)?, statistics))
    }

    /// The gradients of the input and of both parameters, in training.
    ///
    /// # Shapes
    /// `grad_output`: `(voxels, channels)`.
    ///
    /// # Errors
    /// If an operand has another shape, or the device fails.
    pub fn backward(
        &self,
        input: &SparseTensor,
        statistics: &BatchStatistics,
        grad_output: &Tensor,
    ) -> Result<ops::NormGradients, ConvError> {
        let device = input.voxels().device();
        let [gamma, beta] = self.parameters(device)?;
        let of = statistics.with(&gamma, &beta, self.epsilon);
        ops::batch_norm_backward(device, of, input.features(), grad_output)
    }

    fn parameters(&self, device: &Device) -> Result<[Tensor; 2], ConvError> {
        Ok([row(device, &self.gamma)?, row(device, &self.beta)?])
    }

    /// Moves the running statistics.
    fn follow(
        &mut self,
        device: &Device,
        statistics: &BatchStatistics,
        rows: usize,
        momentum: f32,
    ) -> Result<(), ConvError> {
        if rows == 0 {
            return Ok(());
        }
        let unbiased = if rows > 1 { rows as f32 / (rows - 1) as f32 } else { 1.0 };
        let batch = [statistics.mean.to_f32()?, statistics.variance.to_f32()?];
        for (running, (batch, factor)) in
            [&mut self.mean, &mut self.variance].into_iter().zip(batch.iter().zip([1.0, unbiased]))
        {
            for (running, batch) in running.iter_mut().zip(batch) {
                *running += momentum * (batch * factor - *running);
            }
        }
        let Self { gamma, beta, mean, variance, epsilon, .. } = self;
        let (scale, shift) = crate::epilogue::folded(gamma, beta, mean, variance, *epsilon)?;
        self.folded = Arc::new([row(device, &scale)?, row(device, &shift)?]);
        Ok(())
    }
}

impl BatchStatistics {
    const fn with<'a>(
        &'a self,
        gamma: &'a Tensor,
        beta: &'a Tensor,
        epsilon: f32,
    ) -> ops::BatchNorm<'a> {
        let Self { mean, variance } = self;
        ops::BatchNorm { mean, variance, epsilon, gamma: Some(gamma), beta: Some(beta) }
    }
}

fn row(device: &Device, values: &[f32]) -> Result<Tensor, ConvError> {
    Tensor::from_f32(device, DType::Float32, 1, values.len(), values)
}

#[cfg(test)]
mod tests {
    use voxtune_types::Voxel;

    use super::*;
    use crate::Voxels;

    /// Two channels of four rows: means 2 and 0, biased variances 5 and 1.
    #[test]
    fn training_normalises_by_the_batch_and_inference_by_what_was_met() {
        let device = Device::cpu_with_threads(1).unwrap();
        let voxels =
            Voxels::new(&device, (0..4).map(|x| Voxel::new(0, x, 0, 0)).collect()).unwrap();
        let rows = [[-1.0, 1.0], [1.0, -1.0], [3.0, 1.0], [5.0, -1.0]];
        let input = SparseTensor::new(voxels, Tensor::from_rows(&device, &rows).unwrap()).unwrap();
        let (ones, zeros) = ([1.0; 2], [0.0; 2]);
        let mut norm = BatchNorm::new(&device, &ones, &zeros, &zeros, &ones, 0.0).unwrap();
        let (output, statistics) = norm.forward_training(&input, 0.5).unwrap();
        let found = output.features().to_f32().unwrap();
        for (found, expected) in found.iter().step_by(2).zip([-3.0, -1.0, 1.0, 3.0]) {
            assert!((found - expected / 5.0_f32.sqrt()).abs() < 1e-6, "{found}");
        }
        assert_eq!(norm.mean(), [1.0, 0.0]);
        let [first, second] = [20.0 / 3.0, 4.0 / 3.0].map(|unbiased: f32| 0.5 + 0.5 * unbiased);
        assert!((norm.variance()[0] - first).abs() < 1e-6);
        assert!((norm.variance()[1] - second).abs() < 1e-6);
        // A gradient along the output itself vanishes, and so does a constant one.
        let gradients = norm.backward(&input, &statistics, output.features()).unwrap();
        assert!(gradients.x.to_f32().unwrap().iter().all(|value| value.abs() < 1e-6));
        assert!((gradients.gamma.to_f32().unwrap()[0] - 4.0).abs() < 1e-5);
    }
}
