//! Row orders: a stable radix sort of Gray codes over the masks. The rarest offset is the most
//! significant bit.

use super::kernels::MapKernels;
use super::mask_words;
use super::rows::RowMap;
use crate::buffer::DeviceBuffer;
use crate::error::Result;
use crate::module::{Grid, arguments, block_count};

/// Rows per block of the sort, and its threads.
pub(super) const TILE_ROWS: usize = 2048;
pub(super) const SORT_THREADS: u32 = 512;
/// Tiles a segment of [`super::RowOrder::Sorted`]: 32,768 rows.
pub(super) const SEGMENT_TILES: usize = 16;
const DIGIT_BITS: usize = 9;
pub(super) const DIGITS: usize = 1 << DIGIT_BITS;
const KEY_BITS: usize = 32;
pub(super) const MAX_PASSES: usize = KEY_BITS.div_ceil(DIGIT_BITS);

/// Passes over keys of so many offsets.
pub(super) fn passes(volume: usize) -> usize {
    volume.min(KEY_BITS).div_ceil(DIGIT_BITS)
}

/// One block a tile.
fn tile_grid(rows: usize) -> Result<Grid> {
    let tiles = block_count(rows.div_ceil(TILE_ROWS))?;
    Ok(Grid { blocks: [tiles, 1], threads: SORT_THREADS, shared_bytes: 0 })
}

/// Words by which the blocks of a segment meet: a ticket, then two a pass and segment.
const fn meeting_bytes(rows: usize) -> usize {
    4 + rows.div_ceil(TILE_ROWS * SEGMENT_TILES) * 2 * MAX_PASSES * 4
}

/// The row of each position, sorted within segments.
pub(super) fn sort_segments(kernels: &MapKernels, map: &RowMap) -> Result<DeviceBuffer> {
    let (n, volume, device) = (map.rows, map.volume(), &kernels.device);
    let mut rows = DeviceBuffer::alloc(device, n * 4)?;
    if n == 0 {
        return Ok(rows);
    }
    let grid = tile_grid(n)?;
    let counts_bytes = grid.blocks[0] as usize * DIGITS * 4;
    // The words by which blocks meet are zeros at first.
    let zeros_bytes = meeting_bytes(n).next_multiple_of(8);
    let mut scratch = DeviceBuffer::alloc(device, zeros_bytes + counts_bytes + 2 * n * 8)?;
    scratch.as_mut().get(0..zeros_bytes).expect("zeros lie in the buffer").fill(0)?;
    let ticket = scratch.as_mut().address();
    let tile_counts = ticket + zeros_bytes as u64;
    let items = tile_counts + counts_bytes as u64;
    let (masks, counts, rows_at) =
        (map.masks.as_ref().address(), map.counts(), rows.as_mut().address());
    let (n, words, passes) = (map.count(), mask_words(volume) as i32, passes(volume) as i32);
    let (volume, arrived) = (volume as i32, ticket + 4);
    // SAFETY: (u32*, RowCount, int, int, int*, int, uint2*, int*, int*, int*, int*). `items` holds
    // n items twice, `tile_counts` every tile's digits; a segment's tiles place just what they have
    // counted.
    unsafe {
        kernels.order_segments.launch(
            grid,
            arguments![
                masks,
                n,
                words,
                volume,
                counts,
                passes,
                items,
                tile_counts,
                ticket,
                arrived,
                rows_at
            ],
        )?;
    }
    Ok(rows)
}

/// Where the scratch memory of a sort over all rows has what, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layout {
    rows: usize,
    tiles: usize,
    passes: usize,
}

impl Layout {
    /// Zeros first: a ticket a pass, how often each digit occurs, what each tile says in each pass.
    const fn ticket(self, pass: usize) -> usize {
        pass * 4
    }

    const fn histogram(self, pass: usize) -> usize {
        self.passes * 4 + pass * DIGITS * 4
    }

    const fn status(self, pass: usize) -> usize {
        self.histogram(self.passes) + self.tiles * pass * DIGITS * 4
    }

