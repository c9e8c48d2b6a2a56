//! Times the kernel map and every algorithm of the auto pool on one layer.
//!
//! ```text
//! cargo run --release -p voxtune-cpu --example cpu_forward -- \
//!     [VOXELS] [C_IN] [C_OUT] [DTYPE] [DIRECTION] [CLOUD] [all]
//! ```
//!
//! `CLOUD` is `terrain`, `uniform`, or a file of little-endian int32 quadruples (batch, x, y, z).
//! `terrain` is a rough surface sampled at random, with about 6 neighbours of 27. `uniform` is
//! cells of a cube at 15 % occupancy, with about 5. `all` runs every algorithm that applies.
//!
//! Each time is the shortest of 9 runs. On a machine with other work the time that threads spent on
//! a core says more. It is the mean of the same runs, summed over threads (Linux only, else zero).
#![expect(clippy::print_stdout, reason = "an example prints what it measures")]

use std::collections::BTreeSet;
use std::error::Error;
use std::time::Instant;

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use voxtune_cpu::{
    Epilogue, HostBuffer, KernelMap, Operands, algorithms, default_algorithm, identity,
};
use voxtune_types::{DType, Direction, KernelSize, Operation, Product, Voxel};

const RUNS: usize = 9;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let arg = |index: usize, default: &str| args.get(index).map_or(default, |arg| arg).to_owned();
    let voxels = cloud(&arg(5, "terrain"), arg(0, "125565").parse()?)?;
    let (c_in, c_out): (u32, u32) = (arg(1, "32").parse()?, arg(2, "32").parse()?);
    let dtype: DType = arg(3, "float32").parse()?;
    let direction: Direction = arg(4, "forward").parse()?;
    let op = Operation::submanifold(direction, dtype, c_in, c_out, KernelSize::submanifold(3)?);

    println!("{}", identity(rayon::current_num_threads()));
    let (timing, map) = time(|| KernelMap::submanifold(&voxels, op.kernel));
    let map = map?;
    let mean = map.pairs() as f64 / voxels.len().max(1) as f64;
    println!(
        "kernel map of {} voxels, {mean:.2} neighbours: {:.2} ms ({:.2} on cores)",
        voxels.len(),
        timing.shortest_ms,
        timing.on_core_ms
    );

    let (input, output) = (voxels.len() * c_in as usize, voxels.len() * c_out as usize);
    let (a_len, b_len, out_dtype, out_len) = match direction.product() {
        Product::Forward => (input, op.weight_len(), dtype, output),
        Product::Dgrad => (output, op.weight_len(), dtype, input),
        Product::Wgrad => (input, output, DType::Float32, op.weight_len()),
    };
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let (a, b) = (random(&mut rng, dtype, a_len), random(&mut rng, dtype, b_len));
    let mut out = HostBuffer::zeros(out_dtype, out_len);
    let all = args.iter().any(|arg| arg == "all");
    for algorithm in algorithms() {
        let runs =
            if all { algorithm.applies(&op) } else { algorithm.in_auto_pool(&op, voxels.len()) };
        if !runs {
            continue;
        }
        let (timing, result) = time(|| {
            let (a, b, out) = (a.as_elements(), b.as_elements(), out.as_elements_mut());
            let operands = Operands { a, b, out, epilogue: Epilogue::default() };
            algorithm.run(&op, &map, operands)
        });
        result?;
        let mark = if algorithm.id() == default_algorithm(&op).id() { " (default)" } else { "" };
        let Timing { shortest_ms, on_core_ms } = timing;
        let gflops = op.flops(map.pairs()) as f64 / shortest_ms / 1e6;
        println!(
            "{op} {:32} {shortest_ms:9.2} ms {gflops:6.1} GFLOP/s ({on_core_ms:.2} ms on cores){mark}",
            algorithm.id()
        );
    }
    Ok(())
}

/// What repeated calls took.
struct Timing {
    shortest_ms: f64,
    /// Mean time on a core, over all threads.
    on_core_ms: f64,
}

fn time<R>(mut call: impl FnMut() -> R) -> (Timing, R) {
    let mut last = call();
    let mut shortest_ms = f64::INFINITY;
    let before_ms = on_core_ms();
    for _ in 0..RUNS {
        let begin = Instant::now();
        last = call();
        shortest_ms = shortest_ms.min(begin.elapsed().as_secs_f64() * 1e3);
    }
    let on_core_ms = (on_core_ms() - before_ms) / RUNS as f64;
    (Timing { shortest_ms, on_core_ms }, last)
}

/// Time that the threads of this process have spent on a core, as the Linux scheduler counts it.
fn on_core_ms() -> f64 {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let spent_ns = tasks.filter_map(|task| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    spent_ns.sum::<u64>() as f64 / 1e6
}

fn random(rng: &mut impl Rng, dtype: DType, len: usize) -> HostBuffer {
    let values: Vec<f32> = (0..len).map(|_| rng.random_range(-1.0..1.0)).collect();
    HostBuffer::from_f32(dtype, &values)
}

fn cloud(name: &str, n: usize) -> Result<Vec<Voxel>, Box<dyn Error>> {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut cells = BTreeSet::new();
    match name {
        "terrain" => {
            let side = (1.9 * n as f64).sqrt();
            while cells.len() < n {
                let (x, y) = (rng.random_range(0.0..side), rng.random_range(0.0..side));
                let height = 6.0 * (x / 17.0).sin() + 5.0 * (y / 23.0).cos();
                let z = height + rng.random_range(0.0..1.0);
                cells.insert(Voxel::new(0, x as i32, y as i32, z.floor() as i32));
            }
        }
        "uniform" => {
            let side = (n as f64 / 0.15).cbrt().ceil() as i32;
            while cells.len() < n {
                let [x, y, z] = std::array::from_fn(|_| rng.random_range(0..side));
                cells.insert(Voxel::new(0, x, y, z));
            }
        }
        file => {
            let bytes = std::fs::read(file)?;
            let (words, _) = bytes.as_chunks::<4>();
            let values: Vec<i32> = words.iter().map(|word| i32::from_le_bytes(*word)).collect();
            let (voxels, _) = values.as_chunks::<4>();
            return Ok(voxels
                .iter()
                .map(|[batch, x, y, z]| Voxel::new(*batch, *x, *y, *z))
                .collect());
        }
    }
    Ok(cells.into_iter().collect())
}
