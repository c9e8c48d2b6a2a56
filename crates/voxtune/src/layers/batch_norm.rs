//! Normalising channels over rows.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use voxtune_types::DType;

use super::tape::{Record, other_pass};
use super::{Gradients, Module, Pointwise, SparseTensor, Tape};
use crate::{Activation, ConvError, Device, Tensor, ops};

/// A batch normalisation (Ioffe and Szegedy, *Batch Normalization*, 2015):
/// `y = (x - mean) / sqrt(variance + epsilon) · gamma + beta`, by channel. In inference with the
/// running statistics that it holds, in training with those of the batch.
///
/// spconv's networks have an epsilon of 1e-3, MinkowskiEngine's and torchsparse's 1e-5.
///
/// ```
/// use voxtune::{BatchNorm, Device, Module, SparseTensor, Tensor, Voxel, Voxels};
///
/// let device = Device::cpu()?;
/// // Mean 0 and variance 1, as before training: what goes in comes out.
/// let norm = BatchNorm::untrained(&device, 2, 0.0)?;
/// let voxels = Voxels::new(&device, vec![Voxel::new(0, 0, 0, 0)])?;
/// let input = SparseTensor::new(voxels, Tensor::from_rows(&device, &[[3.0, -1.0]])?)?;
/// assert_eq!(norm.forward(&input)?.features().to_f32()?, [3.0, -1.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct BatchNorm {
    device: Device,
    gamma: Vec<f32>,
    beta: Vec<f32>,
    epsilon: f32,
    /// Factors and terms where training reads them; none before it has.
    parameter_rows: Option<Arc<[Tensor; 2]>>,
    running: Mutex<Running>,
}

/// The statistics that inference uses.
#[derive(Clone, Debug)]
struct Running {
    mean: Vec<f32>,
    variance: Vec<f32>,
    /// Batches that have not moved them yet: a GPU may still be at work on these.
    unsettled: Vec<Batch>,
    /// What inference computes, where its device reads it: the scales, then the shifts. None if
    /// that is to be computed anew.
    folded: Option<Arc<[Tensor; 2]>>,
}

/// A batch that was met.
#[derive(Clone, Debug)]
struct Batch {
    statistics: BatchStatistics,
    rows: usize,
    momentum: f32,
}

/// Batches that are met until they are waited for, unless the statistics are asked for before.
const MOST_UNSETTLED: usize = 64;

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
        let folded = Some(Arc::new([row(device, &scale)?, row(device, &shift)?]));
        let (mean, variance) = (mean.to_vec(), variance.to_vec());
        let running = Mutex::new(Running { mean, variance, unsettled: Vec::new(), folded });
        let (gamma, beta) = (gamma.to_vec(), beta.to_vec());
        let (device, parameter_rows) = (device.clone(), None);
        Ok(Self { device, gamma, beta, epsilon, parameter_rows, running })
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

    /// Running means and variances of the channels. Waits for the batches that were met last.
    ///
    /// # Errors
    /// If the device fails.
    pub fn running_statistics(&self) -> Result<[Vec<f32>; 2], ConvError> {
        let running = self.settled()?;
        Ok([running.mean.clone(), running.variance.clone()])
    }

    /// What is added to the variance.
    #[must_use]
    pub const fn epsilon(&self) -> f32 {
        self.epsilon
    }

    /// The running statistics with every batch that was met.
    fn settled(&self) -> Result<MutexGuard<'_, Running>, ConvError> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.settle()?;
        Ok(running)
    }

    /// What inference computes, as numbers.
    fn fold(&self, running: &Running) -> Result<(Vec<f32>, Vec<f32>), ConvError> {
        let Self { gamma, beta, epsilon, .. } = self;
        crate::epilogue::folded(gamma, beta, &running.mean, &running.variance, *epsilon)
    }

    /// What inference computes, where the device reads it.
    fn folded(&self) -> Result<Arc<[Tensor; 2]>, ConvError> {
        let mut running = self.settled()?;
        if let Some(folded) = &running.folded {
            return Ok(Arc::clone(folded));
        }
        let (scale, shift) = self.fold(&running)?;
        let folded = Arc::new([row(&self.device, &scale)?, row(&self.device, &shift)?]);
        running.folded = Some(Arc::clone(&folded));
        Ok(folded)
    }
}

impl Clone for BatchNorm {
    fn clone(&self) -> Self {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Self { device, gamma, beta, epsilon, parameter_rows, .. } = self;
        Self {
            device: device.clone(),
            gamma: gamma.clone(),
            beta: beta.clone(),
            epsilon: *epsilon,
            parameter_rows: parameter_rows.clone(),
            running: Mutex::new(running),
        }
    }
}

