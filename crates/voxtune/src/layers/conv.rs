//! Convolution layers of every kind.

use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

use voxtune_types::{DType, Direction, Geometry, LayerKind, Operation};

use super::conv_builder::ConvBuilder;
use super::kinds::{ConvKind, Inverse, Sparse, Submanifold, Transposed};
use super::slices::{Slice, slices};
use super::weights::{WeightLayout, WeightShape};
use super::{Prepared, RegisteredLayer};
use crate::tuner::Call;
use crate::{ConvError, Device, KernelMap, Resolution, Tensor, Tuner, Voxels};

/// A submanifold convolution: outputs are exactly where inputs are (spconv's `SubMConv3d`).
///
/// ```
/// use voxtune::{Device, SparseTensor, SubmConv3d, Tensor, Voxel, Voxels, WeightLayout};
///
/// let device = Device::cpu()?;
/// let voxels = Voxels::new(&device, (0..3).map(|z| Voxel::new(0, 0, 0, z)).collect())?;
/// let input = SparseTensor::new(voxels, Tensor::from_rows(&device, &[[1.0], [2.0], [4.0]])?)?;
/// let weights = [1.0; 27];
/// let layer = SubmConv3d::builder(1, 1).weights(WeightLayout::Rsck, &weights).build(&device)?;
/// assert_eq!(layer.forward(&input)?.features().to_f32()?, [3.0, 7.0, 6.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type SubmConv3d = Conv<Submanifold>;

/// A strided convolution, or one of stride 1 whose outputs are wherever an input reaches (spconv's
/// `SparseConv3d`). Outputs end at the shape that follows from that of the inputs
/// ([`Voxels::within`]).
///
/// ```
/// use voxtune::{Device, SparseConv3d, SparseTensor, Tensor, Voxel, Voxels};
///
/// let device = Device::cpu()?;
/// let cells = vec![Voxel::new(0, 0, 0, 0), Voxel::new(0, 3, 3, 3)];
/// let voxels = Voxels::within(&device, [4, 4, 4], cells)?;
/// let input = SparseTensor::new(voxels, Tensor::from_rows(&device, &[[1.0], [2.0]])?)?;
/// let layer = SparseConv3d::builder(1, 8).kernel(3).stride(2).padding(1).build(&device)?;
/// let output = layer.forward(&input)?;
/// assert_eq!(output.voxels().shape(), Some([2, 2, 2]));
/// assert_eq!(output.voxels().len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type SparseConv3d = Conv<Sparse>;

/// The layer that goes back from a [`SparseConv3d`]'s outputs to its inputs, over the same pairs
/// (spconv's `SparseInverseConv3d`). Which layer that was, its input knows.
///
/// ```
/// use voxtune::{
///     Device, SparseConv3d, SparseInverseConv3d, SparseTensor, Tensor, Voxel, Voxels,
/// };
///
/// let device = Device::cpu()?;
/// let voxels = Voxels::new(&device, (0..5).map(|x| Voxel::new(0, x, 0, 0)).collect())?;
/// let input = SparseTensor::new(voxels, Tensor::from_rows(&device, &[[1.0]; 5])?)?;
/// let down = SparseConv3d::builder(1, 8).kernel(2).stride(2).build(&device)?;
/// let up = SparseInverseConv3d::builder(8, 1).kernel(2).stride(2).build(&device)?;
/// let output = up.forward(&down.forward(&input)?)?;
/// assert!(output.voxels().is_same(input.voxels()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type SparseInverseConv3d = Conv<Inverse>;

/// A transposed convolution, with outputs wherever an input's window reaches (spconv's
/// `SparseConvTranspose3d`).
///
/// ```
/// use voxtune::{Device, SparseConvTranspose3d, SparseTensor, Tensor, Voxel, Voxels};
///
/// let device = Device::cpu()?;
/// let voxels = Voxels::new(&device, vec![Voxel::new(0, 1, 2, 3)])?;
/// let input = SparseTensor::new(voxels, Tensor::from_rows(&device, &[[1.0]])?)?;
/// let up = SparseConvTranspose3d::builder(1, 4).kernel(2).stride(2).build(&device)?;
/// assert_eq!(up.forward(&input)?.voxels().len(), 8);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type SparseConvTranspose3d = Conv<Transposed>;

