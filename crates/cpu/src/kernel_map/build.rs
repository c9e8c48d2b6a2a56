//! Construction of maps by merging sorted keys.

use rayon::prelude::*;
use voxtune_types::{Geometry, Voxel};

use super::keys::{CellKey, Keys};
use super::lists::PairLists;
use super::{KernelMapError, Pair};
use crate::chunks::{for_each_chunk, make_chunks, make_each};

/// Sorted positions a task merges: enough to hide the search for its start.
const MERGE_POSITIONS: usize = 8192;

/// Words that a task unpacks.
const WORDS: usize = 1 << 14;

/// Marks an output row without an input row.
const NO_ROW: u32 = u32::MAX;

/// The lists of a submanifold map for a centred kernel.
pub(super) fn submanifold(
    voxels: &[Voxel],
    geometry: &Geometry,
) -> Result<PairLists, KernelMapError> {
    match Keys::of(voxels, geometry.reach()) {
        Keys::Linear(keys, grid) => {
            let sorted = Sorted::new(keys, |keys| sort_linear(keys, grid.bits));
            sorted.check_distinct(voxels, Side::Input)?;
            Ok(mirrored(voxels, geometry, &sorted, |offset| grid.shift(offset)))
        }
        Keys::Wide(keys) => {
            let sorted = Sorted::new(keys, sort_keyed);
            sorted.check_distinct(voxels, Side::Input)?;
            Ok(mirrored(voxels, geometry, &sorted, |offset| offset))
        }
    }
}

/// The lists of the map from fine inputs to coarse outputs in which input `i` and output `o` meet
/// at the offset that steps from `o * stride` to `i`.
pub(super) fn strided(
    inputs: &[Voxel],
    outputs: &[Voxel],
    geometry: &Geometry,
) -> Result<PairLists, KernelMapError> {
    match Keys::of_both(inputs, outputs, geometry.stride, geometry.reach()) {
        (Keys::Linear(inputs_at, grid), Keys::Linear(outputs_at, _)) => {
            let sort = |keys: &[u64]| sort_linear(keys, grid.bits);
            let (ins, outs) = (Sorted::new(inputs_at, sort), Sorted::new(outputs_at, sort));
            ins.check_distinct(inputs, Side::Input)?;
            outs.check_distinct(outputs, Side::Output)?;
            Ok(all_columns(geometry, &ins, &outs, |offset| grid.shift(offset)))
        }
        (Keys::Wide(inputs_at), Keys::Wide(outputs_at)) => {
            let (ins, outs) =
                (Sorted::new(inputs_at, sort_keyed), Sorted::new(outputs_at, sort_keyed));
            ins.check_distinct(inputs, Side::Input)?;
            outs.check_distinct(outputs, Side::Output)?;
            Ok(all_columns(geometry, &ins, &outs, |offset| offset))
        }
        _ => unreachable!("both clouds have keys in one grid"),
    }
}

/// Which of a map's clouds is meant.
#[derive(Clone, Copy, Debug)]
pub(super) enum Side {
    Input,
    Output,
}

/// Keys in ascending order.
pub(super) struct Sorted<K> {
    keys: Vec<K>,
    /// The row of each key; `None` if the rows are already in order.
    rows: Option<Vec<u32>>,
}

impl<K: CellKey> Sorted<K> {
    pub(super) fn new(keys: Vec<K>, sort: impl FnOnce(&[K]) -> (Vec<K>, Vec<u32>)) -> Self {
        if keys.is_sorted_by(|one, next| one < next) {
            return Self { keys, rows: None };
        }
        let (keys, rows) = sort(&keys);
        Self { keys, rows: Some(rows) }
    }

    fn row(&self, position: usize) -> u32 {
        self.rows.as_ref().map_or(position as u32, |rows| rows[position])
    }

    pub(super) fn check_distinct(
        &self,
        voxels: &[Voxel],
        side: Side,
    ) -> Result<(), KernelMapError> {
        if self.rows.is_none() {
            return Ok(());
        }
        match self.keys.windows(2).position(|pair| pair[0] == pair[1]) {
            None => Ok(()),
            Some(position) => {
                let rows = [self.row(position) as usize, self.row(position + 1) as usize];
                let voxel = voxels[rows[0]];
                let (first_row, second_row) = (rows[0].min(rows[1]), rows[0].max(rows[1]));
                Err(match side {
                    Side::Input => KernelMapError::Duplicate { voxel, first_row, second_row },
                    Side::Output => {
                        KernelMapError::DuplicateOutput { voxel, first_row, second_row }
                    }
                })
            }
        }
    }
}

