//! Operations on features: a CUDA device against the host, every element.

use voxtune::ops::{
    self, Activation, Affine, BatchNorm, DenseCells, LayerNorm, Pooling, Reduction, RowGroups,
    add_backward, affine, affine_backward, affine_into, batch_norm, batch_norm_backward, cast,
    column_statistics, column_sums, concat, layer_norm, layer_norm_backward, pool, pool_backward,
    split,
};
use voxtune::{
    DType, Device, Geometry, GlobalPool, KernelSize, Noise, SparseTensor, Tensor, Voxel, Voxels,
};
use voxtune_pointcloud::{Generator, generate};

use crate::needs::open_gpu;

const ACTIVATIONS: [Activation; 6] = [
    Activation::Identity,
    Activation::Relu,
    Activation::LeakyRelu { slope: 0.125 },
    Activation::Gelu,
    Activation::Silu,
    Activation::Sigmoid,
];

/// Rows and channels: none, one, some in no multiple of anything, and a million elements and three.
const SHAPES: [(usize, usize); 12] = [
    (0, 1),
    (0, 16),
    (1, 1),
    (1, 3),
    (1, 130),
    (777, 1),
    (777, 3),
    (777, 16),
    (777, 130),
    (1_000_003, 1),
    (333_335, 3),
    (62_501, 16),
];

fn both() -> [Device; 2] {
    [Device::cpu().unwrap(), open_gpu().unwrap()]
}

fn noise(device: &Device, dtype: DType, rows: usize, channels: usize, seed: u64) -> Tensor {
    Tensor::noise(device, dtype, rows, channels, Noise::Uniform, seed).unwrap()
}

fn row(device: &Device, channels: usize, seed: u64) -> Tensor {
    noise(device, DType::Float32, 1, channels, seed)
}

/// Runs on the host and twice on the GPU: results agree within what rounding explains, and repeat
/// to the bit.
fn agree(what: &str, run: impl Fn(&Device) -> Vec<Tensor>, [host, gpu]: &[Device; 2]) {
    let (expected, found, again) = (run(host), run(gpu), run(gpu));
    assert_eq!(expected.len(), found.len());
    for (part, (expected, found)) in expected.iter().zip(&found).enumerate() {
        let shape = |tensor: &Tensor| (tensor.rows(), tensor.channels(), tensor.dtype());
        assert_eq!(shape(expected), shape(found), "{what}, result {part}");
        // Two roundings to the storage type that differ by one place, or float32 sums in another
        // order.
        let tolerance = [1.0 / 1000.0, 1.0 / 125.0, 4e-5][expected.dtype().index()];
        let values = |tensor: &Tensor| tensor.to_f32().unwrap();
        let (expected, found, again) = (values(expected), values(found), values(&again[part]));
        let bits = |values: &[f32]| values.iter().map(|one| one.to_bits()).collect::<Vec<_>>();
        assert!(bits(&found) == bits(&again), "{what}, result {part} does not repeat");
        let squares: f64 = expected.iter().map(|one| f64::from(*one).powi(2)).sum();
        let typical = (squares / expected.len().max(1) as f64).sqrt();
        for (place, (expected, found)) in expected.into_iter().zip(found).enumerate() {
            let (expected, found) = (f64::from(expected), f64::from(found));
            let error = (expected - found).abs() / expected.abs().max(typical).max(1e-20);
            assert!(
                error <= tolerance,
                "{what}, result {part}, element {place}: expected {expected}, found {found}"
            );
        }
    }
}

