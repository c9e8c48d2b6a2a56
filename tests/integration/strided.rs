//! Layers between two sets of voxels: strided ones, and those that undo them.

use voxtune::{
    DType, Device, Direction, Geometry, KernelMap, KernelSize, Launch, LayerKind, Operation,
    Reference, SparseConv3d, SparseInverseConv3d, SparseTensor, SubmConv3d, Tensor, Tuner, Voxel,
    VoxelBucket, Voxels, WeightLayout,
};
use voxtune_pointcloud::{Generator, generate};
use voxtune_types::Product;

use crate::needs::open_gpu;

#[test]
fn products_are_right() {
    assert_products(&Device::cpu().unwrap());
}

#[test]
fn bad_input_is_named() {
    assert_bad_input(&Device::cpu().unwrap());
}

#[test]
#[ignore = "needs a GPU"]
fn products_are_right_on_a_gpu() {
    assert_products(&open_gpu().unwrap());
}

#[test]
#[ignore = "needs a GPU"]
fn bad_input_is_named_on_a_gpu() {
    assert_bad_input(&open_gpu().unwrap())
}

#[test]
fn levels_without_voxels_work() {
    levels_that_come_out_empty(&Device::cpu().unwrap());
}

#[test]
#[ignore = "needs a GPU"]
fn levels_without_voxels_work_on_a_gpu() {
    levels_that_come_out_empty(&open_gpu().unwrap());
}

#[test]
fn a_batch_is_its_samples_on_the_host() {
    a_batch_is_its_samples(&Device::cpu().unwrap())
}

#[test]
#[ignore = "needs a GPU"]
fn a_batch_is_its_samples_on_a_gpu() {
    a_batch_is_its_samples(&open_gpu().unwrap());
}

/// Layers of any padding, dilation and direction.
fn geometries() -> Vec<Geometry> {
    let of = |extents, stride, padding, dilation, kind| {
        let kernel = KernelSize::try_from(extents).unwrap();
        Geometry { padding, dilation, ..Geometry::strided(kernel, stride) }.with_kind(kind)
    };
    let (sparse, transposed) = (LayerKind::Sparse, LayerKind::Transposed);
    vec![
        of([3; 3], [2; 3], [1; 3], [1; 3], sparse),
        of([3; 3], [2; 3], [0, 1, 1], [1; 3], sparse),
        of([2; 3], [2; 3], [0; 3], [1; 3], sparse),
        of([3; 3], [1; 3], [1; 3], [1; 3], sparse),
        of([5, 3, 1], [3, 2, 1], [2, 0, 1], [1, 3, 2], sparse),
        of([3, 1, 1], [2, 1, 1], [0; 3], [1; 3], sparse),
        of([4, 2, 5], [2, 5, 4], [9, 0, 1], [2, 7, 1], sparse),
        of([2; 3], [2; 3], [0; 3], [1; 3], transposed),
        of([3; 3], [2; 3], [1; 3], [1; 3], transposed),
        of([2, 3, 4], [3, 1, 2], [1, 0, 2], [2, 5, 1], transposed),
    ]
}

/// Outputs and maps of clouds with and without locality, of isolated rows, and at the ends of 32
/// bits.
#[test]
#[ignore = "needs a GPU"]
fn outputs_are_those_of_the_host_on_a_gpu() {
    let (host, gpu) = (Device::cpu().unwrap(), open_gpu().unwrap());
    let ends = [i32::MIN, i32::MIN + 1, -1, 0, 1, i32::MAX - 1, i32::MAX];
    let far = (0..5_000).map(|i| Voxel::new(i % 3, i * 97, -i * 1_013, i * 31 % 7 * 1_000));
    let corners =
        ends.iter().flat_map(|&x| ends.map(|y| Voxel::new(0, x, y, x.wrapping_add(y) / 2)));
    let mut clouds: Vec<Vec<Voxel>> =
        Generator::ALL.map(|one| generate(one, 20_011, 3, 1).unwrap()).to_vec();
    clouds.extend([far.collect(), corners.collect(), vec![Voxel::new(5, 7, -7, 0)]]);
    for cloud in clouds {
        for geometry in geometries() {
            for shape in [None, Some([60, 60, 30])] {
                let made = |device: &Device| {
                    let voxels = match shape {
                        None => Voxels::new(device, cloud.clone()),
                        Some(shape) => {
                            let inside = |v: &&Voxel| {
                                (0..60).contains(&v.x)
                                    && (0..60).contains(&v.y)
                                    && (0..30).contains(&v.z)
                            };
                            let cells = cloud.iter().filter(inside).copied().collect();
                            Voxels::within(device, shape, cells)
                        }
                    };
                    let (outputs, map) = voxels.unwrap().outputs_of(&geometry).unwrap();
                    let mut cells = outputs.cells().unwrap().to_vec();
                    let in_order = cells.clone();
                    cells.sort_unstable();
                    (cells, map.counts(), in_order)
                };
                let (expected, found, again) = (made(&host), made(&gpu), made(&gpu));
                assert!(expected.0 == found.0, "{geometry} {shape:?}: {} cells", cloud.len());
                assert_eq!(expected.1, found.1, "{geometry} {shape:?}");
                assert!(found.2 == again.2, "{geometry} {shape:?}: the order does not repeat");
            }
        }
    }
}