/// Sorts keys of so many bits. Where key and row share 64 bits, single words are sorted.
pub(super) fn sort_linear(keys: &[u64], key_bits: u32) -> (Vec<u64>, Vec<u32>) {
    let row_bits = usize::BITS - keys.len().leading_zeros();
    if key_bits + row_bits > u64::BITS {
        return sort_keyed(keys);
    }
    let mut words = make_chunks(keys.len(), &|first, words: &mut [u64]| {
        for ((word, key), row) in words.iter_mut().zip(&keys[first..]).zip(first as u64..) {
            *word = (key << row_bits) | row;
        }
    });
    words.par_sort_unstable();
    let row_mask = (1_u64 << row_bits) - 1;
    let rows = make_chunks(keys.len(), &|first, rows: &mut [u32]| {
        for (row, word) in rows.iter_mut().zip(&words[first..]) {
            *row = (word & row_mask) as u32;
        }
    });
    for_each_chunk(&mut words, WORDS, &|_, words| {
        words.iter_mut().for_each(|word| *word >>= row_bits)
    });
    (words, rows)
}

pub(super) fn sort_keyed<K: CellKey>(keys: &[K]) -> (Vec<K>, Vec<u32>) {
    let mut keyed: Vec<(K, u32)> = keys.iter().copied().zip(0..).collect();
    keyed.par_sort_unstable();
    keyed.into_iter().unzip()
}

/// Offsets that follow each other along z: one merge finds them all.
struct Column {
    /// The lowest of the offsets.
    low: [i32; 3],
    /// Index of each offset, from the lowest up.
    offsets: Vec<usize>,
}

impl Column {
    /// The offset above the highest.
    fn next(&self) -> [i32; 3] {
        let [x, y, z] = self.low;
        [x, y, z + self.offsets.len() as i32]
    }
}

/// The columns of some of a kernel's offsets, which come with their index, z fastest.
fn columns<'a>(offsets: impl Iterator<Item = (usize, &'a [i32; 3])>) -> Vec<Column> {
    let mut columns: Vec<Column> = Vec::new();
    for (index, &offset) in offsets {
        match columns.last_mut() {
            Some(column) if column.next() == offset => column.offsets.push(index),
            _ => columns.push(Column { low: offset, offsets: vec![index] }),
        }
    }
    columns
}

/// A meeting of two positions in sorted order: that of the output row, then that of the input row.
type Meeting = (u32, u32);

/// Meetings of all offsets of some columns, found in parallel by tasks of a stretch of the outputs
/// each.
struct Merged {
    columns: Vec<Column>,
    /// For each column, then each task, then each height: the meetings in ascending order.
    found: Vec<Vec<Vec<Meeting>>>,
}

impl Merged {
    fn new<K: CellKey>(
        columns: Vec<Column>,
        ins: &Sorted<K>,
        outs: &Sorted<K>,
        shift: impl Fn([i32; 3]) -> K::Shift + Sync,
    ) -> Self {
        let tasks = outs.keys.len().div_ceil(MERGE_POSITIONS);
        let found = make_each(columns.len() * tasks, &|task| {
            let column = &columns[task / tasks];
            let begin = task % tasks * MERGE_POSITIONS;
            let end = (begin + MERGE_POSITIONS).min(outs.keys.len());
            let positions = &outs.keys[begin..end];
            merge(&ins.keys, positions, begin, shift(column.low), column.offsets.len())
        });
        Self { columns, found }
    }

    /// For each offset: its chunks of meetings in ascending order.
    fn chunks(&self, volume: usize) -> Vec<Vec<&[Meeting]>> {
        let mut chunks: Vec<Vec<&[Meeting]>> = vec![Vec::new(); volume];
        let tasks = self.found.len().checked_div(self.columns.len()).unwrap_or(0);
        for (task, found) in self.found.iter().enumerate() {
            for (meetings, &offset) in found.iter().zip(&self.columns[task / tasks].offsets) {
                chunks[offset].push(meetings);
            }
        }
        chunks
    }
}

