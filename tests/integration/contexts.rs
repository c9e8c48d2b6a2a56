//! Execution contexts: streams side by side, in one thread, in two and in graphs.
//!
//! Kernels come from the packs in the program, which is what users run.

use std::collections::BTreeSet;
use std::mem::take;

use voxtune::{
    Activation, ConvError, DType, Device, DeviceChoice, Direction, Epilogue, KernelSize,
    KernelSource, Launch, Operation, SparseConv3d, SparseTensor, SubmConv3d, Tensor, Tuner, Voxels,
    WeightLayout, ops,
};
use voxtune_pointcloud::{Generator, generate};
use voxtune_types::Product;

use crate::needs::open_gpu;

/// How often each comparison is made.
pub(crate) const TIMES: usize = 1_000;
/// How many results of each stream are queued before the host looks at them.
pub(crate) const DEPTH: usize = 20;
pub(crate) const ROWS: usize = 6_000;
pub(crate) const CHANNELS: u32 = 64;
const COARSE_CHANNELS: u32 = 96;
pub(crate) const DTYPE: DType = DType::Float16;

pub(crate) fn gpu() -> Device {
    Device::open_with(DeviceChoice::Cuda(0), &KernelSource::embedded()).unwrap().0
}

/// Values that depend on place and salt alone.
pub(crate) fn values(count: usize, salt: usize) -> Vec<f32> {
    let value = |index: usize| (index.wrapping_mul(2_654_435_761) >> 9) % 15;
    (0..count).map(|index| value(index + salt) as f32 / 64.0 - 7.0 / 64.0).collect()
}

fn features(device: &Device, rows: usize, channels: u32, salt: usize) -> Tensor {
    let values = values(rows * channels as usize, salt);
    Tensor::from_f32(device, DTYPE, rows, channels as usize, &values).unwrap()
}

pub(crate) fn bits(tensor: &Tensor) -> Vec<u32> {
    tensor.to_f32().unwrap().into_iter().map(f32::to_bits).collect()
}

/// Two layers: the tiles of the first are dealt out by counters, the second's map is between
/// levels.
pub(crate) struct Layers {
    pub(crate) first: SubmConv3d,
    down: SparseConv3d,
    relu: Epilogue<'static>,
}

impl Layers {
    pub(crate) fn new(device: &Device) -> Self {
        let tuner = || Tuner::builder().embedded().build();
        let (c, coarse) = (CHANNELS as usize, COARSE_CHANNELS as usize);
        let first = SubmConv3d::builder(CHANNELS, CHANNELS).dtype(DTYPE).bias(&values(c, 3));
        let first = first.weights(WeightLayout::Rsck, &values(27 * c * c, 1)).tuner(tuner());
        let down = SparseConv3d::builder(CHANNELS, COARSE_CHANNELS).dtype(DTYPE);
        let down = down.kernel(3).stride(2).padding(1).tuner(tuner());
        let down = down.weights(WeightLayout::Rsck, &values(27 * c * coarse, 2));
        let (first, down) = (first.build(device).unwrap(), down.build(device).unwrap());
        Self { first, down, relu: Epilogue::new().with_relu() }
    }
}

/// An input with everything that the layers write over it, of one context.
pub(crate) struct Frame {
    device: Device,
    pub(crate) input: SparseTensor,
    hidden: Option<Tensor>,
    outs: Vec<Tensor>,
}

impl Frame {
    pub(crate) fn new(device: &Device, layers: &Layers, seed: u64) -> Self {
        let cells = generate(Generator::Surface, ROWS, 1, seed).unwrap();
        let voxels = Voxels::new(device, cells).unwrap();
        let tensor = |rows, channels: u32| features(device, rows, channels, seed as usize);
        let coarse = voxels.outputs_of(layers.down.geometry()).unwrap().0.len();
        Self {
            device: device.clone(),
            hidden: Some(tensor(voxels.len(), CHANNELS)),
            outs: (0..DEPTH).map(|_| tensor(coarse, COARSE_CHANNELS)).collect(),
            input: SparseTensor::new(voxels.clone(), tensor(voxels.len(), CHANNELS)).unwrap(),
        }
    }

