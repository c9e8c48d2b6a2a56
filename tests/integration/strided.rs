//! Layers between two sets of voxels: strided ones, and those that undo them.

use voxtune::{
    DType, Device, Direction, Geometry, KernelMap, KernelSize, Launch, LayerKind, Operation,
    Reference, Tensor, Voxel, VoxelBucket, Voxels,
};
use voxtune_pointcloud::{Generator, generate};

use crate::suite::{Suite, open_gpu};

pub(crate) fn add(suite: &mut Suite) {
    suite.test("strided::products_are_right", || assert_products(&Device::cpu().unwrap()));
    suite.test("strided::an_encoder_and_its_decoder", an_encoder_and_its_decoder);
    suite.test("strided::bad_input_is_named", || assert_bad_input(&Device::cpu().unwrap()));
    suite
        .gpu_test("strided::products_are_right_on_a_gpu", || assert_products(&open_gpu().unwrap()));
    suite.gpu_test("strided::bad_input_is_named_on_a_gpu", || {
        assert_bad_input(&open_gpu().unwrap())
    });
    suite.gpu_test("strided::maps_agree_with_the_host", maps_agree_with_the_host);
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
    match op.direction {
        Direction::Forward => [x(1), w(op.dtype, 7), y(0)],
        Direction::Dgrad => [y(2), w(op.dtype, 7), x(0)],
        Direction::Wgrad => [x(1), y(2), w(DType::Float32, 0)],
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
fn an_encoder_and_its_decoder() {
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

fn maps_agree_with_the_host() {
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
