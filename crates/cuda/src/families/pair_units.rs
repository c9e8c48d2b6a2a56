//! Work units of a wgrad that is split along the pairs.

use voxtune_types::Operation;

use crate::map::{MapBuilder, MapCounts};

/// `PairUnits` of the kernels: each offset's pair list cut into chunks, one unit a chunk, or shared
/// out among interleaved units.
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
        Self::of_lists(counts, chunk, |pairs| pairs.div_ceil(chunk))
    }

    /// Shares all pairs among at most `units`, or as many as there are lists. Each list is cut into
    /// steps of `step` pairs, and unit `s` of the list's `S` takes the steps `s`, `s + S`, `s + 2
    /// S` and so on. The longest unit is as short as can be.
    pub(super) fn interleaved(counts: &MapCounts, units: usize, step: u32) -> Self {
        let step = step as usize;
        let steps = || counts.pairs.iter().map(|pairs| pairs.div_ceil(step));
        let units = units.max(counts.lists().count()).max(1);
        let enough =
            |longest: usize| steps().map(|steps| steps.div_ceil(longest)).sum::<usize>() <= units;
        // The least length that is enough lies in (too_short, long_enough].
        let mut too_short = (steps().sum::<usize>().div_ceil(units)).saturating_sub(1);
        let mut long_enough = steps().max().unwrap_or(0).max(1);
        while long_enough - too_short > 1 {
            let middle = too_short.midpoint(long_enough);
            if enough(middle) {
                long_enough = middle;
            } else {
                too_short = middle;
            }
        }
        Self::of_lists(counts, step, |pairs| pairs.div_ceil(step).div_ceil(long_enough))
    }

    /// `units_of`: how many units a list has, by its pairs.
    fn of_lists(counts: &MapCounts, chunk: usize, units_of: impl Fn(usize) -> usize) -> Self {
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
            unit += units_of(pairs);
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
        units * (op.weight_len() / op.kernel.volume()) * 4
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
    /// As the kernel walks: every step of every list belongs to one unit, no unit is empty, and no
    /// sharing among as many units has a shorter longest unit.
    #[test]
    fn interleaved_units_cover_every_step_once_and_are_even() {
        const STEP: usize = 64;
        let lengths = |units: &PairUnits, volume: usize| {
            let mut lengths = Vec::new();
            for k in 0..volume {
                let (begin, end) =
                    (units.pair_offset[k] as usize, units.pair_offset[k + 1] as usize);
                let shares = (units.unit_offset[k + 1] - units.unit_offset[k]) as usize;
                let mut owners = vec![0; (end - begin).div_ceil(STEP)];
                for share in 0..shares {
                    let steps = (begin + share * STEP..end).step_by(shares * STEP);
                    assert!(steps.len() > 0);
                    lengths.push(steps.len());
                    steps.for_each(|pair| owners[(pair - begin) / STEP] += 1);
                }
                assert!(owners.iter().all(|&owners| owners == 1));
            }
            lengths
        };
        let mixed = (0..27).map(|k| 100 + 9_000 * (k % 5) + usize::from(k == 13) * 200_000);
        for pairs in [
            vec![0],
            vec![1],
            vec![0, 100, 0, 7, 64],
            vec![1000; 27],
            vec![0; 125],
            mixed.collect(),
        ] {
            let counts = MapCounts { n_in: 0, n_out: 0, pairs: pairs.clone() };
            let lists = pairs.iter().filter(|pairs| **pairs > 0).count();
            for wanted in [0, 1, 16, 66, 132, 1000] {
                let units = PairUnits::interleaved(&counts, wanted, STEP as u32);
                let lengths = lengths(&units, pairs.len());
                assert!(lengths.len() <= wanted.max(lists), "{pairs:?} {wanted}");
                // One step less for the longest would take more units than there are.
                if let Some(longest @ 2..) = lengths.iter().copied().max() {
                    let needed: usize =
                        pairs.iter().map(|pairs| pairs.div_ceil((longest - 1) * STEP)).sum();
                    assert!(needed > wanted.max(lists), "{pairs:?} {wanted}: {longest}");
                }
            }
        }
    }
}