/// A GPU's maps hold 125 offsets: wider kernels are computed in slices, and agree with the host.
#[test]
#[ignore = "needs a GPU"]
fn kernels_wider_than_a_map_are_computed_in_slices_on_a_gpu() {
    let devices = [Device::cpu().unwrap(), open_gpu().unwrap()];
    let cells = generate(Generator::Surface, 5_000, 2, 3).unwrap();
    let values = |rows: usize, salt: usize| -> Vec<f32> {
        (0..rows * 8).map(|index| value(index + salt)).collect()
    };
    let [host, gpu] = devices.each_ref().map(|device| {
        let wide = SubmConv3d::builder(8, 8).kernel(7).bias(&[0.5; 8]).build(device).unwrap();
        let voxels = Voxels::new(device, cells.clone()).unwrap();
        let tensor = |salt| {
            let values = values(cells.len(), salt);
            Tensor::from_f32(device, DType::Float32, cells.len(), 8, &values).unwrap()
        };
        let input = SparseTensor::new(voxels, tensor(1)).unwrap();
        let output = wide.forward(&input).unwrap();
        let gradients = wide.backward(&input, &tensor(2)).unwrap();
        let weights = wide.weight_gradient(WeightLayout::Krsc, &gradients.weights).unwrap();
        [
            output.features().to_f32().unwrap(),
            gradients.input.to_f32().unwrap(),
            weights,
            gradients.bias.unwrap().to_f32().unwrap(),
        ]
    });
    for (expected, found) in host.iter().zip(&gpu) {
        assert_eq!(expected.len(), found.len());
        let largest = expected.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
        for (expected, found) in expected.iter().zip(found) {
            assert!((expected - found).abs() <= 1e-5 * largest, "{expected} and {found}");
        }
    }
}

/// A layer that leaves nothing of its input, and what follows it.
fn levels_that_come_out_empty(device: &Device) {
    let conv = SparseConv3d::builder(2, 3).kernel(3).stride(2).build(device).unwrap();
    let after = SubmConv3d::builder(3, 4).build(device).unwrap();
    let back = SparseInverseConv3d::builder(3, 2).kernel(3).stride(2).build(device).unwrap();
    for cells in [vec![], vec![Voxel::new(0, 1, 1, 1)]] {
        let rows = cells.len();
        let voxels = Voxels::within(device, [2, 9, 9], cells).unwrap();
        let features = Tensor::zeros(device, DType::Float32, rows, 2).unwrap();
        let input = SparseTensor::new(voxels, features).unwrap();
        let coarse = conv.forward(&input).unwrap();
        assert_eq!((coarse.voxels().len(), coarse.voxels().shape()), (0, Some([0, 4, 4])));
        assert_eq!(after.forward(&coarse).unwrap().features().channels(), 4);
        let fine = back.forward(&coarse).unwrap();
        assert!(fine.voxels().is_same(input.voxels()));
        assert_eq!(fine.features().to_f32().unwrap(), vec![0.0; 2 * rows]);
        let gradient = Tensor::zeros(device, DType::Float32, 0, 3).unwrap();
        let gradients = conv.backward(&input, &gradient).unwrap();
        assert_eq!(gradients.input.to_f32().unwrap(), vec![0.0; 2 * rows]);
        assert!(gradients.weights.to_f32().unwrap().iter().all(|value| *value == 0.0));
    }
}

/// Each sample of a batch comes out as it does alone.
fn a_batch_is_its_samples(device: &Device) {
    let cells = generate(Generator::Surface, 3_000, 3, 7).unwrap();
    let value = |cell: &Voxel| value((cell.x * 911 + cell.y * 31 + cell.z) as usize);
    let down = SparseConv3d::builder(1, 4).kernel(3).stride(2).padding(1).build(device).unwrap();
    let up = SparseInverseConv3d::builder(4, 2).kernel(3).stride(2).build(device).unwrap();
    let run = |cells: &[Voxel]| {
        let voxels = Voxels::new(device, cells.to_vec()).unwrap();
        let values: Vec<f32> = cells.iter().map(value).collect();
        let features = Tensor::from_f32(device, DType::Float32, cells.len(), 1, &values).unwrap();
        let input = SparseTensor::new(voxels, features).unwrap();
        let output = up.forward(&down.forward(&input).unwrap()).unwrap();
        output.features().to_f32().unwrap()
    };
    let whole = run(&cells);
    let samples = cells.chunk_by(|a, b| a.batch == b.batch);
    let alone: Vec<f32> = samples.flat_map(run).collect();
    let largest = whole.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
    for (whole, alone) in whole.iter().zip(&alone) {
        assert!((whole - alone).abs() <= 2e-6 * largest, "{whole} and {alone}");
    }
}

