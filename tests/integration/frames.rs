//! A network on one cloud after another, whose counts stay on the device.

use cudarc::driver::DevicePtr;
use voxtune::cuda::ForeignMemory;
use voxtune::{
    ConvError, DType, Device, ExpectedCounts, FrameProfile, MaxPool3d, Noise, SparseConv3d,
    SparseInverseConv3d, SparseTensor, SubmConv3d, Tensor, Voxel, Voxels,
};
use voxtune_pointcloud::{Generator, generate};

use crate::needs::open_gpu;

#[test]
fn results_are_those_without_expectations_on_the_host() {
    results_are_those_without_expectations(&Device::cpu().unwrap());
}

#[test]
#[ignore = "needs a GPU"]
fn results_are_those_without_expectations_on_a_gpu() {
    results_are_those_without_expectations(&open_gpu().unwrap());
}

#[test]
#[ignore = "needs a GPU"]
fn later_frames_wait_for_nothing_on_a_gpu() {
    later_frames_wait_for_nothing(&open_gpu().unwrap());
}

#[test]
#[ignore = "needs a GPU"]
fn a_first_frame_with_a_profile_waits_for_nothing_on_a_gpu() {
    let (host, gpu) = (Device::cpu().unwrap(), open_gpu().unwrap());
    first_frames_with_a_profile_wait_for_nothing(&host, &gpu);
    first_frames_with_a_profile_wait_for_nothing(&gpu, &gpu);
}

#[test]
#[ignore = "needs a GPU"]
fn a_level_without_room_is_an_error_once_on_a_gpu() {
    a_level_without_room_is_an_error_once(&open_gpu().unwrap());
}

#[test]
#[ignore = "needs a GPU"]
fn equal_voxels_are_named_when_a_gpus_results_are_read() {
    equal_voxels_are_named(&open_gpu().unwrap());
}

#[test]
#[ignore = "needs a GPU"]
fn sums_leave_out_rows_that_are_not_there_on_a_gpu() {
    sums_leave_out_rows(&open_gpu().unwrap());
}

#[test]
#[ignore = "needs a GPU"]
fn runs_repeat_to_the_bit_on_a_gpu() {
    runs_repeat_to_the_bit(&open_gpu().unwrap());
}

/// Submanifold, strided, submanifold, strided, submanifold and back up, with a skip.
struct Network {
    stem: SubmConv3d,
    down: [SparseConv3d; 2],
    deep: [SubmConv3d; 2],
    up: [SparseInverseConv3d; 2],
}

impl Network {
    fn new(device: &Device, dtype: DType) -> Self {
        let subm = |c_in, c_out| {
            SubmConv3d::builder(c_in, c_out).dtype(dtype).seed(1).build(device).unwrap()
        };
        let down = |c_in, c_out, kernel, padding| {
            SparseConv3d::builder(c_in, c_out)
                .dtype(dtype)
                .kernel(kernel)
                .stride(2)
                .padding(padding)
                .seed(2)
                .build(device)
                .unwrap()
        };
        let up = |c_in, c_out, kernel| {
            SparseInverseConv3d::builder(c_in, c_out)
                .dtype(dtype)
                .kernel(kernel)
                .stride(2)
                .seed(3)
                .build(device)
                .unwrap()
        };
        Self {
            stem: subm(4, 16),
            down: [down(16, 32, 3, 1), down(32, 32, 2, 0)],
            deep: [subm(32, 32), subm(32, 32)],
            up: [up(32, 32, 2), up(32, 16, 3)],
        }
    }

    fn forward(&self, input: &SparseTensor) -> SparseTensor {
        let stem = self.stem.forward(input).unwrap();
        let first = self.deep[0].forward(&self.down[0].forward(&stem).unwrap()).unwrap();
        let second = self.deep[1].forward(&self.down[1].forward(&first).unwrap()).unwrap();
        let back = self.up[0].forward(&second).unwrap();
        let back = back.add(&first, voxtune::Activation::Relu).unwrap();
        let back = self.up[1].forward(&back).unwrap();
        back.add(&stem, voxtune::Activation::Identity).unwrap()
    }
}

fn frame(device: &Device, cells: &[Voxel], dtype: DType) -> SparseTensor {
    let voxels = Voxels::new(device, cells.to_vec()).unwrap();
    let features = Tensor::noise(device, dtype, cells.len(), 4, Noise::Uniform, 7).unwrap();
    SparseTensor::new(voxels, features).unwrap()
}

fn expecting(input: &SparseTensor, expected: &ExpectedCounts) -> SparseTensor {
    let voxels = input.voxels().expecting(expected);
    let device = input.voxels().device();
    let (rows, dtype) = (input.features().rows(), input.features().dtype());
    let features = Tensor::noise(device, dtype, rows, 4, Noise::Uniform, 7).unwrap();
    SparseTensor::new(voxels, features).unwrap()
}

