//! What needs a CUDA device, with kernels from `VOXTUNE_KERNELS` or a compiler.

use voxtune::{
    DType, Device, DeviceChoice, DeviceError, Direction, Epilogue, KernelSize, KernelSource,
    Launch, Noise, Operation, SparseTensor, SubmConv3d, Tensor, Tuner, Voxels, WeightLayout,
};
use voxtune_pointcloud::{Generator, generate};
use voxtune_types::Product;

use crate::needs::open_gpu;

#[test]
#[ignore = "needs a GPU"]
fn layers_agree_with_the_host_x() {
    layers_agree_with_the_host(&gpu());
}

fn gpu() -> Device {
    open_gpu().unwrap()
}

#[test]
#[ignore = "needs a GPU"]
fn the_first_device_opens() {
    let device = gpu();
    assert!(device.identity().arch.is_cuda());
    assert!(device.identity().units > 0);
    assert!(device.free_memory_bytes() > 0);
}

#[test]
#[ignore = "needs a GPU"]
fn kernels_come_from_where_the_builder_says() {
    let open =
        |source| Tuner::builder().kernels(source).build().open_device(DeviceChoice::Cuda(0)).err();
    assert_eq!(open(KernelSource::embedded()), None);
    let nowhere = open(KernelSource::default());
    assert!(matches!(nowhere, Some(DeviceError::Unusable { .. })), "{nowhere:?}");
}

/// Small integers, whose sums are exact in every storage type.
fn small(index: usize) -> f32 {
    match (index.wrapping_mul(2_654_435_761) >> 7) % 16 {
        0 => 1.0,
        1 => -1.0,
        _ => 0.0,
    }
}

/// As on a GPU newer than every pack of machine code.
#[test]
#[ignore = "needs a GPU"]
fn the_pack_of_ptx_serves_a_gpu() {
    let ptx = voxtune_caches::PACKS.iter().find(|file| file.name == "ptx.kernels").unwrap();
    let source = KernelSource::default().pack(ptx.name, ptx.bytes);
    let (device, _) = Device::open_with(DeviceChoice::Cuda(0), &source).unwrap();
    layers_agree_with_the_host(&device);
}

fn layers_agree_with_the_host(gpu: &Device) {
    let host = Device::cpu().unwrap();
    for generator in Generator::ALL {
        for (dtype, c_in, c_out, groups, extent) in [
            (DType::Float16, 32, 32, 1, 3),
            (DType::Float16, 3, 20, 1, 3),
            (DType::BFloat16, 64, 96, 1, 3),
            (DType::Float32, 13, 7, 1, 3),
            (DType::Float16, 8, 8, 1, 5),
            (DType::Float16, 16, 16, 1, 1),
            (DType::Float16, 64, 64, 64, 3),
            (DType::BFloat16, 20, 20, 20, 5),
            (DType::Float32, 12, 20, 4, 3),
        ] {
            let cells = generate(generator, 4_321, 2, 7).unwrap();
            let kernel = KernelSize::submanifold(extent).unwrap();
            let run = |device: &Device| {
                let voxels = Voxels::new(device, cells.clone()).unwrap();
                let counts = voxels.kernel_map(kernel).unwrap().counts();
                let rows = voxels.len();
                let weights = kernel.volume() * (c_in * c_out / groups) as usize;
                let weights: Vec<f32> = (0..weights).map(small).collect();
                let tensor = |channels: u32, salt: usize| {
                    let value = move |index| small(index + salt);
                    Tensor::from_fn(device, dtype, rows, channels as usize, value).unwrap()
                };
                let layer = SubmConv3d::builder(c_in, c_out)
                    .kernel(kernel)
                    .groups(groups)
                    .dtype(dtype)
                    .weights(WeightLayout::Rsck, &weights)
                    .tuner(Tuner::empty())
                    .build(device)
                    .unwrap();
                let input = SparseTensor::new(voxels.clone(), tensor(c_in, 11)).unwrap();
                let gradient = tensor(c_out, 23);
                let forward = layer.forward(&input).unwrap().into_features().unwrap();
                let dgrad = layer.dgrad(&voxels, &gradient).unwrap();
                let wgrad = layer.wgrad(&input, &gradient).unwrap();
                let results = [forward, dgrad, wgrad].map(|tensor| tensor.to_f32().unwrap());
                (counts, results)
            };
            let (expected, found) = (run(&host), run(gpu));
            assert_eq!(expected.0, found.0, "{generator} k{extent}");
            assert!(
                expected.1 == found.1,
                "{generator} {dtype} {c_in}→{c_out} g{groups} k{extent}"
            );
        }
    }
}

