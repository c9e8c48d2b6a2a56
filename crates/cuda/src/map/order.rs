//! Row orders: a stable radix sort of Gray codes over the masks.

use voxtune_shape::KernelSize;

use super::build::{MAX_VOLUME, MapBuilder};
use super::{DeviceKernelMap, OrderedRows, RowMap, RowOrder};
use crate::buffer::DeviceBuffer;
use crate::error::Result;
use crate::module::{Grid, arguments};

/// Items a block of the sort.
const SORT_ITEMS: usize = 4096;
/// Threads a block of the sort.
const SORT_THREADS: u32 = 256;
/// Blocks a segment of [`RowOrder::Sorted`]: 32,768 rows.
const SEGMENT_BLOCKS: usize = 8;
const DIGITS: usize = 256;
const DIGIT_BITS: usize = 8;
const KEY_BITS: usize = 32;

/// `KeyBits` of the kernels.
#[repr(C)]
#[derive(Debug, PartialEq, Eq)]
struct KeyBits([u8; MAX_VOLUME]);

/// Which bit of a sort key an offset becomes: the rarest is the most significant. Past 32 offsets,
/// the most frequent 32 count.
fn key_bits(pairs: &[usize]) -> (KeyBits, usize) {
    const NOWHERE: u8 = 255;
    let mut by_frequency: Vec<usize> = (0..pairs.len()).collect();
    by_frequency.sort_by_key(|&offset| (std::cmp::Reverse(pairs[offset]), offset));
    let used = pairs.len().min(KEY_BITS);
    let mut bits = KeyBits([NOWHERE; MAX_VOLUME]);
    for (place, &offset) in by_frequency[..used].iter().enumerate() {
        bits.0[offset] = place as u8;
    }
    (bits, used)
}

impl MapBuilder {
    pub(super) fn order_rows(
        &self,
        rows: &RowMap,
        kernel: KernelSize,
        pairs: &[usize],
        order: RowOrder,
    ) -> Result<OrderedRows> {
        let (n, volume) = (rows.rows, kernel.volume());
        let words = DeviceKernelMap::mask_words(kernel);
        let pitch = DeviceKernelMap::pitch(n);
        let alloc = |len_bytes: usize| DeviceBuffer::alloc(&self.device, len_bytes.max(4));
        let (mut keys, mut keys_next) = (alloc(n * 4)?, alloc(n * 4)?);
        let (mut order_now, mut order_next) = (alloc(n * 4)?, alloc(n * 4)?);
        let mut table = alloc(volume * pitch * 4)?;
        let mut masks = alloc(n * words * 4)?;
        if n == 0 {
            return Ok(OrderedRows { row_of_position: order_now, table, masks });
        }
        table.fill(0xff)?;
        let (bits, used_bits) = key_bits(pairs);
        let (n_arg, words_arg, volume_arg, pitch_arg) =
            (n as i32, words as i32, volume as i32, pitch as i64);
        let natural_masks = rows.masks.as_ref().address();
        let (first_keys, first_order) = (keys.as_mut().address(), order_now.as_mut().address());
        // SAFETY: (u32*, int, int, int, KeyBits, u32*, int*); all hold n rows.
        unsafe {
            self.order_keys.launch(
                Grid::covering(n, 256)?,
                arguments![
                    natural_masks,
                    n_arg,
                    words_arg,
                    volume_arg,
                    bits,
                    first_keys,
                    first_order
                ],
            )?;
        }
        let blocks = n.div_ceil(SORT_ITEMS);
        let segment_blocks =
            if order == RowOrder::Sorted { SEGMENT_BLOCKS.min(blocks) } else { blocks };
        let segments = blocks.div_ceil(segment_blocks);
        let mut places = alloc(segments * DIGITS * segment_blocks * 4)?;
        let mut totals = alloc(segments * 4)?;
        let (places_at, totals_at) = (places.as_mut().address(), totals.as_mut().address());
        let sort = Grid { blocks: [blocks as u32, 1], threads: SORT_THREADS, shared_bytes: 0 };
        let scan = Grid { blocks: [segments as u32, 1], threads: 1024, shared_bytes: 0 };
        let (segment_arg, length) = (segment_blocks as i32, (DIGITS * segment_blocks) as i32);
        for shift in (0..used_bits).step_by(DIGIT_BITS) {
            let shift = shift as i32;
            places.fill(0)?;
            let (from_keys, from_order) = (keys.as_ref().address(), order_now.as_ref().address());
            let (to_keys, to_order) = (keys_next.as_mut().address(), order_next.as_mut().address());
            // SAFETY: (u32*, int, int, int, int*), (int*, int, int*), (u32*, int*, int, int, int,
            // int*, u32*, int*); `places` holds every segment's digits by block; a block's places
            // lie within its segment, since its histogram counts the same keys.
            unsafe {
                self.sort_histogram
                    .launch(sort, arguments![from_keys, n_arg, shift, segment_arg, places_at])?;
                self.scan.launch(scan, arguments![places_at, length, totals_at])?;
                self.sort_scatter.launch(
                    sort,
                    arguments![
                        from_keys,
                        from_order,
                        n_arg,
                        shift,
                        segment_arg,
                        places_at,
                        to_keys,
                        to_order
                    ],
                )?;
            }
            std::mem::swap(&mut keys, &mut keys_next);
            std::mem::swap(&mut order_now, &mut order_next);
        }
        let order_at = order_now.as_ref().address();
        let natural_table = rows.table.as_ref().address();
        let (table_at, masks_at) = (table.as_mut().address(), masks.as_mut().address());
        // SAFETY: (int*, int, int, int, i64, int*, u32*, int*, u32*); the order is a permutation of
        // n rows.
        unsafe {
            self.order_apply.launch(
                Grid::covering(n, 256)?,
                arguments![
                    order_at,
                    n_arg,
                    volume_arg,
                    words_arg,
                    pitch_arg,
                    natural_table,
                    natural_masks,
                    table_at,
                    masks_at
                ],
            )?;
        }
        Ok(OrderedRows { row_of_position: order_now, table, masks })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rarest_offset_is_the_most_significant() {
        let (bits, used) = key_bits(&[5, 1, 9]);
        assert_eq!((&bits.0[..3], used), (&[1, 2, 0][..], 3));
        assert!(bits.0[3..].iter().all(|&place| place == 255));
    }

    #[test]
    fn past_32_offsets_the_most_frequent_count() {
        let pairs: Vec<usize> = (0..125).collect();
        let (bits, used) = key_bits(&pairs);
        assert_eq!(used, 32);
        assert!(bits.0[..93].iter().all(|&place| place == 255));
        assert_eq!((bits.0[124], bits.0[93]), (0, 31));
    }
}
