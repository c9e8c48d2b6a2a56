//! Strided maps against their definition.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::tests::{assert_is_transposed, clouds};
use super::*;

/// The definition: for each offset, look for the input at each output's `o · stride + offset`.
fn brute_force(
    inputs: &[Voxel],
    outputs: &[Voxel],
    kernel: KernelSize,
    stride: [u8; 3],
) -> Vec<Vec<Pair>> {
    let row_of: BTreeMap<Voxel, u32> = inputs.iter().copied().zip(0..).collect();
    let meet = |offset: [i32; 3], (output, out_row): (&Voxel, u32)| {
        let at = [output.x, output.y, output.z];
        let [x, y, z] = std::array::from_fn(|axis| {
            let met = i64::from(at[axis]) * i64::from(stride[axis]) + i64::from(offset[axis]);
            i32::try_from(met).ok()
        });
        let in_row = *row_of.get(&Voxel::new(output.batch, x?, y?, z?))?;
        Some(Pair { in_row, out_row })
    };
    let list = |offset| outputs.iter().zip(0..).filter_map(|row| meet(offset, row)).collect();
    kernel.offsets().into_iter().map(list).collect()
}

fn assert_is_brute_force(inputs: &[Voxel], outputs: &[Voxel], kernel: KernelSize, stride: [u8; 3]) {
    let map = KernelMap::between(inputs, outputs, &Geometry::strided(kernel, stride)).unwrap();
    assert_eq!((map.n_in(), map.n_out()), (inputs.len(), outputs.len()));
    assert_eq!(map.kernel_volume(), kernel.volume());
    assert!(!map.is_symmetric());
    let expected = brute_force(inputs, outputs, kernel, stride);
    for (offset, expected) in expected.iter().enumerate() {
        assert_eq!(map.pair_list(offset), expected, "offset {offset} of {kernel}, {stride:?}");
    }
    assert_is_transposed(&map);
    let transposed = map.to_transposed();
    assert_is_transposed(&transposed);
    for offset in 0..map.kernel_volume() {
        assert_eq!(transposed.pair_list(offset), map.transposed().pair_list(offset));
    }
}

