//! How many offsets the rows of a tile have between them.
//!
//! A tile multiplies every offset that one of its rows has. In an order by masks (Gray code, the
//! rarest offset first), rows of a tile agree in as many offsets as it takes to tell the tiles
//! apart. Sorting `n` rows into tiles of `T` settles `log₂(n / T)` bits. Each settled offset costs
//! `H(p)` bits, where `p` is the share of rows that have it. Offsets that are not settled occur
//! somewhere in the tile, almost surely.

use crate::map::RowOrder;

/// Rows of a segment of [`RowOrder::Sorted`].
const SEGMENT_ROWS: f64 = 32_768.0;

/// Independent offsets at this many pairs of 27 a row and fewer, the density of uniform clouds.
const INDEPENDENT_PAIRS: f64 = 4.84;

/// Masks of real clouds lie on surfaces, and the denser a cloud the more an offset says about
/// others. These are the entropy lost for a pair of 27 past [`INDEPENDENT_PAIRS`], and what at
/// least remains. Read off tiles of 64 and 128 rows of a street scene (6.3 and 8.4 pairs per row)
/// and of a sphere's shell (12.8).
const BITS_LOST_A_PAIR: f64 = 0.07;
const LEAST_BITS: f64 = 0.4;

/// Statistics of a kernel map's masks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Masks {
    rows: f64,
    /// Offsets besides the centre, which every row has.
    others: f64,
    /// Share of rows that have one of the others.
    share: f64,
    /// Bits that settle one of the others.
    bits: f64,
}

impl Masks {
    /// Masks of so many rows, which have so many pairs in all.
    pub(super) fn new(volume: usize, rows: usize, pairs: usize) -> Self {
        let others = volume.saturating_sub(1) as f64;
        let pairs_a_row = pairs as f64 / rows.max(1) as f64;
        let share = ((pairs_a_row - 1.0) / others.max(1.0)).clamp(1e-3, 0.999);
        let entropy = -(share * share.log2() + (1.0 - share) * (1.0 - share).log2());
        let of_27 = 1.0 + share * 26.0;
        let kept = 1.0 - BITS_LOST_A_PAIR * (of_27 - INDEPENDENT_PAIRS);
        Self { rows: rows as f64, others, share, bits: entropy * kept.clamp(LEAST_BITS, 1.0) }
    }

    /// Mean offsets of a tile of so many rows.
    pub(super) fn of_tile(&self, rows: u32, order: RowOrder) -> f64 {
        let tile = f64::from(rows);
        let sorted_rows = match order {
            RowOrder::Natural => tile,
            RowOrder::Sorted => self.rows.min(SEGMENT_ROWS),
            RowOrder::Global => self.rows,
        };
        let settled = ((sorted_rows / tile).max(1.0).log2() / self.bits).min(self.others);
        let somewhere = 1.0 - (1.0 - self.share).powf(tile);
        1.0 + settled * self.share + (self.others - settled) * somewhere
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Masks of rows that have each of 26 offsets independently.
    fn independent_masks(rows: usize, share: f64) -> Vec<u32> {
        let mut state = 1_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1_u64 << 53) as f64
        };
        (0..rows)
            .map(|_| (0..26).fold(1, |mask, bit| mask | u32::from(next() < share) << (bit + 1)))
            .collect()
    }

    fn gray_rank(mask: u32) -> u32 {
        [1, 2, 4, 8, 16].into_iter().fold(mask, |rank, shift| rank ^ (rank >> shift))
    }

    /// Mean offsets of tiles, counted.
    fn counted(masks: &[u32], tile: usize) -> f64 {
        let unions = masks.chunks(tile).map(|rows| rows.iter().fold(0, |all, mask| all | mask));
        let tiles = masks.len().div_ceil(tile) as f64;
        unions.map(|union: u32| f64::from(union.count_ones())).sum::<f64>() / tiles
    }

    #[test]
    fn settled_bits_say_what_sorting_gives() {
        for (rows, share) in [(30_000, 0.148), (200_000, 0.148), (200_000, 0.3)] {
            let mut masks = independent_masks(rows, share);
            let pairs = masks.iter().map(|mask| mask.count_ones() as usize).sum();
            let independent = |bits| Masks { bits, ..Masks::new(27, rows, pairs) };
            let entropy = -(share * share.log2() + (1.0 - share) * (1.0 - share).log2());
            let model = independent(entropy);
            for tile in [32, 64, 128, 256] {
                let natural = counted(&masks, tile);
                let ratio = model.of_tile(tile as u32, RowOrder::Natural) / natural;
                assert!((0.99..1.01).contains(&ratio), "{rows} {share} {tile} natural: {ratio}");
            }
            masks.sort_unstable_by_key(|mask| gray_rank(*mask));
            for tile in [32, 64, 128, 256] {
                let ratio = model.of_tile(tile as u32, RowOrder::Global) / counted(&masks, tile);
                assert!((0.85..1.15).contains(&ratio), "{rows} {share} {tile} global: {ratio}");
            }
        }
    }

    #[test]
    fn an_order_by_masks_never_has_more_offsets() {
        for (volume, rows, pairs) in [
            (1, 1, 1),
            (27, 0, 0),
            (27, 1, 1),
            (27, 500_000, 2_400_000),
            (125, 9, 900),
            (27, 70, 1890),
        ] {
            let masks = Masks::new(volume, rows, pairs);
            for tile in [16, 32, 64, 128, 256] {
                let [natural, sorted, global] =
                    RowOrder::ALL.map(|order| masks.of_tile(tile, order));
                assert!(
                    1.0 <= global && global <= sorted && sorted <= natural,
                    "{volume} {rows} {pairs} {tile}"
                );
                assert!(natural <= volume as f64);
            }
        }
    }
}
