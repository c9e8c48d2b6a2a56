//! A network with one graph a frame.

use std::sync::atomic::{AtomicBool, Ordering};

use voxtune::{
    Activation, CompiledNetwork, ConvError, DType, Device, FrameProfile, Noise, SparseConv3d,
    SparseInverseConv3d, SparseTensor, SubmConv3d, Tensor, Voxel, Voxels,
};
use voxtune_pointcloud::{Generator, generate};

use crate::needs::open_gpu;

#[test]
fn frames_are_those_of_the_network_on_the_host() {
    frames_are_those_of_the_network(&Device::cpu().unwrap());
}

#[test]
fn frames_of_another_kind_are_refused_on_the_host() {
    frames_of_another_kind_are_refused(&Device::cpu().unwrap());
}

#[test]
#[ignore = "needs a GPU"]
fn frames_are_those_of_the_network_on_a_gpu() {
    frames_are_those_of_the_network(&open_gpu().unwrap());
}

#[test]
#[ignore = "needs a GPU"]
fn a_gpus_graph_is_the_calls_of_its_class_to_the_bit() {
    graphs_are_their_calls(&open_gpu().unwrap());
}

#[test]
#[ignore = "needs a GPU"]
fn frames_wait_for_nothing_on_a_gpu() {
    frames_wait_for_nothing(&open_gpu().unwrap());
}

#[test]
#[ignore = "needs a GPU"]
fn a_level_without_room_is_an_error_until_it_grows_on_a_gpu() {
    levels_without_room_grow(&open_gpu().unwrap());
}

#[test]
#[ignore = "needs a GPU"]
fn graphs_are_recorded_while_other_threads_open_and_close_a_gpu() {
    let device = open_gpu().unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let opening = scope.spawn(|| {
            // A recording that fails ends the test too.
            let opened = (0..1_000).take_while(|_| !is_over.load(Ordering::Relaxed));
            opened.map(|_| drop(open_gpu().unwrap())).count()
        });
        for seed in 0..20 {
            let (_, mut compiled) = compile(&device, DType::Float32, &[surface(500, seed)]);
            let input = frame(&device, &surface(500, seed), DType::Float32);
            compiled.run(&input).unwrap().features().to_f32().unwrap();
        }
        is_over.store(true, Ordering::Relaxed);
        assert!(opening.join().unwrap() > 0, "nothing was opened meanwhile");
    });
}

#[test]
#[ignore = "needs a GPU"]
fn graphs_outlive_what_they_were_made_with_on_a_gpu() {
    graphs_outlive_their_makers(&open_gpu().unwrap());
}

#[test]
#[ignore = "needs a GPU"]
fn birds_eye_views_are_those_of_the_network_on_a_gpu() {
    bird_eye_views(&open_gpu().unwrap());
}

const SHAPE: [u32; 3] = [512; 3];
/// Few heights, as where a network ends in a bird's-eye view.
const FLAT: [u32; 3] = [512, 512, 8];

/// Submanifold, strided, submanifold and back up, with a skip.
struct Network {
    stem: SubmConv3d,
    down: SparseConv3d,
    deep: SubmConv3d,
    up: SparseInverseConv3d,
}

impl Network {
    fn new(device: &Device, dtype: DType) -> Self {
        Self {
            stem: SubmConv3d::builder(4, 16).dtype(dtype).seed(1).build(device).unwrap(),
            down: SparseConv3d::builder(16, 32)
                .dtype(dtype)
                .stride(2)
                .padding(1)
                .seed(2)
                .build(device)
                .unwrap(),
            deep: SubmConv3d::builder(32, 32).dtype(dtype).seed(3).build(device).unwrap(),
            up: SparseInverseConv3d::builder(32, 16)
                .dtype(dtype)
                .stride(2)
                .seed(4)
                .build(device)
                .unwrap(),
        }
    }

    fn forward(&self, input: &SparseTensor) -> Result<SparseTensor, ConvError> {
        let stem = self.stem.forward(input)?;
        let deep = self.deep.forward(&self.down.forward(&stem)?)?;
        self.up.forward(&deep)?.add(&stem, Activation::Relu)
    }

    fn to_bev(&self, input: &SparseTensor) -> Result<Tensor, ConvError> {
        self.down.forward(&self.stem.forward(input)?)?.to_dense_z_first(1)
    }
}

