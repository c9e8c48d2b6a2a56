//! Where every sum is exact, results must be equal to the last bit.

use super::*;

fn assert_exact(op: &Operation, map: &KernelMap, inputs: &Inputs) {
    let expected: Vec<f32> =
        inputs.reference(op, map).into_iter().map(|value| value as f32).collect();
    let expected = HostBuffer::from_f32(out_dtype(op), &expected);
    for (algorithm, simd) in candidates(op) {
        let found = inputs.run(algorithm, simd, op, map);
        assert_eq!(found, expected, "{} on {simd:?}: {op}", algorithm.id());
    }
}

#[test]
fn small_integers_are_computed_exactly() {
    for map in [map_of(&cloud(333)), strided_map(280, 130)] {
        for direction in Direction::ALL {
            for dtype in DType::ALL {
                // Sums stay below 256 = 27 · 9 + 13, which bfloat16 still counts.
                let op = op(direction, dtype, 9, 9);
                assert_exact(&op, &map, &Inputs::integers(&op, &map, 3));
            }
        }
    }
}

#[test]
fn one_hot_weights_select_an_offset() {
    let map = map_of(&cloud(200));
    let (c_in, c_out) = (3, 18);
    for direction in [Direction::Forward, Direction::Dgrad] {
        let op = op(direction, DType::Float32, c_in, c_out);
        for offset in 0..27 {
            for channel in [0, 1, (c_in * c_out) as usize - 1] {
                let mut inputs = Inputs::random(&op, &map, offset as u64);
                let mut weights = vec![0.0; op.weight_len()];
                weights[offset * (c_in * c_out) as usize + channel] = 1.0;
                inputs.b = HostBuffer::from_f32(op.dtype, &weights);
                assert_exact(&op, &map, &inputs);
            }
        }
    }
}

#[test]
fn threads_change_no_bit() {
    let map = map_of(&cloud(20_000));
    let pools = [1, 2, 3]
        .map(|threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap());
    for direction in Direction::ALL {
        let op = op(direction, DType::Float32, 7, 11);
        let inputs = Inputs::random(&op, &map, 5);
        for algorithm in algorithms().iter().filter(|algorithm| algorithm.applies(&op)) {
            let [one, two, three] = pools
                .each_ref()
                .map(|pool| pool.install(|| inputs.run(algorithm, Simd::best(), &op, &map)));
            assert!(one == two && two == three, "{}: {op}", algorithm.id());
        }
    }
}

#[test]
fn infinities_stay_where_they_belong() {
    // An infinite row must not reach rows that do not meet it, as padding by zeros would (0 · ∞).
    let voxels: Vec<Voxel> = (0..200).map(|index| Voxel::new(0, 0, 0, 2 * index)).collect();
    let map = map_of(&voxels);
    for direction in [Direction::Forward, Direction::Dgrad] {
        for dtype in DType::ALL {
            let op = op(direction, dtype, 5, 5);
            let mut inputs = Inputs::random(&op, &map, 9);
            let mut values = inputs.a.to_f32();
            values[5 * 77..5 * 78].fill(f32::INFINITY);
            inputs.a = HostBuffer::from_f32(dtype, &values);
            for (algorithm, simd) in candidates(&op) {
                let out = inputs.run(algorithm, simd, &op, &map).to_f64();
                let finite = |row: usize| out[5 * row..5 * row + 5].iter().all(|y| y.is_finite());
                let infinite: Vec<usize> = (0..200).filter(|&row| !finite(row)).collect();
                assert_eq!(infinite, [77], "{} on {simd:?}: {op}", algorithm.id());
            }
        }
    }
}
