//! Maps and outputs of any padding, dilation and shape against their definition.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// The definition: fine cell `f` and coarse cell `c` meet at offset `r` where
/// `f = c · stride − padding + r · dilation`.
fn fine_cell(coarse: Voxel, geometry: &Geometry, r: [u8; 3]) -> [i64; 3] {
    let at = [coarse.x, coarse.y, coarse.z];
    std::array::from_fn(|axis| {
        i64::from(at[axis]) * i64::from(geometry.stride[axis]) - i64::from(geometry.padding[axis])
            + i64::from(r[axis]) * i64::from(geometry.dilation[axis])
    })
}

/// All positions in a kernel, in the order of the weights.
fn positions(kernel: KernelSize) -> Vec<[u8; 3]> {
    let [x, y, z] = kernel.extents();
    let in_column = move |i, j| (0..z).map(move |k| [i, j, k]);
    (0..x).flat_map(|i| (0..y).flat_map(move |j| in_column(i, j))).collect()
}

fn voxel(batch: i32, at: [i64; 3]) -> Option<Voxel> {
    let [x, y, z] = at.map(i32::try_from);
    Some(Voxel::new(batch, x.ok()?, y.ok()?, z.ok()?))
}

/// Pairs of fine and coarse rows of each offset, in ascending order.
fn meetings(fine: &[Voxel], coarse: &[Voxel], geometry: &Geometry) -> Vec<Vec<(u32, u32)>> {
    let row_of: BTreeMap<Voxel, u32> = fine.iter().copied().zip(0..).collect();
    let list = |r: [u8; 3]| {
        let met = |(cell, row): (&Voxel, u32)| {
            Some((*row_of.get(&voxel(cell.batch, fine_cell(*cell, geometry, r))?)?, row))
        };
        coarse.iter().zip(0..).filter_map(met).collect()
    };
    positions(geometry.kernel).into_iter().map(list).collect()
}

/// Every cell of a shape that meets an input, looked for one by one.
fn outputs_by_search(inputs: &[Voxel], geometry: &Geometry, shape: [u32; 3]) -> Vec<Voxel> {
    let batches: BTreeSet<i32> = inputs.iter().map(|input| input.batch).collect();
    let [sx, sy, sz] = shape.map(|size| size as i32);
    let mut found = Vec::new();
    for batch in batches {
        let cells = (0..sx)
            .flat_map(|x| (0..sy).flat_map(move |y| (0..sz).map(move |z| (x, y, z))))
            .map(|(x, y, z)| Voxel::new(batch, x, y, z));
        found.extend(cells.filter(|cell| {
            let lists = if geometry.kind.is_upsampling() {
                meetings(&[*cell], inputs, geometry)
            } else {
                meetings(inputs, &[*cell], geometry)
            };
            lists.iter().any(|list| !list.is_empty())
        }));
    }
    found
}

fn geometries() -> impl Strategy<Value = Geometry> {
    let axis = || (1_u8..=4, 1_u8..=3, -2_i16..=3, 1_u8..=3);
    (prop::array::uniform3(axis()), any::<bool>()).prop_map(|(axes, up)| Geometry {
        kind: if up { LayerKind::Transposed } else { LayerKind::Sparse },
        kernel: KernelSize::try_from(axes.map(|axis| axis.0)).unwrap(),
        stride: axes.map(|axis| axis.1),
        padding: axes.map(|axis| axis.2),
        dilation: axes.map(|axis| axis.3),
        output_padding: [0; 3],
    })
}

fn clouds() -> impl Strategy<Value = Vec<Voxel>> {
    prop::collection::btree_set((0..2_i32, 0..7_i32, 0..6_i32, 0..8_i32), 0..40).prop_map(|cells| {
        let cell = |(batch, x, y, z)| Voxel::new(batch, x, y, z);
        cells.into_iter().map(cell).rev().collect()
    })
}

proptest! {
    #[test]
    fn outputs_and_pairs_are_those_of_the_definition(
        inputs in clouds(),
        geometry in geometries(),
    ) {
        let shape = geometry.output_shape([7, 6, 8]);
        let outs = layer_outputs(&inputs, &geometry, Some(shape)).unwrap();
        prop_assert_eq!(&outs, &outputs_by_search(&inputs, &geometry, shape));
        let map = KernelMap::between(&inputs, &outs, &geometry).unwrap();
        let expected = if geometry.kind.is_upsampling() {
            let lists = meetings(&outs, &inputs, &geometry);
            lists
                .into_iter()
                .map(|list| {
                    let mut list: Vec<_> = list.into_iter().map(|(out, row)| (row, out)).collect();
                    list.sort_by_key(|pair| pair.1);
                    list
                })
                .collect()
        } else {
            meetings(&inputs, &outs, &geometry)
        };
        for (offset, expected) in expected.iter().enumerate() {
            let found: Vec<(u32, u32)> =
                map.pair_list(offset).iter().map(|pair| (pair.in_row, pair.out_row)).collect();
            prop_assert_eq!(&found, expected, "offset {} of {}", offset, geometry);
        }
    }

    #[test]
    fn dilated_submanifold_maps_are_symmetric_and_those_of_the_definition(
        voxels in clouds(),
        halves in prop::array::uniform3(0_u8..=2),
        dilation in prop::array::uniform3(1_u8..=3),
    ) {
        let kernel = KernelSize::try_from(halves.map(|half| 2 * half + 1)).unwrap();
        let geometry = Geometry::submanifold(kernel, dilation);
        let map = KernelMap::dilated(&voxels, kernel, dilation).unwrap();
        prop_assert!(map.is_symmetric());
        for (offset, expected) in meetings(&voxels, &voxels, &geometry).iter().enumerate() {
            let found: Vec<(u32, u32)> =
                map.pair_list(offset).iter().map(|pair| (pair.in_row, pair.out_row)).collect();
            prop_assert_eq!(&found, expected);
        }
    }
}

#[test]
fn coordinates_at_the_ends_of_32_bits_have_the_outputs_that_exist() {
    let ends = [i32::MIN, -1, 0, i32::MAX].map(|at| Voxel::new(0, at, at, at));
    let kernel = KernelSize::cubic(3).unwrap();
    let wide = Geometry { padding: [1; 3], ..Geometry::strided(kernel, [1; 3]) };
    let all = layer_outputs(&ends, &wide, None).unwrap();
    // Two neighbours share most of theirs; a cell at an end has half of an axis less.
    assert_eq!(all.len(), 8 + (27 + 27 - 8) + 8);
    let clipped = layer_outputs(&ends, &wide, Some([u32::MAX; 3])).unwrap();
    assert_eq!(clipped.len(), 8 + 8);
    let up = Geometry { stride: [3; 3], ..wide }.with_kind(LayerKind::Transposed);
    assert_eq!(layer_outputs(&ends, &up, None).unwrap().len(), 2 * 27);
    let map = KernelMap::between(&ends, &all, &wide).unwrap();
    assert_eq!(map.pairs(), 8 + 27 + 27 + 8);
}
