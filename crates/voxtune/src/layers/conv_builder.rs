//! Describing a convolution layer.

use std::marker::PhantomData;
use std::sync::Arc;

use voxtune_types::{DType, Direction, Geometry, KernelSize, LayerKind, Operation, PitchClass};

use super::conv::{Conv, Parts};
use super::kinds::ConvKind;
use super::slices::slices;
use super::weights::{WeightLayout, WeightShape};
use crate::noise::value;
use crate::{ConvError, Device, Noise, Tensor, Tuner};

/// One number for each axis, or one for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Axes([u32; 3]);

impl From<u32> for Axes {
    fn from(all: u32) -> Self {
        Self([all; 3])
    }
}

impl From<[u32; 3]> for Axes {
    fn from(each: [u32; 3]) -> Self {
        Self(each)
    }
}

impl From<KernelSize> for Axes {
    fn from(kernel: KernelSize) -> Self {
        Self(kernel.extents().map(u32::from))
    }
}

/// Numbers of axes that fit a byte.
fn narrow(what: &str, Axes(axes): Axes) -> Result<[u8; 3], String> {
    match axes.map(u8::try_from) {
        [Ok(x), Ok(y), Ok(z)] => Ok([x, y, z]),
        _ => Err(format!("{what} {axes:?} is too large: expected at most 255")),
    }
}

/// The geometry of a layer whose windows are described by numbers for each axis; what is wrong with
/// them.
pub(super) fn window(
    kind: LayerKind,
    kernel: Axes,
    stride: Axes,
    padding: Axes,
    dilation: Axes,
) -> Result<Geometry, String> {
    let kernel = KernelSize::try_from(narrow("kernel size", kernel)?);
    let kernel = kernel.map_err(|error| error.to_string())?;
    let (stride, dilation) = (narrow("stride", stride)?, narrow("dilation", dilation)?);
    let geometry = if kind == LayerKind::Submanifold {
        if stride != [1; 3] {
            return Err(format!("a submanifold layer has no stride, and {stride:?} was given"));
        }
        Geometry::submanifold(kernel, dilation)
    } else {
        let padding = narrow("padding", padding)?.map(i16::from);
        Geometry { kind, kernel, stride, padding, dilation, output_padding: [0; 3] }
    };
    geometry.check().map_err(|error| error.to_string())?;
    Ok(geometry)
}

/// A convolution layer to be made; [`Conv::builder`] begins one.
#[derive(Clone, Debug)]
#[must_use = "nothing is made until `build`"]
pub struct ConvBuilder<K> {
    c_in: u32,
    c_out: u32,
    kernel: [u32; 3],
    stride: Option<[u32; 3]>,
    padding: [u32; 3],
    dilation: [u32; 3],
    output_padding: [u32; 3],
    groups: u32,
    dtype: DType,
    weights: Option<(WeightLayout, Vec<f32>)>,
    bias: Option<Vec<f32>>,
    seed: u64,
    map_name: Option<String>,
    tuner: Option<Tuner>,
    /// In place of the device's.
    #[cfg(test)]
    pub(super) most_offsets: Option<usize>,
    kind: PhantomData<K>,
}

impl<K: ConvKind> ConvBuilder<K> {
    pub(super) const fn new(c_in: u32, c_out: u32) -> Self {
        Self {
            c_in,
            c_out,
            kernel: [3; 3],
            stride: None,
            padding: [0; 3],
            dilation: [1; 3],
            output_padding: [0; 3],
            groups: 1,
            dtype: DType::Float32,
            weights: None,
            bias: None,
            seed: 0,
            map_name: None,
            tuner: None,
            #[cfg(test)]
            most_offsets: None,
            kind: PhantomData,
        }
    }

    /// Extent of the kernel, 1 to 7 along each axis; 3 if not given. That of a submanifold layer is
    /// odd.
    pub fn kernel(mut self, kernel: impl Into<Axes>) -> Self {
        self.kernel = kernel.into().0;
        self
    }

