//! What a layer does to its sums before they are stored.

use std::sync::Arc;

use voxtune_cpu::Elements;
use voxtune_types::{DType, Operation};

use crate::{Activation, ConvError, Device, Tensor, ops};

/// Work on a layer's output that costs no pass over memory of its own:
///
/// ```text
/// y[row][c] = relu(sum · scale[c] + bias[c] + residual[row][c])
/// ```
///
/// Each part may be absent. It is computed in float32 on the sums, and the output is rounded to its
/// storage type once. Scale and bias are made once and shared by clones; a residual is that of a
/// call.
///
/// ```
/// use voxtune::{
///     DType, Device, Epilogue, SparseTensor, SubmConv3d, Tensor, Voxel, Voxels, WeightLayout,
/// };
///
/// let device = Device::cpu()?;
/// let voxels = Voxels::new(&device, vec![Voxel::new(0, 0, 0, 0), Voxel::new(0, 0, 0, 1)])?;
/// let features = Tensor::from_f32(&device, DType::Float32, 2, 1, &[1.0, 2.0])?;
/// let weights = [1.0; 27 * 2];
/// let layer = SubmConv3d::builder(1, 2).weights(WeightLayout::Rsck, &weights).build(&device)?;
///
/// // A batch normalisation with its statistics, then a ReLU.
/// let (gamma, beta, mean, variance) = ([2.0, 1.0], [0.0, 1.0], [1.0, 9.0], [4.0, 1.0]);
/// let norm = Epilogue::batch_norm(&device, &gamma, &beta, &mean, &variance, 0.0)?.with_relu();
/// let input = SparseTensor::new(voxels, features)?;
/// // Every sum is 3: (3 - 1) / 2 · 2 and (3 - 9) / 1 + 1, which is negative.
/// let output = layer.forward_with(&input, &norm)?;
/// assert_eq!(output.features().to_f32()?, [2.0, 0.0, 2.0, 0.0]);
///
/// // The same with a residual.
/// let added = Tensor::from_f32(&device, DType::Float32, 2, 2, &[1.0, 1.0, 0.0, 6.0])?;
/// let output = layer.forward_with(&input, &norm.with_residual(&added))?;
/// assert_eq!(output.features().to_f32()?, [3.0, 0.0, 2.0, 1.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Epilogue<'a> {
    scale: Option<Arc<Tensor>>,
    bias: Option<Arc<Tensor>>,
    residual: Option<&'a Tensor>,
    relu: bool,
}

impl Epilogue<'static> {
    /// Without any part.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A batch normalisation with fixed statistics, folded into a scale and a bias (Ioffe and
    /// Szegedy, *Batch Normalization*, 2015, algorithm 2): `scale = gamma / sqrt(variance +
    /// epsilon)`, `bias = beta - mean · scale`.
    ///
    /// # Shapes
    /// `gamma`, `beta`, `mean`, `variance`: `(c_out)`.
    ///
    /// # Errors
    /// If they differ in length, one is not a finite number, a variance or `epsilon` is negative or
    /// both are 0, or the device cannot hold them.
    pub fn batch_norm(
        device: &Device,
        gamma: &[f32],
        beta: &[f32],
        mean: &[f32],
        variance: &[f32],
        epsilon: f32,
    ) -> Result<Self, ConvError> {
        let (scale, bias) = folded(gamma, beta, mean, variance, epsilon)?;
        Self::new().with_scale(device, &scale)?.with_bias(device, &bias)
    }
}

impl<'a> Epilogue<'a> {
    pub(crate) const fn of_parts(
        scale: Option<Arc<Tensor>>,
        bias: Option<Arc<Tensor>>,
        residual: Option<&'a Tensor>,
        relu: bool,
    ) -> Self {
        Self { scale, bias, residual, relu }
    }

    /// The same with factors of the channels.
    ///
    /// # Shapes
    /// `scale`: `(c_out)`.
    ///
    /// # Errors
    /// If the device cannot hold it.
    pub fn with_scale(self, device: &Device, scale: &[f32]) -> Result<Self, ConvError> {
        Ok(Self { scale: Some(row(device, scale)?), ..self })
    }

    /// The same with what is added to the channels.
    ///
    /// # Shapes
    /// `bias`: `(c_out)`.
    ///
    /// # Errors
    /// If the device cannot hold it.
    pub fn with_bias(self, device: &Device, bias: &[f32]) -> Result<Self, ConvError> {
        Ok(Self { bias: Some(row(device, bias)?), ..self })
    }