#[test]
#[ignore = "needs a GPU"]
fn every_algorithm_agrees_with_the_host() {
    let (host, gpu) = (Device::cpu().unwrap(), gpu());
    let kernel = KernelSize::submanifold(3).unwrap();
    let cells = generate(Generator::Surface, 3_000, 1, 3).unwrap();
    let layers = [(32, 64, 1), (64, 64, 64), (20, 20, 20), (12, 20, 4)];
    let operations: Vec<Operation> = Direction::ALL
        .into_iter()
        .flat_map(|direction| DType::ALL.map(|dtype| (direction, dtype)))
        .flat_map(|(direction, dtype)| {
            layers.map(|(c_in, c_out, groups)| {
                Operation::submanifold(direction, dtype, c_in, c_out, kernel).with_groups(groups)
            })
        })
        .collect();
    let wanted: Vec<_> = operations
        .iter()
        .flat_map(|&operation| {
            let algorithms = gpu.registry().algorithms();
            algorithms.map(move |algorithm| (algorithm.id().clone(), operation))
        })
        .collect();
    gpu.compile(&wanted);
    for operation in operations {
        let Operation { direction, dtype, c_in, c_out, .. } = operation;
        let (c_in, c_out) = (c_in as usize, c_out as usize);
        let weight_rows = operation.weight_rows();
        let run = |device: &Device, algorithm: &dyn voxtune::Algorithm| {
            let voxels = Voxels::new(device, cells.clone()).unwrap();
            let map = voxels.kernel_map(kernel).unwrap();
            let rows = voxels.len();
            let tensor = |dtype, rows, channels, salt: usize| {
                let value = move |index| small(index + salt);
                Tensor::from_fn(device, dtype, rows, channels, value).unwrap()
            };
            let (x, g) = (tensor(dtype, rows, c_in, 5), tensor(dtype, rows, c_out, 9));
            let w = tensor(dtype, weight_rows, c_out, 17);
            let (a, b, mut out) = match direction.product() {
                Product::Forward => (x, w, tensor(dtype, rows, c_out, 0)),
                Product::Dgrad => (g, w, tensor(dtype, rows, c_in, 0)),
                Product::Wgrad => (x, g, tensor(DType::Float32, weight_rows, c_out, 0)),
            };
            out.poison(device).unwrap();
            let launch = Launch {
                operation: &operation,
                map: &map,
                a: &a,
                b: &b,
                out: &mut out,
                epilogue: None,
            };
            device.registry().run(algorithm, device, launch).unwrap();
            out.to_f32().unwrap()
        };
        let expected = run(&host, &**host.registry().default_for(&operation).unwrap());
        let mut tried = 0;
        for algorithm in gpu.registry().algorithms() {
            if algorithm.applies(&operation) && algorithm.is_available() {
                tried += 1;
                assert!(run(&gpu, &**algorithm) == expected, "{operation}: {}", algorithm.id());
            }
        }
        assert!(tried >= 2, "{operation}");
    }
}