#[test]
#[ignore = "needs a GPU"]
fn elements_agree_on_a_gpu() {
    let devices = both();
    for dtype in DType::ALL {
        for (rows, channels) in SHAPES {
            let what = format!("{dtype} {rows} x {channels}");
            for activation in ACTIVATIONS {
                let run = |device: &Device| {
                    let [x, y, grad] = [1, 2, 3].map(|s| noise(device, dtype, rows, channels, s));
                    let (scale, shift) = (row(device, channels, 4), row(device, channels, 5));
                    let whole = Affine { scale: Some(&scale), shift: Some(&shift), activation };
                    let alone = Affine { activation, ..Affine::default() };
                    vec![
                        affine(device, whole, &x).unwrap(),
                        affine(device, alone, &x).unwrap(),
                        affine_backward(device, whole, &x, &grad).unwrap(),
                        affine_backward(device, alone, &x, &grad).unwrap(),
                        ops::add(device, &x, &y, activation).unwrap(),
                        add_backward(device, &x, &y, activation, &grad).unwrap(),
                    ]
                };
                agree(&format!("{what} {activation:?}"), run, &devices);
            }
            let casts = |device: &Device| {
                let x = noise(device, dtype, rows, channels, 1);
                DType::ALL.map(|to| cast(device, &x, to).unwrap()).into()
            };
            agree(&what, casts, &devices);
        }
    }
}

#[test]
#[ignore = "needs a GPU"]
fn columns_agree_on_a_gpu() {
    let devices = both();
    for dtype in DType::ALL {
        for widths in [&[16, 32][..], &[1, 3, 130], &[8], &[4, 0, 2], &[64, 16, 16, 8]] {
            for rows in [0, 1, 7_777] {
                let run = |device: &Device| {
                    let parts: Vec<Tensor> =
                        widths.iter().map(|w| noise(device, dtype, rows, *w, *w as u64)).collect();
                    let whole = concat(device, &parts.iter().collect::<Vec<_>>()).unwrap();
                    let mut all = split(device, &whole, widths).unwrap();
                    for (part, copy) in parts.iter().zip(&all) {
                        assert_eq!(part.to_f32().unwrap(), copy.to_f32().unwrap());
                    }
                    all.push(whole);
                    all
                };
                agree(&format!("{dtype} {widths:?}"), run, &devices);
            }
        }
    }
}

#[test]
#[ignore = "needs a GPU"]
fn normalisations_agree_on_a_gpu() {
    let devices = both();
    for dtype in DType::ALL {
        for (rows, channels) in SHAPES {
            let run = |device: &Device| {
                let [x, grad] = [1, 2].map(|s| noise(device, dtype, rows, channels, s));
                let (gamma, beta) = (row(device, channels, 3), row(device, channels, 4));
                let (mean, variance) = column_statistics(device, &x).unwrap();
                let norm = BatchNorm {
                    mean: &mean,
                    variance: &variance,
                    epsilon: 1e-3,
                    gamma: Some(&gamma),
                    beta: Some(&beta),
                };
                let of_batch = batch_norm(device, norm, Activation::Relu, &x).unwrap();
                let batch = batch_norm_backward(device, norm, &x, &grad).unwrap();
                let norm = LayerNorm { epsilon: 1e-2, gamma: Some(&gamma), beta: Some(&beta) };
                let of_row = layer_norm(device, norm, &x).unwrap();
                let layer = layer_norm_backward(device, norm, &x, &grad).unwrap();
                // A positive input: its sums do not cancel, so that they can be compared closely.
                let positive = Affine { activation: Activation::Sigmoid, ..Affine::default() };
                let sums = column_sums(device, &affine(device, positive, &x).unwrap()).unwrap();
                let mut all = vec![sums, variance, of_batch, of_row, batch.x];
                // Sums of many numbers of both signs agree only as far as the numbers are large.
                if rows < 1_000 {
                    all.extend([mean, batch.gamma, batch.beta, layer.gamma, layer.beta]);
                }
                // Of one channel, what is left of a row is nothing but rounding.
                if channels > 1 {
                    all.push(layer.x);
                }
                all
            };
            agree(&format!("{dtype} {rows} x {channels}"), run, &devices);
        }
    }
}

