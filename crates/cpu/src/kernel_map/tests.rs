use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// The definition: for each offset, look every voxel up.
fn brute_force(voxels: &[Voxel], kernel: KernelSize) -> Vec<Vec<Pair>> {
    let row_of: BTreeMap<Voxel, u32> = voxels.iter().copied().zip(0..).collect();
    let meet = |offset, (voxel, out_row): (&Voxel, u32)| {
        let in_row = *row_of.get(&voxel.checked_offset(offset)?)?;
        Some(Pair { in_row, out_row })
    };
    let list = |offset| voxels.iter().zip(0..).filter_map(|row| meet(offset, row)).collect();
    kernel.offsets().into_iter().map(list).collect()
}

fn assert_is_brute_force(voxels: &[Voxel], kernel: KernelSize) {
    let map = KernelMap::submanifold(voxels, kernel).unwrap();
    let expected = brute_force(voxels, kernel);
    assert_eq!((map.n_in(), map.n_out()), (voxels.len(), voxels.len()));
    assert_eq!(map.kernel_volume(), kernel.volume());
    assert_eq!(map.pairs(), expected.iter().map(Vec::len).sum::<usize>());
    for (offset, expected) in expected.iter().enumerate() {
        assert_eq!(map.pair_list(offset), expected, "offset {offset} of {kernel}");
    }
    assert_is_transposed(&map);
}

/// The transposed lists are the stored ones swapped and sorted, however they are kept.
pub(super) fn assert_is_transposed(map: &KernelMap) {
    let transposed = map.transposed();
    assert_eq!((transposed.n_in(), transposed.n_out()), (map.n_out(), map.n_in()));
    for offset in 0..map.kernel_volume() {
        let mut swapped: Vec<Pair> =
            map.pair_list(offset).iter().map(|pair| pair.swapped()).collect();
        swapped.sort_by_key(|pair| pair.out_row);
        assert_eq!(transposed.pair_list(offset), swapped, "offset {offset}");
        assert_blocks(transposed, offset);
        assert_blocks(map.view(), offset);
    }
}

/// Blocks are what a scan of the list finds.
fn assert_blocks(view: MapView<'_>, offset: usize) {
    for begin in (0..view.n_out()).step_by(SEGMENT_ROWS) {
        for end in [begin + SEGMENT_ROWS, (begin + 3 * SEGMENT_ROWS).min(view.n_out())] {
            let expected: Vec<Pair> = view
                .pair_list(offset)
                .iter()
                .copied()
                .filter(|pair| (begin..end).contains(&(pair.out_row as usize)))
                .collect();
            assert_eq!(view.block(offset, begin..end), expected);
        }
    }
}

fn kernels() -> impl Strategy<Value = KernelSize> {
    prop_oneof![
        Just([1, 1, 1]),
        Just([3, 3, 3]),
        Just([5, 5, 5]),
        Just([1, 3, 5]),
        Just([5, 1, 3]),
        Just([7, 3, 1])
    ]
    .prop_map(|extents| KernelSize::try_from(extents).unwrap())
}

