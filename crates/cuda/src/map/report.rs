//! What a map's build tells the host.

use std::sync::Arc;

use super::MapCounts;
use super::counts::Report;
use super::index::IndexReport;
use crate::error::Result;

/// The counts of a map that may still be on their way from the device. It outlives the map and
/// keeps none of its memory.
#[derive(Clone, Debug)]
pub struct MapReport {
    volume: usize,
    /// `None` where the outputs are the inputs.
    inputs: Option<IndexReport>,
    outputs: IndexReport,
    /// The pairs of each offset.
    pairs: Arc<Report>,
}

impl MapReport {
    pub(super) const fn new(
        volume: usize,
        inputs: Option<IndexReport>,
        outputs: IndexReport,
        pairs: Arc<Report>,
    ) -> Self {
        Self { volume, inputs, outputs, pairs }
    }

    /// Rows and pairs. Waits until the map is built on the device.
    ///
    /// # Errors
    /// As [`DeviceKernelMap::counts`](super::DeviceKernelMap::counts), and
    /// [`CudaError::DuplicateVoxels`](crate::CudaError::DuplicateVoxels) where the voxels are gone
    /// that could tell which.
    pub fn wait(&self) -> Result<MapCounts> {
        let n_out = self.outputs.wait()?;
        let n_in = self.inputs.as_ref().map_or(Ok(n_out), IndexReport::wait)?;
        Ok(MapCounts { n_in, n_out, pairs: counts(&self.pairs.wait(self.volume)?) })
    }

    /// The same if the device has built the map, without waiting.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub fn try_read(&self) -> Result<Option<MapCounts>> {
        let Some(n_out) = self.outputs.try_read()? else { return Ok(None) };
        let n_in = match &self.inputs {
            None => n_out,
            Some(inputs) => match inputs.try_read()? {
                Some(n_in) => n_in,
                None => return Ok(None),
            },
        };
        let pairs = self.pairs.try_read(self.volume)?;
        Ok(pairs.map(|words| MapCounts { n_in, n_out, pairs: counts(&words) }))
    }
}

fn counts(words: &[i32]) -> Vec<usize> {
    words.iter().map(|&count| usize::try_from(count).unwrap_or(0)).collect()
}
