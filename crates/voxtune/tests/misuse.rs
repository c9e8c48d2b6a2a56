//! Wrong uses of the public API: each is an error that says what is wrong, where it is wrong, and
//! harms nothing. Names begin with the number of the fault in the record of tried uses.

use std::fmt::{Debug, Display};
use std::sync::Arc;

use voxtune::{
    AlgoMode, DType, Device, DeviceIdentity, Direction, Epilogue, Geometry, Graph, KernelMap,
    KernelSize, Launch, LayerKind, MapCounts, Noise, Operation, Reference, Registry, SparseConv3d,
    SparseInverseConv3d, SparseTensor, SubmConv3d, Tensor, Tuner, Voxel, Voxels, WeightLayout,
};
use voxtune_types::Product;

fn device() -> Device {
    Device::cpu_with_threads(1).unwrap()
}

fn kernel(extent: u32) -> KernelSize {
    KernelSize::cubic(extent).unwrap()
}

/// The text of an error, which has all of these words.
#[track_caller]
fn refused<T, E: Display>(result: Result<T, E>, words: &[&str]) -> String {
    let text = match result {
        Ok(_) => panic!("accepted: expected an error with {words:?}"),
        Err(error) => error.to_string(),
    };
    for word in words {
        assert!(text.contains(word), "expected `{word}` in: {text}");
    }
    text
}

/// Products of rows and channels: past a machine word, past what an allocation may have, past
/// memory.
const SIZES: [(usize, usize); 6] = [
    (usize::MAX, 2),
    (1 << 63, 2),
    (1_000_000, 1 << 44),
    (1 << 62, 1),
    (1 << 61, 1),
    (1 << 40, 1 << 18),
];

#[test]
fn n07_sizes_that_wrap_are_errors() {
    let device = device();
    for dtype in DType::ALL {
        for (rows, channels) in SIZES {
            let words = [&*rows.to_string(), &*channels.to_string()];
            refused(Tensor::zeros(&device, dtype, rows, channels), &words);
            refused(Tensor::from_fn(&device, dtype, rows, channels, |_| 0.0), &words);
            refused(Tensor::noise(&device, dtype, rows, channels, Noise::Uniform, 1), &words);
            refused(Tensor::from_f32(&device, dtype, rows, channels, &[]), &[]);
            let mut tensor = Tensor::zeros(&device, dtype, 2, 3).unwrap();
            refused(tensor.reshape(&device, dtype, rows, channels), &words);
            assert_eq!(
                (tensor.rows(), tensor.channels(), tensor.to_f32().unwrap().len()),
                (0, 0, 0)
            );
            tensor.reshape(&device, dtype, 3, 2).unwrap();
            assert_eq!(tensor.to_f32().unwrap(), [0.0; 6]);
        }
    }
    // No rows or no channels are no bytes, however many there are of the other.
    for (rows, channels) in [(usize::MAX, 0), (0, usize::MAX)] {
        let tensor = Tensor::zeros(&device, DType::Float32, rows, channels).unwrap();
        assert_eq!(tensor.to_f32().unwrap(), [0.0; 0]);
    }
}

#[test]
fn n07_a_layer_whose_weights_wrap_is_refused() {
    let device = device();
    for (c_in, c_out, extent) in
        [(1 << 31, 1 << 31, 1), (1 << 30, 1 << 29, 4), (u32::MAX, u32::MAX, 7)]
    {
        for extent in [extent, 3] {
            let layer = SubmConv3d::builder(c_in, c_out)
                .kernel(kernel(extent))
                .weights(WeightLayout::Rsck, &[])
                .build(&device);
            refused(layer, &[]);
        }
        let layer = SubmConv3d::builder(c_in, c_out)
            .kernel(kernel(5))
            .weights(WeightLayout::Rsck, &[])
            .build(&device);
        refused(layer, &["weights", &c_in.to_string(), &c_out.to_string(), "channels"]);
    }
}

