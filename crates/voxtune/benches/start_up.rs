//! What starting and dispatching cost before any kernel runs: `cargo bench -p voxtune`.
//!
//! Prints how long the decisions in the binary take to load, how long a set of the default grid's
//! size takes, and how long one resolution takes. Resolutions are timed by grade, with the registry
//! of an H100.
#![expect(clippy::print_stdout, reason = "the output is the point")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use voxtune::{
    Arch, Device, DeviceIdentity, Direction, EmbeddedFile, KernelSource, Operation, Registry,
    ShapeKey, Tuner,
};
use voxtune_cache::{Decision, Decisions, encode_decisions};
use voxtune_types::{DType, KernelSize};

fn main() {
    // The first load of a process, with whatever it meets for the first time.
    let start = Instant::now();
    let tuner = Tuner::builder().embedded().build();
    let first = start.elapsed();
    println!(
        "embedded decisions: {} devices, loaded in {:.3} ms",
        tuner.devices().count(),
        millis(first)
    );

    let host = Device::cpu_with_threads(1).expect("the host is a device");
    let h100 = DeviceIdentity { arch: Arch::sm(9, 0), name: "H100".to_owned(), units: 132 };
    let device =
        Device::cpu_with_registry(1, Registry::of_device(&h100)).expect("the host is a device");
    let decisions = default_grid(device.identity(), device.registry());
    let arch = host.identity().arch;
    let bytes = encode_decisions(arch, &decisions).expect("decisions are of one architecture");
    let name: &'static str = format!("{arch}.msgpack").leak();
    let bytes: &'static [u8] = bytes.leak();
    println!("default grid: {} decisions, {} bytes", decisions.len(), bytes.len());
    let mut loads: Vec<Duration> = (0..101)
        .map(|_| {
            let start = Instant::now();
            black_box(Tuner::builder().files(&[EmbeddedFile { name, bytes }]).build());
            start.elapsed()
        })
        .collect();
    loads.sort_unstable();
    println!("  load       {:>8.3} ms, median of {}", millis(loads[50]), loads.len());

    let tuner = Tuner::builder().files(&[EmbeddedFile { name, bytes }]).build();
    assert!(tuner.warnings().is_empty(), "{:?}", tuner.warnings());
    let exact: Vec<ShapeKey> = decisions.iter().map(|decision| decision.key).collect();
    resolve("exact", &tuner, &device, &exact);
    // Two octaves and a class of density away from what was measured.
    let of = |key: &ShapeKey, rows: usize, pairs: usize| {
        ShapeKey::new(key.operation, rows, rows, rows * pairs)
    };
    let near: Vec<ShapeKey> = exact.iter().map(|key| of(key, 5_000, 5)).collect();
    resolve("near", &tuner, &device, &near);
    let between: Vec<ShapeKey> =
        exact.iter().map(|key| of(key, key.bucket_out.max_rows(), 17)).collect();
    resolve("near, two sides", &tuner, &device, &between);
    let far: Vec<ShapeKey> = exact.iter().map(|key| of(key, 9, 5)).collect();
    resolve("default", &tuner, &device, &far);
    first_model_choices(&h100);
}

/// How long the first resolution of an unmeasured layer takes, with the kernels of the packs. A
/// device that has just been opened has looked for none of them.
fn first_model_choices(device: &DeviceIdentity) {
    const ROUNDS: usize = 21;
    let tuner = Tuner::builder().build();
    let kernel = KernelSize::submanifold(3).expect("3 is odd");
    let keys: Vec<ShapeKey> = [(20, 64), (24, 40), (48, 80), (160, 160), (224, 256)]
        .into_iter()
        .flat_map(|(c_in, c_out)| {
            let forward = Direction::Forward;
            let operation = Operation::submanifold(forward, DType::Float16, c_in, c_out, kernel);
            [5_000, 40_000].map(|rows| ShapeKey::new(operation, rows, rows, rows * 9))
        })
        .collect();
    let mut rounds: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let packs = KernelSource::embedded();
            let learned = Registry::learned(device);
            let registry = Registry::of_device_with(device, Some(&packs), learned);
            let device = Device::cpu_with_registry(1, registry).expect("the host is a device");
            let start = Instant::now();
            for key in &keys {
                black_box(tuner.resolve(&device, black_box(key)).expect("every key has a default"));
            }
            start.elapsed()
        })
        .collect();
    rounds.sort_unstable();
    let each = rounds[ROUNDS / 2].as_nanos() as f64 / keys.len() as f64 / 1e3;
    println!(
        "  first, by a model {each:>7.1} us a resolution of {}, median of {ROUNDS} devices",
        keys.len()
    );
}

/// Layers and row counts, as many as the default grid of populate has: 364.
fn layers() -> impl Iterator<Item = (usize, DType, u32)> {
    let counts = (0..7).map(|doubled| 30_000 << doubled);
    counts.flat_map(|rows| {
        [DType::Float16, DType::BFloat16]
            .into_iter()
            .flat_map(move |dtype| (1..=26).map(move |width| (rows, dtype, 16 * width)))
    })
}

/// The decisions that a run of the default grid leaves on uniform and on surface clouds.
fn default_grid(device: &DeviceIdentity, registry: &Registry) -> Decisions {
    let mut decisions = Vec::new();
    let kernel = KernelSize::submanifold(3).expect("3 is odd");
    for (rows, dtype, width) in layers() {
        for direction in Direction::ALL {
            let operation = Operation::submanifold(direction, dtype, width, width, kernel);
            let applicable = registry.algorithms().filter(|one| one.applies(&operation));
            let mut ids: Vec<_> = applicable.map(|one| one.id().clone()).collect();
            ids.sort_unstable();
            for pairs in [5, 9] {
                decisions.push(Decision {
                    device: device.clone(),
                    key: ShapeKey::new(operation, rows, rows, rows * pairs),
                    winner: ids[rows % ids.len().min(5)].clone(),
                    runner_up: ids.last().cloned(),
                    without_libraries: None,
                    safe: ids[..ids.len().min(5)].to_vec(),
                });
            }
        }
    }
    decisions.into_iter().collect()
}

fn resolve(what: &str, tuner: &Tuner, device: &Device, keys: &[ShapeKey]) {
    const ROUNDS: usize = 21;
    let mut rounds: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            for key in keys {
                black_box(tuner.resolve(device, black_box(key)).expect("every key has a default"));
            }
            start.elapsed()
        })
        .collect();
    rounds.sort_unstable();
    let each = rounds[ROUNDS / 2].as_nanos() as f64 / keys.len() as f64;
    let grade = tuner.resolve(device, &keys[0]).expect("every key has a default").grade().kind();
    println!("  {what:<16} {each:>8.1} ns a resolution [{grade}], median of {ROUNDS} rounds");
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
