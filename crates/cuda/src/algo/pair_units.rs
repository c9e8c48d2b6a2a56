//! Work units of a wgrad that is split along the pairs.

use voxtune_shape::Operation;

use crate::map::{MapBuilder, MapCounts};

/// `PairUnits` of the kernels: each offset's pair list cut into chunks, one unit a chunk.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct PairUnits {
    chunk: i32,
    pair_offset: [i32; MapBuilder::MAX_VOLUME + 1],
    unit_offset: [i32; MapBuilder::MAX_VOLUME + 1],
}

impl PairUnits {
    /// Cuts all pairs into about `split` chunks of equal length, a multiple of `step`; each offset
    /// rounds up on its own.
    pub(super) fn new(counts: &MapCounts, split: u32, step: u32) -> Self {
        let chunk = chunk_pairs(counts, split, step);
        let mut units = Self {
            chunk: chunk as i32,
            pair_offset: [i32::MAX; MapBuilder::MAX_VOLUME + 1],
            unit_offset: [i32::MAX; MapBuilder::MAX_VOLUME + 1],
        };
        let (mut pair, mut unit) = (0, 0);
        units.pair_offset[0] = 0;
        units.unit_offset[0] = 0;
        for (k, &pairs) in counts.pairs.iter().enumerate() {
            pair += pairs;
            unit += pairs.div_ceil(chunk);
            units.pair_offset[k + 1] = pair as i32;
            units.unit_offset[k + 1] = unit as i32;
        }
        units
    }

    /// Units in all.
    pub(super) fn len(&self, volume: usize) -> usize {
        self.unit_offset[volume] as usize
    }

    /// Memory of the partial results.
    pub(super) fn workspace_bytes(
        op: &Operation,
        counts: &MapCounts,
        split: u32,
        step: u32,
    ) -> usize {
        let chunk = chunk_pairs(counts, split, step);
        let units: usize = counts.pairs.iter().map(|pairs| pairs.div_ceil(chunk)).sum();
        units * op.c_in as usize * op.c_out as usize * 4
    }
}

fn chunk_pairs(counts: &MapCounts, split: u32, step: u32) -> usize {
    counts.total_pairs().div_ceil(split as usize).next_multiple_of(step as usize).max(step as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_cover_every_pair_once() {
        for pairs in [vec![0], vec![1], vec![0, 100, 0, 7, 64], vec![1000; 27], vec![0; 125]] {
            let counts = MapCounts { n_in: 0, n_out: 0, pairs: pairs.clone() };
            for (split, step) in [(1, 32), (7, 16), (1000, 64)] {
                let units = PairUnits::new(&counts, split, step);
                let mut covered = 0;
                for unit in 0..units.len(pairs.len()) as i32 {
                    let k = (0..pairs.len()).find(|&k| unit < units.unit_offset[k + 1]).unwrap();
                    let begin = units.pair_offset[k] + (unit - units.unit_offset[k]) * units.chunk;
                    let end = (begin + units.chunk).min(units.pair_offset[k + 1]);
                    assert_eq!(begin, covered);
                    assert!(end > begin);
                    covered = end;
                }
                assert_eq!(covered as usize, counts.total_pairs());
                assert!(units.len(pairs.len()) <= split as usize + pairs.len());
            }
        }
    }
}
