//! How wgrad is divided into tasks, and the tasks' results added up.
//!
//! A task sums over a part of the output rows, for a group of offsets. Rows are what neighbouring
//! offsets share, so within a task they stay in the cache from one offset to the next. The division
//! depends on sizes alone and sums are added in the order of the rows, so the result is the same on
//! any number of threads.

use std::ops::Range;

use rayon::prelude::*;

use crate::chunks::for_each_chunk;
use crate::kernel_map::KernelMap;

/// Tasks to aim at: enough for the cores of a large host.
const TASKS: usize = 64;

/// Fewest output rows of a part, and what parts begin at multiples of.
const PART_ROWS: usize = 2048;

/// Most memory for the sums of all parts, as float32 values, unless one part alone takes more.
const MAX_PARTIAL_VALUES: usize = 16 << 20;

/// Sums that are added up at once.
const REDUCED_VALUES: usize = 8192;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Split {
    /// Output rows of a part.
    part_rows: usize,
    /// Parts of the output rows; at least one.
    parts: usize,
    /// Offsets of a group.
    group_offsets: usize,
}

impl Split {
    fn of(map: &KernelMap, offset_len: usize) -> Self {
        let volume = map.kernel_volume();
        let affordable = (MAX_PARTIAL_VALUES / (volume * offset_len)).clamp(1, TASKS);
        let part_rows = map.n_out().div_ceil(affordable).next_multiple_of(PART_ROWS).max(PART_ROWS);
        let parts = map.n_out().div_ceil(part_rows).max(1);
        let group_offsets = volume.div_ceil(TASKS.div_ceil(parts).min(volume));
        Self { part_rows, parts, group_offsets }
    }
}

/// Float32 values of the sums that have to be kept beyond the result.
pub(crate) fn partial_values(map: &KernelMap, offset_len: usize) -> usize {
    (Split::of(map, offset_len).parts - 1) * map.kernel_volume() * offset_len
}

/// Offsets that a task works on at most.
pub(crate) fn group_offsets(map: &KernelMap, offset_len: usize) -> usize {
    Split::of(map, offset_len).group_offsets
}

/// A task: the sums of some offsets over some output rows.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) offsets: Range<usize>,
    /// Begins at a multiple of every block of rows.
    pub(crate) out_rows: Range<usize>,
}

impl Part {
    /// Output rows in blocks of this many.
    pub(crate) fn blocks(&self, rows: usize) -> impl Iterator<Item = Range<usize>> {
        let end = self.out_rows.end;
        self.out_rows.clone().step_by(rows).map(move |begin| begin..(begin + rows).min(end))
    }
}

/// Calls `sum(scratch, part, gradient)` in parallel, which is to overwrite the gradient of the
/// part's offsets (`offset_len` values each) by the sums over its rows; then adds up the sums of
/// all parts.
pub(crate) fn sum_parts<S>(
    map: &KernelMap,
    offset_len: usize,
    out: &mut [f32],
    scratch: fn() -> S,
    sum: &(dyn Fn(&mut S, &Part, &mut [f32]) + Sync),
) {
    let split = Split::of(map, offset_len);
    let mut partial = vec![0.0; partial_values(map, offset_len)];
    let out_len = out.len();
    let mut tasks: Vec<(Part, &mut [f32])> = Vec::new();
    let sums = std::iter::once(&mut *out).chain(partial.chunks_mut(out_len));
    for (part, sums) in sums.enumerate() {
        let begin = part * split.part_rows;
        let out_rows = begin..(begin + split.part_rows).min(map.n_out());
        for (group, sums) in sums.chunks_mut(split.group_offsets * offset_len).enumerate() {
            let first = group * split.group_offsets;
            let offsets = first..first + sums.len() / offset_len;
            tasks.push((Part { offsets, out_rows: out_rows.clone() }, sums));
        }
    }
    tasks
        .into_par_iter()
        .with_max_len(1)
        .for_each_init(scratch, |scratch, (part, sums)| sum(scratch, &part, sums));

    for_each_chunk(out, REDUCED_VALUES, &|chunk, out| {
        for part in partial.chunks_exact(out_len) {
            for (sum, value) in out.iter_mut().zip(&part[chunk * REDUCED_VALUES..]) {
                *sum += value;
            }
        }
    });
}