    /// {key, row}, twice: what a pass reads and what it writes.
    const fn items(self, pass: usize) -> usize {
        self.status(self.passes).next_multiple_of(8) + pass % 2 * self.rows * 8
    }

    /// What the first pass reads.
    const fn keys(self) -> usize {
        self.items(1) + self.rows * 8
    }

    const fn end(self) -> usize {
        self.keys() + self.rows * 4
    }
}

/// The row of each position, sorted over all rows.
pub(super) fn sort_all(kernels: &MapKernels, map: &RowMap) -> Result<DeviceBuffer> {
    let (n, volume, device) = (map.rows, map.volume(), &kernels.device);
    let mut rows = DeviceBuffer::alloc(device, n * 4)?;
    if n == 0 {
        return Ok(rows);
    }
    let grid = tile_grid(n)?;
    let layout = Layout { rows: n, tiles: grid.blocks[0] as usize, passes: passes(volume) };
    let mut scratch = DeviceBuffer::alloc(device, layout.end())?;
    let zeros = 0..layout.status(layout.passes);
    scratch.as_mut().get(zeros).expect("zeros lie in the buffer").fill(0)?;
    let base = scratch.as_mut().address();
    let at = |byte: usize| base + byte as u64;
    let (masks, counts, rows_at) =
        (map.masks.as_ref().address(), map.counts(), rows.as_mut().address());
    let (n, words, passes) = (map.count(), mask_words(volume) as i32, layout.passes as i32);
    let (volume, keys, histogram) = (volume as i32, at(layout.keys()), at(layout.histogram(0)));
    // SAFETY: (u32*, RowCount, int, int, int*, int, u32*, int*); masks and keys hold n rows, the
    // histogram the digits of every pass.
    unsafe {
        kernels
            .order_keys
            .launch(grid, arguments![masks, n, words, volume, counts, passes, keys, histogram])?;
    }
    for pass in 0..layout.passes {
        let (keys, items) = if pass == 0 { (keys, 0) } else { (0, at(layout.items(pass))) };
        let last = pass + 1 == layout.passes;
        let (items_out, rows_out) =
            if last { (0, rows_at) } else { (at(layout.items(pass + 1)), 0) };
        let shift = (pass * DIGIT_BITS) as i32;
        let (histogram, status, ticket) =
            (at(layout.histogram(pass)), at(layout.status(pass)), at(layout.ticket(pass)));
        // SAFETY: (u32*, uint2*, RowCount, int, int*, u32*, int*, uint2*, int*). The histogram
        // counts the very digits that the tiles place, so places lie within the rows.
        unsafe {
            kernels.order_pass.launch(
                grid,
                arguments![keys, items, n, shift, histogram, status, ticket, items_out, rows_out],
            )?;
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sort_takes_a_pass_for_nine_offsets() {
        assert_eq!([1, 9, 10, 27, 28, 125].map(passes), [1, 1, 2, 3, 4, 4]);
    }

    #[test]
    fn the_parts_of_the_scratch_memory_follow_each_other() {
        for (rows, tiles, passes) in [(1, 1, 1), (2049, 2, 3), (100_001, 49, 4)] {
            let layout = Layout { rows, tiles, passes };
            assert_eq!(layout.histogram(0), passes * 4);
            assert_eq!(layout.status(0), (passes + passes * DIGITS) * 4);
            assert!(layout.items(0) >= layout.status(0) + tiles * passes * DIGITS * 4);
            assert_eq!(
                (layout.items(1), layout.items(2)),
                (layout.items(0) + rows * 8, layout.items(0))
            );
            assert!(layout.items(0).is_multiple_of(8) && layout.end() == layout.keys() + rows * 4);
        }
    }

    #[test]
    fn segments_are_32768_rows() {
        let segments = |rows| (meeting_bytes(rows) - 4) / (2 * MAX_PASSES * 4);
        assert_eq!([1, 32_768, 32_769, 1_000_000].map(segments), [1, 1, 2, 31]);
    }
}
