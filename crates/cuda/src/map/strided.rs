//! Building maps between two clouds, and of offsets that are no neighbours.

use std::sync::Arc;

use voxtune_types::{Geometry, KernelSize, Voxel};

use super::bipartite::{Bipartite, BipartiteKernels, Steps};
use super::cloud::Cloud;
use super::counts::ReportPages;
use super::kernels::MapKernels;
use super::lazy::Lazy;
use super::rows::{Lookup, RowMap};
use super::search::Search;
use super::{DeviceKernelMap, MapBuilder, check_map};
use crate::buffer::DeviceBuffer;
use crate::code::Compiled;
use crate::error::{CudaError, Result};

/// Builds the maps of strided and transposed layers with the compiled
/// [`crate::Instance::strided_map`].
#[derive(Debug)]
pub struct StridedMapBuilder {
    kernels: Arc<MapKernels>,
    bipartite: Arc<BipartiteKernels>,
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
    /// As [`Self::build`], and [`CudaError::Length`] if a buffer is shorter than its voxels.
    pub fn build_on_device(
        &self,
        inputs: Cloud<'_>,
        outputs: Cloud<'_>,
        geometry: &Geometry,
    ) -> Result<DeviceKernelMap> {
        geometry.check().map_err(CudaError::Geometry)?;
        check_map(geometry.kernel, inputs.capacity().min(outputs.capacity()))?;
        inputs.check()?;
        outputs.check()?;
        let insert = |cloud| Search::insert(&self.kernels, &self.pages, cloud).map(Arc::new);
        let (inputs, outputs) = (insert(inputs)?, insert(outputs)?);
        let steps = Steps::multiplied(geometry);
        let (of_outputs, of_inputs) = match geometry.kind.is_upsampling() {
            false => (steps, steps.divided()),
            true => (steps.divided(), steps),
        };
        let forward = self.rows(&outputs, &inputs, of_outputs)?;
        let reverse = self.rows(&inputs, &outputs, of_inputs)?;
        for search in [&inputs, &outputs] {
            search.place_bricks(&self.bipartite.bases)?;
            search.rank(&self.kernels, geometry.kernel.volume())?;
        }
        Ok(self.map(geometry.kernel, (inputs, outputs), forward, Some(reverse)))
    }

    /// The map of a submanifold layer whose offsets are further apart than neighbours, over voxels
    /// that are on the device already.
    ///
    /// # Errors
    /// As [`Self::build_on_device`].
    pub fn dilated_on_device(
        &self,
        cloud: Cloud<'_>,
        kernel: KernelSize,
        dilation: [u8; 3],
    ) -> Result<DeviceKernelMap> {
        let geometry = Geometry::submanifold(kernel, dilation);
        geometry.check().map_err(CudaError::Geometry)?;
        check_map(kernel, cloud.capacity())?;
        cloud.check()?;
        let search = Arc::new(Search::insert(&self.kernels, &self.pages, cloud)?);
        let forward = self.rows(&search, &search, Steps::multiplied(&geometry))?;
        search.place_bricks(&self.bipartite.bases)?;
        search.rank(&self.kernels, kernel.volume())?;
        // It is its own mirror image.
        Ok(self.map(kernel, (Arc::clone(&search), search), forward, None))
    }

    fn map(
        &self,
        kernel: KernelSize,
        (inputs, outputs): (Arc<Search>, Arc<Search>),
        forward: RowMap,
        reverse: Option<RowMap>,
    ) -> DeviceKernelMap {
        DeviceKernelMap {
            kernels: Arc::clone(&self.kernels),
            kernel,
            inputs,
            outputs,
            counts: Lazy::default(),
            forward: Arc::new(forward),
            reverse: reverse.map(Arc::new),
            pairs: Lazy::default(),
        }
    }

    fn rows(&self, own: &Arc<Search>, gathered: &Arc<Search>, steps: Steps) -> Result<RowMap> {
        let bipartite = Bipartite {
            kernels: Arc::clone(&self.bipartite),
            own: Arc::clone(own),
            gathered: Arc::clone(gathered),
            steps,
        };
        let masks = bipartite.masks(&self.kernels)?;
        Ok(RowMap::new(Lookup::Bipartite(bipartite), masks))
    }
}