impl Running {
    /// Moves towards the batches that were met, the variance without its bias.
    fn settle(&mut self) -> Result<(), ConvError> {
        for Batch { statistics, rows, momentum } in std::mem::take(&mut self.unsettled) {
            let unbiased = if rows > 1 { rows as f32 / (rows - 1) as f32 } else { 1.0 };
            let moved = [
                (&mut self.mean, &statistics.mean, 1.0),
                (&mut self.variance, &statistics.variance, unbiased),
            ];
            for (running, batch, factor) in moved {
                for (running, batch) in running.iter_mut().zip(batch.to_f32()?) {
                    *running += momentum * (batch * factor - *running);
                }
            }
        }
        Ok(())
    }
}

/// The names of the parameters, in their order.
const PARAMETERS: [&str; 4] = ["weight", "bias", "running_mean", "running_var"];

impl Module for BatchNorm {
    fn forward(&self, input: &SparseTensor) -> Result<SparseTensor, ConvError> {
        let folded = self.folded()?;
        let [scale, shift] = &*folded;
        let of = ops::Affine {
            scale: Some(scale),
            shift: Some(shift),
            activation: Activation::Identity,
        };
        let output = ops::affine(input.voxels().device(), of, input.features())?;
        SparseTensor::new(input.voxels().clone(), output)
    }

    fn parameters(&self) -> Result<Vec<(String, Vec<f32>)>, ConvError> {
        let [mean, variance] = self.running_statistics()?;
        let all = [self.gamma.clone(), self.beta.clone(), mean, variance];
        Ok(PARAMETERS.map(str::to_owned).into_iter().zip(all).collect())
    }

    fn set_parameter(&mut self, name: &str, values: &[f32]) -> Result<bool, ConvError> {
        let Some(place) = PARAMETERS.iter().position(|one| *one == name) else { return Ok(false) };
        let (expected, found) = (self.gamma.len(), values.len());
        if found != expected {
            let what = "parameter of a batch normalisation";
            return Err(ConvError::Length { what, expected, found });
        }
        let [mean, variance] = self.running_statistics()?;
        let mut all = [self.gamma.clone(), self.beta.clone(), mean, variance];
        all[place] = values.to_vec();
        // Numbers that no normalisation has leave it as it was.
        let [gamma, beta, mean, variance] = &all;
        crate::epilogue::folded(gamma, beta, mean, variance, self.epsilon)?;
        let running = self.running.get_mut().unwrap_or_else(PoisonError::into_inner);
        (running.folded, self.parameter_rows) = (None, None);
        [self.gamma, self.beta, running.mean, running.variance] = all;
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
        gradients.add("weight", found.gamma)?;
        gradients.add("bias", found.beta)?;
        Ok(found.x)
    }

    fn as_pointwise(&self) -> Option<Pointwise> {
        let (scale, shift) = self.fold(&*self.settled().ok()?).ok()?;
        Some(Pointwise::Affine { scale, shift })
    }
}

/// What the slopes of an activation follow from: its values if they do, since others keep these.
pub(super) fn bent(
    activation: Activation,
    input: &SparseTensor,
    output: &SparseTensor,
) -> SparseTensor {
    if activation.has_slope_of_value() { output.clone() } else { input.clone() }
}

/// The gradient of an activation's input, by what [`bent`] has kept.
pub(super) fn bend_backward(
    activation: Activation,
    kept: &SparseTensor,
    grad_output: &Tensor,
) -> Result<Tensor, ConvError> {
    let of = ops::Affine { scale: None, shift: None, activation };
    ops::affine_backward(kept.voxels().device(), of, kept.features(), grad_output)
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
        tape.push(Record::Input(bent(*self, input, &output)))?;
        Ok(output)
    }

    fn backward_on_tape(
        &self,
        tape: &mut Tape,
        grad_output: &Tensor,
        _: &mut Gradients,
    ) -> Result<Tensor, ConvError> {
        bend_backward(*self, &tape.pop_input(self)?, grad_output)
    }

    fn as_pointwise(&self) -> Option<Pointwise> {
        Some(Pointwise::Activation(*self))
    }
}

/// What a batch's channels were like: a normalisation's backward pass reads it. Cloning shares it.
#[derive(Clone, Debug)]
pub struct BatchStatistics {
    mean: Arc<Tensor>,
    variance: Arc<Tensor>,
}