/// 4.2 million rows of 512 channels: the last rows come out as they do in a cloud of their own.
#[test]
#[ignore = "needs a GPU"]
fn more_than_2_to_the_31_elements_are_computed_on_a_gpu() {
    let gpu = open_gpu().unwrap();
    if gpu.free_memory_bytes() < 32 << 30 {
        return;
    }
    let (rows, channels, dtype) = (4_200_000, 512, DType::Float16);
    let cell = |row: i32| Voxel::new(0, row / 40_000, row / 200 % 200, row % 200);
    let layer = |c_in, c_out| {
        SubmConv3d::builder(c_in, c_out).dtype(dtype).tuner(Tuner::empty()).build(&gpu).unwrap()
    };
    let (narrow, wide) = (layer(channels, 16), layer(16, channels));
    let run = |first: i32| {
        let cells: Vec<Voxel> = (first..rows).map(cell).collect();
        let count = cells.len();
        let at = |index: usize| {
            let row = first as usize + index / channels as usize;
            value(row * 7 + index % channels as usize)
        };
        let voxels = Voxels::new(&gpu, cells).unwrap();
        let features = Tensor::from_fn(&gpu, dtype, count, channels as usize, at).unwrap();
        let input = SparseTensor::new(voxels, features).unwrap();
        let middle = narrow.forward(&input).unwrap();
        let output = wide.forward(&middle).unwrap();
        let last = voxtune::ops::RowGroups::new(
            &gpu,
            (count as i32 - 1_000..count as i32).collect(),
            count,
        );
        let last = last.unwrap().spread(&gpu, output.features()).unwrap();
        last.to_f32().unwrap()
    };
    // The last plane but one on: neighbours of the last thousand rows are all there.
    let (all, part) = (run(0), run(rows - 3 * 40_000));
    let largest = all.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
    assert!(largest > 0.0);
    for (all, part) in all.iter().zip(&part) {
        assert!((all - part).abs() <= 2e-3 * largest, "{all} and {part}");
    }
}

fn layers() -> [(KernelSize, [u8; 3]); 4] {
    [([2; 3], [2; 3]), ([3; 3], [2; 3]), ([5; 3], [2; 3]), ([3, 1, 1], [2, 1, 1])]
        .map(|(extents, stride)| (KernelSize::try_from(extents).unwrap(), stride))
}

/// Voxels on both sides of zero.
fn cells(n: usize) -> Vec<Voxel> {
    let moved = |v: Voxel| Voxel::new(v.batch, v.x - 21, v.y - 9, v.z - 2);
    generate(Generator::Surface, n, 2, 5).unwrap().into_iter().map(moved).collect()
}

/// Any value in [-1, 1).
fn value(index: usize) -> f32 {
    (index.wrapping_mul(2_654_435_761) >> 9 & 0xffff) as f32 / 32_768.0 - 1.0
}

fn operands(device: &Device, op: &Operation, map: &KernelMap) -> [Tensor; 3] {
    let counts = map.counts();
    let (c_in, c_out) = (op.c_in as usize, op.c_out as usize);
    let tensor = |dtype, rows, channels, salt: usize| {
        Tensor::from_fn(device, dtype, rows, channels, move |index| value(index + salt)).unwrap()
    };
    let x = |salt| tensor(op.dtype, counts.n_in, c_in, salt);
    let y = |salt| tensor(op.dtype, counts.n_out, c_out, salt);
    let w = |dtype, salt| tensor(dtype, op.kernel.volume() * c_in, c_out, salt);
    match op.direction.product() {
        Product::Forward => [x(1), w(op.dtype, 7), y(0)],
        Product::Dgrad => [y(2), w(op.dtype, 7), x(0)],
        Product::Wgrad => [x(1), y(2), w(DType::Float32, 0)],
    }
}

