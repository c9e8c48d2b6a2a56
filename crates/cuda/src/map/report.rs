//! What a map's build tells the host.

use std::sync::{Arc, Weak};

use super::MapCounts;
use super::counts::Report;
use super::search::Search;
use crate::error::{CudaError, Result};

/// The counts of a map that may still be on their way from the device. It outlives the map and
/// keeps none of its memory.
#[derive(Clone, Debug)]
pub struct MapReport {
    volume: usize,
    /// `None` where the outputs are the inputs.
    inputs: Option<Side>,
    outputs: Side,
}

/// The report of a side's rows, which are read back where two of them share a cell.
#[derive(Clone, Debug)]
struct Side {
    report: Arc<Report>,
    search: Weak<Search>,
}

impl Side {
    fn new(search: &Arc<Search>) -> Self {
        Self { report: Arc::clone(search.report()), search: Arc::downgrade(search) }
    }

    /// Rows, and pairs of each offset, of the words that a report has.
    fn counts(&self, words: &[i32]) -> Result<(usize, Vec<usize>)> {
        let (duplicate, counts) = (words[0] != 0, &words[1..]);
        if duplicate {
            let search = self.search.upgrade();
            let found = search.map(|search| search.find_duplicate()).transpose()?.flatten();
            return Err(match found {
                Some((voxel, row)) => CudaError::DuplicateVoxel { voxel, row },
                None => CudaError::DuplicateVoxels,
            });
        }
        let mut counts: Vec<usize> =
            counts.iter().map(|&count| usize::try_from(count).unwrap_or(0)).collect();
        Ok((counts.pop().unwrap_or(0), counts))
    }
}

impl MapReport {
    pub(super) fn new(volume: usize, inputs: &Arc<Search>, outputs: &Arc<Search>) -> Self {
        let other = !Arc::ptr_eq(inputs, outputs);
        Self { volume, inputs: other.then(|| Side::new(inputs)), outputs: Side::new(outputs) }
    }

    /// Rows and pairs. Waits until the map is built on the device.
    ///
    /// # Errors
    /// As [`DeviceKernelMap::counts`](super::DeviceKernelMap::counts), and
    /// [`CudaError::DuplicateVoxels`] where the map is gone that could tell which.
    pub fn wait(&self) -> Result<MapCounts> {
        let counts = self.read(|report, len| report.wait(len).map(Some))?;
        Ok(counts.expect("a report that was waited for is there"))
    }

    /// The same if the device has built the map, without waiting.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub fn try_read(&self) -> Result<Option<MapCounts>> {
        self.read(Report::try_read)
    }

    fn read(
        &self,
        words_of: impl Fn(&Report, usize) -> Result<Option<Vec<i32>>>,
    ) -> Result<Option<MapCounts>> {
        let len = 2 + self.volume;
        // Both sides have the same pairs: of the inputs only their number is asked, and whether
        // they are distinct.
        let mut n_in = None;
        if let Some(inputs) = &self.inputs {
            let Some(words) = words_of(&inputs.report, len)? else { return Ok(None) };
            n_in = Some(inputs.counts(&words)?.0);
        }
        let Some(words) = words_of(&self.outputs.report, len)? else { return Ok(None) };
        let (n_out, pairs) = self.outputs.counts(&words)?;
        Ok(Some(MapCounts { n_in: n_in.unwrap_or(n_out), n_out, pairs }))
    }
}
