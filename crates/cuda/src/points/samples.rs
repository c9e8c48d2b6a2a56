//! Which rows each sample of a batch has, without the host reading a coordinate.

use std::sync::Arc;

use super::{PIECE, PointsBuilder, SCAN_THREADS, THREADS};
use crate::buffer::DeviceBuffer;
use crate::error::{CudaError, Result};
use crate::map::{Cloud, MAX_ROWS, Report};
use crate::module::{Grid, arguments};
use crate::ops::{DeviceRowGroups, DeviceTables};

/// A row whose batch is none of the samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StrayRow {
    /// The first such row.
    pub row: usize,
    /// Its batch.
    pub batch: i32,
}

/// Whether every row is of a sample, once the device has looked.
#[derive(Clone, Debug)]
pub struct SamplesReport(Arc<Report>);

impl SamplesReport {
    /// The first row of no sample, after waiting for the kernel that looks for one.
    ///
    /// # Errors
    /// Whatever work queued before has failed with.
    pub fn wait(&self) -> Result<Option<StrayRow>> {
        Ok(stray(&self.0.wait(3)?))
    }

    /// The same if the device has looked; `None` if it has not.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub fn try_read(&self) -> Result<Option<Option<StrayRow>>> {
        Ok(self.0.try_read(3)?.map(|words| stray(&words)))
    }
}

fn stray(words: &[i32]) -> Option<StrayRow> {
    (words[0] != 0).then(|| StrayRow { row: words[1] as usize, batch: words[2] })
}

impl PointsBuilder {
    /// Queues the sorting of voxels by their batch: the sample of each row, -1 for what is no
    /// voxel. A row of another batch is of none, and the report names it. Waits for nothing.
    ///
    /// # Errors
    /// [`CudaError::Length`] if the buffer is shorter than the voxels; [`CudaError::TooLarge`] past
    /// a billion rows or samples; whatever the driver fails with.
    pub fn samples(
        &self,
        cloud: Cloud<'_>,
        samples: usize,
    ) -> Result<(DeviceRowGroups, SamplesReport)> {
        cloud.check()?;
        if samples > MAX_ROWS {
            let (what, found, limit) = ("the number of samples", samples, MAX_ROWS);
            return Err(CudaError::TooLarge { what, found, limit });
        }
        let device = &self.device;
        // What has no sample gets this number, which is none's.
        let length = cloud.capacity().max(samples).max(1);
        let mut index = DeviceBuffer::alloc(device, length * 4)?;
        let outside = DeviceBuffer::zeroed(device, size_of::<i32>())?;
        let (coords, count) = (cloud.read_by(device)?, cloud.count());
        let (outside_at, index_at) = (outside.as_ref().address(), index.as_mut().address());
        let (groups, entries) = (samples as i32, length as i32);
        let each = Grid::covering(length, THREADS)?;
        let arguments = arguments![coords, count, groups, entries, index_at, outside_at];
        // SAFETY: (int4*, RowCount, int, int, int*, int*); the buffers have been compared with the
        // capacity, and there is an entry for each row.
        unsafe { self.batches.launch(each, arguments) }?;

        let sorted = self.sort_pairs(&index, length)?;
        let mut order = DeviceBuffer::alloc(device, length * 4)?;
        let mut starts = DeviceBuffer::alloc(device, (samples + 1) * 4)?;
        let report = Arc::new(self.pages.take()?);
        let (pairs, report_at) = (sorted.address(), report.address());
        let (order_at, starts_at) = (order.as_mut().address(), starts.as_mut().address());
        let arguments =
            arguments![pairs, entries, groups, coords, outside_at, order_at, starts_at, report_at];
        // SAFETY: (int2*, int, int, int4*, int*, int*, int*, int*); as many pairs as entries, a
        // start for each sample and one more, and the report has more than three words.
        unsafe { self.sample_starts.launch(Grid::covering(length + 1, THREADS)?, arguments) }?;
        report.queued()?;

        // As many as there may be; those that there are not are empty.
        let pieces = samples + cloud.capacity() / PIECE;
        let mut begins = DeviceBuffer::alloc(device, (pieces + 1) * 4)?;
        let mut of_samples = DeviceBuffer::alloc(device, (samples + 1) * 4)?;
        let (piece, all) = (PIECE as i32, pieces as i32);
        let (begins_at, of_samples_at) = (begins.as_mut().address(), of_samples.as_mut().address());
        let alone = Grid { blocks: [1, 1], threads: SCAN_THREADS, shared_bytes: 0 };
        let arguments = arguments![starts_at, groups, piece, all, of_samples_at, begins_at];
        // SAFETY: (int*, int, int, int, int*, int*). Samples have no more pieces than were reckoned
        // with, and there is a beginning for each, and for each sample, and one more.
        unsafe { self.sample_pieces.launch(alone, arguments) }?;

        let pieces = Some((pieces, begins, of_samples));
        let tables = DeviceTables { group_of_row: index, starts, order, pieces };
        let groups = DeviceRowGroups::from_kernels(device, cloud.capacity(), samples, tables)?;
        Ok((groups, SamplesReport(report)))
    }
}