#[test]
#[ignore = "needs a GPU"]
fn map_pooling_agrees_on_a_gpu() {
    let devices = both();
    for generator in Generator::ALL {
        let cells = generate(generator, 3_777, 2, 5).unwrap();
        for dtype in DType::ALL {
            for (channels, pooling) in [1, 3, 16, 130].into_iter().flat_map(|channels| {
                [Pooling::Max, Pooling::MaxAtLeastZero, Pooling::Average].map(|one| (channels, one))
            }) {
                let run = |device: &Device| {
                    let voxels = Voxels::new(device, cells.clone()).unwrap();
                    let own = voxels.kernel_map(KernelSize::submanifold(3).unwrap()).unwrap();
                    let halves = KernelSize::try_from([2, 2, 2]).unwrap();
                    // In the host's order on both.
                    let down = Geometry::strided(halves, [2; 3]);
                    let coarse = voxtune_cpu::layer_outputs(&cells, &down, None).unwrap();
                    let coarse = Voxels::new(device, coarse).unwrap();
                    let strided = voxels.map_to(&coarse, &down).unwrap();
                    let mut all = Vec::new();
                    for map in [&*own, &strided, &strided.transposed().unwrap()] {
                        let counts = map.counts();
                        let x = noise(device, dtype, counts.n_in, channels, 1);
                        let grad = noise(device, dtype, counts.n_out, channels, 2);
                        let y = pool(device, map, pooling, &x).unwrap();
                        let grad_x = pool_backward(device, map, pooling, &x, &y, &grad).unwrap();
                        all.extend([y, grad_x]);
                    }
                    all
                };
                agree(&format!("{generator} {dtype} {channels} {pooling:?}"), run, &devices);
            }
        }
    }
}

#[test]
#[ignore = "needs a GPU"]
fn groups_agree_on_a_gpu() {
    let devices = both();
    // Whole samples, of which one is empty and one is a single row; an index with rows of none.
    let samples: Vec<i32> = (0..30_011).map(|row| [0, 0, 0, 3, 4][row % 5]).chain([1]).collect();
    let index: Vec<i32> =
        (0..20_011_i64).map(|row| (row * 7_919 % 5_003) as i32 - 1).chain([5_001]).collect();
    for dtype in DType::ALL {
        for (table, groups) in [(&samples, 5), (&index, 5_002), (&vec![], 0), (&vec![-1], 3)] {
            for channels in [1, 3, 16, 130] {
                let run = |device: &Device| {
                    let of = RowGroups::new(device, table.clone(), groups).unwrap();
                    let x = noise(device, dtype, table.len(), channels, 1);
                    let grad = noise(device, dtype, groups, channels, 2);
                    let mut all = vec![of.spread(device, &grad).unwrap()];
                    for reduction in [Reduction::Sum, Reduction::Mean, Reduction::Max] {
                        let y = of.reduce(device, reduction, &x).unwrap();
                        let back = of.reduce_backward(device, reduction, &x, &y, &grad).unwrap();
                        all.extend([y, back]);
                    }
                    all
                };
                agree(&format!("{dtype} {groups} groups of {channels}"), run, &devices);
            }
        }
    }
}

#[test]
#[ignore = "needs a GPU"]
fn whole_samples_are_pooled_as_on_the_host_and_one_that_is_none_is_named() {
    let devices = both();
    // Samples of many pieces, of a single row and of none; more samples than rows.
    let many: Vec<Voxel> = (0..30_011)
        .map(|row| Voxel::new([0, 0, 0, 3, 4][row as usize % 5], row, 1, -row))
        .collect();
    let few = vec![Voxel::new(6, 1, 1, 1), Voxel::new(2, 1, 1, 1), Voxel::new(6, 1, 1, 2)];
    for (cells, samples) in [(&many, 7), (&few, 9), (&few, 7), (&vec![], 2), (&vec![], 0)] {
        for reduction in [Reduction::Sum, Reduction::Mean, Reduction::Max] {
            let run = |device: &Device| {
                let voxels = Voxels::new(device, cells.clone()).unwrap();
                let x = noise(device, DType::Float32, cells.len(), 17, 1);
                let input = SparseTensor::new(voxels, x).unwrap();
                let layer = GlobalPool::new(reduction);
                let y = layer.forward(&input, samples).unwrap();
                let grad = noise(device, DType::Float32, samples, 17, 2);
                let back = layer.backward(&input, &y, &grad).unwrap();
                vec![y, back]
            };
            agree(&format!("{} rows, {samples} samples", cells.len()), run, &devices);
        }
    }
    for device in &devices {
        for (batch, samples) in [(6, 6), (-1, 7)] {
            let cells = [&few[..], &[Voxel::new(batch, 5, 5, 5)]].concat();
            let x = noise(device, DType::Float32, cells.len(), 1, 1);
            let input = SparseTensor::new(Voxels::new(device, cells).unwrap(), x).unwrap();
            let refused = GlobalPool::new(Reduction::Sum).forward(&input, samples).unwrap_err();
            let row = if batch == -1 { 3 } else { 0 };
            let expected = format!("row {row} names group {batch}: expected one below {samples}");
            assert!(refused.to_string().contains(&expected), "{refused}");
        }
    }
}

