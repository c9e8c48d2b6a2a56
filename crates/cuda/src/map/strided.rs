//! Building maps between two clouds.

use std::sync::Arc;

use voxtune_types::{KernelSize, Voxel};

use super::across::{Across, AcrossKernels, Steps};
use super::counts::ReportPages;
use super::kernels::MapKernels;
use super::lazy::Lazy;
use super::rows::{Lookup, RowMap};
use super::search::Search;
use super::{DeviceKernelMap, MapBuilder, check_cloud, check_map};
use crate::buffer::DeviceBuffer;
use crate::code::Compiled;
use crate::error::{CudaError, Result};

/// Builds the maps of strided and transposed layers with the compiled
/// [`crate::Instance::strided_map`].
#[derive(Debug)]
pub struct StridedMapBuilder {
    kernels: Arc<MapKernels>,
    across: Arc<AcrossKernels>,
    pages: ReportPages,
}

impl StridedMapBuilder {
    /// Loads the kernels that a builder of submanifold maps lacks.
    ///
    /// # Errors
    /// If the cubin cannot be loaded.
    pub fn new(maps: &MapBuilder, compiled: &Compiled) -> Result<Self> {
        let kernels = Arc::clone(&maps.kernels);
        let across = Arc::new(AcrossKernels::new(&kernels.device, compiled)?);
        Ok(Self { kernels, across, pages: maps.pages.clone() })
    }

    /// The map of a strided convolution between distinct voxels in any order: output row `o` meets the
    /// input row at `o · stride + offset`, for each of [`KernelSize::offsets`]. With the map by input
    /// rows, which dgrad reads. [`DeviceKernelMap::transposed`] is the map of the layer that undoes it.
    ///
    /// Two rows of a side in one cell are an error of [`DeviceKernelMap::counts`].
    ///
    /// # Errors
    /// [`CudaError::ZeroStride`]; [`CudaError::TooLarge`] past 125 offsets or a billion rows; whatever
    /// the driver fails with.
    pub fn build(
        &self,
        inputs: &[Voxel],
        outputs: &[Voxel],
        kernel: KernelSize,
        stride: [u8; 3],
    ) -> Result<DeviceKernelMap> {
        let device = &self.kernels.device;
        let (n_in, n_out) = (inputs.len(), outputs.len());
        let inputs = DeviceBuffer::from_host(device, inputs)?;
        let outputs = DeviceBuffer::from_host(device, outputs)?;
        self.build_on_device((&inputs, n_in), (&outputs, n_out), kernel, stride)
    }

    /// The same over numbers of voxels that are on the device already, as [`Voxel`]s. Waits for
    /// nothing; work queued later may overwrite the voxels.
    ///
    /// # Errors
    /// As [`Self::build`], and [`CudaError::Length`] if a buffer is shorter than its voxels.
    pub fn build_on_device(
        &self,
        (inputs, n_in): (&DeviceBuffer, usize),
        (outputs, n_out): (&DeviceBuffer, usize),
        kernel: KernelSize,
        stride: [u8; 3],
    ) -> Result<DeviceKernelMap> {
        if stride.contains(&0) {
            return Err(CudaError::ZeroStride(stride));
        }
        check_map(kernel, n_in.min(n_out))?;
        check_cloud(inputs, n_in)?;
        check_cloud(outputs, n_out)?;
        let insert = |coords, n| Search::insert(&self.kernels, &self.pages, coords, n);
        let (inputs, outputs) =
            (Arc::new(insert(inputs, n_in)?), Arc::new(insert(outputs, n_out)?));
        let steps = Steps::multiplied(kernel, stride);
        let forward = self.rows(&outputs, &inputs, steps)?;
        let reverse = self.rows(&inputs, &outputs, steps.divided())?;
        for search in [&inputs, &outputs] {
            search.place_bricks(&self.across.bases)?;
            search.rank(&self.kernels, kernel.volume())?;
        }
        Ok(DeviceKernelMap {
            kernels: Arc::clone(&self.kernels),
            kernel,
            inputs,
            outputs,
            counts: Lazy::default(),
            forward: Arc::new(forward),
            reverse: Some(Arc::new(reverse)),
            pairs: Lazy::default(),
        })
    }

    fn rows(&self, own: &Arc<Search>, gathered: &Arc<Search>, steps: Steps) -> Result<RowMap> {
        let across = Across {
            kernels: Arc::clone(&self.across),
            own: Arc::clone(own),
            gathered: Arc::clone(gathered),
            steps,
        };
        let masks = across.masks(&self.kernels)?;
        Ok(RowMap::new(Lookup::Across(across), masks))
    }
}
