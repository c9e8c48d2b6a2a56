//! Pair lists, for products that sum over pairs.

use super::index::IndexParts;
use super::kernels::{MapKernels, PAIR_ROWS};
use super::mask_words;
use super::rows::{Lookup, RowMap};
use crate::buffer::DeviceBuffer;
use crate::error::Result;
use crate::module::{Grid, arguments};

/// Input and output rows, sorted by offset, then output row.
#[derive(Debug)]
pub(crate) struct PairLists {
    pub(crate) in_rows: DeviceBuffer,
    pub(crate) out_rows: DeviceBuffer,
    /// First pair of each offset, and the end.
    pub(crate) pair_offset: DeviceBuffer,
}

impl PairLists {
    /// Lists the `total` pairs of a map: counted by block, placed by prefix sums.
    pub(super) fn new(kernels: &MapKernels, forward: &RowMap, total: usize) -> Result<Self> {
        let (n, device) = (forward.rows, &kernels.device);
        let volume = forward.volume();
        let mut in_rows = DeviceBuffer::alloc(device, total * 4)?;
        let mut out_rows = DeviceBuffer::alloc(device, total * 4)?;
        if n == 0 {
            let pair_offset = DeviceBuffer::zeroed(device, (volume + 1) * 4)?;
            return Ok(Self { in_rows, out_rows, pair_offset });
        }
        let mut pair_offset = DeviceBuffer::alloc(device, (volume + 1) * 4)?;
        let grid = Grid::covering(n, PAIR_ROWS)?;
        let mut blocks = DeviceBuffer::alloc(device, volume * grid.blocks[0] as usize * 4)?;
        let (masks, counts) = (forward.masks.as_ref().address(), forward.counts());
        let (n, words, volume_arg) = (forward.count(), mask_words(volume) as i32, volume as i32);
        let (blocks_at, length) = (blocks.as_mut().address(), grid.blocks[0] as i32);
        let offsets_at = pair_offset.as_mut().address();
        let (in_at, out_at) = (in_rows.as_mut().address(), out_rows.as_mut().address());
        let scan = Grid { blocks: [volume as u32, 1], threads: 1024, shared_bytes: 0 };
        // SAFETY: (u32*, RowCount, int, int, int*), (int*, int, int*, int, int*); `blocks` holds
        // volume × blocks counts.
        unsafe {
            kernels.pair_count.launch(grid, arguments![masks, n, words, volume_arg, blocks_at])?;
            kernels
                .pair_scan
                .launch(scan, arguments![blocks_at, length, counts, volume_arg, offsets_at])?;
        }
        match forward.lookup() {
            Lookup::Within { index, window } => {
                let (window, parts) = (*window, index.parts());
                let IndexParts { slots, slot_count, places, ranks } = parts;
                // SAFETY: (Slot*, u32, uint2*, int*, u32*, RowCount, int, Window, int*, int*,
                // int*); the lists hold as many pairs as the masks have bits.
                unsafe {
                    kernels.pair_lists.of(window).launch(
                        grid,
                        arguments![
                            slots, slot_count, places, ranks, masks, n, words, window, blocks_at,
                            in_at, out_at
                        ],
                    )?;
                }
            }
            Lookup::Bipartite(bipartite) => {
                let IndexParts { slots: own_slots, places, .. } = bipartite.own.parts();
                let IndexParts { slots, slot_count, ranks, .. } = bipartite.gathered.parts();
                let steps = bipartite.steps;
                // SAFETY: (Slot*, u32, int*, Slot*, uint2*, u32*, RowCount, int, Steps, int*, int*,
                // int*); as above.
                unsafe {
                    bipartite.kernels.pairs.launch(
                        grid,
                        arguments![
                            slots, slot_count, ranks, own_slots, places, masks, n, words, steps,
                            blocks_at, in_at, out_at
                        ],
                    )?;
                }
            }
        }
        Ok(Self { in_rows, out_rows, pair_offset })
    }
}
