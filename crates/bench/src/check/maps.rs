//! Kernel maps against the host's.

use voxtune_cpu::KernelMap;
use voxtune_cuda::{CudaError, DeviceKernelMap, MapBuilder, Result, RowOrder, TilePlan};
use voxtune_pointcloud::{Generator, generate};
use voxtune_types::{Direction, KernelSize, Voxel};

use super::Findings;
use super::cells::{Cells, corners};
use crate::named_cloud::NamedCloud;

/// Rows of a segment of [`RowOrder::Sorted`].
const SEGMENT_ROWS: usize = 32_768;

/// Compares maps of adversarial clouds, of generated ones around block sizes, and of named ones.
pub(super) fn check(builder: &MapBuilder, quick: bool, named: &[NamedCloud]) -> Result<Findings> {
    let mut findings = Findings::default();
    let own = clouds(quick);
    let all = own.iter().map(|(name, voxels)| (name.as_str(), voxels));
    for (name, voxels) in all.chain(named.iter().map(|cloud| (&*cloud.label, &cloud.cells))) {
        for extent in [1, 3, 5] {
            let kernel = KernelSize::submanifold(extent).expect("a submanifold extent");
            findings.checked += 1;
            if let Some(difference) = compare(builder, voxels, kernel)? {
                findings.failures.push(format!("map of {name}, kernel {extent}: {difference}"));
            }
        }
    }
    findings.checked += 1;
    findings.failures.extend(accepts_a_duplicate(builder));
    Ok(findings)
}

pub(super) fn clouds(quick: bool) -> Vec<(String, Vec<Voxel>)> {
    let mut clouds = vec![
        ("nothing".to_owned(), Vec::new()),
        ("one voxel".to_owned(), vec![Voxel::new(0, 7, -3, 0)]),
        ("the corners of int32".to_owned(), corners()),
    ];
    clouds.extend(
        (0..CORNER_CLOUDS).map(|seed| (format!("corner pairs {seed}"), corner_pairs(seed))),
    );
    let hard = [Cells::Full { edge: 8 }, Cells::Isolated(300)];
    clouds.extend(hard.map(|cells| (cells.to_string(), cells.voxels())));
    let counts: &[usize] = if quick {
        &[65, 1025]
    } else {
        &[2, 63, 64, 65, 127, 129, 1023, 1024, 1025, 4095, 4097, 32_769, 70_001]
    };
    for generator in Generator::ALL {
        for &n in counts {
            let batches = 1 + n % 3;
            if let Ok(cloud) = generate(generator, n, batches.min(n), 7) {
                let moved = |v: Voxel| Voxel::new(v.batch, v.x - 20, v.y - 5, v.z);
                clouds.push((format!("{generator} {n}"), cloud.into_iter().map(moved).collect()));
            }
        }
    }
    clouds
}

/// Clouds of [`corner_pairs`]: one brick in a few hundred is in the first slot.
const CORNER_CLOUDS: i32 = 24;

/// Pairs of voxels that meet at a corner of their bricks of 4×4×4 cells, far from other pairs.
/// Threads of a last block that have no row must not see the surroundings of whichever brick is in
/// the first slot.
fn corner_pairs(seed: i32) -> Vec<Voxel> {
    const PAIRS: i32 = 100;
    let pair = |number: i32| {
        let at = |factor: i32| (seed * PAIRS + number) * factor % 509 * 12;
        let (x, y, z) = (at(1), at(7), at(31));
        [Voxel::new(0, x, y, z), Voxel::new(0, x - 1, y - 1, z - 1)]
    };
    (0..PAIRS).flat_map(pair).collect()
}

fn accepts_a_duplicate(builder: &MapBuilder) -> Option<String> {
    let mut twice = Cells::Full { edge: 8 }.voxels();
    twice.push(twice[100]);
    let kernel = KernelSize::submanifold(3).expect("3 is one");
    let found = builder.submanifold(&twice, kernel).and_then(|map| map.counts().cloned());
    match found {
        Err(CudaError::DuplicateVoxel { voxel, row: 512 }) if voxel == twice[100] => None,
        other => Some(format!("a duplicate voxel gave {other:?}")),
    }
}

/// What differs between the device's map and the host's.
fn compare(builder: &MapBuilder, voxels: &[Voxel], kernel: KernelSize) -> Result<Option<String>> {
    let mut map = builder.submanifold(voxels, kernel)?;
    builder.add_reverse(&mut map)?;
    for order in RowOrder::ALL {
        builder.add_order(&map, Direction::Forward, order)?;
        builder.add_order(&map, Direction::Dgrad, order)?;
    }
    let host = match KernelMap::submanifold(voxels, kernel) {
        Ok(host) => host,
        Err(error) => return Ok(Some(format!("the host refuses it: {error}"))),
    };
    if let Some(difference) = compare_pairs(&map, &host, voxels.len())? {
        return Ok(Some(difference));
    }
    let table = map.download_table()?;
    for order in RowOrder::ALL {
        let rows = map.download_order(order)?;
        let rows = rows.unwrap_or_else(|| (0..voxels.len() as i32).collect());
        let (ordered, masks) = (map.download_ordered_table(order)?, map.download_masks(order)?);
        if let Some(what) = disorder(&rows, &table, &ordered, &masks, order) {
            return Ok(Some(format!("the {} order: {what}", order.as_str())));
        }
        let plans = if kernel.volume() <= 27 { tile_plans(order) } else { Vec::new() };
        for plan in plans {
            builder.add_plan(&map, Direction::Forward, plan)?;
            if let Some(difference) = planned_otherwise(&map, plan)? {
                return Ok(Some(difference));
            }
        }
    }
    Ok(None)
}