/// Every output near an input that reaches one, by trying all of them. For few inputs.
fn reached(inputs: &[Voxel], kernel: KernelSize, stride: [u8; 3]) -> Vec<Voxel> {
    let mut found = Vec::new();
    for input in inputs {
        let at = [input.x, input.y, input.z];
        for offset in kernel.offsets() {
            let along = |axis: usize| {
                let steps = i64::from(at[axis]) - i64::from(offset[axis]);
                let stride = i64::from(stride[axis]);
                (steps % stride == 0).then(|| i32::try_from(steps / stride).ok()).flatten()
            };
            if let (Some(x), Some(y), Some(z)) = (along(0), along(1), along(2)) {
                found.push(Voxel::new(input.batch, x, y, z));
            }
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

fn kernels() -> impl Strategy<Value = KernelSize> {
    prop_oneof![
        Just([1, 1, 1]),
        Just([2, 2, 2]),
        Just([3, 3, 3]),
        Just([5, 5, 5]),
        Just([3, 1, 1]),
        Just([2, 4, 7]),
    ]
    .prop_map(|extents| KernelSize::try_from(extents).unwrap())
}

fn strides() -> impl Strategy<Value = [u8; 3]> {
    prop_oneof![
        Just([1, 1, 1]),
        Just([2, 2, 2]),
        Just([3, 3, 3]),
        Just([2, 1, 1]),
        Just([1, 3, 2]),
        Just([255, 2, 1]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn agrees_with_brute_force(inputs in clouds(), kernel in kernels(), stride in strides()) {
        let outputs = layer_outputs(&inputs, &Geometry::strided(kernel, stride), None).unwrap();
        prop_assert_eq!(&outputs, &reached(&inputs, kernel, stride));
        assert_is_brute_force(&inputs, &outputs, kernel, stride);
        // Each output is one because an input reaches it.
        let map = KernelMap::between(&inputs, &outputs, &Geometry::strided(kernel, stride)).unwrap();
        let mut is_met = vec![false; outputs.len()];
        for offset in 0..map.kernel_volume() {
            map.pair_list(offset).iter().for_each(|pair| is_met[pair.out_row as usize] = true);
        }
        prop_assert!(is_met.into_iter().all(|met| met));
    }

    #[test]
    fn any_outputs_will_do(
        inputs in clouds(), outputs in clouds(), kernel in kernels(), stride in strides(),
    ) {
        assert_is_brute_force(&inputs, &outputs, kernel, stride);
    }

    #[test]
    fn far_apart_clouds_do_not_meet(
        inputs in clouds(), kernel in kernels(), stride in strides(),
    ) {
        // Corners of the whole coordinate space: too many cells for 64-bit keys.
        let mut inputs = inputs;
        for corner in [i32::MIN, i32::MAX] {
            inputs.push(Voxel::new(corner, corner, corner, corner));
        }
        let outputs = layer_outputs(&inputs, &Geometry::strided(kernel, stride), None).unwrap();
        prop_assert_eq!(&outputs, &reached(&inputs, kernel, stride));
        assert_is_brute_force(&inputs, &outputs, kernel, stride);
        assert_is_brute_force(&inputs, &inputs, kernel, stride);
    }

    #[test]
    fn cells_of_a_stride_are_rounded_down(inputs in clouds(), stride in strides()) {
        let outputs = downsampled(&inputs, stride).unwrap();
        prop_assert!(outputs.is_sorted_by(|a, b| a < b));
        let holds = |output: &Voxel, input: &Voxel| {
            let along = |at: i32, of: i32, stride: u8| {
                (0..i64::from(stride)).contains(&(i64::from(of) - i64::from(at) * i64::from(stride)))
            };
            output.batch == input.batch
                && along(output.x, input.x, stride[0])
                && along(output.y, input.y, stride[1])
                && along(output.z, input.z, stride[2])
        };
        for output in &outputs {
            prop_assert!(inputs.iter().any(|input| holds(output, input)));
        }
        for input in &inputs {
            prop_assert!(outputs.iter().any(|output| holds(output, input)));
        }
        // Windows as large as the stride hold the same inputs, where they begin at their cell.
        if stride == [2; 3] {
            let kernel = KernelSize::cubic(2).unwrap();
            prop_assert_eq!(outputs, layer_outputs(&inputs, &Geometry::strided(kernel, stride), None).unwrap());
        }
    }

    #[test]
    fn duplicates_are_named_on_either_side(
        cells in clouds(), first: prop::sample::Index, at: prop::sample::Index,
    ) {
        prop_assume!(!cells.is_empty());
        let mut twice = cells.clone();
        let voxel = twice[first.index(twice.len())];
        twice.insert(at.index(twice.len() + 1), voxel);
        let rows: Vec<usize> = (0..twice.len()).filter(|&row| twice[row] == voxel).collect();
        let (first_row, second_row) = (rows[0], rows[1]);
        let (kernel, stride) = (KernelSize::cubic(2).unwrap(), [2; 3]);
        prop_assert_eq!(
            KernelMap::between(&twice, &cells, &Geometry::strided(kernel, stride)).unwrap_err(),
            KernelMapError::Duplicate { voxel, first_row, second_row }
        );
        prop_assert_eq!(
            KernelMap::between(&cells, &twice, &Geometry::strided(kernel, stride)).unwrap_err(),
            KernelMapError::DuplicateOutput { voxel, first_row, second_row }
        );
    }
}

#[test]
fn merges_of_many_tasks_join_up() {
    let mut inputs: Vec<Voxel> =
        (0..27_000).map(|at| Voxel::new(0, at / 900 - 7, at / 30 % 30, -(at % 30))).collect();
    let (kernel, stride) = (KernelSize::cubic(3).unwrap(), [1, 2, 1]);
    let outputs = layer_outputs(&inputs, &Geometry::strided(kernel, stride), None).unwrap();
    assert_eq!(outputs.len(), 32 * 16 * 32);
    assert_is_brute_force(&inputs, &outputs, kernel, stride);
    inputs.sort_unstable();
    assert_is_brute_force(&inputs, &outputs, kernel, stride);
}

#[test]
fn a_stride_of_one_over_the_inputs_is_a_submanifold_map() {
    let mut inputs: Vec<Voxel> =
        (0..500).map(|at| Voxel::new(at % 2, at / 64, at / 8 % 8, at % 7)).collect();
    inputs.sort_unstable();
    inputs.dedup();
    let kernel = KernelSize::submanifold(3).unwrap();
    let submanifold = KernelMap::submanifold(&inputs, kernel).unwrap();
    let strided = KernelMap::between(&inputs, &inputs, &Geometry::strided(kernel, [1; 3])).unwrap();
    for offset in 0..kernel.volume() {
        assert_eq!(strided.pair_list(offset), submanifold.pair_list(offset));
    }
    let transposed = submanifold.to_transposed();
    assert!(transposed.is_symmetric());
    assert_is_transposed(&transposed);
}

#[test]
fn a_stride_of_nothing_is_refused() {
    let kernel = KernelSize::cubic(2).unwrap();
    let stride = [2, 0, 2];
    let refused = Err(GeometryError::ZeroStride(stride).into());
    assert_eq!(layer_outputs(&[], &Geometry::strided(kernel, stride), None), refused);
    assert_eq!(downsampled(&[], stride), refused);
    assert_eq!(
        KernelMap::between(&[], &[], &Geometry::strided(kernel, stride)).unwrap_err(),
        GeometryError::ZeroStride(stride).into()
    );
}
