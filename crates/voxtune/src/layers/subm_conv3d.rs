//! The submanifold convolution layer.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use voxtune_cpu::KernelMapError;
use voxtune_types::{DType, Direction, KernelSize, Operation};

use crate::layers::{LayerHint, Prepared};
use crate::{
    ConvError, Device, Epilogue, Launch, MapCounts, Resolution, SparseTensor, Tensor, Tuner, Voxels,
};

/// A submanifold convolution: outputs are exactly where inputs are.
#[derive(Clone)]
pub struct SubmConv3d {
    device: Device,
    tuner: Tuner,
    operation: Operation,
    weights: Arc<Tensor>,
    /// Kernel maps are made complete for the layers that are alive.
    hint: Arc<LayerHint>,
    /// The last resolution of each direction: frames of one size ask for the same key again and again.
    resolved: Arc<Mutex<[Option<Resolution>; 3]>>,
}

impl SubmConv3d {
    /// A layer with these weights, rounded to the storage type, that runs what the
    /// [default tuner](Tuner::global) resolves. It is [prepared](Self::prepare) for the forward
    /// direction.
    ///
    /// # Shapes
    /// `weights`: `(volume, c_in, c_out)`, offsets in the order of [`KernelSize::offsets`].
    ///
    /// # Errors
    /// If the layer cannot run: a channel count is zero, an extent of the kernel is even, or no
    /// algorithm of the device computes it. If the weights have another length, or are more than
    /// memory holds. If an environment variable that decides on algorithms is malformed.
    pub fn new(
        device: &Device,
        c_in: u32,
        c_out: u32,
        kernel: KernelSize,
        dtype: DType,
        weights: &[f32],
    ) -> Result<Self, ConvError> {
        Self::with_tuner(device, Tuner::global()?.clone(), c_in, c_out, kernel, dtype, weights)
    }

    /// [`Self::new`] with a tuner of the caller's.
    ///
    /// # Errors
    /// If the layer cannot run: a channel count is zero, an extent of the kernel is even, or no
    /// algorithm of the device computes it. If the weights have another length, or are more than
    /// memory holds.
    pub fn with_tuner(
        device: &Device,
        tuner: Tuner,
        c_in: u32,
        c_out: u32,
        kernel: KernelSize,
        dtype: DType,
        weights: &[f32],
    ) -> Result<Self, ConvError> {
        let operation = Operation::submanifold(Direction::Forward, dtype, c_in, c_out, kernel);
        check_layer(device, &operation, weights.len())?;
        let rows = kernel.volume() * c_in as usize;
        let weights = Arc::new(Tensor::from_f32(device, dtype, rows, c_out as usize, weights)?);
        let hint = device.preparations().enlist(&tuner, operation);
        let device = device.clone();
        let layer = Self { device, tuner, operation, weights, hint, resolved: Arc::default() };
        // What is not ready is met by the first call that needs it.
        _ = layer.prepare(&[Direction::Forward]);
        Ok(layer)
    }

    /// Gets ready what these directions may run, for any row count that was measured, as
    /// [`Device::prepare`] does. Kernel maps that are built from now on, while the layer lives, come
    /// with everything that it reads of them.
    pub fn prepare(&self, directions: &[Direction]) -> Prepared {
        self.hint.add(directions);
        let operations: Vec<Operation> =
            directions.iter().map(|one| self.operation.with_direction(*one)).collect();
        self.device.prepare(&self.tuner, &operations)
    }

    /// What this layer computes, in the forward direction.
    #[must_use]
    pub const fn operation(&self) -> &Operation {
        &self.operation
    }

    /// The algorithm that a direction runs over these voxels, and why.
    ///
    /// # Errors
    /// If the kernel map cannot be built or nothing can run.
    pub fn resolve(&self, direction: Direction, voxels: &Voxels) -> Result<Resolution, ConvError> {
        let counts = voxels.kernel_map(self.operation.kernel)?.counts();
        self.resolve_over(direction, counts, voxels)
    }

    fn resolve_over(
        &self,
        direction: Direction,
        counts: MapCounts,
        voxels: &Voxels,
    ) -> Result<Resolution, ConvError> {
        let key = counts.key(self.operation.with_direction(direction));
        let mut resolved = self.resolved.lock().unwrap_or_else(PoisonError::into_inner);
        let last = &mut resolved[key.operation.direction as usize];
        if let Some(resolution) = last.as_ref().filter(|resolution| *resolution.key() == key) {
            return Ok(resolution.clone());
        }
        let resolution = self.tuner.resolve_call(&self.device, &key, Some((counts, voxels)))?;
        *last = Some(resolution.clone());
        Ok(resolution)
    }

    /// The layer's output.
    ///
    /// # Shapes
    /// `input`: `(voxels, c_in)`; result: `(voxels, c_out)`.
    ///
    /// # Errors
    /// If the input does not fit the layer, or the kernel fails.
    pub fn forward(&self, input: &SparseTensor) -> Result<SparseTensor, ConvError> {
        let mut out = self.output_over(input.voxels())?;
        self.forward_into(input, &mut out)?;
        SparseTensor::new(input.voxels().clone(), out)
    }