/// The lists of a cloud that meets itself: half of the offsets are found, the others mirror them.
fn mirrored<K: CellKey>(
    voxels: &[Voxel],
    geometry: &Geometry,
    sorted: &Sorted<K>,
    shift: impl Fn([i32; 3]) -> K::Shift + Sync,
) -> PairLists {
    let offsets = geometry.offsets();
    let volume = offsets.len();
    let upper_half = offsets.iter().enumerate().filter(|(_, offset)| **offset > [0; 3]);
    let merged = Merged::new(columns(upper_half), sorted, sorted, shift);
    let chunks = merged.chunks(volume);
    let centre = volume / 2;
    let upper = |offset: usize| if offset > centre { offset } else { volume - 1 - offset };
    let lens: Vec<usize> = (0..volume)
        .map(|offset| match offset == centre {
            true => voxels.len(),
            false => chunks[upper(offset)].iter().map(|chunk| chunk.len()).sum(),
        })
        .collect();
    PairLists::fill(voxels.len(), &lens, &|offset, list| {
        if offset == centre {
            for (row, pair) in (0..).zip(list) {
                *pair = Pair { in_row: row, out_row: row };
            }
            return;
        }
        let meetings = chunks[upper(offset)].iter().copied().flatten().copied();
        if offset > centre {
            place(meetings, sorted, sorted, list);
        } else {
            place(meetings.map(|(out, input)| (input, out)), sorted, sorted, list);
        }
    })
}

/// The lists of two clouds, every offset of which is found by itself.
fn all_columns<K: CellKey>(
    geometry: &Geometry,
    ins: &Sorted<K>,
    outs: &Sorted<K>,
    shift: impl Fn([i32; 3]) -> K::Shift + Sync,
) -> PairLists {
    let offsets = geometry.offsets();
    let merged = Merged::new(columns(offsets.iter().enumerate()), ins, outs, shift);
    let chunks = merged.chunks(offsets.len());
    let lens: Vec<usize> =
        chunks.iter().map(|chunks| chunks.iter().map(|chunk| chunk.len()).sum()).collect();
    PairLists::fill(outs.keys.len(), &lens, &|offset, list| {
        place(chunks[offset].iter().copied().flatten().copied(), ins, outs, list);
    })
}

/// Pairs of meetings, sorted by output row.
fn place<K: CellKey>(
    meetings: impl Iterator<Item = Meeting>,
    ins: &Sorted<K>,
    outs: &Sorted<K>,
    list: &mut [Pair],
) {
    if outs.rows.is_none() {
        // Shifting keeps the order, so the outputs' positions ascend along the list.
        for (pair, (out_row, input)) in list.iter_mut().zip(meetings) {
            *pair = Pair { in_row: ins.row(input as usize), out_row };
        }
        return;
    }
    let mut in_row_of = vec![NO_ROW; outs.keys.len()];
    for (out, input) in meetings {
        in_row_of[outs.row(out as usize) as usize] = ins.row(input as usize);
    }
    let found = (0..).zip(in_row_of).filter(|(_, in_row)| *in_row != NO_ROW);
    for (pair, (out_row, in_row)) in list.iter_mut().zip(found) {
        *pair = Pair { in_row, out_row };
    }
}

/// For each of `heights` cells above the shifted cell of each output, the meetings in ascending
/// order. The outputs' positions begin at `first`.
fn merge<K: CellKey>(
    ins: &[K],
    outs: &[K],
    first: usize,
    shift: K::Shift,
    heights: usize,
) -> Vec<Vec<Meeting>> {
    let mut found: Vec<Vec<Meeting>> = vec![Vec::with_capacity(outs.len() / 2); heights];
    let Some(&lowest) = outs.first() else { return found };
    let low = lowest.shifted(shift);
    let mut cursor = ins.partition_point(|&key| key < low);
    for (out, key) in (first..).zip(outs) {
        let low = key.shifted(shift);
        while cursor < ins.len() && ins[cursor] < low {
            cursor += 1;
        }
        for (input, key) in (cursor..).zip(&ins[cursor..]) {
            let steps = key.steps_above(low, heights);
            if steps >= heights {
                break;
            }
            found[steps].push((out as u32, input as u32));
        }
    }
    found
}