    /// Step between outputs; 1 if not given. Of an inverse layer: that of the layer which it
    /// undoes; the kernel's extent if not given. Submanifold layers have none.
    pub fn stride(mut self, stride: impl Into<Axes>) -> Self {
        self.stride = Some(stride.into().0);
        self
    }

    /// How far windows begin before their output's place; 0 if not given, as in spconv. Submanifold
    /// windows are centred, and inverse layers have their strided layer's, whatever is given here.
    pub fn padding(mut self, padding: impl Into<Axes>) -> Self {
        self.padding = padding.into().0;
        self
    }

    /// Step between the cells of a window; 1 if not given.
    pub fn dilation(mut self, dilation: impl Into<Axes>) -> Self {
        self.dilation = dilation.into().0;
        self
    }

    /// Cells that the shape of a transposed layer's outputs has more; 0 if not given.
    pub fn output_padding(mut self, output_padding: impl Into<Axes>) -> Self {
        self.output_padding = output_padding.into().0;
        self
    }

    /// Groups of channels that do not meet; 1 if not given.
    pub const fn groups(mut self, groups: u32) -> Self {
        self.groups = groups;
        self
    }

    /// How features and weights are stored; float32 if not given. Sums are float32 always.
    pub const fn dtype(mut self, dtype: DType) -> Self {
        self.dtype = dtype;
        self
    }

    /// The weights, rounded to the storage type. Without them the layer has values that a network
    /// can be trained from. They are spread evenly over ±1/√(volume · c_in / groups) (He et al.,
    /// *Delving Deep into Rectifiers*, 2015, as PyTorch has it).
    ///
    /// # Shapes
    /// `volume · c_in / groups · c_out` values in the order of the layout.
    pub fn weights(mut self, layout: WeightLayout, weights: &[f32]) -> Self {
        self.weights = Some((layout, weights.to_vec()));
        self
    }

    /// What is added to each output channel.
    ///
    /// # Shapes
    /// `(c_out)`.
    pub fn bias(mut self, bias: &[f32]) -> Self {
        self.bias = Some(bias.to_vec());
        self
    }

    /// The seed of weights that are not given.
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// A name for the layer's kernel map over one input, spconv's `indice_key`. Maps are shared
    /// without. With one, layers that name the same map must have the same: an inverse layer goes
    /// back along the layer of its name. A checkpoint's network that was put together otherwise is
    /// an error and does not run.
    pub fn map_name(mut self, name: impl Into<String>) -> Self {
        self.map_name = Some(name.into());
        self
    }

    /// What chooses algorithms; the [default tuner](Tuner::global) if not given.
    pub fn tuner(mut self, tuner: Tuner) -> Self {
        self.tuner = Some(tuner);
        self
    }

    /// The layer on a device, [prepared](Conv::prepare) for the forward direction.
    ///
    /// # Errors
    /// If no layer is as described, naming what is wrong; if no algorithm of the device computes
    /// it. If weights or bias have another length, or are more than memory holds; if an environment
    /// variable that decides on algorithms is malformed.
    pub fn build(self, device: &Device) -> Result<Conv<K>, ConvError> {
        let geometry = self.geometry()?;
        let operation = self.operation(&geometry)?;
        let shape = WeightShape::of(&operation, self.groups);
        let stored = self.stored_weights(shape, &operation)?;
        let slices = slices(device, self.most_offsets(device), &operation, &stored)?;
        let can_run = match &*slices {
            [] => device.registry().can_run(&operation),
            slices => slices.iter().all(|slice| device.registry().can_run(&slice.operation)),
        };
        if !can_run {
            let device = device.identity().clone();
            return Err(ConvError::NoAlgorithm { device, operation });
        }
        let c_out = self.c_out as usize;
        let rows = operation.weight_rows();
        let weights = Tensor::from_f32(device, self.dtype, rows, c_out, &stored)?;
        let bias = match &self.bias {
            None => None,
            Some(bias) if bias.len() == c_out => {
                Some(Tensor::from_f32(device, DType::Float32, 1, c_out, bias)?)
            }
            Some(bias) => {
                let (what, found) = ("bias", bias.len());
                return Err(ConvError::Length { what, expected: c_out, found });
            }
        };
        let tuner = match self.tuner {
            Some(tuner) => tuner,
            None => Tuner::global()?.clone(),
        };
        let map_name = self.map_name.map(Arc::from);
        let parts =
            Parts { operation, geometry, weight_shape: shape, weights, bias, slices, map_name };
        let layer = Conv::new(device, tuner, parts);
        // What is not ready is met by the first call that needs it.
        _ = layer.prepare(&[Direction::Forward]);
        Ok(layer)
    }

