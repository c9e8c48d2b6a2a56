//! Every algorithm against float64.

use std::collections::BTreeMap;

use voxtune_cloud::{Generator, generate};
use voxtune_cpu::{KernelMap, reference};
use voxtune_cuda::{
    Algorithm, DeviceBuffer, DeviceKernelMap, Instance, MapBuilder, Result, RowOrder, algorithms,
    default_algorithm,
};
use voxtune_shape::{DType, Direction, KernelSize, Operation, Voxel};

use crate::data::{Fill, Product, values};
use crate::kernels::Kernels;
use crate::map_check;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Few shapes and small ones: every instance still runs. For sanitizers.
    #[arg(long)]
    quick: bool,
    /// Only algorithms whose id contains this.
    #[arg(long, default_value = "")]
    filter: String,
}

/// One shape to check.
struct Case {
    op: Operation,
    voxels: usize,
    generator: Generator,
    fill: Fill,
    /// Elements by which every operand is moved off its alignment.
    shift: usize,
    /// Whether dgrad reads a reverse table instead of the mirror image.
    reverse: bool,
}

impl Case {
    /// Every algorithm on channels that are whole copies; on others the ones that have a chance,
    /// since each combination of copy widths is an instance of its own.
    fn admits(&self, algorithm: &Algorithm) -> bool {
        let even = self.op.c_in.is_multiple_of(8)
            && self.op.c_out.is_multiple_of(8)
            && self.op.kernel.volume() == 27;
        if even { algorithm.applies(&self.op) } else { algorithm.in_auto_pool(&self.op, 100_000) }
    }
}

type Error = Box<dyn std::error::Error>;

pub(crate) fn run(mut kernels: Kernels, options: &Options) -> std::result::Result<bool, Error> {
    let cases = cases(options.quick);
    let mut instances = vec![Instance::kernel_map(), Instance::probe()];
    instances.extend(DType::ALL.map(Instance::reference));
    for case in &cases {
        let wanted = algorithms().iter().filter(|algorithm| case.admits(algorithm));
        instances.extend(wanted.filter_map(|algorithm| algorithm.instance(&case.op)));
    }
    kernels.compile(instances);
    let builder = kernels.map_builder()?;
    let mut failures = map_check::check(&builder, options.quick)?;
    failures.extend(host_check(&mut kernels, &builder)?);
    failures.extend(all_cases(&mut kernels, &builder, &cases, options)?);
    failures.extend(repeats(&mut kernels, &builder, if options.quick { 3 } else { 100 })?);
    if !options.quick {
        failures.extend(past_two_gib(&mut kernels, &builder)?);
    }
    failures.append(&mut kernels.failures);
    for failure in failures.iter().take(60) {
        println!("FAILED {failure}");
    }
    println!("check: {} failures", failures.len());
    Ok(failures.is_empty())
}

fn cases(quick: bool) -> Vec<Case> {
    let kernel = |extent| KernelSize::submanifold(extent).expect("a submanifold extent");
    let mut cases = Vec::new();
    let mut add =
        |direction, dtype, pair: (u32, u32), extent, voxels, generator, fill, shift, reverse| {
            let op = Operation::submanifold(direction, dtype, pair.0, pair.1, kernel(extent));
            cases.push(Case { op, voxels, generator, fill, shift, reverse });
        };
    use Fill::{Exact, Random};
    use Generator::{Surface, Uniform};
    for direction in Direction::ALL {
        if quick {
            for dtype in DType::ALL {
                add(direction, dtype, (32, 64), 3, 300, Surface, Exact, 0, false);
            }
            add(direction, DType::Float16, (13, 33), 3, 129, Uniform, Random, 0, false);
            add(direction, DType::Float16, (20, 10), 3, 129, Uniform, Random, 1, true);
            add(direction, DType::BFloat16, (16, 8), 5, 65, Uniform, Random, 1, false);
            add(direction, DType::Float16, (8, 8), 1, 1, Uniform, Random, 0, false);
            continue;
        }
        for dtype in DType::ALL {
            for pair in [(3, 32), (32, 32), (48, 96), (64, 128), (96, 20), (128, 128), (256, 192)] {
                add(direction, dtype, pair, 3, 30_000, Surface, Random, 0, false);
                add(direction, dtype, pair, 3, 20_000, Uniform, Exact, 0, false);
            }
            for c_in in [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 13, 20, 33] {
                add(
                    direction,
                    dtype,
                    (c_in, 43 - c_in),
                    3,
                    1_000,
                    Uniform,
                    Random,
                    0,
                    c_in % 2 == 0,
                );
            }
            add(direction, dtype, (32, 48), 5, 3_000, Surface, Random, 0, false);
            add(direction, dtype, (64, 64), 1, 3_000, Surface, Random, 0, true);
            add(direction, dtype, (64, 96), 3, 3_000, Uniform, Random, 1, true);
            add(direction, dtype, (20, 12), 3, 3_000, Surface, Exact, 3, false);
            for voxels in [0, 1, 2, 63, 64, 65, 127, 128, 129, 255, 256, 257] {
                add(direction, dtype, (32, 64), 3, voxels, Surface, Exact, 0, false);
            }
        }
        add(direction, DType::Float16, (512, 512), 3, 8_000, Surface, Random, 0, false);
    }
    cases
}

