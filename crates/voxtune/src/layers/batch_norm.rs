//! Normalising channels over rows.

use std::sync::Arc;

use voxtune_types::DType;

use super::{Module, Pointwise, SparseTensor};
use crate::{Activation, ConvError, Device, Tensor, ops};

/// A batch normalisation (Ioffe and Szegedy, *Batch Normalization*, 2015):
/// `y = (x - mean) / sqrt(variance + epsilon) · gamma + beta`, by channel. In inference with the
/// running statistics that it holds, in training with those of the batch.
///
/// spconv's networks have an epsilon of 1e-3, MinkowskiEngine's and torchsparse's 1e-5.
#[derive(Clone, Debug)]
pub struct BatchNorm {
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
        let row =
            |values: &[f32]| Tensor::from_f32(device, DType::Float32, 1, values.len(), values);
        Ok(Self {
            gamma: gamma.to_vec(),
            beta: beta.to_vec(),
            mean: mean.to_vec(),
            variance: variance.to_vec(),
            epsilon,
            folded: Arc::new([row(&scale)?, row(&shift)?]),
        })
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

    fn as_pointwise(&self) -> Option<Pointwise> {
        Some(Pointwise::Activation(*self))
    }
}
