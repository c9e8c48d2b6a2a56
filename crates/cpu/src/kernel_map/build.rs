//! Construction of submanifold maps by merging sorted keys.

use rayon::prelude::*;
use voxtune_shape::{KernelSize, Voxel};

use super::keys::{CellKey, Keys};
use super::lists::PairLists;
use super::{KernelMapError, Pair};

/// Sorted positions a task merges: enough to hide the search for its start.
const MERGE_POSITIONS: usize = 8192;

/// Marks an output row without an input row.
const NO_ROW: u32 = u32::MAX;

/// The lists of a submanifold map for a centred kernel.
pub(super) fn submanifold(
    voxels: &[Voxel],
    kernel: KernelSize,
) -> Result<PairLists, KernelMapError> {
    let reach = kernel.extents().map(|extent| i32::from(extent / 2));
    match Keys::of(voxels, reach) {
        Keys::Linear(keys, grid) => {
            let sorted = Sorted::new(keys, |keys| sort_linear(keys, grid.bits));
            build(voxels, kernel, sorted, |offset| grid.shift(offset))
        }
        Keys::Wide(keys) => {
            let sorted = Sorted::new(keys, sort_keyed);
            build(voxels, kernel, sorted, |offset| offset)
        }
    }
}

/// Keys in ascending order.
struct Sorted<K> {
    keys: Vec<K>,
    /// The row of each key; `None` if the rows are already in order.
    rows: Option<Vec<u32>>,
}

impl<K: CellKey> Sorted<K> {
    fn new(keys: Vec<K>, sort: impl FnOnce(&[K]) -> (Vec<K>, Vec<u32>)) -> Self {
        if keys.par_windows(2).all(|pair| pair[0] < pair[1]) {
            return Self { keys, rows: None };
        }
        let (keys, rows) = sort(&keys);
        Self { keys, rows: Some(rows) }
    }

    fn row(&self, position: usize) -> u32 {
        self.rows.as_ref().map_or(position as u32, |rows| rows[position])
    }

    fn check_distinct(&self, voxels: &[Voxel]) -> Result<(), KernelMapError> {
        if self.rows.is_none() {
            return Ok(());
        }
        match self.keys.par_windows(2).position_first(|pair| pair[0] == pair[1]) {
            None => Ok(()),
            Some(position) => {
                let rows = [self.row(position) as usize, self.row(position + 1) as usize];
                Err(KernelMapError::Duplicate {
                    voxel: voxels[rows[0]],
                    first_row: rows[0].min(rows[1]),
                    second_row: rows[0].max(rows[1]),
                })
            }
        }
    }
}

/// Sorts keys of so many bits. Where key and row share 64 bits, single words are sorted.
fn sort_linear(keys: &[u64], key_bits: u32) -> (Vec<u64>, Vec<u32>) {
    let row_bits = usize::BITS - keys.len().leading_zeros();
    if key_bits + row_bits > u64::BITS {
        return sort_keyed(keys);
    }
    let mut words: Vec<u64> =
        keys.par_iter().enumerate().map(|(row, key)| (key << row_bits) | row as u64).collect();
    words.par_sort_unstable();
    let row_mask = (1_u64 << row_bits) - 1;
    words.par_iter().map(|word| (word >> row_bits, (word & row_mask) as u32)).unzip()
}

fn sort_keyed<K: CellKey>(keys: &[K]) -> (Vec<K>, Vec<u32>) {
    let mut keyed: Vec<(K, u32)> =
        keys.par_iter().enumerate().map(|(row, &key)| (key, row as u32)).collect();
    keyed.par_sort_unstable();
    keyed.into_par_iter().unzip()
}

/// Offsets that differ along z only and come after the centre: one merge finds them all.
struct Column {
    /// The lowest of the offsets.
    low: [i32; 3],
    /// Index of each offset, from the lowest up.
    offsets: Vec<usize>,
}

/// The columns of the half of a centred kernel that comes after its centre.
fn upper_half(offsets: &[[i32; 3]]) -> Vec<Column> {
    let mut columns: Vec<Column> = Vec::new();
    for (index, &offset) in offsets.iter().enumerate().filter(|(_, offset)| **offset > [0; 3]) {
        match columns.last_mut() {
            Some(column) if column.low[..2] == offset[..2] => column.offsets.push(index),
            _ => columns.push(Column { low: offset, offsets: vec![index] }),
        }
    }
    columns
}

