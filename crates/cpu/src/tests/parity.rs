//! Against float64, by the worst element.

use super::*;
use voxtune_types::{Geometry, LayerKind};

use crate::kernel_map::layer_outputs;

fn tolerance(op: &Operation) -> f64 {
    out_dtype(op).tolerance()
}

fn assert_parity(op: &Operation, map: &KernelMap) {
    let inputs = Inputs::random(op, map, 7);
    let expected = inputs.reference(op, map);
    for (algorithm, simd) in candidates(op) {
        let error = worst_error(&inputs.run(algorithm, simd, op, map), &expected);
        assert!(
            error <= tolerance(op),
            "{} on {simd:?}: {op} over {} rows is off by {error:e}",
            algorithm.id(),
            map.n_out()
        );
    }
}

fn assert_parity_of_all(map: &KernelMap, c_in: u32, c_out: u32) {
    for direction in Direction::ALL {
        for dtype in DType::ALL {
            assert_parity(&op(direction, dtype, c_in, c_out), map);
        }
    }
}

#[test]
fn odd_channels_agree_with_the_reference() {
    let map = map_of(&cloud(150));
    for (c_in, c_out) in [(1, 1), (2, 3), (3, 32), (4, 5), (6, 7), (8, 9), (9, 10)] {
        assert_parity_of_all(&map, c_in, c_out);
    }
    for (c_in, c_out) in [(10, 13), (13, 20), (20, 33), (33, 8), (31, 17), (16, 48)] {
        assert_parity_of_all(&map, c_in, c_out);
    }
}

#[test]
fn wide_layers_agree_with_the_reference() {
    let map = map_of(&cloud(70));
    for (c_in, c_out) in [(64, 96), (130, 65), (20, 300)] {
        assert_parity_of_all(&map, c_in, c_out);
    }
}

#[test]
fn rows_around_the_edges_of_blocks() {
    for rows in [0, 1, 2, 63, 64, 65, 127, 129, 255, 257, 1023, 1025] {
        assert_parity_of_all(&map_of(&cloud(rows)), 5, 18);
    }
}

#[test]
fn isolated_and_crowded_voxels_agree_with_the_reference() {
    let isolated: Vec<Voxel> = (0..300).map(|index| Voxel::new(0, 5 * index, 0, -index)).collect();
    assert_parity_of_all(&map_of(&isolated), 12, 24);
    let full: Vec<Voxel> =
        (0..512).map(|index| Voxel::new(0, index / 64, index / 8 % 8, index % 8)).collect();
    assert_parity_of_all(&map_of(&full), 12, 24);
}

#[test]
fn maps_without_symmetry_agree_with_the_reference() {
    assert_parity_of_all(&strided_map(400, 170), 11, 21);
    assert_parity_of_all(&strided_map(90, 310), 11, 21);
}

#[test]
fn strided_and_transposed_layers_agree_with_the_reference() {
    let inputs = cloud(700);
    for (extent, stride) in [([2; 3], [2; 3]), ([3; 3], [2; 3]), ([3, 1, 1], [2, 1, 1])] {
        let kernel = KernelSize::try_from(extent).unwrap();
        let outputs = layer_outputs(&inputs, &Geometry::strided(kernel, stride), None).unwrap();
        let map =
            KernelMap::between(&inputs, &outputs, &Geometry::strided(kernel, stride)).unwrap();
        for (map, kind) in [(map.to_transposed(), LayerKind::Inverse), (map, LayerKind::Sparse)] {
            for direction in Direction::ALL {
                for dtype in DType::ALL {
                    let op = op(direction, dtype, 11, 21);
                    assert_parity(&Operation { kernel, stride, kind, ..op }, &map);
                }
            }
        }
    }
}

#[test]
fn other_kernel_sizes_agree_with_the_reference() {
    let voxels = cloud(200);
    for extent in [1, 5] {
        let map = KernelMap::submanifold(&voxels, kernel(extent)).unwrap();
        for direction in Direction::ALL {
            let op = Operation { kernel: kernel(extent), ..op(direction, DType::Float16, 10, 20) };
            assert_parity(&op, &map);
        }
    }
}

#[test]
fn wgrad_adds_up_partial_sums() {
    // More rows than one part takes.
    let map = map_of(&cloud(20_000));
    assert!(crate::wgrad_split::partial_values(&map, 6 * 9) > 0);
    for dtype in DType::ALL {
        assert_parity(&op(Direction::Wgrad, dtype, 6, 9), &map);
    }
}