/// Layers with an epilogue on every algorithm of the GPU, against the host, to the bit.
#[test]
#[ignore = "needs a GPU"]
fn every_algorithm_finishes_alike() {
    let (host, gpu) = (Device::cpu().unwrap(), gpu());
    let kernel = KernelSize::submanifold(3).unwrap();
    let cells = generate(Generator::Surface, 1_021, 1, 3).unwrap();
    for dtype in DType::ALL {
        let operation = Operation::submanifold(Direction::Forward, dtype, 32, 64, kernel);
        let run = |device: &Device, algorithm: &dyn voxtune::Algorithm| {
            let voxels = Voxels::new(device, cells.clone()).unwrap();
            let map = voxels.kernel_map(kernel).unwrap();
            let rows = voxels.len();
            let tensor = |rows, channels, salt: usize| {
                let value = move |index| small(index + salt);
                Tensor::from_fn(device, dtype, rows, channels, value).unwrap()
            };
            let (a, b) = (tensor(rows, 32, 5), tensor(27 * 32, 64, 17));
            let (residual, mut out) = (tensor(rows, 64, 29), tensor(rows, 64, 0));
            let row =
                |salt: usize| -> Vec<f32> { (0..64).map(|c| small(c + salt) + 1.0).collect() };
            let epilogue = Epilogue::new().with_scale(device, &row(1)).unwrap();
            let epilogue = epilogue.with_bias(device, &row(2)).unwrap().with_relu();
            let epilogue = epilogue.with_residual(&residual);
            out.poison(device).unwrap();
            let (operation, map, out_ref) = (&operation, &map, &mut out);
            let launch =
                Launch { operation, map, a: &a, b: &b, out: out_ref, epilogue: Some(&epilogue) };
            device.registry().run(algorithm, device, launch).unwrap();
            out.to_f32().unwrap()
        };
        let expected = run(&host, &**host.registry().default_for(&operation).unwrap());
        for algorithm in gpu.registry().algorithms() {
            if algorithm.applies(&operation) && algorithm.is_available() {
                assert!(run(&gpu, &**algorithm) == expected, "{operation}: {}", algorithm.id());
            }
        }
    }
}

/// Two layers and an epilogue, launched three times over inputs that change, to the bit.
#[expect(unsafe_code, reason = "whoever launches a graph keeps what it reads")]
#[test]
#[ignore = "needs a GPU"]
fn a_captured_layer_is_the_eager_one() {
    let gpu = gpu();
    let kernel = KernelSize::submanifold(3).unwrap();
    for (dtype, channels) in [(DType::Float16, 64), (DType::Float16, 10), (DType::Float32, 20)] {
        let cells = generate(Generator::Surface, 5_000, 1, 3).unwrap();
        let voxels = Voxels::new(&gpu, cells).unwrap();
        let rows = voxels.len();
        let layer = |salt: usize| {
            let weights: Vec<f32> =
                (0..27 * channels * channels).map(|index| small(index + salt)).collect();
            let c = channels as u32;
            SubmConv3d::builder(c, c)
                .kernel(kernel)
                .dtype(dtype)
                .weights(WeightLayout::Rsck, &weights)
                .tuner(Tuner::empty())
                .build(&gpu)
                .unwrap()
        };
        let (first, second) = (layer(1), layer(2));
        let bias: Vec<f32> = (0..channels).map(|index| index as f32 / 8.0).collect();
        let relu = Epilogue::new().with_bias(&gpu, &bias).unwrap().with_relu();
        let noise =
            |seed| Tensor::noise(&gpu, dtype, rows, channels, Noise::Uniform, seed).unwrap();
        let mut input = SparseTensor::new(voxels.clone(), noise(0)).unwrap();
        let eager = |input: &SparseTensor| {
            let hidden = first.forward_with(input, &relu).unwrap();
            let residual = relu.with_residual(input.features());
            second
                .forward_with(&hidden, &residual)
                .unwrap()
                .into_features()
                .unwrap()
                .to_f32()
                .unwrap()
        };
        eager(&input);
        let mut out = noise(9);
        let mut hidden = SparseTensor::new(voxels.clone(), noise(8)).unwrap();
        let graph = {
            let mut between = hidden.into_features().unwrap();
            let mut graphs =
                vec![gpu.capture(|| first.forward_into_with(&input, &relu, &mut between)).unwrap()];
            hidden = SparseTensor::new(voxels.clone(), between).unwrap();
            let residual = relu.with_residual(input.features());
            graphs.push(
                gpu.capture(|| second.forward_into_with(&hidden, &residual, &mut out)).unwrap(),
            );
            graphs
        };
        assert!(!gpu.is_capturing());
        for seed in 1..=3 {
            let mut features = input.into_features().unwrap();
            features.fill_noise(&gpu, Noise::Uniform, seed).unwrap();
            input = SparseTensor::new(voxels.clone(), features).unwrap();
            out.poison(&gpu).unwrap();
            for part in &graph {
                // SAFETY: layers, voxels, input, hidden and out are alive and where they were.
                unsafe { part.launch() }.unwrap();
            }
            let found = out.to_f32().unwrap();
            assert!(found == eager(&input), "{dtype} {channels}, launch {seed}");
        }
        drop(hidden);
    }
}