    /// The same with negative outputs becoming zero. What is not a number stays so.
    #[must_use]
    pub fn with_relu(self) -> Self {
        Self { relu: true, ..self }
    }

    /// Whether there is nothing to do.
    pub(crate) const fn is_empty(&self) -> bool {
        self.scale.is_none() && self.bias.is_none() && self.residual.is_none() && !self.relu
    }

    /// Does the work on sums that are there already.
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn apply(
        &self,
        device: &Device,
        sums: &Tensor,
        out: &mut Tensor,
    ) -> Result<(), ConvError> {
        let after = if self.relu { Activation::Relu } else { Activation::Identity };
        let before = if self.residual.is_some() { Activation::Identity } else { after };
        let of = ops::Affine {
            scale: self.scale.as_deref(),
            shift: self.bias.as_deref(),
            activation: before,
        };
        match self.residual {
            None => ops::affine_into(device, of, sums, out),
            Some(residual) => {
                let scaled = ops::affine(device, of, sums)?;
                ops::add_into(device, &scaled, residual, after, out)
            }
        }
    }

    /// The same with a further scale and shift of the channels behind scale and bias.
    ///
    /// # Errors
    /// If they are not as many as the channels so far, or the device fails.
    pub(crate) fn scaled(
        &self,
        device: &Device,
        scale: &[f32],
        shift: &[f32],
    ) -> Result<Self, ConvError> {
        let of = |part: &Option<Arc<Tensor>>, value: f32| match part {
            None => Ok(vec![value; scale.len()]),
            Some(part) => part.to_f32(),
        };
        let (before, bias) = (of(&self.scale, 1.0)?, of(&self.bias, 0.0)?);
        for found in [before.len(), bias.len(), shift.len()] {
            if found != scale.len() {
                let what = "scale of a convolution's output";
                return Err(ConvError::Channels { what, expected: found, found: scale.len() });
            }
        }
        let scales: Vec<f32> = before.iter().zip(scale).map(|(before, by)| before * by).collect();
        let biases: Vec<f32> = bias
            .iter()
            .zip(scale)
            .zip(shift)
            .map(|((bias, by), and)| bias.mul_add(*by, *and))
            .collect();
        let Self { residual, relu, .. } = self.clone();
        let (scale, bias) = (Some(row(device, &scales)?), Some(row(device, &biases)?));
        Ok(Self { scale, bias, residual, relu })
    }

    /// The same on sums to which a bias was added before: `(sum + bias) · scale` is
    /// `sum · scale + bias · scale`.
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn over_bias(
        &self,
        device: &Device,
        under: &Arc<Tensor>,
    ) -> Result<Self, ConvError> {
        let bias = match (&self.scale, &self.bias) {
            (None, None) => Arc::clone(under),
            (scale, bias) => {
                let scaled = under.to_f32()?;
                let scale = scale.as_ref().map(|scale| scale.to_f32()).transpose()?;
                let bias = bias.as_ref().map(|bias| bias.to_f32()).transpose()?;
                let factor = |channel: usize| scale.as_ref().map_or(1.0, |scale| scale[channel]);
                let term = |channel: usize| bias.as_ref().map_or(0.0, |bias| bias[channel]);
                let folded: Vec<f32> = scaled
                    .iter()
                    .enumerate()
                    .map(|(channel, under)| under.mul_add(factor(channel), term(channel)))
                    .collect();
                row(device, &folded)?
            }
        };
        let Self { scale, residual, relu, .. } = self.clone();
        Ok(Self { scale, bias: Some(bias), residual, relu })
    }

    /// The same with what is added to each element, before a ReLU: the input of a residual block,
    /// say.
    ///
    /// # Shapes
    /// `residual`: `(voxels, c_out)` of the layer's storage type.
    #[must_use]
    pub fn with_residual<'r>(&self, residual: &'r Tensor) -> Epilogue<'r> {
        let Self { scale, bias, relu, .. } = self.clone();
        Epilogue { scale, bias, residual: Some(residual), relu }
    }

    /// Compares rows, channels and types with what an operation's result has.
    pub(crate) fn check(&self, operation: &Operation, rows: usize) -> Result<(), ConvError> {
        let Operation { c_out, dtype, .. } = *operation;
        let shape = |what, tensor: Option<&Tensor>, rows, dtype| match tensor {
            Some(tensor) => tensor.expect(what, rows, c_out, dtype),
            None => Ok(()),
        };
        shape("scale of the epilogue", self.scale.as_deref(), 1, DType::Float32)?;
        shape("bias of the epilogue", self.bias.as_deref(), 1, DType::Float32)?;
        shape("residual of the epilogue", self.residual, rows, dtype)
    }

    /// The parts in host memory; `None` if one is a GPU's.
    pub(crate) fn host(&self) -> Option<voxtune_cpu::Epilogue<'_>> {
        let residual = match self.residual {
            Some(tensor) => Some(tensor.host()?),
            None => None,
        };
        let (scale, bias) = (host_row(self.scale.as_deref())?, host_row(self.bias.as_deref())?);
        Some(voxtune_cpu::Epilogue { scale, bias, residual, relu: self.relu })
    }

    /// The parts in a GPU's memory.
    pub(crate) fn cuda(&self) -> Result<voxtune_cuda::Epilogue<'_>, ConvError> {
        Ok(voxtune_cuda::Epilogue {
            scale: self.scale.as_deref().map(Tensor::cuda).transpose()?,
            bias: self.bias.as_deref().map(Tensor::cuda).transpose()?,
            residual: self.residual.map(Tensor::cuda_matrix).transpose()?,
            relu: self.relu,
        })
    }
}

