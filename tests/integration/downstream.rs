//! What a project that depends on voxtune does: tunes its own layers into its own binary. The
//! template of `examples/own_caches`, file by file.

use voxtune::{
    DType, Device, DeviceChoice, Direction, EmbeddedFile, Grade, KernelSize, KernelSource,
    LayerKind, Operation, ShapeKey, Source, SparseTensor, SubmConv3d, Tensor, Tuner, TunerError,
    Voxels, WeightLayout,
};
use voxtune_embed::{Kind, Listing};
use voxtune_pointcloud::{Generator, generate};
use voxtune_tune::plan::grid::ChannelPair;
use voxtune_tune::plan::groups::Groups;
use voxtune_tune::{DeviceSpec, Grid};

use crate::needs::{TOOLKIT, kernels_folder, worker_program};

#[path = "../../examples/own_caches/xtask/src/layers.rs"]
mod layers;
#[path = "../../examples/own_caches/xtask/src/pack.rs"]
mod pack;
#[expect(clippy::print_stderr, reason = "a tool of its own, which tells what it does")]
#[path = "../../examples/own_caches/xtask/src/populate.rs"]
mod populate;

/// A device whose worker is not this program, which runs tests.
fn device(choice: DeviceChoice, threads: Option<usize>) -> DeviceSpec {
    DeviceSpec {
        choice,
        threads,
        kernels: Some(kernels_folder()),
        toolkit: Some(TOOLKIT.into()),
        worker: Some(worker_program()),
        ..DeviceSpec::default()
    }
}

fn leak(listing: &Listing) -> Vec<EmbeddedFile> {
    let file = |path: &std::path::PathBuf| EmbeddedFile {
        name: path.file_name().unwrap().to_str().unwrap().to_owned().leak(),
        bytes: std::fs::read(path).unwrap().leak(),
    };
    listing.files.iter().map(file).collect()
}

#[test]
fn own_layers_are_tuned_and_embedded() {
    let folder = tempfile::tempdir().unwrap();
    let device = device(DeviceChoice::Cpu, Some(1));
    let summary = populate::populate(layers::grid(), &device, folder.path()).unwrap();
    assert_eq!((summary.requested, summary.measured), (4, 4));

    let listing = Listing::of(folder.path(), Kind::DECISIONS).unwrap();
    assert_eq!((listing.files.len(), listing.left_out.len()), (1, 0), "{listing:?}");
    assert!(listing.expression("EmbeddedFile").contains("include_bytes!"));
    let tuner = Tuner::builder().files(&leak(&listing)).build_strict().unwrap();
    let device = Device::cpu_with_threads(1).unwrap();
    for channels in layers::grid().channels {
        for direction in Direction::ALL {
            let kernel = KernelSize::submanifold(3).unwrap();
            let operation = Operation::submanifold(
                direction,
                DType::Float32,
                channels.c_in,
                channels.c_out,
                kernel,
            );
            let key = ShapeKey::new(operation, 1_000, 1_000, 4_500);
            let resolution = tuner.resolve(&device, &key).unwrap();
            assert_eq!(*resolution.grade(), Grade::Exact { source: Source::User }, "{resolution}");
        }
    }
}

/// A layer that no pack of voxtune's was made for.
#[test]
#[ignore = "needs a GPU"]
fn own_layers_run_from_their_own_pack_on_a_gpu() {
    let folder = tempfile::tempdir().unwrap();
    let kernel = KernelSize::submanifold(3).unwrap();
    let (c_in, c_out, rows) = (24, 40, 20_000);
    let grid = Grid {
        voxels: vec![rows],
        channels: vec![ChannelPair { c_in, c_out }],
        groups: vec![Groups::ONE],
        kernels: vec![kernel],
        kinds: vec![LayerKind::Submanifold],
        strides: Vec::new(),
        dtypes: vec![DType::Float16],
    };
    let gpu = device(DeviceChoice::Cuda(0), None);
    let summary = populate::populate(grid, &gpu, folder.path()).unwrap();
    assert_eq!((summary.requested, summary.measured), (1, 1));
    pack::pack(folder.path()).unwrap();

    let listed = |kind| leak(&Listing::of(folder.path(), kind).unwrap());
    let packs = listed(Kind::PACKS);
    assert_eq!(packs.len(), 1);
    let builder = Tuner::builder().files(&listed(Kind::DECISIONS));
    let tuner = builder.kernels(KernelSource::embedded()).packs(&packs).build_strict().unwrap();
    let (device, _) = tuner.open_device(DeviceChoice::Cuda(0)).unwrap();
    let weights = vec![0.5; kernel.volume() * (c_in * c_out) as usize];
    let layer = SubmConv3d::builder(c_in, c_out)
        .kernel(kernel)
        .dtype(DType::Float16)
        .weights(WeightLayout::Rsck, &weights)
        .tuner(tuner)
        .build(&device)
        .unwrap();
    let cells = generate(Generator::Uniform, rows, 1, 0).unwrap();
    let voxels = Voxels::new(&device, cells).unwrap();
    let ones = Tensor::from_fn(&device, DType::Float16, rows, c_in as usize, |_| 1.0).unwrap();
    let output = layer.forward(&SparseTensor::new(voxels.clone(), ones).unwrap()).unwrap();
    for direction in Direction::ALL {
        let grade = layer.resolve(direction, &voxels).unwrap().grade().clone();
        assert_eq!(grade, Grade::Exact { source: Source::User }, "{direction}");
    }
    // Each neighbour brings 24 × 0.5.
    let pairs = voxels.kernel_map(kernel).unwrap().counts().pairs;
    let total: f64 = output.features().to_f32().unwrap().iter().map(|one| f64::from(*one)).sum();
    assert_eq!(total, pairs as f64 * f64::from(c_in * c_out) * 0.5);
}

#[test]
fn damaged_bytes_are_left_out_or_refused() {
    let files = [EmbeddedFile { name: "sm_90.msgpack", bytes: b"\x84\xA8checksum\xCFand no more" }];
    let lenient = Tuner::builder().files(&files).build();
    assert!(matches!(lenient.warnings(), [TunerError::Cache(_)]), "{:?}", lenient.warnings());
    let error = Tuner::builder().files(&files).build_strict().unwrap_err();
    assert!(error.to_string().contains("sm_90.msgpack"), "{error}");
}