fn frame(device: &Device, cells: &[Voxel], dtype: DType) -> SparseTensor {
    frame_in(SHAPE, device, cells, dtype)
}

/// The cells moved into a shape by its extents.
fn frame_in(shape: [u32; 3], device: &Device, cells: &[Voxel], dtype: DType) -> SparseTensor {
    let inside = |at: i32, axis: usize| at.rem_euclid(shape[axis] as i32);
    let mut cells: Vec<Voxel> = cells
        .iter()
        .map(|cell| Voxel::new(0, inside(cell.x, 0), inside(cell.y, 1), inside(cell.z, 2)))
        .collect();
    cells.sort_unstable_by_key(|cell| (cell.x, cell.y, cell.z));
    cells.dedup();
    let rows = cells.len();
    let voxels = Voxels::within(device, shape, cells).unwrap();
    let features = Tensor::noise(device, dtype, rows, 4, Noise::Uniform, 7).unwrap();
    SparseTensor::new(voxels, features).unwrap()
}

fn surface(rows: usize, seed: u64) -> Vec<Voxel> {
    generate(Generator::Surface, rows, 1, seed).unwrap()
}

fn compile(device: &Device, dtype: DType, shown: &[Vec<Voxel>]) -> (Network, CompiledNetwork) {
    let network = Network::new(device, dtype);
    let frames = shown.iter().map(|cells| frame(device, cells, dtype));
    let profile = FrameProfile::of(frames, |input| network.forward(input)).unwrap();
    let own = Network::new(device, dtype);
    (network, CompiledNetwork::new(device, profile, move |input| own.forward(input)))
}

fn assert_near(found: &[f32], expected: &[f32], tolerance: f32, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        let off = (found - expected).abs();
        assert!(off <= tolerance * largest, "{what}, element {at}: {found} for {expected}");
    }
}

fn bits(tensor: &Tensor) -> Vec<u32> {
    tensor.to_f32().unwrap().into_iter().map(f32::to_bits).collect()
}

/// Of several classes, in any order, the empty one and one past a capacity among them.
fn frames_are_those_of_the_network(device: &Device) {
    let (network, mut compiled) = compile(device, DType::Float32, &[surface(3_000, 1)]);
    let clouds = [
        surface(3_000, 2),
        vec![],
        vec![Voxel::new(0, 5, 3, 2)],
        surface(1_024, 3),
        surface(1_025, 3),
        surface(6_000, 4),
        generate(Generator::Uniform, 2_000, 1, 5).unwrap(),
        surface(3_000, 6),
    ];
    for (index, cells) in clouds.iter().enumerate() {
        let input = frame(device, cells, DType::Float32);
        let alone = network.forward(&input).unwrap();
        let output = compiled.run_or_grow(&input).unwrap();
        let what = format!("frame {index}");
        assert_near(
            &output.features().to_f32().unwrap(),
            &alone.features().to_f32().unwrap(),
            1e-5,
            &what,
        );
        assert_eq!(output.voxels().read_cells().unwrap(), input.voxels().cells().unwrap());
    }
    for class in compiled.classes() {
        assert!(class.planned_bytes < class.unshared_bytes, "{class:?}");
        assert_eq!((class.levels.len(), class.resolutions.len()), (1, 4));
    }
}

fn frames_of_another_kind_are_refused(device: &Device) {
    let (_, mut compiled) = compile(device, DType::Float32, &[surface(500, 1)]);
    let half = frame(device, &surface(500, 1), DType::Float16);
    let error = compiled.run(&half).unwrap_err().to_string();
    assert!(error.contains("4 channels of float32") && error.contains("float16"), "{error}");
    let none: [SparseTensor; 0] = [];
    let error = FrameProfile::of(none, |input| Ok(input.clone())).unwrap_err().to_string();
    assert!(error.contains("at least one frame"), "{error}");
}

fn graphs_are_their_calls(device: &Device) {
    let shown = [surface(20_000, 1), surface(30_000, 2)];
    let (_, mut compiled) = compile(device, DType::Float16, &shown);
    for seed in 3..9 {
        let input = frame(device, &surface(20_000 + 1_500 * seed as usize, seed), DType::Float16);
        let eager = bits(compiled.eager(&input).unwrap().features());
        for _ in 0..3 {
            assert_eq!(bits(compiled.run(&input).unwrap().features()), eager, "frame {seed}");
        }
    }
}