/// Refuses what makes every output of a channel no number.
fn check_statistics(
    parameters: [(&'static str, &[f32]); 3],
    variance: &[f32],
    epsilon: f32,
) -> Result<(), ConvError> {
    if !(epsilon.is_finite() && epsilon >= 0.0) {
        return Err(ConvError::Epsilon { found: epsilon });
    }
    let refuse = |what, expected, values: &[f32], is_wrong: &dyn Fn(f32) -> bool| {
        let wrong = values.iter().enumerate().find(|(_, value)| is_wrong(**value));
        wrong.map_or(Ok(()), |(channel, &found)| {
            Err(ConvError::BatchNorm { what, expected, found, channel })
        })
    };
    for (what, values) in parameters {
        refuse(what, "a finite number", values, &|value| !value.is_finite())?;
    }
    let (what, expected) = ("variance", "a finite number of at least 0");
    refuse(what, expected, variance, &|value| !(value.is_finite() && value >= 0.0))?;
    let expected = "more than 0 where epsilon is 0";
    refuse(what, expected, variance, &|value| value + epsilon <= 0.0)
}

/// Scales and biases of a batch normalisation with fixed statistics.
pub(crate) fn folded(
    gamma: &[f32],
    beta: &[f32],
    mean: &[f32],
    variance: &[f32],
    epsilon: f32,
) -> Result<(Vec<f32>, Vec<f32>), ConvError> {
    let expected = gamma.len();
    for (what, found) in [
        ("beta of a batch normalisation", beta.len()),
        ("mean of a batch normalisation", mean.len()),
        ("variance of a batch normalisation", variance.len()),
    ] {
        if found != expected {
            return Err(ConvError::Length { what, expected, found });
        }
    }
    check_statistics([("gamma", gamma), ("beta", beta), ("mean", mean)], variance, epsilon)?;
    let scale = |channel: usize| {
        f64::from(gamma[channel]) / (f64::from(variance[channel]) + f64::from(epsilon)).sqrt()
    };
    let bias =
        |channel: usize| f64::from(beta[channel]) - f64::from(mean[channel]) * scale(channel);
    let folded = |value: &dyn Fn(usize) -> f64| -> Result<Vec<f32>, ConvError> {
        let rounded = (0..expected).map(|channel| value(channel) as f32);
        rounded.enumerate().map(|(channel, value)| in_range(channel, value)).collect()
    };
    Ok((folded(&scale)?, folded(&bias)?))
}

/// A folded scale or bias.
fn in_range(channel: usize, found: f32) -> Result<f32, ConvError> {
    let (what, expected) = ("folded scale or bias", "a number in the range of float32");
    let refused = ConvError::BatchNorm { what, expected, found, channel };
    if found.is_finite() { Ok(found) } else { Err(refused) }
}

/// Numbers of the channels in host memory, if there are any.
fn host_row(part: Option<&Tensor>) -> Option<Option<&[f32]>> {
    match part.map(Tensor::host) {
        None => Some(None),
        Some(Some(Elements::Float32(values))) => Some(Some(values)),
        Some(_) => None,
    }
}

fn row(device: &Device, values: &[f32]) -> Result<Arc<Tensor>, ConvError> {
    Ok(Arc::new(Tensor::from_f32(device, DType::Float32, 1, values.len(), values)?))
}

#[cfg(test)]
mod tests {
    use voxtune_types::Voxel;

    use super::*;
    use crate::{SparseTensor, SubmConv3d, Tuner, Voxels, WeightLayout};

    fn layer(device: &Device, dtype: DType) -> (SubmConv3d, SparseTensor) {
        let cells = (0..40).map(|index| Voxel::new(0, 0, index / 7, index % 7)).collect();
        let voxels = Voxels::new(device, cells).unwrap();
        let features =
            Tensor::from_fn(device, dtype, 40, 3, |index| (index % 5) as f32 - 2.0).unwrap();
        let weights: Vec<f32> = (0..27 * 3 * 6).map(|index| (index % 7) as f32 - 3.0).collect();
        let layer = SubmConv3d::builder(3, 6)
            .dtype(dtype)
            .weights(WeightLayout::Rsck, &weights)
            .tuner(Tuner::empty())
            .build(device)
            .unwrap();
        (layer, SparseTensor::new(voxels, features).unwrap())
    }

    #[test]
    fn a_layer_does_what_passes_over_its_output_would() {
        let device = Device::cpu_with_threads(1).unwrap();
        for dtype in DType::ALL {
            let (layer, input) = layer(&device, dtype);
            let plain = layer.forward(&input).unwrap().into_features().unwrap().to_f32().unwrap();
            let residual =
                Tensor::from_fn(&device, dtype, 40, 6, |index| (index % 9) as f32).unwrap();
            let (scale, bias) = ([1.0, -1.0, 2.0, 0.5, 0.0, 1.0], [0.0, 1.0, 2.0, 3.0, -4.0, 5.0]);
            let epilogue = Epilogue::new().with_scale(&device, &scale).unwrap();
            let epilogue = epilogue.with_bias(&device, &bias).unwrap().with_relu();
            let epilogue = epilogue.with_residual(&residual);
            let found = layer.forward_with(&input, &epilogue).unwrap().into_features().unwrap();
            let expected = plain.iter().enumerate().map(|(index, sum)| {
                (sum * scale[index % 6] + bias[index % 6] + (index % 9) as f32).max(0.0)
            });
            // The results of the layer are small integers and halves of them, exact in every type.
            assert_eq!(found.to_f32().unwrap(), expected.collect::<Vec<f32>>(), "{dtype}");
            let nothing =
                layer.forward_with(&input, &Epilogue::new()).unwrap().into_features().unwrap();
            assert_eq!(nothing.to_f32().unwrap(), plain);
        }
    }

    #[test]
    fn parts_of_another_shape_are_refused() {
        let device = Device::cpu_with_threads(1).unwrap();
        let (layer, input) = layer(&device, DType::Float16);
        let refused =
            |epilogue: &Epilogue<'_>| layer.forward_with(&input, epilogue).unwrap_err().to_string();
        let short = Epilogue::new().with_bias(&device, &[0.0; 5]).unwrap();
        assert_eq!(refused(&short), "bias of the epilogue: expected 6 channels, found 5");
        let rows = Tensor::zeros(&device, DType::Float16, 39, 6).unwrap();
        assert!(refused(&Epilogue::new().with_residual(&rows)).contains("expected 40 rows"));
        let wide = Tensor::zeros(&device, DType::Float32, 40, 6).unwrap();
        assert!(refused(&Epilogue::new().with_residual(&wide)).contains("expected float16"));
        let uneven =
            Epilogue::batch_norm(&device, &[1.0; 6], &[0.0; 6], &[0.0; 5], &[1.0; 6], 1e-5);
        assert!(matches!(uneven, Err(ConvError::Length { expected: 6, found: 5, .. })));
    }

    #[test]
    fn a_batch_normalisation_is_its_formula() {
        let device = Device::cpu_with_threads(1).unwrap();
        let (gamma, beta, mean, variance) = ([1.5, -0.3], [0.1, 2.0], [-4.0, 0.7], [9.0, 1e-6]);
        let folded = Epilogue::batch_norm(&device, &gamma, &beta, &mean, &variance, 1e-5).unwrap();
        let values = |part: &Option<Arc<Tensor>>| part.as_ref().unwrap().to_f32().unwrap();
        for (channel, (scale, bias)) in
            values(&folded.scale).into_iter().zip(values(&folded.bias)).enumerate()
        {
            for x in [-3.0_f64, 0.0, 1.25] {
                let [gamma, beta, mean, variance] =
                    [gamma, beta, mean, variance].map(|of| f64::from(of[channel]));
                let expected = (x - mean) / (variance + 1e-5).sqrt() * gamma + beta;
                let found = x * f64::from(scale) + f64::from(bias);
                assert!((found - expected).abs() <= 1e-6 * expected.abs().max(100.0));
            }
        }
    }
}