    /// [`Self::forward`] with work on the output that costs no pass over memory of its own: a batch
    /// normalisation, a bias, a residual, a ReLU.
    ///
    /// # Errors
    /// If input or epilogue do not fit the layer, or the kernel fails.
    pub fn forward_with(
        &self,
        input: &SparseTensor,
        epilogue: &Epilogue<'_>,
    ) -> Result<SparseTensor, ConvError> {
        let mut out = self.output_over(input.voxels())?;
        self.forward_into_with(input, epilogue, &mut out)?;
        SparseTensor::new(input.voxels().clone(), out)
    }

    fn output_over(&self, voxels: &Voxels) -> Result<Tensor, ConvError> {
        let Operation { c_out, dtype, .. } = self.operation;
        Tensor::zeros(&self.device, dtype, voxels.len(), c_out as usize)
    }

    /// [`Self::forward`] into a tensor of the caller's: a steady call allocates no features.
    ///
    /// # Errors
    /// If input or output do not fit the layer, or the kernel fails.
    pub fn forward_into(&self, input: &SparseTensor, out: &mut Tensor) -> Result<(), ConvError> {
        self.forward_finished(input, None, out)
    }

    /// [`Self::forward_with`] into a tensor of the caller's.
    ///
    /// # Errors
    /// If input, epilogue or output do not fit the layer, or the kernel fails.
    pub fn forward_into_with(
        &self,
        input: &SparseTensor,
        epilogue: &Epilogue<'_>,
        out: &mut Tensor,
    ) -> Result<(), ConvError> {
        epilogue.check(&self.operation, input.voxels().len())?;
        self.forward_finished(input, Some(epilogue), out)
    }

    fn forward_finished(
        &self,
        input: &SparseTensor,
        epilogue: Option<&Epilogue<'_>>,
        out: &mut Tensor,
    ) -> Result<(), ConvError> {
        let Operation { c_in, c_out, dtype, .. } = self.operation;
        let rows = input.voxels().len();
        input.features().expect("input", rows, c_in, dtype)?;
        out.expect("output", rows, c_out, dtype)?;
        let (voxels, a) = (input.voxels(), input.features());
        self.run(Direction::Forward, voxels, a, &self.weights, out, epilogue)
    }

    /// The gradient of the input.
    ///
    /// # Shapes
    /// `grad_output`: `(voxels, c_out)`; result: `(voxels, c_in)`.
    ///
    /// # Errors
    /// If the gradient does not fit the layer, or the kernel fails.
    pub fn dgrad(&self, voxels: &Voxels, grad_output: &Tensor) -> Result<Tensor, ConvError> {
        let Operation { c_in, c_out, dtype, .. } = self.operation;
        grad_output.expect("output gradient", voxels.len(), c_out, dtype)?;
        let mut out = Tensor::zeros(&self.device, dtype, voxels.len(), c_in as usize)?;
        self.run(Direction::Dgrad, voxels, grad_output, &self.weights, &mut out, None)?;
        Ok(out)
    }

    /// The gradient of the weights, in float32 whatever the storage type: sums over all voxels
    /// leave the range of float16.
    ///
    /// # Shapes
    /// `input`: `(voxels, c_in)`; `grad_output`: `(voxels, c_out)`; result: `(volume · c_in, c_out)`.
    ///
    /// # Errors
    /// If an operand does not fit the layer, or the kernel fails.
    pub fn wgrad(&self, input: &SparseTensor, grad_output: &Tensor) -> Result<Tensor, ConvError> {
        let Operation { c_in, c_out, dtype, kernel, .. } = self.operation;
        let rows = input.voxels().len();
        input.features().expect("input", rows, c_in, dtype)?;
        grad_output.expect("output gradient", rows, c_out, dtype)?;
        let weight_rows = kernel.volume() * c_in as usize;
        let mut out = Tensor::zeros(&self.device, DType::Float32, weight_rows, c_out as usize)?;
        let (voxels, a) = (input.voxels(), input.features());
        self.run(Direction::Wgrad, voxels, a, grad_output, &mut out, None)?;
        Ok(out)
    }

    fn run(
        &self,
        direction: Direction,
        voxels: &Voxels,
        a: &Tensor,
        b: &Tensor,
        out: &mut Tensor,
        epilogue: Option<&Epilogue<'_>>,
    ) -> Result<(), ConvError> {
        let operation = self.operation.with_direction(direction);
        let map = voxels.kernel_map(operation.kernel)?;
        let resolution = self.resolve_over(direction, map.counts(), voxels)?;
        let launch = Launch { operation: &operation, map: &map, a, b, out, epilogue };
        self.device.registry().run(resolution.algorithm(), &self.device, launch)
    }
}

/// Refuses what no call could run, where it can still be mended.
fn check_layer(device: &Device, operation: &Operation, weights: usize) -> Result<(), ConvError> {
    let Operation { c_in, c_out, kernel, .. } = *operation;
    if c_in == 0 || c_out == 0 {
        return Err(ConvError::NoChannels { c_in, c_out });
    }
    if !kernel.is_centred() {
        return Err(KernelMapError::NotCentred(kernel).into());
    }
    let too_many = ConvError::TooManyWeights { operation: *operation };
    let expected = operation.checked_weight_len().ok_or(too_many)?;
    if weights != expected {
        return Err(ConvError::Length { what: "weights", expected, found: weights });
    }
    if !device.registry().can_run(operation) {
        let device = device.identity().clone();
        return Err(ConvError::NoAlgorithm { device, operation: *operation });
    }
    Ok(())
}

impl fmt::Debug for SubmConv3d {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SubmConv3d({}, {})", self.operation, self.device.identity())
    }
}