/// A convolution layer. Its kinds are [`SubmConv3d`], [`SparseConv3d`], [`SparseInverseConv3d`] and
/// [`SparseConvTranspose3d`]. Cloning shares weights and what is prepared.
///
/// A call runs in the execution context of its input. That is the stream of the [`Device`] handle
/// that the input's voxels were made with. Its output is of that context, too. The layer may have
/// been built with another handle of the same device: its weights are read from every context.
///
/// # Shapes
/// Inputs are `(voxels, c_in)`; outputs `(outputs, c_out)`, over the voxels that
/// [`Voxels::outputs_of`] the layer's [geometry](Self::geometry) gives.
pub struct Conv<K> {
    device: Device,
    tuner: Tuner,
    pub(super) operation: Operation,
    geometry: Geometry,
    pub(super) weight_shape: WeightShape,
    pub(super) weights: Arc<Tensor>,
    pub(super) bias: Option<Arc<Tensor>>,
    /// What a kernel of more offsets than a map holds is computed in.
    pub(super) slices: Arc<[Slice]>,
    /// What its kernel map is called.
    map_name: Option<Arc<str>>,
    /// Kernel maps are made complete for the layers that are alive.
    registered: Arc<RegisteredLayer>,
    /// What the last call of each direction ran, to be asked for. No call reads it.
    last: Arc<Mutex<[Option<Resolution>; 3]>>,
    kind: PhantomData<K>,
}

/// What a layer computes and with which numbers.
pub(super) struct Parts {
    pub(super) operation: Operation,
    pub(super) geometry: Geometry,
    pub(super) weight_shape: WeightShape,
    /// `(volume · c_in / groups, c_out)`.
    pub(super) weights: Tensor,
    /// `(1, c_out)` float32.
    pub(super) bias: Option<Tensor>,
    pub(super) slices: Arc<[Slice]>,
    pub(super) map_name: Option<Arc<str>>,
}

/// The output voxels of a call, and the map to them, or one per slice.
pub(super) struct CallMaps {
    pub(super) outputs: Voxels,
    pub(super) maps: Vec<Arc<KernelMap>>,
}

impl<K: ConvKind> Conv<K> {
    /// Begins a layer from `c_in` to `c_out` channels.
    pub const fn builder(c_in: u32, c_out: u32) -> ConvBuilder<K> {
        ConvBuilder::new(c_in, c_out)
    }

    /// A layer of these parts.
    pub(super) fn new(device: &Device, tuner: Tuner, parts: Parts) -> Self {
        let Parts { operation, geometry, weight_shape, weights, bias, slices, map_name } = parts;
        let registered = device.preparations().register_layer(&tuner, operation);
        Self {
            device: device.clone(),
            tuner,
            operation,
            geometry,
            weight_shape,
            weights: Arc::new(weights),
            bias: bias.map(Arc::new),
            slices,
            map_name,
            registered,
            last: Arc::default(),
            kind: PhantomData,
        }
    }

    /// Gets ready what these directions may run, for any row count that was measured, as
    /// [`Device::prepare`] does. Kernel maps that are built from now on, while the layer lives,
    /// come with everything that it reads of them.
    pub fn prepare(&self, directions: &[Direction]) -> Prepared {
        self.registered.add(directions);
        let parts = || self.slices.iter().map(|slice| slice.operation);
        let all = || parts().chain(self.slices.is_empty().then_some(self.operation));
        let operations: Vec<Operation> = directions
            .iter()
            .flat_map(|one| all().map(|operation| operation.with_direction(*one)))
            .collect();
        self.device.prepare(&self.tuner, &operations)
    }

    /// What its kernel map is called, if it has a [name](ConvBuilder::map_name).
    #[must_use]
    pub fn map_name(&self) -> Option<&str> {
        self.map_name.as_deref()
    }

    /// What this layer computes, in the forward direction.
    #[must_use]
    pub const fn operation(&self) -> &Operation {
        &self.operation
    }

    /// Where its rows meet. Padding and dilation of an inverse layer are those of the layer that it
    /// undoes.
    #[must_use]
    pub const fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The device that it was built on. A call runs in the context of its input's device.
    #[must_use]
    pub const fn device(&self) -> &Device {
        &self.device
    }

    /// Channel groups.
    #[must_use]
    pub const fn groups(&self) -> usize {
        self.weight_shape.groups
    }

    /// The weights in the order of a checkpoint.
    ///
    /// # Shapes
    /// `volume · c_in / groups · c_out` values.
    ///
    /// # Errors
    /// If the device fails to hand them over.
    pub fn weights(&self, layout: WeightLayout) -> Result<Vec<f32>, ConvError> {
        Ok(self.weight_shape.of_stored(layout, &self.weights.to_f32()?))
    }