/// A meeting of two positions in sorted order: that of the output row, then that of the input row.
type Meeting = (u32, u32);

fn build<K: CellKey>(
    voxels: &[Voxel],
    kernel: KernelSize,
    sorted: Sorted<K>,
    shift: impl Fn([i32; 3]) -> K::Shift + Sync,
) -> Result<PairLists, KernelMapError> {
    sorted.check_distinct(voxels)?;
    let offsets = kernel.offsets();
    let volume = offsets.len();
    let columns = upper_half(&offsets);
    let tasks = sorted.keys.len().div_ceil(MERGE_POSITIONS);
    let merged: Vec<Vec<Vec<Meeting>>> = (0..columns.len() * tasks)
        .into_par_iter()
        .map(|task| {
            let column = &columns[task / tasks];
            let begin = task % tasks * MERGE_POSITIONS;
            let end = (begin + MERGE_POSITIONS).min(sorted.keys.len());
            merge(&sorted.keys, begin..end, shift(column.low), column.offsets.len())
        })
        .collect();

    // For each offset of the upper half: its chunks of meetings in ascending order.
    let mut chunks: Vec<Vec<&[Meeting]>> = vec![Vec::new(); volume];
    for (task, found) in merged.iter().enumerate() {
        for (meetings, &offset) in found.iter().zip(&columns[task / tasks].offsets) {
            chunks[offset].push(meetings);
        }
    }
    let centre = volume / 2;
    let upper = |offset: usize| if offset > centre { offset } else { volume - 1 - offset };
    let lens: Vec<usize> = (0..volume)
        .map(|offset| match offset == centre {
            true => voxels.len(),
            false => chunks[upper(offset)].iter().map(|chunk| chunk.len()).sum(),
        })
        .collect();
    Ok(PairLists::fill(voxels.len(), &lens, |offset, list| {
        if offset == centre {
            for (row, pair) in (0..).zip(list) {
                *pair = Pair { in_row: row, out_row: row };
            }
            return;
        }
        let meetings = chunks[upper(offset)].iter().copied().flatten().copied();
        if offset > centre {
            place(meetings, &sorted, list);
        } else {
            place(meetings.map(|(out, input)| (input, out)), &sorted, list);
        }
    }))
}

/// Pairs of meetings, sorted by output row.
fn place<K: CellKey>(
    meetings: impl Iterator<Item = Meeting>,
    sorted: &Sorted<K>,
    list: &mut [Pair],
) {
    let Some(rows) = &sorted.rows else {
        // Shifting keeps the order, so both positions ascend along the list.
        for (pair, (out_row, in_row)) in list.iter_mut().zip(meetings) {
            *pair = Pair { in_row, out_row };
        }
        return;
    };
    let mut in_row_of = vec![NO_ROW; rows.len()];
    for (out, input) in meetings {
        in_row_of[rows[out as usize] as usize] = rows[input as usize];
    }
    let found = (0..).zip(in_row_of).filter(|(_, in_row)| *in_row != NO_ROW);
    for (pair, (out_row, in_row)) in list.iter_mut().zip(found) {
        *pair = Pair { in_row, out_row };
    }
}

/// For each of `heights` cells above the shifted cell of each position, the meetings in ascending
/// order.
fn merge<K: CellKey>(
    keys: &[K],
    positions: std::ops::Range<usize>,
    shift: K::Shift,
    heights: usize,
) -> Vec<Vec<Meeting>> {
    let mut found: Vec<Vec<Meeting>> = vec![Vec::with_capacity(positions.len() / 2); heights];
    let Some(&first) = keys.get(positions.start) else { return found };
    let low = first.shifted(shift);
    let mut cursor = keys.partition_point(|&key| key < low);
    for out in positions {
        let low = keys[out].shifted(shift);
        while cursor < keys.len() && keys[cursor] < low {
            cursor += 1;
        }
        for (input, key) in (cursor..).zip(&keys[cursor..]) {
            let steps = key.steps_above(low, heights);
            if steps >= heights {
                break;
            }
            found[steps].push((out as u32, input as u32));
        }
    }
    found
}