fn cloud(generator: Generator, voxels: usize) -> Vec<Voxel> {
    if voxels == 0 {
        Vec::new()
    } else {
        generate(generator, voxels, 1, 3).expect("the count is in range")
    }
}

fn map_of(builder: &MapBuilder, voxels: &[Voxel], kernel: KernelSize) -> Result<DeviceKernelMap> {
    let mut map = builder.submanifold(voxels, kernel)?;
    builder.add_order(&mut map, RowOrder::Sorted)?;
    builder.add_order(&mut map, RowOrder::Global)?;
    Ok(map)
}

/// The float64 kernel against the host's float64.
fn host_check(
    kernels: &mut Kernels,
    builder: &MapBuilder,
) -> std::result::Result<Vec<String>, Error> {
    let mut failures = Vec::new();
    let voxels = cloud(Generator::Surface, 500);
    let mut checked = 0;
    for extent in [1, 3, 5] {
        let kernel = KernelSize::submanifold(extent)?;
        let host_map = KernelMap::submanifold(&voxels, kernel)?;
        let mut map = builder.submanifold(&voxels, kernel)?;
        for with_reverse in [false, true] {
            if with_reverse {
                builder.add_reverse(&mut map)?;
            }
            for dtype in DType::ALL {
                let verifier = kernels.verifier(dtype)?;
                for direction in Direction::ALL {
                    let op = Operation::submanifold(direction, dtype, 7, 12, kernel);
                    let product =
                        Product::new(&kernels.device, &op, map.counts(), Fill::Random, 0, 5)?;
                    let [first, second, length] = Product::lengths(&op, map.counts());
                    let first = values(dtype, Fill::Random, first, 5);
                    let second = values(dtype, Fill::Random, second, 6);
                    let expected = match direction {
                        Direction::Forward => reference::forward(&op, &host_map, &first, &second)?,
                        Direction::Dgrad => reference::dgrad(&op, &host_map, &first, &second)?,
                        Direction::Wgrad => reference::wgrad(&op, &host_map, &first, &second)?,
                    };
                    let found: Vec<f64> = verifier
                        .reference(&op, &map, product.first.get(), product.second.get())?
                        .download(0, length)?;
                    let worst =
                        found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                    if found.len() != expected.len() || worst > 1e-12 || worst.is_nan() {
                        failures
                            .push(format!("float64 kernel of {op}: off the host's by {worst:e}"));
                    }
                    checked += 1;
                }
            }
        }
    }
    println!("float64 kernels: {checked} products against the host's, {} wrong", failures.len());
    Ok(failures)
}

fn all_cases(
    kernels: &mut Kernels,
    builder: &MapBuilder,
    cases: &[Case],
    options: &Options,
) -> std::result::Result<Vec<String>, Error> {
    let mut failures = Vec::new();
    let mut worst: BTreeMap<(String, DType, Direction), f64> = BTreeMap::new();
    let mut runs = 0;
    for (number, case) in cases.iter().enumerate() {
        let mut map = map_of(builder, &cloud(case.generator, case.voxels), case.op.kernel)?;
        if case.reverse {
            builder.add_reverse(&mut map)?;
            builder.add_order(&mut map, RowOrder::Sorted)?;
            builder.add_order(&mut map, RowOrder::Global)?;
        }
        let verifier = kernels.verifier(case.op.dtype)?;
        let mut product = Product::new(
            &kernels.device,
            &case.op,
            map.counts(),
            case.fill,
            case.shift,
            number as u64 * 2,
        )?;
        let expected =
            verifier.reference(&case.op, &map, product.first.get(), product.second.get())?;
        for algorithm in algorithms() {
            let wanted = algorithm.id().as_str().contains(&options.filter);
            if !wanted || !case.admits(algorithm) || !kernels.available(algorithm, &case.op) {
                continue;
            }
            let prepared = kernels.prepare(algorithm, &case.op)?;
            let shared = algorithm.shared_bytes(&case.op);
            if prepared.compiled_shared_bytes().is_some_and(|bytes| bytes as usize != shared) {
                failures.push(format!(
                    "{algorithm}: {shared} bytes of shared memory promised, {:?} compiled",
                    prepared.compiled_shared_bytes()
                ));
            }
            let bytes = algorithm.workspace_bytes(&case.op, map.counts());
            let mut workspace = DeviceBuffer::alloc(&kernels.device, bytes)?;
            workspace.fill(0xff)?;
            product.result.poison()?;
            product.with(|operands| prepared.launch(&map, operands, &mut workspace))?;
            let error = verifier.worst_error(&case.op, product.result.get(), &expected)?;
            let limit = if case.fill == Fill::Exact { 0.0 } else { case.op.dtype.tolerance() };
            if error > limit {
                failures.push(format!(
                    "{algorithm} on {}, {} voxels {:?}, {:?}, shift {}, reverse {}: error {error:e} over {limit:e}",
                    case.op, case.voxels, case.generator, case.fill, case.shift, case.reverse
                ));
            }
            if case.fill == Fill::Random {
                let key = (algorithm.id().family().to_owned(), case.op.dtype, case.op.direction);
                let entry = worst.entry(key).or_default();
                *entry = entry.max(error);
            }
            runs += 1;
        }
    }
    println!(
        "algorithms: {} shapes, {runs} products against float64, {} wrong",
        cases.len(),
        failures.len()
    );
    for ((family, dtype, direction), error) in worst {
        println!("  {family:14} {direction:8} {dtype:9} worst normalised error {error:.2e}");
    }
    Ok(failures)
}