#[test]
fn n07_a_layer_that_cannot_run_is_refused_where_it_is_made() {
    let device = device();
    for extents in [[2, 2, 2], [4, 4, 4], [3, 2, 3], [1, 1, 6]] {
        let kernel = KernelSize::try_from(extents).unwrap();
        let weights = vec![0.5; kernel.volume() * 6];
        let layer = SubmConv3d::builder(2, 3)
            .kernel(kernel)
            .weights(WeightLayout::Rsck, &weights)
            .build(&device);
        refused(layer, &[&kernel.to_string(), "odd"]);
    }
    let layer =
        SubmConv3d::builder(0, 3).kernel(kernel(3)).weights(WeightLayout::Rsck, &[]).build(&device);
    refused(layer, &["0 in, 3 out"]);
}

/// A device without algorithms stands for one that lacks those of the layer.
#[test]
fn n07_a_layer_without_an_algorithm_is_refused_where_it_is_made() {
    let device = Device::cpu_with_registry(1, Registry::new(Vec::new())).unwrap();
    let layer = SubmConv3d::builder(2, 3)
        .kernel(kernel(3))
        .weights(WeightLayout::Rsck, &[0.5; 27 * 6])
        .tuner(Tuner::empty())
        .build(&device);
    refused(layer, &["no algorithm", "2→3 k3"]);
}

#[test]
fn n07_duplicates_are_refused_where_voxels_are_made() {
    let device = device();
    let (far, near) = (Voxel::new(0, i32::MIN, i32::MAX, 0), Voxel::new(0, 1, 2, 3));
    let cells = vec![near, far, Voxel::new(1, 1, 2, 3), near];
    let words = ["rows 0 and 3", "batch 0, x 1, y 2, z 3", "merge"];
    refused(Voxels::new(&device, cells), &words);
    let words = ["rows 1 and 2", "x -2147483648, y 2147483647, z 0"];
    refused(Voxels::new(&device, vec![near, far, far]), &words);
    // In order, and not.
    for repeated in [0_usize, 1, 4_999, 9_998] {
        let mut cells: Vec<Voxel> =
            (0..10_000).map(|i| Voxel::new(0, i / 100, i % 100, 0)).collect();
        cells[9_999] = cells[repeated];
        let words = [&*format!("rows {repeated} and 9999"), "expected distinct voxels"];
        refused(Voxels::new(&device, cells.clone()), &words);
        cells.reverse();
        let words = [&*format!("rows 0 and {}", 9_999 - repeated)];
        refused(Voxels::new(&device, cells), &words);
    }
}

/// Distinct cells are taken, whatever their order and wherever they lie.
#[test]
fn distinct_cells_are_taken() {
    let device = device();
    let ends = [i32::MIN, -1, 0, i32::MAX];
    let mut cells = Vec::new();
    for batch in ends {
        for x in ends {
            for y in ends {
                cells.extend(ends.map(|z| Voxel::new(batch, x, y, z)));
            }
        }
    }
    cells.rotate_left(77);
    let voxels = Voxels::new(&device, cells).unwrap();
    // Only -1 and 0 are neighbours: nothing wraps from one end to the other.
    let counts = voxels.kernel_map(kernel(3)).unwrap().counts();
    // Along each axis the four ends meet themselves, and two of them each other: 6 of 3 offsets.
    assert_eq!(counts, MapCounts { n_in: 256, n_out: 256, pairs: 4 * 6 * 6 * 6 });
    assert_eq!(Voxels::new(&device, Vec::new()).unwrap().len(), 0);
}

/// Three voxels with the maps of every kind over them.
struct Maps {
    device: Device,
    maps: Vec<(&'static str, Arc<KernelMap>)>,
}

impl Maps {
    fn new() -> Self {
        let device = device();
        let cells = vec![Voxel::new(0, 0, 0, 0), Voxel::new(0, 0, 0, 1), Voxel::new(0, 4, 4, 4)];
        let voxels = Voxels::new(&device, cells).unwrap();
        let (coarse, strided) = voxels.strided(kernel(3), [2; 3]).unwrap();
        let transposed = strided.transposed().unwrap();
        let again = voxels.map_to(&coarse, &Geometry::strided(kernel(3), [1; 3])).unwrap();
        let maps = vec![
            ("k3", voxels.kernel_map(kernel(3)).unwrap()),
            ("k1", voxels.kernel_map(kernel(1)).unwrap()),
            ("k3 s2x2x2", strided),
            ("k3 s2x2x2 inverse", Arc::new(transposed)),
            ("k3 given", Arc::new(again)),
            ("k3 s2x2x1", voxels.strided(kernel(3), [2, 2, 1]).unwrap().1),
            ("k3x1x3", voxels.kernel_map(KernelSize::try_from([3, 1, 3]).unwrap()).unwrap()),
            ("k1x3x3", voxels.kernel_map(KernelSize::try_from([1, 3, 3]).unwrap()).unwrap()),
        ];
        Self { device, maps }
    }