#[test]
#[ignore = "needs a GPU"]
fn dense_grids_agree_on_a_gpu() {
    let devices = both();
    let shape = [7, 30, 41];
    let cells: Vec<Voxel> = (0..3 * 7 * 30 * 41)
        .filter(|place| place % 11 == 0 || place % 7 == 3)
        .map(|place| Voxel::new(place / 8_610, place / 1_230 % 7, place / 41 % 30, place % 41))
        .collect();
    for dtype in DType::ALL {
        for (channels, rows) in [(1, cells.len()), (3, 777), (16, 1), (130, 4_001), (16, 0)] {
            let run = |device: &Device| {
                let voxels = Voxels::within(device, shape, cells[..rows].to_vec()).unwrap();
                let dense = DenseCells::new(&voxels, 3).unwrap();
                let x = noise(device, dtype, rows, channels, 1);
                let whole = dense.to_dense(device, &x).unwrap();
                let back = dense.from_dense(device, &whole).unwrap();
                assert_eq!(back.to_f32().unwrap(), x.to_f32().unwrap());
                let other = noise(device, dtype, 3 * channels, 8_610, 2);
                vec![dense.from_dense(device, &other).unwrap(), whole]
            };
            agree(&format!("{dtype} {rows} x {channels}"), run, &devices);
        }
    }
}

/// More than 2³¹ elements: the last rows are computed as the first ones are.
#[test]
#[ignore = "needs a GPU"]
fn long_tensors_have_their_last_elements_on_a_gpu() {
    let gpu = open_gpu().unwrap();
    let (rows, channels, dtype) = ((1 << 27) + 11, 16, DType::Float16);
    if gpu.free_memory_bytes() < 24 << 30 {
        return;
    }
    // Of every row the last one alone is not zero.
    let last = RowGroups::new(&gpu, vec![-1; rows - 1].into_iter().chain([0]).collect(), 1);
    let last = last.unwrap();
    let one = noise(&gpu, dtype, 1, channels, 1);
    let x = last.spread(&gpu, &one).unwrap();
    assert_eq!((x.rows(), last.rows()), (rows, rows));
    let doubled = ops::add(&gpu, &x, &x, Activation::Identity).unwrap();
    let found = last.reduce(&gpu, Reduction::Sum, &doubled).unwrap().to_f32().unwrap();
    let expected: Vec<f32> = one.to_f32().unwrap().into_iter().map(|value| value * 2.0).collect();
    assert_eq!(found, expected);
    let sums = column_sums(&gpu, &doubled).unwrap().to_f32().unwrap();
    assert_eq!(sums, expected);
}

#[expect(unsafe_code, reason = "whoever launches a graph keeps what it reads")]
#[test]
#[ignore = "needs a GPU"]
fn a_graph_records_feature_operations_on_a_gpu() {
    let gpu = open_gpu().unwrap();
    let mut x = noise(&gpu, DType::Float16, 1_001, 16, 1);
    let mut y = Tensor::zeros(&gpu, DType::Float16, 1_001, 16).unwrap();
    let of = Affine { activation: Activation::Relu, ..Affine::default() };
    affine_into(&gpu, of, &x, &mut y).unwrap();
    let graph = gpu.capture(|| affine_into(&gpu, of, &x, &mut y)).unwrap();
    x.write_f32(&[-1.0; 1_001 * 16]).unwrap();
    // SAFETY: both tensors are where they were.
    unsafe { graph.launch() }.unwrap();
    assert_eq!(y.to_f32().unwrap(), [0.0; 1_001 * 16]);
}