impl BatchNorm {
    /// The output of training, normalised by the batch's own statistics. The running ones move
    /// towards these by `momentum` (0.1 in PyTorch by default), the variance without its bias, as
    /// PyTorch has it. A GPU is not waited for.
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
        let statistics = BatchStatistics { mean: Arc::new(mean), variance: Arc::new(variance) };
        let rows = self.parameter_rows()?;
        self.parameter_rows = Some(Arc::clone(&rows));
        let of = statistics.with(&rows, self.epsilon);
        let output = ops::batch_norm(device, of, Activation::Identity, features)?;
        self.follow(&statistics, features.rows(), momentum)?;
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
        let rows = self.parameter_rows()?;
        let of = statistics.with(&rows, self.epsilon);
        ops::batch_norm_backward(input.voxels().device(), of, input.features(), grad_output)
    }

    /// Factors and terms where the device reads them.
    fn parameter_rows(&self) -> Result<Arc<[Tensor; 2]>, ConvError> {
        let Self { device, gamma, beta, parameter_rows, .. } = self;
        match parameter_rows {
            Some(rows) => Ok(Arc::clone(rows)),
            None => Ok(Arc::new([row(device, gamma)?, row(device, beta)?])),
        }
    }

    /// Remembers a batch for the running statistics.
    fn follow(
        &mut self,
        statistics: &BatchStatistics,
        rows: usize,
        momentum: f32,
    ) -> Result<(), ConvError> {
        if rows == 0 {
            return Ok(());
        }
        let running = self.running.get_mut().unwrap_or_else(PoisonError::into_inner);
        let statistics = statistics.clone();
        running.unsettled.push(Batch { statistics, rows, momentum });
        running.folded = None;
        if running.unsettled.len() >= MOST_UNSETTLED { running.settle() } else { Ok(()) }
    }
}

impl BatchStatistics {
    fn with<'a>(&'a self, rows: &'a [Tensor; 2], epsilon: f32) -> ops::BatchNorm<'a> {
        let ([gamma, beta], Self { mean, variance }) = (rows, self);
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
        let [mean, variance] = norm.running_statistics().unwrap();
        assert_eq!(mean, [1.0, 0.0]);
        let [first, second] = [20.0 / 3.0, 4.0 / 3.0].map(|unbiased: f32| 0.5 + 0.5 * unbiased);
        assert!((variance[0] - first).abs() < 1e-6);
        assert!((variance[1] - second).abs() < 1e-6);
        // A gradient along the output itself vanishes, and so does a constant one.
        let gradients = norm.backward(&input, &statistics, output.features()).unwrap();
        assert!(gradients.x.to_f32().unwrap().iter().all(|value| value.abs() < 1e-6));
        assert!((gradients.gamma.to_f32().unwrap()[0] - 4.0).abs() < 1e-5);
    }

    /// However late they are asked for, and whatever was cloned meanwhile.
    #[test]
    fn running_statistics_follow_every_batch() {
        let device = Device::cpu_with_threads(1).unwrap();
        let mut norm = BatchNorm::untrained(&device, 1, 1e-3).unwrap();
        let (mut mean, mut variance) = (0.0_f32, 1.0_f32);
        for number in 0..MOST_UNSETTLED as i32 + 5 {
            let cells = (0..2).map(|x| Voxel::new(0, x, 0, 0)).collect();
            let (low, high) = (number as f32, number as f32 + 4.0);
            let features = Tensor::from_rows(&device, &[[low], [high]]).unwrap();
            let input = SparseTensor::new(Voxels::new(&device, cells).unwrap(), features).unwrap();
            norm.forward_training(&input, 0.25).unwrap();
            mean += 0.25 * (low + 2.0 - mean);
            variance += 0.25 * (8.0 - variance);
            if number == 3 {
                norm = norm.clone();
            }
        }
        assert!(!norm.running.get_mut().unwrap().unsettled.is_empty());
        assert!(norm.set_parameter("running_mean", &[7.0]).unwrap());
        let found = norm.clone().running_statistics().unwrap().concat();
        assert_eq!(found[0], 7.0);
        assert!((found[1] - variance).abs() < 1e-5, "{found:?} and {variance}");
        assert!(norm.set_parameter("running_mean", &[mean]).unwrap());
        // Inference has followed, too.
        let cells = vec![Voxel::new(0, 0, 0, 0)];
        let features = Tensor::from_rows(&device, &[[mean + 3.0]]).unwrap();
        let input = SparseTensor::new(Voxels::new(&device, cells).unwrap(), features).unwrap();
        let output = norm.forward(&input).unwrap().features().to_f32().unwrap()[0];
        assert!((output - 3.0 / (variance + 1e-3).sqrt()).abs() < 1e-4, "{output}");
    }
}