fn frames_wait_for_nothing(device: &Device) {
    let (_, mut compiled) = compile(device, DType::Float16, &[surface(20_000, 1)]);
    let rows = 20_000;
    compiled.record(rows).unwrap();
    for seed in 0..4 {
        let input = frame(device, &surface(rows, seed), DType::Float16);
        compiled.run(&input).unwrap();
        let context = compiled.context().unwrap().clone();
        let before = (device.waits(), context.waits());
        compiled.run(&input).unwrap();
        assert_eq!((device.waits(), context.waits()), before, "frame {seed}");
        // An output is read in another context, in order, without the host.
        let output = compiled.run(&input).unwrap();
        let sum =
            voxtune::ops::add(device, output.features(), output.features(), Activation::Identity);
        assert_eq!((device.waits(), context.waits()), before, "frame {seed}");
        let doubled = sum.unwrap().to_f32().unwrap();
        let once = output.features().to_f32().unwrap();
        assert!(once.iter().zip(&doubled).all(|(once, doubled)| 2.0 * once == *doubled));
    }
}

fn levels_without_room_grow(device: &Device) {
    // A full cube has an eighth as many coarse voxels, far apart ones more than there are.
    let cube: Vec<Voxel> =
        (0..4_096).map(|i| Voxel::new(0, i / 256, i / 16 % 16, i % 16)).collect();
    let apart: Vec<Voxel> =
        (0..4_000).map(|i| Voxel::new(0, i % 16 * 32, i / 16 % 16 * 32, i / 256 * 32)).collect();
    let (network, mut compiled) = compile(device, DType::Float32, std::slice::from_ref(&cube));
    let input = frame(device, &apart, DType::Float32);
    let alone = network.forward(&input).unwrap().features().to_f32().unwrap();
    for _ in 0..2 {
        let output = compiled.run(&input).unwrap();
        for _ in 0..2 {
            let error = output.features().to_f32().unwrap_err();
            let ConvError::Overflow { level, needed, capacity } = error else { panic!("{error}") };
            assert_eq!(level, *network.down.geometry());
            // A table that was full has not met all of them.
            assert!(needed >= 2 * capacity, "{needed} of {capacity}");
        }
        // Another frame of the class is none the worse for it.
        let full = frame(device, &cube, DType::Float32);
        let expected = network.forward(&full).unwrap().features().to_f32().unwrap();
        let found = compiled.run(&full).unwrap().features().to_f32().unwrap();
        assert_near(&found, &expected, 1e-5, "the cube");
        let grown = compiled.run_or_grow(&input).unwrap().features().to_f32().unwrap();
        assert_near(&grown, &alone, 1e-5, "the frame that grew");
    }
}

/// The network that a graph was recorded of is its own, and nothing else need stay.
fn graphs_outlive_their_makers(device: &Device) {
    let (network, mut compiled) = compile(device, DType::Float16, &[surface(5_000, 1)]);
    let input = frame(device, &surface(5_000, 2), DType::Float16);
    let expected = bits(compiled.run(&input).unwrap().features());
    drop(network);
    let mut kept = Vec::new();
    for seed in 0..20 {
        // Whatever was freed is written over.
        kept.push(Tensor::noise(device, DType::Float16, 50_000, 16, Noise::Uniform, seed).unwrap());
    }
    drop(frame(device, &surface(5_000, 3), DType::Float16));
    let moved = std::thread::spawn(move || {
        let found = bits(compiled.run(&input).unwrap().features());
        (compiled, found)
    });
    assert_eq!(moved.join().unwrap().1, expected);
}

fn bird_eye_views(device: &Device) {
    let network = Network::new(device, DType::Float16);
    let input = frame_in(FLAT, device, &surface(9_000, 1), DType::Float16);
    let profile = FrameProfile::of([input.clone()], |input| network.to_bev(input)).unwrap();
    let own = Network::new(device, DType::Float16);
    let mut compiled = CompiledNetwork::new(device, profile, move |input| own.to_bev(input));
    for seed in 2..5 {
        let input = frame_in(FLAT, device, &surface(9_000, seed), DType::Float16);
        let expected = network.to_bev(&input).unwrap().to_f32().unwrap();
        let found = compiled.run(&input).unwrap().to_f32().unwrap();
        assert_near(&found, &expected, 2e-3, "bird's-eye view");
    }
}