/// Bitwise repeats of every algorithm of a few shapes.
fn repeats(
    kernels: &mut Kernels,
    builder: &MapBuilder,
    times: usize,
) -> std::result::Result<Vec<String>, Error> {
    let mut failures = Vec::new();
    let kernel = KernelSize::submanifold(3)?;
    let map = map_of(builder, &cloud(Generator::Surface, 5_000), kernel)?;
    let mut repeated = 0;
    for direction in Direction::ALL {
        let op = Operation::submanifold(direction, DType::Float16, 64, 64, kernel);
        let mut product = Product::new(&kernels.device, &op, map.counts(), Fill::Random, 0, 9)?;
        for algorithm in
            algorithms().iter().filter(|algorithm| algorithm.in_auto_pool(&op, 100_000))
        {
            if algorithm.requires_cublas() || !kernels.available(algorithm, &op) {
                continue;
            }
            let prepared = kernels.prepare(algorithm, &op)?;
            let mut workspace =
                DeviceBuffer::alloc(&kernels.device, algorithm.workspace_bytes(&op, map.counts()))?;
            let mut first = None;
            for _ in 0..times {
                product.result.poison()?;
                product.with(|operands| prepared.launch(&map, operands, &mut workspace))?;
                let bytes = product.result.bytes()?;
                if first.get_or_insert_with(|| bytes.clone()) != &bytes {
                    failures.push(format!("{algorithm} on {op}: bits change between runs"));
                    break;
                }
            }
            repeated += 1;
        }
    }
    println!("repeats: {repeated} algorithms, {times} runs each, {} differ", failures.len());
    Ok(failures)
}

/// Two million rows of 512 float32 channels: offsets past 2^32 bytes.
fn past_two_gib(
    kernels: &mut Kernels,
    builder: &MapBuilder,
) -> std::result::Result<Vec<String>, Error> {
    let mut failures = Vec::new();
    let kernel = KernelSize::submanifold(1)?;
    let voxels = cloud(Generator::Surface, 2_000_000);
    let mut map = builder.submanifold(&voxels, kernel)?;
    builder.add_order(&mut map, RowOrder::Sorted)?;
    for (direction, dtype, c_in, c_out) in [
        (Direction::Forward, DType::Float32, 512, 64),
        (Direction::Dgrad, DType::Float32, 512, 64),
        (Direction::Forward, DType::Float16, 64, 1024),
        (Direction::Wgrad, DType::Float16, 1024, 32),
    ] {
        let op = Operation::submanifold(direction, dtype, c_in, c_out, kernel);
        let algorithm = default_algorithm(&op);
        let prepared = kernels.prepare(algorithm, &op)?;
        let verifier = kernels.verifier(dtype)?;
        let mut product = Product::large(&kernels.device, &op, map.counts())?;
        let mut workspace =
            DeviceBuffer::alloc(&kernels.device, algorithm.workspace_bytes(&op, map.counts()))?;
        product.with(|operands| prepared.launch(&map, operands, &mut workspace))?;
        let expected = verifier.reference(&op, &map, product.first.get(), product.second.get())?;
        let error = verifier.worst_error(&op, product.result.get(), &expected)?;
        println!("2,000,000 rows: {algorithm} on {op}: worst normalised error {error:.2e}");
        if error > dtype.tolerance() {
            failures.push(format!("{algorithm} on {op}, 2,000,000 rows: error {error:e}"));
        }
    }
    Ok(failures)
}
