//! Kernel maps on the host, to be compared and shown. No call does this.

use super::{DeviceKernelMap, PlanItem, RowMap, RowOrder, TilePlan, mask_words};
use crate::error::Result;

impl DeviceKernelMap {
    /// The table as the host sees it: `(volume, n_out)`, -1 where there is no pair. For tests and
    /// inspection.
    ///
    /// # Errors
    /// If the driver fails.
    pub fn download_table(&self) -> Result<Vec<i32>> {
        self.download(self.forward()?, RowOrder::Natural)
    }

    /// The table by input rows, `(volume, n_in)`; `None` of a submanifold map for which
    /// [`MapBuilder::add_reverse`](super::MapBuilder::add_reverse) did not make it. For tests and
    /// inspection.
    ///
    /// # Errors
    /// If the driver fails.
    pub fn download_reverse_table(&self) -> Result<Option<Vec<i32>>> {
        let rows = match self.is_transposed {
            true => Some(&self.sides.by_output),
            false => self.by_input()?,
        };
        rows.map(|rows| self.download(rows, RowOrder::Natural)).transpose()
    }

    /// The table in an order, `(volume, n_out)` by position. For tests and inspection.
    ///
    /// # Errors
    /// If the driver fails.
    pub fn download_ordered_table(&self, order: RowOrder) -> Result<Vec<i32>> {
        self.download(self.forward()?, order)
    }

    fn download(&self, rows: &RowMap, order: RowOrder) -> Result<Vec<i32>> {
        let (pitch, ordered) = (Self::pitch(rows.rows), rows.in_order(&self.kernels, order)?);
        let padded: Vec<i32> = ordered.table.download(0, self.kernel.volume() * pitch)?;
        Ok(padded.chunks_exact(pitch).flat_map(|line| &line[..rows.rows]).copied().collect())
    }

    /// The masks in an order, `(n_out, words)` of 32 offsets by position. For tests and inspection.
    ///
    /// # Errors
    /// If the driver fails.
    pub fn download_masks(&self, order: RowOrder) -> Result<Vec<u32>> {
        let forward = self.forward()?;
        let ordered = forward.in_order(&self.kernels, order)?;
        let masks = ordered.masks.as_ref().unwrap_or(&forward.masks);
        masks.download(0, self.n_out() * mask_words(self.kernel.volume()))
    }

    /// The items of a plan of the forward direction; `None` if it was not made. For tests and
    /// inspection.
    ///
    /// # Errors
    /// If the driver fails.
    pub fn download_plan(&self, plan: TilePlan) -> Result<Option<Vec<PlanItem>>> {
        self.forward()?.download_plan(plan)
    }

    /// The pairs of an offset as (input rows, output rows). For tests and inspection.
    ///
    /// # Errors
    /// If the driver fails.
    ///
    /// # Panics
    /// If the kernel has no such offset.
    pub fn download_pairs(&self, offset: usize) -> Result<(Vec<i32>, Vec<i32>)> {
        assert!(
            offset < self.kernel.volume(),
            "a kernel of {} has no offset {offset}",
            self.kernel
        );
        let found = self.counts()?.lists().find(|(listed, ..)| *listed == offset);
        let Some((_, first, pairs)) = found else { return Ok((Vec::new(), Vec::new())) };
        let lists = self.pairs()?;
        Ok((lists.in_rows.download(first * 4, pairs)?, lists.out_rows.download(first * 4, pairs)?))
    }

    /// The row of each position of an order; `None` for the natural one or if it was not made. For
    /// tests and inspection.
    ///
    /// # Errors
    /// If the driver fails.
    pub fn download_order(&self, order: RowOrder) -> Result<Option<Vec<i32>>> {
        let forward = self.forward()?;
        if !forward.has(order) {
            return Ok(None);
        }
        let ordered = forward.in_order(&self.kernels, order)?;
        let rows = ordered.row_of_position.as_ref();
        rows.map(|rows| rows.download(0, self.n_out())).transpose()
    }
}
