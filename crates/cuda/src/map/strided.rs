//! Building maps between two clouds, and of offsets that are no neighbours.

use std::sync::Arc;

use voxtune_types::{Geometry, KernelSize, Voxel};

use super::bipartite::{Bipartite, BipartiteKernels, Steps};
use super::cloud::Cloud;
use super::counts::ReportPages;
use super::index::VoxelIndex;
use super::kernels::MapKernels;
use super::rows::Lookup;
use super::{DeviceKernelMap, MapBuilder, Reverse, check_map};
use crate::buffer::DeviceBuffer;
use crate::code::Compiled;
use crate::error::{CudaError, Result};

/// Builds the maps of strided and transposed layers with the compiled
/// [`crate::Instance::strided_map`].
#[derive(Debug)]
pub struct StridedMapBuilder {
    kernels: Arc<MapKernels>,
    pub(super) bipartite: Arc<BipartiteKernels>,
    pages: ReportPages,
}

impl StridedMapBuilder {
    /// Loads the kernels that a builder of submanifold maps lacks.
    ///
    /// # Errors
    /// If the cubin cannot be loaded.
    pub fn new(maps: &MapBuilder, compiled: &Compiled) -> Result<Self> {
        let kernels = Arc::clone(&maps.kernels);
        let bipartite = Arc::new(BipartiteKernels::new(&kernels.device, compiled)?);
        Ok(Self { kernels, bipartite, pages: maps.pages.clone() })
    }

    /// The map between distinct voxels in any order: for each of [`Geometry::offsets`] the rows
    /// that meet. With the map by input rows, which dgrad reads. [`DeviceKernelMap::transposed`] is
    /// the map of the layer that undoes it.
    ///
    /// Two rows of a side in one cell are an error of [`DeviceKernelMap::counts`].
    ///
    /// # Errors
    /// [`CudaError::Geometry`]; [`CudaError::TooLarge`] past 125 offsets or a billion rows;
    /// whatever the driver fails with.
    pub fn build(
        &self,
        inputs: &[Voxel],
        outputs: &[Voxel],
        geometry: &Geometry,
    ) -> Result<DeviceKernelMap> {
        let device = &self.kernels.device;
        let (n_in, n_out) = (inputs.len(), outputs.len());
        let inputs = DeviceBuffer::from_host(device, inputs)?;
        let outputs = DeviceBuffer::from_host(device, outputs)?;
        self.build_on_device(Cloud::new(&inputs, n_in), Cloud::new(&outputs, n_out), geometry)
    }

    /// The same over voxels that are on the device already. Waits for nothing; work queued later
    /// may overwrite the voxels.
    ///
    /// # Errors
    /// As [`Self::build`] and [`MapBuilder::index`].
    pub fn build_on_device(
        &self,
        inputs: Cloud<'_>,
        outputs: Cloud<'_>,
        geometry: &Geometry,
    ) -> Result<DeviceKernelMap> {
        geometry.check().map_err(CudaError::Geometry)?;
        check_map(geometry.kernel, inputs.capacity().min(outputs.capacity()))?;
        let index = |cloud| VoxelIndex::insert(&self.kernels, &self.pages, cloud).map(Arc::new);
        self.build_of(&index(inputs)?, &index(outputs)?, geometry)
    }

    /// The same over voxels that are hashed already.
    ///
    /// # Errors
    /// As [`Self::build`].
    pub fn build_of(
        &self,
        inputs: &Arc<VoxelIndex>,
        outputs: &Arc<VoxelIndex>,
        geometry: &Geometry,
    ) -> Result<DeviceKernelMap> {
        geometry.check().map_err(CudaError::Geometry)?;
        check_map(geometry.kernel, inputs.rows().min(outputs.rows()))?;
        let steps = Steps::multiplied(geometry);
        let (of_outputs, of_inputs) = match geometry.kind.is_upsampling() {
            false => (steps, steps.divided()),
            true => (steps.divided(), steps),
        };
        let reverse = Reverse::Other(Arc::clone(&self.bipartite), of_inputs);
        self.map(geometry.kernel, [inputs, outputs], of_outputs, reverse)
    }

    /// The map of a submanifold layer whose offsets are further apart than neighbours, over voxels
    /// that are hashed already.
    ///
    /// # Errors
    /// As [`Self::build`].
    pub fn dilated_of(
        &self,
        index: &Arc<VoxelIndex>,
        kernel: KernelSize,
        dilation: [u8; 3],
    ) -> Result<DeviceKernelMap> {
        let geometry = Geometry::submanifold(kernel, dilation);
        geometry.check().map_err(CudaError::Geometry)?;
        check_map(kernel, index.rows())?;
        // It is its own mirror image.
        self.map(kernel, [index, index], Steps::multiplied(&geometry), Reverse::Mirrored)
    }

    fn map(
        &self,
        kernel: KernelSize,
        [inputs, outputs]: [&Arc<VoxelIndex>; 2],
        steps: Steps,
        reverse: Reverse,
    ) -> Result<DeviceKernelMap> {
        let lookup = Lookup::Bipartite(Bipartite {
            kernels: Arc::clone(&self.bipartite),
            own: Arc::clone(outputs),
            gathered: Arc::clone(inputs),
            steps,
        });
        let (kernels, pages) = (&self.kernels, &self.pages);
        DeviceKernelMap::new(kernels, pages, kernel, [inputs, outputs], lookup, reverse)
    }
}
