//! What a convolution layer computes: its output, and the gradients of input and weights.

use voxtune_types::{DType, Direction, Operation};

use super::conv::{CallMaps, Conv};
use super::kinds::ConvKind;
use super::pitch::Operands;
use super::weights::WeightLayout;
use crate::{Activation, ConvError, Epilogue, KernelMap, Launch, SparseTensor, Tensor, Voxels};

/// What a layer's backward pass gives.
#[derive(Debug)]
pub struct ConvGradients {
    /// Of the input, `(inputs, c_in)` in the layer's storage type.
    pub input: Tensor,
    /// Of the weights, float32 `(volume · c_in / groups, c_out)`.
    pub weights: Tensor,
    /// Of the bias, float32 `(1, c_out)`, if the layer has one.
    pub bias: Option<Tensor>,
}

impl<K: ConvKind> Conv<K> {
    /// The layer's output.
    ///
    /// # Errors
    /// If the input does not fit the layer, or the kernel fails.
    pub fn forward(&self, input: &SparseTensor) -> Result<SparseTensor, ConvError> {
        self.forward_with(input, &Epilogue::new())
    }

    /// [`Self::forward`] with work on the output that costs no pass over memory of its own: a batch
    /// normalisation, a residual, a ReLU. The layer's own bias is part of what it works on.
    ///
    /// # Errors
    /// If input or epilogue do not fit the layer, or the kernel fails.
    pub fn forward_with(
        &self,
        input: &SparseTensor,
        epilogue: &Epilogue<'_>,
    ) -> Result<SparseTensor, ConvError> {
        let call_maps = self.call_maps(input.voxels())?;
        let Operation { c_out, dtype, .. } = self.operation;
        let device = input.voxels().device();
        let mut out = Tensor::unwritten(device, dtype, call_maps.outputs.len(), c_out as usize)?;
        self.forward_at(&call_maps, input, epilogue, &mut out)?;
        SparseTensor::new(call_maps.outputs, out)
    }

    /// [`Self::forward_with`], a residual that is added, and an activation, which is none or a
    /// ReLU.
    pub(super) fn forward_onto(
        &self,
        input: &SparseTensor,
        epilogue: &Epilogue<'_>,
        residual: &SparseTensor,
        activation: Activation,
    ) -> Result<SparseTensor, ConvError> {
        let outputs = self.call_maps(input.voxels())?.outputs;
        if !outputs.is_same(residual.voxels()) {
            let (first, other) = (outputs.len(), residual.voxels().len());
            return Err(ConvError::OtherVoxels { what: "a residual block", first, other });
        }
        let epilogue = epilogue.with_residual(residual.features());
        match activation {
            Activation::Relu => self.forward_with(input, &epilogue.with_relu()),
            _ => self.forward_with(input, &epilogue),
        }
    }

    /// [`Self::forward`] into a tensor of the caller's: a steady call allocates no features.
    ///
    /// # Errors
    /// If input or output do not fit the layer, or the kernel fails.
    pub fn forward_into(&self, input: &SparseTensor, out: &mut Tensor) -> Result<(), ConvError> {
        self.forward_into_with(input, &Epilogue::new(), out)
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
        let call_maps = self.call_maps(input.voxels())?;
        self.forward_at(&call_maps, input, epilogue, out)
    }

    fn forward_at(
        &self,
        call_maps: &CallMaps,
        input: &SparseTensor,
        epilogue: &Epilogue<'_>,
        out: &mut Tensor,
    ) -> Result<(), ConvError> {
        let Operation { c_in, c_out, dtype, .. } = self.operation;
        input.features().expect("input", input.voxels().len(), c_in, dtype)?;
        out.expect("output", call_maps.outputs.len(), c_out, dtype)?;
        epilogue.check(&self.operation, call_maps.outputs.len())?;
        let (inputs, a) = (input.voxels(), input.features());
        let with_bias = match &self.bias {
            None => None,
            Some(bias) => Some(epilogue.over_bias(inputs.device(), bias)?),
        };
        let epilogue = Some(with_bias.as_ref().unwrap_or(epilogue)).filter(|one| !one.is_empty());
        if self.slices.is_empty() {
            return self.run(
                Direction::Forward,
                call_maps,
                inputs,
                (a, &self.weights),
                out,
                epilogue,
            );
        }
        let mut sums: Option<Tensor> = None;
        for (slice, map) in self.slices.iter().zip(&call_maps.maps) {
            let before = sums.as_ref().map(|sums| Epilogue::new().with_residual(sums));
            let mut next =
                Tensor::unwritten(inputs.device(), dtype, call_maps.outputs.len(), c_out as usize)?;
            let operands = (a, &*slice.weights);
            self.run_over(slice.operation, map, inputs, operands, &mut next, before.as_ref())?;
            sums = Some(next);
        }
        let sums = sums.expect("there is a slice");
        epilogue.unwrap_or(&Epilogue::new()).apply(inputs.device(), &sums, out)
    }