    /// Queues both layers.
    pub(crate) fn run(&mut self, layers: &Layers, out: usize) -> Result<(), ConvError> {
        let mut hidden = self.hidden.take().unwrap();
        layers.first.forward_into_with(&self.input, &layers.relu, &mut hidden)?;
        let hidden = SparseTensor::new(self.input.voxels().clone(), hidden)?;
        layers.down.forward_into(&hidden, &mut self.outs[out])?;
        self.hidden = Some(hidden.into_features().unwrap());
        Ok(())
    }

    fn poison(&mut self) {
        self.hidden.as_mut().unwrap().poison(&self.device).unwrap();
        self.outs.iter_mut().for_each(|out| out.poison(&self.device).unwrap());
    }

    pub(crate) fn expect(&self, out: usize, expected: &[u32], when: usize) {
        assert!(bits(&self.outs[out]) == expected, "result {when} differs");
    }
}

/// What a frame gives where nothing else runs.
pub(crate) fn alone(device: &Device, layers: &Layers, seed: u64) -> Vec<u32> {
    let mut frame = Frame::new(device, layers, seed);
    frame.run(layers, 0).unwrap();
    let found = bits(&frame.outs[0]);
    assert!(found.iter().any(|bits| f32::from_bits(*bits) != 0.0));
    found
}

/// Layers of a device's first handle, and two frames of further ones with what is expected of them.
fn two_frames(gpu: &Device) -> (Layers, [Frame; 2], [Vec<u32>; 2]) {
    let layers = Layers::new(gpu);
    let expected = [1, 2].map(|seed| alone(gpu, &layers, seed));
    assert!(expected[0] != expected[1]);
    let frames = [1, 2].map(|seed| Frame::new(&gpu.with_new_stream().unwrap(), &layers, seed));
    (layers, frames, expected)
}

#[test]
#[ignore = "needs a GPU"]
fn two_streams_are_like_one_on_a_gpu() {
    let (layers, mut frames, expected) = two_frames(&gpu());
    for round in 0..TIMES / DEPTH {
        frames.iter_mut().for_each(Frame::poison);
        for out in 0..DEPTH {
            frames.iter_mut().for_each(|frame| frame.run(&layers, out).unwrap());
        }
        for out in 0..DEPTH {
            for (frame, expected) in frames.iter().zip(&expected) {
                frame.expect(out, expected, round * DEPTH + out);
            }
        }
    }
}

/// Each thread also makes its voxels and maps anew, now and then.
#[test]
#[ignore = "needs a GPU"]
fn two_threads_are_like_one_on_a_gpu() {
    let gpu = gpu();
    let layers = Layers::new(&gpu);
    let expected = [1, 2].map(|seed| alone(&gpu, &layers, seed));
    std::thread::scope(|scope| {
        for (seed, expected) in (1..).zip(&expected) {
            let (layers, device) = (&layers, gpu.with_new_stream().unwrap());
            scope.spawn(move || {
                for round in 0..TIMES / DEPTH {
                    let mut frame = Frame::new(&device, layers, seed);
                    frame.poison();
                    (0..DEPTH).for_each(|out| frame.run(layers, out).unwrap());
                    (0..DEPTH).for_each(|out| frame.expect(out, expected, round * DEPTH + out));
                }
            });
        }
    });
}

#[expect(unsafe_code, reason = "whoever launches a graph keeps what it reads")]
#[test]
#[ignore = "needs a GPU"]
fn two_graphs_are_like_one_on_a_gpu() {
    let (layers, mut frames, expected) = two_frames(&gpu());
    for frame in &mut frames {
        frame.run(&layers, 0).unwrap();
    }
    // One for each result, so that many launches are in flight on either stream.
    let graphs = frames.each_mut().map(|frame| {
        let device = frame.device.clone();
        let capture = |out| device.capture(|| frame.run(&layers, out)).unwrap();
        (0..DEPTH).map(capture).collect::<Vec<_>>()
    });
    for round in 0..TIMES / DEPTH {
        frames.iter_mut().for_each(Frame::poison);
        for out in 0..DEPTH {
            for graphs in &graphs {
                // SAFETY: layers and frames are alive, and nothing of them has moved on the device.
                unsafe { graphs[out].launch() }.unwrap();
            }
        }
        for out in 0..DEPTH {
            for (frame, expected) in frames.iter().zip(&expected) {
                frame.expect(out, expected, round * DEPTH + out);
            }
        }
    }
    drop(graphs);
}