    fn operations() -> Vec<Operation> {
        let forward = |kernel, stride| {
            Operation::strided(Direction::Forward, DType::Float32, 2, 2, kernel, stride)
        };
        let within = |kernel| forward(kernel, [1; 3]).with_kind(LayerKind::Submanifold);
        let layers = [
            within(kernel(3)),
            within(kernel(1)),
            forward(kernel(3), [1; 3]).with_kind(LayerKind::Given),
            forward(kernel(3), [2; 3]),
            forward(kernel(3), [2; 3]).with_kind(LayerKind::Inverse),
            forward(kernel(3), [2, 2, 1]),
            within(KernelSize::try_from([3, 1, 3]).unwrap()),
            within(KernelSize::try_from([1, 3, 3]).unwrap()),
            // Layers that no map of these is of.
            forward(kernel(3), [0; 3]),
            forward(kernel(3), [1; 3]),
            forward(kernel(3), [1; 3]).with_kind(LayerKind::Inverse),
        ];
        layers.into_iter().flat_map(|one| Direction::ALL.map(|d| one.with_direction(d))).collect()
    }

    /// Operands of the lengths that the operation asks for over the map.
    fn operands(&self, operation: &Operation, counts: MapCounts) -> [Tensor; 3] {
        let zeros = |rows| Tensor::zeros(&self.device, DType::Float32, rows, 2).unwrap();
        let weights = || zeros(operation.kernel.volume() * 2);
        match operation.direction.product() {
            Product::Forward => [zeros(counts.n_in), weights(), zeros(counts.n_out)],
            Product::Dgrad => [zeros(counts.n_out), weights(), zeros(counts.n_in)],
            Product::Wgrad => [zeros(counts.n_in), zeros(counts.n_out), weights()],
        }
    }
}

#[test]
fn n07_an_operation_over_a_map_of_another_kind_is_refused() {
    let all = Maps::new();
    let device = &all.device;
    for operation in Maps::operations() {
        let layer = operation.to_string();
        let layer = layer.split_once("2→2 ").unwrap().1;
        for (of, map) in &all.maps {
            let [a, b, mut out] = all.operands(&operation, map.counts());
            let algorithm = device.registry().default_for(&operation).unwrap();
            let (a, b, operation) = (&a, &b, &operation);
            let launch = Launch { operation, map, a, b, out: &mut out, epilogue: None };
            let ran = device.registry().run(&**algorithm, device, launch);
            let reference = Reference::compute(device, operation, map, a, b);
            if layer == *of {
                ran.unwrap();
                reference.unwrap();
            } else {
                let words = [layer, &*format!("`{of}`"), "kernel map"];
                refused(ran, &words);
                refused(reference, &words);
            }
        }
    }
}

#[test]
fn n07_statistics_that_are_none_are_refused() {
    let device = device();
    let norm = |gamma: f32, beta: f32, mean: f32, variance: f32, epsilon| {
        let second = |first| [first, 1.0];
        Epilogue::batch_norm(
            &device,
            &second(gamma),
            &second(beta),
            &second(mean),
            &second(variance),
            epsilon,
        )
    };
    norm(1.0, 0.0, 0.0, 0.0, 1e-5).unwrap();
    norm(-1.0, -3.0, -2.0, 4.0, 0.0).unwrap();
    for variance in [-1.0, -1e-3, f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let words = ["variance", "channel 0", &*variance.to_string()];
        refused(norm(1.0, 0.0, 0.0, variance, 1e-5), &words);
        // An epsilon that lifts it above zero does not make it a variance.
        refused(norm(1.0, 0.0, 0.0, variance, 10.0), &words);
    }
    for epsilon in [-1e-5, f32::NAN, f32::INFINITY] {
        refused(norm(1.0, 0.0, 0.0, 1.0, epsilon), &["epsilon", &epsilon.to_string()]);
    }
    for wrong in [f32::NAN, f32::INFINITY] {
        refused(norm(wrong, 0.0, 0.0, 1.0, 1e-5), &["gamma", "channel 0"]);
        refused(norm(1.0, wrong, 0.0, 1.0, 1e-5), &["beta", "channel 0"]);
        refused(norm(1.0, 0.0, wrong, 1.0, 1e-5), &["mean", "channel 0"]);
    }
    // A channel that never varied has no scale without an epsilon.
    refused(norm(1.0, 0.0, 0.0, 0.0, 0.0), &["variance", "epsilon", "channel 0"]);
    refused(norm(f32::MAX, 0.0, 0.0, 1e-30, 0.0), &["channel 0", "float32"]);
}

#[test]
fn n07_thread_counts_out_of_range_are_refused() {
    for threads in [0, 1025, 5000, 1 << 20, usize::MAX] {
        let words = [&*threads.to_string(), "1 to 1024", "threads"];
        refused(Device::cpu_with_threads(threads), &words);
        refused(Device::cpu_with_registry(threads, Registry::cpu()), &words);
    }
    assert_eq!(Device::cpu_with_threads(3).unwrap().identity().units, 3);
}

#[track_caller]
fn is_short(value: &dyn Debug) {
    let text = format!("{value:?}");
    assert!(text.len() <= 400, "{} bytes: {}...", text.len(), &text[..400]);
    let text = format!("{value:#?}");
    assert!(text.len() <= 800, "{} bytes: {}...", text.len(), &text[..800]);
}

#[test]
fn n07_debug_is_short() {
    let device = device();
    let cells: Vec<Voxel> =
        (0..1000).map(|i| Voxel::new(0, i / 100, i / 10 % 10, i % 10)).collect();
    let voxels = Voxels::new(&device, cells).unwrap();
    let features = Tensor::zeros(&device, DType::Float32, 1000, 8).unwrap();
    let weights = vec![0.5; 27 * 64];
    let layer = SubmConv3d::builder(8, 8)
        .kernel(kernel(3))
        .weights(WeightLayout::Rsck, &weights)
        .build(&device)
        .unwrap();
    let input = SparseTensor::new(voxels.clone(), features).unwrap();
    let output = layer.forward(&input).unwrap();
    let map = voxels.kernel_map(kernel(3)).unwrap();
    is_short(&input.features());
    is_short(&output);
    is_short(&voxels);
    is_short(&map);
    is_short(&map.host().unwrap());
    is_short(&map.host().unwrap().view());
    is_short(&layer);
    is_short(&device);
    is_short(&device.registry());
    let tensor = Tensor::zeros(&device, DType::Float32, 1000, 8).unwrap();
    is_short(&tensor);
    is_short(&tensor.host());
    is_short(&Epilogue::new().with_bias(&device, &[1.0; 1000]).unwrap().with_residual(&tensor));
    let operation = layer.operation();
    is_short(&Reference::of_result(&device, operation, &tensor).unwrap());
    for (text, shape) in [
        (format!("{:?}", output.features()), "1000"),
        (format!("{:?}", output.features()), "float32"),
        (format!("{voxels:?}"), "1000"),
        (format!("{map:?}"), "k3"),
        (format!("{layer:?}"), "8→8 k3"),
    ] {
        assert!(text.contains(shape), "{text}");
    }
}

#[test]
fn n07_another_storage_type_names_a_way_to_convert() {
    let device = device();
    let voxels = Voxels::new(&device, vec![Voxel::new(0, 0, 0, 0)]).unwrap();
    let features = Tensor::zeros(&device, DType::Float16, 1, 2).unwrap();
    let layer = SubmConv3d::builder(2, 2)
        .kernel(kernel(1))
        .weights(WeightLayout::Rsck, &[1.0, 0.0, 0.0, 1.0])
        .build(&device)
        .unwrap();
    let input = SparseTensor::new(voxels, features).unwrap();
    let words = ["input", "expected float32, found float16", "from_f32", "to_f32"];
    refused(layer.forward(&input).map(drop), &words);
    // What it recommends.
    let found = input.features();
    let values = found.to_f32().unwrap();
    let converted =
        Tensor::from_f32(&device, DType::Float32, found.rows(), found.channels(), &values).unwrap();
    layer.forward(&SparseTensor::new(input.voxels().clone(), converted).unwrap()).unwrap();
}

/// A recorded graph can be moved to the thread that launches it. No two threads may launch it at
/// once.
#[test]
fn n07_a_graph_can_be_sent() {
    const fn is_send<T: Send>() {}
    const fn is_sync<T: Sync>() {}
    is_send::<Graph>();
    is_send::<Tensor>();
    is_send::<Voxels>();
    is_send::<SubmConv3d>();
    is_sync::<Tensor>();
    is_sync::<Voxels>();
    is_sync::<SubmConv3d>();
}

/// Counts and operations of a program's own making, such as `explain` takes.
#[test]
fn absurd_counts_and_operations_do_not_panic() {
    let device = device();
    let arch = "sm_90".parse().unwrap();
    let hopper = DeviceIdentity { arch, name: "NVIDIA H100".to_owned(), units: 132 };
    let registries = [Registry::cpu(), Registry::of_device(&hopper)];
    for op in absurd_operations() {
        _ = (op.weight_len(), op.flops(usize::MAX));
        for n in [0, usize::MAX] {
            let counts = MapCounts { n_in: n, n_out: n, pairs: n };
            let key = counts.key(op);
            assert!(!key.to_string().is_empty());
            _ = Tuner::empty().resolve(&device, &key);
            _ = MapCounts::typical(&key);
            for registry in &registries {
                let can_run = registry.can_run(&op);
                assert_eq!(can_run, registry.default_for(&op).is_some(), "{op}");
                _ = registry.modelled_for(&key);
                let pool = registry.pool(&AlgoMode::Auto, &op, counts);
                assert!(can_run || pool.is_empty(), "{op}");
            }
        }
    }
}

/// Channels up to what a GPU's kernels count, one past it, and past everything; no groups; no
/// stride.
fn absurd_operations() -> Vec<Operation> {
    const MAX: u32 = u32::MAX;
    let sides = [(0, 1), (1 << 20, 1 << 6), (1 << 13, 1 << 13), (1 << 20, 1 << 7), (MAX, MAX)];
    let mut all = Vec::new();
    for direction in Direction::ALL {
        for dtype in [DType::Float16, DType::Float32] {
            for (c_in, c_out) in sides {
                let op = Operation::submanifold(direction, dtype, c_in, c_out, kernel(5));
                all.push(op);
                all.push(Operation { groups: 0, kernel: kernel(7), stride: [0; 3], ..op });
            }
        }
    }
    all
}

/// spconv's `indice_key`s: a name is that of one map.
#[test]
fn names_of_maps_are_compared() {
    let device = Device::cpu_with_threads(1).unwrap();
    let cells = (0..9).map(|x| Voxel::new(0, x, 0, 0)).collect();
    let voxels = Voxels::new(&device, cells).unwrap();
    let input = SparseTensor::new(voxels, Tensor::zeros(&device, DType::Float32, 9, 1).unwrap());
    let input = input.unwrap();
    let subm = |kernel: u32, name: &str| {
        SubmConv3d::builder(1, 1).kernel(kernel).map_name(name).build(&device).unwrap()
    };
    let down = |name: &str| {
        SparseConv3d::builder(1, 1).kernel(2).stride(2).map_name(name).build(&device).unwrap()
    };
    let up = |name: &str| {
        SparseInverseConv3d::builder(1, 1).kernel(2).map_name(name).build(&device).unwrap()
    };
    let fine = subm(3, "subm1").forward(&input).unwrap();
    subm(3, "subm1").forward(&fine).unwrap();
    let coarse = down("spconv1").forward(&fine).unwrap();
    let deepest = down("spconv2").forward(&coarse).unwrap();
    let back = up("spconv2").forward(&deepest).unwrap();
    assert!(back.voxels().is_same(coarse.voxels()));
    assert_eq!(up("spconv1").map_name(), Some("spconv1"));
    up("spconv1").forward(&back).unwrap();
    for (layer, input, part) in [
        (subm(5, "subm1").forward(&input), "subm1", "another geometry"),
        (subm(3, "subm1").forward(&coarse), "subm1", "other voxels"),
        (up("spconv1").forward(&deepest), "spconv1", "other voxels"),
        (up("nobody").forward(&deepest), "nobody", "no layer before it"),
    ] {
        let error = layer.unwrap_err().to_string();
        assert!(error.contains(input) && error.contains(part), "{error}");
    }
}
