//! What the files cost: `cargo bench -p voxtune-cache`.
#![expect(clippy::print_stdout, reason = "the output is the point")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use voxtune_cache::{
    CacheDir, Evidence, Table, decide, decode_decisions, decode_evidence, encode_decisions,
    encode_evidence,
};

use voxtune_types::{DType, Direction, KernelSize, Operation, ShapeKey};

#[expect(dead_code, reason = "shared with the tests")]
#[path = "../tests/it/samples.rs"]
mod samples;

use samples::{ARCH, device, entry, entry_on, measured, operation};

/// Records of an entry, such as a race among all candidates of a GPU leaves.
const RECORDS: u64 = 48;

fn main() {
    let evidence = default_grid(RECORDS);
    let decisions = decide(&evidence);
    let bytes = encode_decisions(ARCH, &decisions).unwrap();
    println!("{} decisions, {} bytes", decisions.len(), bytes.len());
    report("decode", 200, || decode_decisions(&bytes, "sm_90.msgpack").unwrap());
    report("load: decode and arrange", 200, || {
        Table::new([decode_decisions(&bytes, "sm_90.msgpack").unwrap()])
    });
    let table = Table::new([decisions.clone()]);
    lookups(&table, &decisions.iter().map(|decision| decision.key).collect::<Vec<_>>());

    let bytes = encode_evidence(ARCH, &evidence).unwrap();
    println!("{} entries of {RECORDS} records, {} bytes", evidence.len(), bytes.len());
    report("decode", 5, || decode_evidence(&bytes, "sm_90.evidence.msgpack").unwrap());
    report("decide", 5, || decide(&evidence));
    report("encode", 5, || encode_evidence(ARCH, &evidence).unwrap());

    let folder = tempfile::tempdir().unwrap();
    let caches = CacheDir::new(folder.path());
    let write = caches.update(ARCH, Duration::ZERO, |all| all.merge(evidence.clone())).unwrap();
    assert!(write.evidence_written);
    let mut rows = 1_000;
    report("update by one record", 5, || {
        rows += 1;
        let entry = entry(&device(), operation(7, 7), rows);
        caches
            .update(ARCH, Duration::ZERO, |all| all.insert(entry, measured("a", 1)).unwrap())
            .unwrap()
    });
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

/// The set that a run of the default grid leaves: 2,184 entries with this many records each.
fn default_grid(records: u64) -> Evidence {
    let mut evidence = Evidence::new();
    let kernel = KernelSize::submanifold(3).unwrap();
    for (rows, dtype, width) in layers() {
        for direction in Direction::ALL {
            let operation = Operation::submanifold(direction, dtype, width, width, kernel);
            for (cloud, mean_pairs) in [("uniform", 5), ("surface", 9)] {
                let entry = entry_on(cloud, &device(), operation, rows, rows * mean_pairs);
                for number in 0..records {
                    let id = format!("mask_gemm:rows=128:cols={}:stages=3", 8 * number);
                    let record = measured(&id, 30_000 + 700 * number);
                    evidence.insert(entry.clone(), record).unwrap();
                }
            }
        }
    }
    evidence
}

fn lookups(table: &Table, keys: &[ShapeKey]) {
    let device = device();
    let id = table.device_id(&device).unwrap();
    for key in keys {
        black_box(table.exact(&device, key));
    }
    let rounds = 500;
    let start = Instant::now();
    for _ in 0..rounds {
        for key in keys {
            black_box(table.exact(black_box(&device), black_box(key)).unwrap());
        }
    }
    per_lookup("exact", start.elapsed(), rounds * keys.len());
    let start = Instant::now();
    for _ in 0..rounds {
        for key in keys {
            black_box(table.exact_by_id(black_box(id), black_box(key)).unwrap());
        }
    }
    per_lookup("exact by number", start.elapsed(), rounds * keys.len());
}

fn per_lookup(what: &str, time: Duration, count: usize) {
    println!("  {what:<28} {:>10.1} ns", time.as_nanos() as f64 / count as f64);
}

/// Prints the median time of some runs.
fn report<T>(what: &str, runs: usize, mut run: impl FnMut() -> T) {
    let mut times: Vec<Duration> = (0..runs)
        .map(|_| {
            let start = Instant::now();
            let value = black_box(run());
            let time = start.elapsed();
            drop(value);
            time
        })
        .collect();
    times.sort_unstable();
    println!("  {what:<28} {:>10.3} ms", times[runs / 2].as_secs_f64() * 1e3);
}
