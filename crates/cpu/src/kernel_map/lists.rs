//! Storage of pair lists, with an index from output rows to pairs.

use std::fmt;
use std::ops::Range;

use rayon::prelude::*;

use super::Pair;

/// Output rows per step of the index: blocks of output rows begin at multiples of it.
pub(crate) const SEGMENT_ROWS: usize = 64;

/// Pair lists one behind the other.
pub(super) struct PairLists {
    pairs: Vec<Pair>,
    /// Where each list begins, and where the last one ends.
    starts: Vec<usize>,
    /// For each list, where the pairs of each segment of output rows begin, counted from the list's
    /// beginning, and the list's length.
    segments: Vec<u32>,
    segments_per_list: usize,
}

impl fmt::Debug for PairLists {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} pairs in {} lists", self.pairs(), self.volume())
    }
}

impl PairLists {
    /// Lists of these lengths, each written by `fill(offset, list)` sorted by output row.
    pub(super) fn fill(
        n_out: usize,
        lens: &[usize],
        fill: &(dyn Fn(usize, &mut [Pair]) + Sync),
    ) -> Self {
        let mut starts = Vec::with_capacity(lens.len() + 1);
        let mut total = 0;
        starts.push(0);
        for len in lens {
            total += len;
            starts.push(total);
        }
        let segments_per_list = n_out.div_ceil(SEGMENT_ROWS) + 1;
        let mut pairs = vec![Pair::default(); total];
        let mut segments = vec![0; segments_per_list * lens.len()];
        split_by_lens(&mut pairs, lens)
            .into_par_iter()
            .zip(segments.par_chunks_mut(segments_per_list))
            .enumerate()
            .for_each(|(offset, (list, segments))| {
                fill(offset, list);
                index_segments(list, segments);
            });
        Self { pairs, starts, segments, segments_per_list }
    }

    pub(super) fn volume(&self) -> usize {
        self.starts.len() - 1
    }

    pub(super) fn pairs(&self) -> usize {
        self.pairs.len()
    }

    pub(super) fn list(&self, offset: usize) -> &[Pair] {
        &self.pairs[self.starts[offset]..self.starts[offset + 1]]
    }

    pub(super) fn block(&self, offset: usize, out_rows: Range<usize>) -> &[Pair] {
        let last = self.segments_per_list - 1;
        let index = &self.segments[offset * self.segments_per_list..][..=last];
        let begin = index[(out_rows.start / SEGMENT_ROWS).min(last)] as usize;
        let end = index[out_rows.end.div_ceil(SEGMENT_ROWS).min(last)] as usize;
        &self.list(offset)[begin..end]
    }

    /// The same lists with the rows swapped, sorted by the new output row.
    pub(super) fn transposed(&self, n_in: usize) -> Self {
        let lens: Vec<usize> = self.starts.windows(2).map(|pair| pair[1] - pair[0]).collect();
        Self::fill(n_in, &lens, &|offset, list| {
            for (swapped, pair) in list.iter_mut().zip(self.list(offset)) {
                *swapped = pair.swapped();
            }
            list.sort_unstable_by_key(|pair| pair.out_row);
        })
    }
}

fn split_by_lens<'a>(mut pairs: &'a mut [Pair], lens: &[usize]) -> Vec<&'a mut [Pair]> {
    lens.iter()
        .map(|&len| {
            let (list, rest) = std::mem::take(&mut pairs).split_at_mut(len);
            pairs = rest;
            list
        })
        .collect()
}

fn index_segments(list: &[Pair], segments: &mut [u32]) {
    let mut next = 0;
    for (position, pair) in list.iter().enumerate() {
        let segment = pair.out_row as usize / SEGMENT_ROWS;
        while next <= segment {
            segments[next] = position as u32;
            next += 1;
        }
    }
    segments[next..].fill(list.len() as u32);
}