/// Every algorithm of a device, in every direction, against float64.
fn assert_product(device: &Device, op: &Operation, map: &KernelMap) {
    let [a, b, mut out] = operands(device, op, map);
    let reference = Reference::compute(device, op, map, &a, &b).unwrap();
    let usable = device.registry().algorithms().filter(|one| one.applies(op) && one.is_available());
    // One of a family: blocks of another size are `check`'s to compare.
    let mut families = Vec::new();
    for algorithm in usable {
        if families.contains(&algorithm.id().family()) {
            continue;
        }
        families.push(algorithm.id().family());
        out.poison(device).unwrap();
        let launch = Launch { operation: op, map, a: &a, b: &b, out: &mut out, epilogue: None };
        device.registry().run(&**algorithm, device, launch).unwrap();
        let error = reference.worst_error(device, &out).unwrap();
        let of_result = if op.direction == Direction::Wgrad { DType::Float32 } else { op.dtype };
        assert!(error <= of_result.tolerance(), "{op}: {} is off by {error:e}", algorithm.id());
    }
    assert!(families.len() >= 2, "{op}: {families:?}");
}

fn assert_products(device: &Device) {
    let inputs = Voxels::new(device, cells(701)).unwrap();
    for (kernel, stride) in layers() {
        let (outputs, map) = inputs.strided(kernel, stride).unwrap();
        assert_eq!(map.counts().n_out, outputs.len());
        let transposed = map.transposed().unwrap();
        for direction in Direction::ALL {
            for dtype in DType::ALL {
                let op = Operation::strided(direction, dtype, 7, 13, kernel, stride);
                assert_product(device, &op, &map);
                assert_product(device, &op.with_kind(LayerKind::Inverse), &transposed);
            }
        }
    }
}

/// Keys tell both sides of a layer, and a decoder gets back to where its encoder began.
#[test]
fn a_decoder_comes_back_to_its_encoders_voxels() {
    let device = Device::cpu().unwrap();
    let fine = Voxels::new(&device, cells(5_000)).unwrap();
    let kernel = KernelSize::cubic(2).unwrap();
    let (coarse, down) = fine.strided(kernel, [2; 3]).unwrap();
    assert!(coarse.len() < fine.len() / 2);
    let up = down.transposed().unwrap();
    let op = Operation::strided(Direction::Forward, DType::Float16, 32, 64, kernel, [2; 3]);
    let (down_key, up_key) =
        (down.counts().key(op), up.counts().key(op.with_kind(LayerKind::Inverse)));
    let (fine_bucket, coarse_bucket) = (VoxelBucket::of(fine.len()), VoxelBucket::of(coarse.len()));
    assert_ne!(fine_bucket, coarse_bucket);
    assert_eq!((down_key.bucket_in, down_key.bucket_out), (fine_bucket, coarse_bucket));
    assert_eq!((up_key.bucket_in, up_key.bucket_out), (coarse_bucket, fine_bucket));
    assert_ne!(down_key, up_key);
    // Windows do not overlap: each fine voxel meets its own coarse one, there and back.
    assert_eq!(down.counts().pairs, fine.len());
    assert_eq!(up.counts().pairs, fine.len());
    // Outputs of the caller's: the very same, and each in a cell of its own.
    let same = fine.map_to(&coarse, &Geometry::strided(kernel, [2; 3])).unwrap();
    assert_eq!(same.counts(), down.counts());
    let nowhere = Voxels::new(&device, vec![Voxel::new(99, 0, 0, 0)]).unwrap();
    assert_eq!(
        fine.map_to(&nowhere, &Geometry::strided(kernel, [2; 3])).unwrap().counts().pairs,
        0
    );
    // Layers over a submanifold map undo each other.
    let submanifold = fine.kernel_map(KernelSize::submanifold(3).unwrap()).unwrap();
    assert!(submanifold.transposed().is_none());
}

fn assert_bad_input(device: &Device) {
    let once = Voxels::new(device, vec![Voxel::new(0, 1, 2, 3)]).unwrap();
    let error = Voxels::new(device, vec![Voxel::new(0, 1, 2, 3); 2]).unwrap_err().to_string();
    assert!(error.contains("(batch 0, x 1, y 2, z 3)"), "{error}");
    let kernel = KernelSize::cubic(2).unwrap();
    let error = once.strided(kernel, [2, 0, 2]).unwrap_err().to_string();
    assert!(error.contains("stride [2, 0, 2]"), "{error}");
}

#[test]
#[ignore = "needs a GPU"]
fn maps_agree_with_the_host_on_a_gpu() {
    let (host, gpu) = (Device::cpu().unwrap(), open_gpu().unwrap());
    for (kernel, stride) in layers() {
        let counts = |device: &Device| {
            let voxels = Voxels::new(device, cells(4_321)).unwrap();
            let (outputs, map) = voxels.strided(kernel, stride).unwrap();
            let mut cells = outputs.cells().unwrap().to_vec();
            // The order of a GPU's is its own.
            cells.sort_unstable();
            (cells, map.counts(), map.transposed().unwrap().counts())
        };
        assert!(counts(&host) == counts(&gpu), "{kernel} {stride:?}");
    }
}