/// Every algorithm on two streams at once: counters, split sums and cuBLAS are each context's own.
/// Sums of small integers are the same in any order.
#[test]
#[ignore = "needs a GPU"]
fn every_algorithm_has_its_context_on_a_gpu() {
    let packed = algorithms_side_by_side(&gpu(), |_| true);
    // No pack has what needs a library; the compiler makes it, where the library is.
    let compiled =
        algorithms_side_by_side(&open_gpu().unwrap(), |family| family == "explicit_gemm");
    println!("algorithms of {packed:?} and {compiled:?}");
    assert!(packed.len() >= 4, "{packed:?}");
}

/// The families that were run.
fn algorithms_side_by_side(gpu: &Device, wanted: impl Fn(&str) -> bool) -> BTreeSet<String> {
    let kernel = KernelSize::submanifold(3).unwrap();
    let cells = generate(Generator::Surface, ROWS, 1, 3).unwrap();
    let small = |index: usize| ((index.wrapping_mul(2_654_435_761) >> 7) % 16 / 14) as f32;
    let handles: Vec<_> = (0..3).map(|_| gpu.with_new_stream().unwrap()).collect();
    let voxels: Vec<_> =
        handles.iter().map(|device| Voxels::new(device, cells.clone()).unwrap()).collect();
    let maps: Vec<_> = voxels.iter().map(|one| one.kernel_map(kernel).unwrap()).collect();
    let mut families = BTreeSet::new();
    for (direction, dtype) in
        Direction::ALL.into_iter().flat_map(|direction| DType::ALL.map(|dtype| (direction, dtype)))
    {
        let operation = Operation::submanifold(direction, dtype, 64, 64, kernel);
        let tensor = |device: &Device, dtype, rows, salt: usize| {
            Tensor::from_fn(device, dtype, rows, 64, |index| small(index + salt)).unwrap()
        };
        let (weights, result) = match direction.product() {
            Product::Wgrad => (tensor(gpu, dtype, ROWS, 17), (DType::Float32, 27 * 64)),
            _ => (tensor(gpu, dtype, 27 * 64, 17), (dtype, ROWS)),
        };
        for algorithm in gpu.registry().algorithms() {
            let runs = wanted(algorithm.id().family()) && algorithm.is_available();
            if !runs || !algorithm.applies(&operation) {
                continue;
            }
            families.insert(algorithm.id().family().to_owned());
            // The last two compute the same, the first something else.
            let side = |(number, device): (usize, &Device)| {
                let a = tensor(device, dtype, ROWS, number.min(1));
                (a, tensor(device, result.0, result.1, 0))
            };
            let mut sides: Vec<_> = handles.iter().enumerate().map(side).collect();
            let mut queue = |side: usize, poison: bool| {
                let (a, out) = &mut sides[side];
                if poison {
                    out.poison(&handles[side]).unwrap();
                }
                let (operation, map, b) = (&operation, &maps[side], &weights);
                let launch = Launch { operation, map, a, b, out, epilogue: None };
                gpu.registry().run(&**algorithm, &handles[side], launch).unwrap();
            };
            // One of them alone; then it beside the one that computes something else.
            queue(2, true);
            handles[2].synchronize().unwrap();
            for time in 0..DEPTH {
                queue(0, time + 1 == DEPTH);
                queue(1, time + 1 == DEPTH);
            }
            let found: Vec<_> = sides.iter().map(|(_, out)| bits(out)).collect();
            assert!(found[1] == found[2], "{operation}: {}", algorithm.id());
            assert!(found[0] != found[1], "{operation}: {}", algorithm.id());
        }
    }
    families
}