/// What cannot be recorded is refused, and the device works on.
#[test]
#[ignore = "needs a GPU"]
fn captures_allocate_nothing() {
    let gpu = gpu();
    let kernel = KernelSize::submanifold(3).unwrap();
    let voxels = Voxels::new(&gpu, generate(Generator::Surface, 500, 1, 3).unwrap()).unwrap();
    let features = Tensor::noise(&gpu, DType::Float16, 500, 8, Noise::Uniform, 1).unwrap();
    let input = SparseTensor::new(voxels, features).unwrap();
    let weights = vec![1.0; 27 * 64];
    let layer = SubmConv3d::builder(8, 8)
        .kernel(kernel)
        .dtype(DType::Float16)
        .weights(WeightLayout::Rsck, &weights)
        .tuner(Tuner::empty())
        .build(&gpu)
        .unwrap();
    let expected = layer.forward(&input).unwrap().into_features().unwrap().to_f32().unwrap();
    let refused = gpu.capture(|| layer.forward(&input).map(drop)).unwrap_err();
    assert!(refused.to_string().contains("inside a graph capture"), "{refused}");
    assert!(!gpu.is_capturing());
    let again = layer.forward(&input).unwrap().into_features().unwrap().to_f32().unwrap();
    assert!(again == expected);
    assert!(Device::cpu().unwrap().capture(|| Ok(())).is_err());
}

#[test]
#[ignore = "needs a GPU"]
fn duplicates_are_named() {
    let cells = vec![voxtune::Voxel::new(1, 2, 3, 4); 2];
    let error = Voxels::new(&gpu(), cells).unwrap_err();
    assert!(error.to_string().contains("batch 1, x 2, y 3, z 4"), "{error}");
}

/// To the bit, in every storage type, whatever the tensor's memory held before.
#[test]
#[ignore = "needs a GPU"]
fn noise_is_the_same_everywhere() {
    let (host, gpu) = (Device::cpu().unwrap(), gpu());
    let mut reused = Tensor::empty(&gpu, DType::Float32).unwrap();
    for (number, noise) in [Noise::Uniform, Noise::Integers].into_iter().enumerate() {
        for dtype in DType::ALL {
            for (rows, channels) in [(0, 3), (1, 1), (1_001, 96), (70_000, 33), (17, 5)] {
                let seed = u64::MAX - number as u64;
                let expected = Tensor::noise(&host, dtype, rows, channels, noise, seed).unwrap();
                let new = Tensor::noise(&gpu, dtype, rows, channels, noise, seed).unwrap();
                reused.reshape(&gpu, dtype, rows, channels).unwrap();
                reused.poison(&gpu).unwrap();
                reused.fill_noise(&gpu, noise, seed).unwrap();
                let bits = |tensor: &Tensor| -> Vec<u32> {
                    tensor.to_f32().unwrap().into_iter().map(f32::to_bits).collect()
                };
                let expected = bits(&expected);
                assert_eq!(expected.len(), rows * channels);
                assert!(bits(&new) == expected, "{noise:?} {dtype} {rows} x {channels}");
                assert!(bits(&reused) == expected, "{noise:?} {dtype} {rows} x {channels}, again");
            }
        }
    }
}