fn surface(rows: usize, seed: u64) -> Vec<Voxel> {
    generate(Generator::Surface, rows, 1, seed).unwrap()
}

/// Clouds of other sizes, shapes and densities, as they come.
fn clouds() -> Vec<Vec<Voxel>> {
    vec![
        surface(3_000, 1),
        surface(2_500, 2),
        vec![],
        vec![Voxel::new(0, 5, -3, 2)],
        surface(4_000, 3),
        generate(Generator::Uniform, 2_000, 1, 4).unwrap(),
        surface(3_500, 5),
    ]
}

fn assert_near(found: &[f32], expected: &[f32], tolerance: f32, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        let off = (found - expected).abs();
        assert!(off <= tolerance * largest, "{what}, element {at}: {found} for {expected}");
    }
}

/// Runs a frame until it has room, as a program that reads results does.
fn run_or_grow(
    network: &Network,
    input: &SparseTensor,
    expected: &ExpectedCounts,
) -> (SparseTensor, Vec<f32>) {
    for _ in 0..4 {
        let output = network.forward(&expecting(input, expected));
        match output.features().to_f32() {
            Ok(values) => return (output, values),
            Err(ConvError::Overflow { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
    panic!("a frame overflows again and again");
}

fn results_are_those_without_expectations(device: &Device) {
    let network = Network::new(device, DType::Float32);
    let expected = ExpectedCounts::new();
    for (index, cells) in clouds().iter().enumerate() {
        let input = frame(device, cells, DType::Float32);
        let alone = network.forward(&input);
        let (output, values) = run_or_grow(&network, &input, &expected);
        let what = format!("frame {index}");
        assert_eq!(output.voxels().cells().unwrap(), &cells[..], "{what}");
        // Other algorithms may run, whose sums are in another order.
        assert_near(&values, &alone.features().to_f32().unwrap(), 1e-5, &what);
        let (coarse, _) = input.voxels().outputs_of(network.down[0].geometry()).unwrap();
        let framed = input.voxels().expecting(&expected);
        let (found, map) = framed.outputs_of(network.down[0].geometry()).unwrap();
        if let Ok(count) = found.count() {
            assert_eq!(count, coarse.len(), "{what}");
            assert_eq!(found.cells().unwrap(), coarse.cells().unwrap(), "{what}");
            let exact = map.exact_counts().unwrap();
            let again = input.voxels().outputs_of(network.down[0].geometry()).unwrap().1;
            assert_eq!(exact, again.exact_counts().unwrap(), "{what}");
        }
    }
}

/// The chain of the first frame waits once a level, that of any other not at all.
fn later_frames_wait_for_nothing(device: &Device) {
    let network = Network::new(device, DType::Float16);
    let expected = ExpectedCounts::new();
    let levels = 3;
    for seed in 0..5 {
        let input = frame(device, &surface(20_000 + 500 * seed as usize, seed), DType::Float16);
        device.synchronize().unwrap();
        let before = device.waits();
        let framed = expecting(&input, &expected);
        let output = network.forward(&framed);
        let waits = device.waits() - before;
        if seed == 0 {
            assert!(waits <= levels, "{waits} waits in the first frame");
        } else {
            assert_eq!(waits, 0, "frame {seed}");
        }
        output.features().to_f32().unwrap();
    }
    // Without expectations it is once a level, too.
    for seed in 10..12 {
        let input = frame(device, &surface(20_000, seed), DType::Float16);
        device.synchronize().unwrap();
        let before = device.waits();
        network.forward(&input);
        let waits = device.waits() - before;
        assert!(waits <= levels, "{waits} waits without expectations");
    }
}

/// Bytes of a profile, which another device has made, say what to expect.
fn first_frames_with_a_profile_wait_for_nothing(maker: &Device, device: &Device) {
    let cells = |seed| surface(20_000, seed);
    let network = Network::new(maker, DType::Float16);
    let seen = (0..3).map(|seed| frame(maker, &cells(seed), DType::Float16));
    let profile = FrameProfile::of(seen, |input| Ok(network.forward(input))).unwrap();
    let profile = FrameProfile::from_bytes(&profile.to_bytes()).unwrap();

    let network = Network::new(device, DType::Float16);
    let expected = profile.expected_counts();
    let input = frame(device, &cells(7), DType::Float16);
    device.synchronize().unwrap();
    let before = device.waits();
    let output = network.forward(&expecting(&input, &expected));
    assert_eq!(device.waits() - before, 0, "a profile of {}", maker.identity());
    let found = output.features().to_f32().unwrap();
    let alone = network.forward(&input).features().to_f32().unwrap();
    assert_near(&found, &alone, 2e-3, "a first frame");
}

fn a_level_without_room_is_an_error_once(device: &Device) {
    let network = Network::new(device, DType::Float32);
    let expected = ExpectedCounts::new();
    // A full cube has an eighth as many coarse voxels, far apart ones more than there are.
    let cube = (0..16 * 16 * 16).map(|i| Voxel::new(0, i / 256, i / 16 % 16, i % 16)).collect();
    let apart: Vec<Voxel> = (0..4_096).map(|i| Voxel::new(0, 7 * i, 3 * i, 5 * i)).collect();
    let first: Vec<Voxel> = cube;
    let input = frame(device, &first, DType::Float32);
    network.forward(&expecting(&input, &expected)).features().to_f32().unwrap();
    let input = frame(device, &apart, DType::Float32);
    let alone = network.forward(&input).features().to_f32().unwrap();
    let output = network.forward(&expecting(&input, &expected));
    for _ in 0..2 {
        let error = output.features().to_f32().unwrap_err();
        let ConvError::Overflow { level, needed, capacity } = error else { panic!("{error}") };
        assert_eq!(level, *network.down[0].geometry());
        assert!(needed > capacity && needed >= 4_096, "{needed} of {capacity}");
    }
    let (_, values) = run_or_grow(&network, &input, &expected);
    assert_near(&values, &alone, 1e-5, "run again");
    // Later frames have the room at once.
    let again = network.forward(&expecting(&input, &expected)).features().to_f32().unwrap();
    assert_near(&again, &alone, 1e-5, "run once more");
}

#[expect(unsafe_code, reason = "cells in memory of another library")]
fn equal_voxels_are_named(device: &Device) {
    let network = Network::new(device, DType::Float32);
    let expected = ExpectedCounts::new();
    let cells = surface(1_000, 1);
    network.forward(&expecting(&frame(device, &cells, DType::Float32), &expected));
    let mut twice = cells;
    twice.push(twice[3]);
    let rows = twice.len();
    let words: Vec<i32> = twice.iter().flat_map(|v| [v.batch, v.x, v.y, v.z]).collect();
    let stream = cudarc::driver::CudaContext::new(0).unwrap().default_stream();
    let words = stream.clone_htod(&words).unwrap();
    stream.synchronize().unwrap();
    let address = words.device_ptr(&stream).0;
    // SAFETY: the cells are there, and live until the end of this function, which waits for
    // results.
    let memory = unsafe { ForeignMemory::borrowed(address, rows * size_of::<Voxel>()) };
    let voxels = Voxels::from_foreign(device, memory, rows, None).unwrap().expecting(&expected);
    let features = Tensor::zeros(device, DType::Float32, rows, 4).unwrap();
    let output = network.forward(&SparseTensor::new(voxels, features).unwrap());
    for _ in 0..2 {
        let error = output.features().to_f32().unwrap_err().to_string();
        assert!(error.contains("row 1000"), "{error}");
    }
}

fn sums_leave_out_rows(device: &Device) {
    let expected = ExpectedCounts::new();
    let down = SparseConv3d::builder(4, 8).stride(2).seed(1).build(device).unwrap();
    let pool = MaxPool3d::builder(2).build().unwrap();
    for seed in 0..3 {
        let input = frame(device, &surface(3_000, seed), DType::Float32);
        let alone = pool.forward(&down.forward(&input).unwrap()).unwrap();
        let framed = pool.forward(&down.forward(&expecting(&input, &expected)).unwrap()).unwrap();
        let sums = |x: &SparseTensor| {
            let (mean, variance) = voxtune::ops::column_statistics(device, x.features()).unwrap();
            [mean, variance].map(|row| row.to_f32().unwrap()).concat()
        };
        assert_near(&sums(&framed), &sums(&alone), 1e-5, "statistics");
        let all = voxtune::GlobalPool::new(voxtune::ops::Reduction::Mean);
        let mean = |x: &SparseTensor| all.forward(x, 1).unwrap().to_f32().unwrap();
        assert_near(&mean(&framed), &mean(&alone), 1e-5, "mean of the sample");
    }
}

fn runs_repeat_to_the_bit(device: &Device) {
    let network = Network::new(device, DType::Float16);
    let expected = ExpectedCounts::new();
    let input = frame(device, &surface(30_000, 1), DType::Float16);
    run_or_grow(&network, &input, &expected);
    let first = run_or_grow(&network, &input, &expected).1;
    for _ in 0..5 {
        assert_eq!(run_or_grow(&network, &input, &expected).1, first);
    }
}