/// Plans of rows in an order. Small tiles do not run at once, or do so if few are cut. Large ones
/// stay whole. No more plans, since a frame makes few at once.
pub(super) fn tile_plans(order: RowOrder) -> Vec<TilePlan> {
    let of = |(rows, parts, blocks)| TilePlan { order, rows, parts, blocks, fixed: 8 / parts };
    [(64, 2, 2), (64, 8, 200), (256, 1, 1)].map(of).to_vec()
}

/// What differs between a plan that was made and the host's of the same masks.
pub(super) fn planned_otherwise(map: &DeviceKernelMap, plan: TilePlan) -> Result<Option<String>> {
    let Some(found) = map.download_plan(plan)? else {
        return Ok(Some(format!("{plan:?} was not made")));
    };
    let expected = plan.items(&map.download_masks(plan.order)?);
    let at = (0..found.len().max(expected.len())).find(|&at| found.get(at) != expected.get(at));
    Ok(at.map(|at| {
        let (found, expected) = (found.get(at), expected.get(at));
        format!("item {at} of {plan:?} is {found:?} for {expected:?}")
    }))
}

fn compare_pairs(map: &DeviceKernelMap, host: &KernelMap, n: usize) -> Result<Option<String>> {
    let volume = map.kernel().volume();
    let table = map.download_table()?;
    let reverse = map.download_reverse_table()?.unwrap_or_default();
    for offset in 0..volume {
        let mut expected: Vec<(i32, i32)> = host
            .pair_list(offset)
            .iter()
            .map(|pair| (pair.out_row as i32, pair.in_row as i32))
            .collect();
        expected.sort_unstable();
        let (in_rows, out_rows) = map.download_pairs(offset)?;
        if !out_rows.into_iter().zip(in_rows).eq(expected.iter().copied()) {
            return Ok(Some(format!("the pair list of offset {offset} differs")));
        }
        let line = &table[offset * n..(offset + 1) * n];
        let present = (0..n as i32).zip(line.iter().copied()).filter(|(_, found)| *found >= 0);
        if !present.eq(expected) {
            return Ok(Some(format!("the table of offset {offset} differs")));
        }
        let mirrored = volume - 1 - offset;
        if reverse.get(offset * n..(offset + 1) * n) != table.get(mirrored * n..(mirrored + 1) * n)
        {
            return Ok(Some(format!("the reverse table of offset {offset} is no mirror image")));
        }
    }
    Ok(None)
}

/// What is wrong with the rows of an order, its table or its masks, given the natural table.
pub(super) fn disorder(
    rows: &[i32],
    table: &[i32],
    ordered: &[i32],
    masks: &[u32],
    order: RowOrder,
) -> Option<&'static str> {
    let n = rows.len();
    if !is_permutation(rows.to_vec(), n, order) {
        return Some("no permutation within its segments");
    }
    if ordered.len() != table.len() {
        return Some("a table of another size");
    }
    if n == 0 {
        return None;
    }
    let lines = table.chunks_exact(n).zip(ordered.chunks_exact(n));
    let moved = |(line, ordered): (&[i32], &[i32])| {
        rows.iter().zip(ordered).all(|(&row, found)| line[row as usize] == *found)
    };
    if !lines.clone().all(moved) {
        return Some("a table whose rows are not where the order puts them");
    }
    let words = masks.len() / n;
    let has_bit = |position: usize, offset: usize| {
        masks.get(position * words + offset / 32).is_some_and(|word| word >> (offset % 32) & 1 == 1)
    };
    let agree = |(offset, (_, line)): (usize, (&[i32], &[i32]))| {
        line.iter().enumerate().all(|(at, found)| has_bit(at, offset) == (*found >= 0))
    };
    (!lines.enumerate().all(agree)).then_some("masks that are not those of its table")
}

fn is_permutation(mut rows: Vec<i32>, n: usize, order: RowOrder) -> bool {
    let segment = |at: usize| if order == RowOrder::Sorted { at / SEGMENT_ROWS } else { 0 };
    let in_segments =
        rows.iter().enumerate().all(|(at, &row)| segment(at) == segment(row.max(0) as usize));
    rows.sort_unstable();
    in_segments && rows.into_iter().eq(0..n as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_and_masks_follow_their_order() {
        // Two offsets over three rows.
        let (table, global) = ([0, -1, 2, -1, 2, 1], RowOrder::Global);
        let (rows, ordered, masks) = ([2, 0, 1], [2, 0, -1, 1, -1, 2], [0b11, 0b01, 0b10]);
        assert_eq!(disorder(&rows, &table, &ordered, &masks, global), None);
        assert_eq!(disorder(&[], &[], &[], &[], global), None);
        assert!(disorder(&[2, 0, 0], &table, &ordered, &masks, global).is_some());
        assert!(disorder(&rows, &table, &table, &masks, global).is_some());
        assert!(disorder(&rows, &table, &ordered[..3], &masks, global).is_some());
        assert!(disorder(&rows, &table, &ordered, &[0b11, 0b11, 0b10], global).is_some());
        assert!(disorder(&rows, &table, &ordered, &[], global).is_some());
    }

    #[test]
    fn a_permutation_stays_in_its_segments() {
        let n = SEGMENT_ROWS + 2;
        let mut rows: Vec<i32> = (0..n as i32).collect();
        rows.swap(0, 5);
        assert!(is_permutation(rows.clone(), n, RowOrder::Sorted));
        rows.swap(0, n - 1);
        assert!(!is_permutation(rows.clone(), n, RowOrder::Sorted));
        assert!(is_permutation(rows.clone(), n, RowOrder::Global));
        rows[7] = 8;
        assert!(!is_permutation(rows, n, RowOrder::Global));
    }
}