/// One stream computes, another one reads what it has computed, and the first goes on to overwrite
/// it.
#[test]
#[ignore = "needs a GPU"]
fn tensors_are_read_in_order_on_a_gpu() {
    let gpu = gpu();
    let (layers, frames, _) = two_frames(&gpu);
    let [a, b] = frames.each_ref().map(|frame| frame.device.clone());
    let second = {
        let features = features(&a, ROWS, CHANNELS, 77);
        SparseTensor::new(frames[0].input.voxels().clone(), features).unwrap()
    };
    let inputs = [&frames[0].input, &second];
    let sum = |device: &Device, x: &Tensor| ops::add(device, x, x, Activation::Identity).unwrap();
    let expected = inputs.map(|input| {
        let features = layers.first.forward(input).unwrap().into_features().unwrap();
        a.synchronize().unwrap();
        bits(&sum(&a, &features))
    });
    assert!(expected[0] != expected[1]);
    // Overwritten in place.
    let mut between = Tensor::zeros(&a, DTYPE, ROWS, 64).unwrap();
    let mut found = Vec::new();
    for time in 0..TIMES {
        layers.first.forward_into(inputs[time % 2], &mut between).unwrap();
        found.push(sum(&b, &between));
        if found.len() == DEPTH {
            for (number, sum) in take(&mut found).into_iter().enumerate() {
                assert!(bits(&sum) == expected[number % 2], "sum {number} by {time}");
            }
        }
    }
    // Freed, and its memory taken by the next one.
    for time in 0..TIMES {
        let output = layers.first.forward(inputs[time % 2]).unwrap();
        found.push(sum(&b, output.features()));
        drop(output);
        Tensor::zeros(&a, DTYPE, ROWS, 64).unwrap().poison(&a).unwrap();
        if found.len() == DEPTH {
            for (number, sum) in take(&mut found).into_iter().enumerate() {
                assert!(bits(&sum) == expected[number % 2], "sum {number} by {time}");
            }
        }
    }
}

/// A layer is dropped while another stream still computes with its weights.
#[test]
#[ignore = "needs a GPU"]
fn weights_outlive_their_readers_on_a_gpu() {
    let gpu = gpu();
    let (layers, mut frames, expected) = two_frames(&gpu);
    drop(layers);
    for time in 0..20 {
        let layers = Layers::new(&gpu);
        frames.iter_mut().for_each(Frame::poison);
        for out in 0..DEPTH {
            frames.iter_mut().for_each(|frame| frame.run(&layers, out).unwrap());
        }
        drop(layers);
        for _ in 0..4 {
            let (rows, c) = (27 * CHANNELS as usize, CHANNELS as usize);
            Tensor::zeros(&gpu, DTYPE, rows, c).unwrap().poison(&gpu).unwrap();
        }
        for (frame, expected) in frames.iter().zip(&expected) {
            (0..DEPTH).for_each(|out| frame.expect(out, expected, time * DEPTH + out));
        }
    }
}

#[test]
#[ignore = "needs a GPU"]
fn what_belongs_elsewhere_is_refused_on_a_gpu() {
    let gpu = gpu();
    let (layers, mut frames, expected) = two_frames(&gpu);
    let refused = |found: Result<(), ConvError>, what: &str| {
        let error = found.unwrap_err().to_string();
        assert!(error.contains("another stream") && error.contains(what), "{error}");
    };
    let mut out = Tensor::zeros(&gpu, DTYPE, ROWS, 64).unwrap();
    refused(layers.first.forward_into(&frames[0].input, &mut out), "result");
    let kernel = KernelSize::submanifold(3).unwrap();
    let map = frames[0].input.voxels().kernel_map(kernel).unwrap();
    let operation = Operation::submanifold(Direction::Forward, DTYPE, 64, 64, kernel);
    let weights = Tensor::zeros(&gpu, DTYPE, 27 * 64, 64).unwrap();
    let (a, b) = (frames[0].input.features(), &weights);
    let launch = Launch { operation: &operation, map: &map, a, b, out: &mut out, epilogue: None };
    let algorithm = gpu.registry().default_for(&operation).unwrap();
    refused(gpu.registry().run(&**algorithm, &gpu, launch), "kernel map");
    // Everything works on.
    for (frame, expected) in frames.iter_mut().zip(&expected) {
        frame.run(&layers, 0).unwrap();
        frame.expect(0, expected, 0);
    }
}
