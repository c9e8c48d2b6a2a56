//! Channels in groups: against one dense product with zeros between the groups, and as any other
//! operation.

use voxtune_types::Geometry;

use super::*;
use crate::kernel_map::layer_outputs;

/// `(c_in, c_out, groups)`: depthwise; several outputs of an input; several inputs of an output;
/// both.
const SHAPES: [(u32, u32, u32); 9] = [
    (1, 1, 1),
    (16, 16, 16),
    (7, 7, 7),
    (5, 15, 5),
    (12, 4, 4),
    (8, 12, 2),
    (24, 24, 6),
    (33, 66, 3),
    (64, 64, 8),
];

/// Weights `(volume, c_in / groups, c_out)` as `(volume, c_in, c_out)`, zeros between groups. By
/// the definition: input `i` meets output `o` where both are of one group.
fn with_zeros(op: &Operation, weights: &[f64]) -> Vec<f64> {
    let (own_in, own_out) = op.group_channels();
    let mut dense = Vec::new();
    for offset in 0..op.kernel.volume() as u32 {
        for i in 0..op.c_in {
            for o in 0..op.c_out {
                let place = (offset * own_in + i % own_in) * op.c_out + o;
                let meets = i / own_in == o / own_out;
                dense.push(if meets { weights[place as usize] } else { 0.0 });
            }
        }
    }
    dense
}

/// The gradients of weights within groups, in the order of grouped weights.
fn without_zeros(op: &Operation, dense: &[f64]) -> Vec<f64> {
    let (own_in, own_out) = op.group_channels();
    let mut weights = vec![0.0; op.weight_len()];
    for offset in 0..op.kernel.volume() as u32 {
        for i in 0..op.c_in {
            for o in (0..op.c_out).filter(|o| i / own_in == o / own_out) {
                let place = (offset * own_in + i % own_in) * op.c_out + o;
                weights[place as usize] = dense[((offset * op.c_in + i) * op.c_out + o) as usize];
            }
        }
    }
    weights
}

#[test]
fn groups_are_a_dense_product_with_zeros_between_them() {
    for map in [map_of(&cloud(120)), strided_map(150, 60)] {
        for (c_in, c_out, groups) in SHAPES {
            for direction in Direction::ALL {
                let grouped = op(direction, DType::Float32, c_in, c_out).with_groups(groups);
                let plain = grouped.with_groups(1);
                let inputs = Inputs::random(&grouped, &map, 3);
                let (a, b) = (inputs.a.to_f64(), inputs.b.to_f64());
                let expected = match direction.product() {
                    Product::Forward => {
                        reference::forward(&plain, &map, &a, &with_zeros(&grouped, &b))
                    }
                    Product::Dgrad => reference::dgrad(&plain, &map, &a, &with_zeros(&grouped, &b)),
                    Product::Wgrad => reference::wgrad(&plain, &map, &a, &b)
                        .map(|dense| without_zeros(&grouped, &dense)),
                };
                // The same products in the same order, and zeros.
                assert_eq!(inputs.reference(&grouped, &map), expected.unwrap(), "{grouped}");
            }
        }
    }
}

#[test]
fn every_block_computes_groups() {
    let across = KernelSize::try_from([3, 1, 2]).unwrap();
    let fine = cloud(700);
    let geometry = Geometry::strided(across, [2; 3]);
    let coarse = layer_outputs(&fine, &geometry, None).unwrap();
    let strided = KernelMap::between(&fine, &coarse, &geometry).unwrap();
    for (map, kernel) in [(map_of(&fine), kernel(3)), (strided, across)] {
        for (c_in, c_out, groups) in SHAPES.into_iter().skip(1) {
            for direction in Direction::ALL {
                for dtype in DType::ALL {
                    let plain = Operation { kernel, ..op(direction, dtype, c_in, c_out) };
                    let op = plain.with_groups(groups);
                    let inputs = Inputs::random(&op, &map, 7);
                    let expected = inputs.reference(&op, &map);
                    let mut ran = 0;
                    for (algorithm, simd) in candidates(&op) {
                        let error = worst_error(&inputs.run(algorithm, simd, &op, &map), &expected);
                        let id = algorithm.id();
                        assert!(error <= out_dtype(&op).tolerance(), "{id}: {op} by {error:e}");
                        ran += 1;
                    }
                    assert!(ran >= 3, "{op}: {ran}");
                }
            }
        }
    }
}

#[test]
fn groups_are_finished_and_exact() {
    let map = map_of(&cloud(300));
    for (c_in, c_out, groups) in SHAPES.into_iter().skip(1) {
        for dtype in DType::ALL {
            let op = op(Direction::Forward, dtype, c_in, c_out).with_groups(groups);
            let inputs = Inputs::integers(&op, &map, 5);
            let channels = c_out as usize;
            let (scale, bias) = (vec![-2.0; channels], vec![1.0; channels]);
            let residual = HostBuffer::from_f32(dtype, &vec![3.0; map.n_out() * channels]);
            let residual = Some(residual.as_elements());
            let epilogue =
                Epilogue { scale: Some(&scale), bias: Some(&bias), residual, relu: true };
            let mut expected = inputs.reference(&op, &map);
            reference::finish(&op, &mut expected, &epilogue).unwrap();
            for (algorithm, simd) in candidates(&op) {
                let found = inputs.run_finished(algorithm, simd, &op, &map, epilogue);
                assert_eq!(worst_error(&found, &expected), 0.0, "{}: {op}", algorithm.id());
            }
        }
    }
}

#[test]
fn threads_change_no_bit_of_groups() {
    let map = map_of(&cloud(20_000));
    let pools = [1, 3].map(|n| rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap());
    for direction in Direction::ALL {
        let op = op(direction, DType::Float32, 6, 6).with_groups(6);
        let inputs = Inputs::random(&op, &map, 5);
        for algorithm in algorithms().iter().filter(|algorithm| algorithm.applies(&op)) {
            let [one, three] = pools
                .each_ref()
                .map(|pool| pool.install(|| inputs.run(algorithm, Simd::best(), &op, &map)));
            assert!(one == three, "{}: {op}", algorithm.id());
        }
    }
}