/// Distinct voxels in shuffled order, in a few small batches around an origin.
pub(super) fn clouds() -> impl Strategy<Value = Vec<Voxel>> {
    let voxel = (0..3_i32, -4..4_i32, -4..4_i32, -4..4_i32)
        .prop_map(|(batch, x, y, z)| Voxel::new(batch - 1, x, y, z));
    (proptest::collection::btree_set(voxel, 0..300), any::<[i32; 3]>(), 0..3_u8, any::<u64>())
        .prop_map(|(cells, origin, kind, seed)| {
            // Around zero, anywhere, or at the end of an axis, where sums overflow.
            let origin = match kind {
                0 => [0; 3],
                1 => origin,
                _ => origin.map(|at| if at < 0 { i32::MIN } else { i32::MAX }),
            };
            let place = |at: i32, from: i32| from.saturating_add(at).clamp(i32::MIN, i32::MAX);
            let mut voxels: Vec<Voxel> = cells
                .into_iter()
                .map(|cell| {
                    let [x, y, z] = origin;
                    Voxel::new(cell.batch, place(cell.x, x), place(cell.y, y), place(cell.z, z))
                })
                .collect();
            voxels.sort_unstable();
            voxels.dedup();
            if !seed.is_multiple_of(3) {
                voxels.sort_by_key(|voxel| {
                    let words = [voxel.batch, voxel.x, voxel.y, voxel.z];
                    words.iter().fold(seed, |hash, &word| {
                        (hash ^ word as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
                    })
                });
            }
            voxels
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn agrees_with_brute_force(voxels in clouds(), kernel in kernels()) {
        assert_is_brute_force(&voxels, kernel);
    }

    #[test]
    fn far_apart_clouds_do_not_meet(cells in clouds(), kernel in kernels()) {
        // Corners of the whole coordinate space: too many cells for 64-bit keys.
        let mut voxels = cells;
        for corner in [i32::MIN, i32::MAX] {
            voxels.extend((0..3).map(|step: i32| {
                let at = if corner < 0 { corner + step } else { corner - step };
                Voxel::new(corner, at, corner, at)
            }));
        }
        assert_is_brute_force(&voxels, kernel);
    }

    #[test]
    fn a_duplicate_is_named(voxels in clouds(), first: prop::sample::Index, at: prop::sample::Index) {
        prop_assume!(!voxels.is_empty());
        let mut voxels = voxels;
        let voxel = voxels[first.index(voxels.len())];
        voxels.insert(at.index(voxels.len() + 1), voxel);
        let rows: Vec<usize> =
            (0..voxels.len()).filter(|&row| voxels[row] == voxel).collect();
        let kernel = KernelSize::submanifold(3).unwrap();
        prop_assert_eq!(
            KernelMap::submanifold(&voxels, kernel).unwrap_err(),
            KernelMapError::Duplicate { voxel, first_row: rows[0], second_row: rows[1] }
        );
    }

    #[test]
    fn any_map_is_transposed(
        cells in proptest::collection::btree_map((0..4_usize, 0..300_u32), 0..200_u32, 0..600),
    ) {
        let mut lists = vec![Vec::new(); 4];
        for ((offset, out_row), in_row) in cells {
            let list: &mut Vec<Pair> = &mut lists[offset];
            if list.iter().all(|pair| pair.in_row != in_row) {
                list.push(Pair { in_row, out_row });
            }
        }
        let map = KernelMap::from_pairs(200, 300, lists.clone()).unwrap();
        for (offset, list) in lists.iter().enumerate() {
            prop_assert_eq!(map.pair_list(offset), list);
        }
        prop_assert!(!map.is_symmetric());
        assert_is_transposed(&map);
    }
}

#[test]
fn merges_of_many_tasks_join_up() {
    // More rows than a task merges, as a solid block and as isolated voxels, in both orders.
    for step in [1, 9] {
        let mut voxels: Vec<Voxel> = (0..20_000)
            .map(|index| {
                Voxel::new(0, index / 900 * step, index / 30 % 30 * step, index % 30 * step)
            })
            .collect();
        let kernel = KernelSize::submanifold(3).unwrap();
        assert_is_brute_force(&voxels, kernel);
        voxels.reverse();
        assert_is_brute_force(&voxels, kernel);
        let pairs = KernelMap::submanifold(&voxels, kernel).unwrap().pairs();
        assert_eq!(pairs == voxels.len(), step > 1, "isolated voxels meet themselves alone");
    }
}

#[test]
fn a_kernel_without_a_centre_is_refused() {
    let kernel = KernelSize::cubic(2).unwrap();
    let error = KernelMap::submanifold(&[], kernel).unwrap_err();
    assert_eq!(error, GeometryError::NotCentred(kernel).into());
    assert!(error.to_string().contains("kernel size 2 has no centre"), "{error}");
}

#[test]
fn malformed_lists_are_refused() {
    let pair = |in_row, out_row| Pair { in_row, out_row };
    let refused = |list: Vec<Pair>| KernelMap::from_pairs(3, 4, vec![vec![], list]).unwrap_err();
    assert_eq!(
        refused(vec![pair(3, 0)]),
        KernelMapError::OutOfBounds { offset: 1, pair: pair(3, 0), n_in: 3, n_out: 4 }
    );
    assert!(matches!(refused(vec![pair(0, 4)]), KernelMapError::OutOfBounds { .. }));
    for list in
        [vec![pair(0, 1), pair(1, 0)], vec![pair(0, 1), pair(1, 1)], vec![pair(0, 1), pair(0, 2)]]
    {
        let pair = list[1];
        assert_eq!(refused(list), KernelMapError::OutOfOrder { offset: 1, pair });
    }
}