    /// The gradients of input, weights and bias.
    ///
    /// # Shapes
    /// `grad_output`: `(outputs, c_out)`.
    ///
    /// # Errors
    /// If an operand does not fit the layer, or the kernel fails.
    pub fn backward(
        &self,
        input: &SparseTensor,
        grad_output: &Tensor,
    ) -> Result<ConvGradients, ConvError> {
        let bias = match &self.bias {
            None => None,
            Some(_) => Some(crate::ops::column_sums(input.voxels().device(), grad_output)?),
        };
        Ok(ConvGradients {
            input: self.dgrad(input.voxels(), grad_output)?,
            weights: self.wgrad(input, grad_output)?,
            bias,
        })
    }

    /// The gradient of the input.
    ///
    /// # Shapes
    /// `grad_output`: `(outputs, c_out)`; result: `(inputs, c_in)`.
    ///
    /// # Errors
    /// If the gradient does not fit the layer, or the kernel fails.
    pub fn dgrad(&self, inputs: &Voxels, grad_output: &Tensor) -> Result<Tensor, ConvError> {
        let Operation { c_in, c_out, dtype, .. } = self.operation;
        let call_maps = self.call_maps(inputs)?;
        grad_output.expect("output gradient", call_maps.outputs.len(), c_out, dtype)?;
        let device = inputs.device();
        let mut out = Tensor::zeros(device, dtype, inputs.len(), c_in as usize)?;
        if self.slices.is_empty() {
            let operands = (grad_output, &*self.weights);
            self.run(Direction::Dgrad, &call_maps, inputs, operands, &mut out, None)?;
            return Ok(out);
        }
        for (slice, map) in self.slices.iter().zip(&call_maps.maps) {
            let mut part = Tensor::unwritten(device, dtype, inputs.len(), c_in as usize)?;
            let operation = slice.operation.with_direction(Direction::Dgrad);
            let operands = (grad_output, &*slice.weights);
            self.run_over(operation, map, inputs, operands, &mut part, None)?;
            out = crate::ops::add(device, &out, &part, Activation::Identity)?;
        }
        Ok(out)
    }

    /// The gradient of the weights, in float32 whatever the storage type: sums over all voxels
    /// leave the range of float16.
    ///
    /// # Shapes
    /// `grad_output`: `(outputs, c_out)`; result: `(volume · c_in / groups, c_out)`.
    ///
    /// # Errors
    /// If an operand does not fit the layer, or the kernel fails.
    pub fn wgrad(&self, input: &SparseTensor, grad_output: &Tensor) -> Result<Tensor, ConvError> {
        let Operation { c_in, c_out, dtype, .. } = self.operation;
        let call_maps = self.call_maps(input.voxels())?;
        input.features().expect("input", input.voxels().len(), c_in, dtype)?;
        grad_output.expect("output gradient", call_maps.outputs.len(), c_out, dtype)?;
        let weight_rows = self.operation.weight_rows();
        let device = input.voxels().device();
        let mut out = Tensor::zeros(device, DType::Float32, weight_rows, c_out as usize)?;
        let operands = (input.features(), grad_output);
        if self.slices.is_empty() {
            self.run(Direction::Wgrad, &call_maps, input.voxels(), operands, &mut out, None)?;
            return Ok(out);
        }
        for (slice, map) in self.slices.iter().zip(&call_maps.maps) {
            let (rows, c_out) = (slice.weights.rows(), slice.weights.channels());
            let mut part = Tensor::unwritten(device, DType::Float32, rows, c_out)?;
            let operation = slice.operation.with_direction(Direction::Wgrad);
            self.run_over(operation, map, input.voxels(), operands, &mut part, None)?;
            out.copy_rows(slice.first_row(), &part)?;
        }
        Ok(out)
    }

    /// A gradient of [`Self::wgrad`] in the order of a checkpoint's weights.
    ///
    /// # Errors
    /// If it is not one of this layer's, or the device fails to hand it over.
    pub fn weight_gradient(
        &self,
        layout: WeightLayout,
        gradient: &Tensor,
    ) -> Result<Vec<f32>, ConvError> {
        let (rows, c_out) = (self.weights.rows(), self.operation.c_out);
        gradient.expect("weight gradient", rows, c_out, DType::Float32)?;
        Ok(self.weight_shape.of_stored(layout, &gradient.to_f32()?))
    }

    fn run(
        &self,
        direction: Direction,
        call_maps: &CallMaps,
        inputs: &Voxels,
        (a, b): (&Tensor, &Tensor),
        out: &mut Tensor,
        epilogue: Option<&Epilogue<'_>>,
    ) -> Result<(), ConvError> {
        let operation = self.operation.with_direction(direction);
        self.run_over(operation, &call_maps.maps[0], inputs, (a, b), out, epilogue)
    }

    fn run_over(
        &self,
        operation: Operation,
        map: &KernelMap,
        inputs: &Voxels,
        (a, b): (&Tensor, &Tensor),
        out: &mut Tensor,
        epilogue: Option<&Epilogue<'_>>,
    ) -> Result<(), ConvError> {
        let device = inputs.device();
        let operands = Operands::new(device, a, b)?;
        operands.run(device, out, |(a, b), out, pitch| {
            let operation = Operation { pitch, ..operation };
            let resolution = self.resolve_over(operation, map, inputs)?;
            self.ran(&resolution);
            if let Some(frame) = inputs.repeated_frame() {
                frame.ran(&resolution);
            }
            let launch = Launch { operation: &operation, map, a, b, out, epilogue };
            device.registry().run(resolution.algorithm(), device, launch)
        })
    }
}