    /// Offsets of a map that the device can have.
    fn most_offsets(&self, device: &Device) -> usize {
        #[cfg(test)]
        if let Some(most) = self.most_offsets {
            return most;
        }
        device.most_offsets()
    }

    fn refused(&self, problem: impl Into<String>) -> ConvError {
        let Self { c_in, c_out, .. } = self;
        ConvError::Layer { layer: format!("{}({c_in}, {c_out})", K::NAME), problem: problem.into() }
    }

    fn geometry(&self) -> Result<Geometry, ConvError> {
        let stride = Axes(self.stride.unwrap_or(match K::KIND {
            LayerKind::Inverse => self.kernel,
            _ => [1; 3],
        }));
        let (kernel, padding) = (Axes(self.kernel), Axes(self.padding));
        let geometry = window(K::KIND, kernel, stride, padding, Axes(self.dilation))
            .map_err(|problem| self.refused(problem))?;
        let output_padding = narrow("output padding", Axes(self.output_padding))
            .map_err(|problem| self.refused(problem))?;
        if K::KIND != LayerKind::Transposed && output_padding != [0; 3] {
            let problem = "only a transposed layer's outputs have a padding of their own";
            return Err(self.refused(problem));
        }
        Ok(Geometry { output_padding, ..geometry })
    }

    /// What the layer runs.
    fn operation(&self, geometry: &Geometry) -> Result<Operation, ConvError> {
        let Self { c_in, c_out, groups, dtype, .. } = *self;
        if c_in == 0 || c_out == 0 {
            return Err(ConvError::NoChannels { c_in, c_out });
        }
        if groups == 0 || c_in % groups != 0 || c_out % groups != 0 {
            return Err(self.refused(format!("channels do not divide into {groups} groups")));
        }
        let Geometry { kind, kernel, stride, .. } = *geometry;
        let (direction, pitch) = (Direction::Forward, PitchClass::Dense);
        let operation =
            Operation { direction, dtype, c_in, c_out, kernel, stride, kind, pitch, groups };
        match operation.checked_weight_len() {
            Some(_) => Ok(operation),
            None => Err(ConvError::TooManyWeights { operation }),
        }
    }

    fn stored_weights(
        &self,
        shape: WeightShape,
        operation: &Operation,
    ) -> Result<Vec<f32>, ConvError> {
        let too_many = ConvError::TooManyWeights { operation: *operation };
        let expected = shape.len().ok_or(too_many)?;
        let Some((layout, weights)) = &self.weights else {
            let bound = 1.0 / ((expected / self.c_out as usize) as f32).sqrt();
            let all: Vec<f32> = (0..expected as u64)
                .map(|index| bound * value(Noise::Uniform, self.seed, index))
                .collect();
            return Ok(shape.to_stored(WeightLayout::Rsck, &all));
        };
        if weights.len() != expected {
            let found = weights.len();
            return Err(ConvError::Length { what: "weights", expected, found });
        }
        Ok(shape.to_stored(*layout, weights))
    }
}