    /// Other weights, rounded to the storage type. Clones of the layer keep theirs.
    ///
    /// # Shapes
    /// `volume · c_in / groups · c_out` values in the order of the layout.
    ///
    /// # Errors
    /// If there are more or fewer, or the device fails.
    pub fn set_weights(&mut self, layout: WeightLayout, weights: &[f32]) -> Result<(), ConvError> {
        let shape = self.weight_shape;
        let (expected, found) = (shape.len().unwrap_or(usize::MAX), weights.len());
        if found != expected {
            return Err(ConvError::Length { what: "weights", expected, found });
        }
        let stored = shape.to_stored(layout, weights);
        let Operation { dtype, .. } = self.operation;
        let (rows, c_out) = (self.weights.rows(), self.weights.channels());
        if let Some(most) = self.slices.iter().map(|slice| slice.operation.kernel.volume()).max() {
            self.slices = slices(&self.device, most, &self.operation, &stored)?;
        }
        self.weights = Arc::new(Tensor::from_f32(&self.device, dtype, rows, c_out, &stored)?);
        Ok(())
    }

    /// The bias, if there is one.
    ///
    /// # Shapes
    /// `(c_out)`.
    ///
    /// # Errors
    /// If the device fails to hand it over.
    pub fn bias(&self) -> Result<Option<Vec<f32>>, ConvError> {
        self.bias.as_ref().map(|bias| bias.to_f32()).transpose()
    }

    /// Another bias, or none. Clones of the layer keep theirs.
    ///
    /// # Shapes
    /// `(c_out)`.
    ///
    /// # Errors
    /// If it has another length, or the device fails.
    pub fn set_bias(&mut self, bias: Option<&[f32]>) -> Result<(), ConvError> {
        let c_out = self.operation.c_out as usize;
        let row = |bias| Tensor::from_f32(&self.device, DType::Float32, 1, c_out, bias);
        self.bias = bias.map(row).transpose()?.map(Arc::new);
        Ok(())
    }

    /// The algorithm that a direction runs over these inputs, and why.
    ///
    /// # Errors
    /// If the kernel map cannot be built or nothing can run.
    pub fn resolve(&self, direction: Direction, inputs: &Voxels) -> Result<Resolution, ConvError> {
        let call_maps = self.call_maps(inputs)?;
        let operation = self.slices.first().map_or(self.operation, |slice| slice.operation);
        self.resolve_over(operation.with_direction(direction), &call_maps.maps[0], inputs)
    }

    /// What the last call of a direction ran, and why; of a kernel that is computed in slices, the
    /// last of them. `None` if the layer has not run in it.
    #[must_use]
    pub fn last_resolution(&self, direction: Direction) -> Option<Resolution> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)[direction as usize].clone()
    }

    /// Notes what a call ran.
    pub(super) fn ran(&self, resolution: &Resolution) {
        let direction = resolution.key().operation.direction;
        self.last.lock().unwrap_or_else(PoisonError::into_inner)[direction as usize] =
            Some(resolution.clone());
    }

    pub(super) fn call_maps(&self, inputs: &Voxels) -> Result<CallMaps, ConvError> {
        let (outputs, geometry) = inputs.made_by(&self.geometry)?;
        if let Some(name) = &self.map_name {
            inputs.name_map(name, &outputs, &geometry)?;
        }
        if self.slices.is_empty() {
            let map = inputs.map_of(&outputs, &geometry)?;
            return Ok(CallMaps { outputs, maps: vec![map] });
        }
        let map = |slice: &Slice| inputs.map_between(&outputs, &slice.of(&geometry));
        let maps = self.slices.iter().map(map).collect::<Result<_, _>>()?;
        Ok(CallMaps { outputs, maps })
    }

    pub(super) fn resolve_over(
        &self,
        operation: Operation,
        map: &KernelMap,
        inputs: &Voxels,
    ) -> Result<Resolution, ConvError> {
        let counts = map.counts();
        // What an inverse layer is measured over are its outputs. A slice's outputs are those of
        // the whole layer, which no measurement of it alone has.
        let undone = match self.geometry.kind {
            LayerKind::Inverse => Some(inputs.made_by(&self.geometry)?.0),
            _ => None,
        };
        let measured_over = self.slices.is_empty().then(|| undone.as_ref().unwrap_or(inputs));
        let cloud = measured_over.map(|voxels| (voxels, map.geometry()));
        let call = Call { counts, cloud, waits: map.waits() };
        self.tuner.resolve_call(inputs.device(), &counts.key(operation), Some(call))
    }
}

impl<K> Clone for Conv<K> {
    fn clone(&self) -> Self {
        Self {
            device: self.device.clone(),
            tuner: self.tuner.clone(),
            operation: self.operation,
            geometry: self.geometry,
            weight_shape: self.weight_shape,
            weights: Arc::clone(&self.weights),
            bias: self.bias.clone(),
            slices: Arc::clone(&self.slices),
            map_name: self.map_name.clone(),
            registered: Arc::clone(&self.registered),
            last: Arc::clone(&self.last),
            kind: PhantomData,
        }
    }
}

impl<K: ConvKind> fmt::Debug for Conv<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({}, {})", K::NAME, self.operation, self.device.identity())
    }
}
