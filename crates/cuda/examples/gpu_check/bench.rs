//! Times on clouds, with the ceilings of the same run.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::{Value, json};
use voxtune_cuda::{
    Algorithm, CacheFlush, DeviceBuffer, DeviceKernelMap, EventTimer, Instance, MapBuilder,
    Prepared, Probe, Result, RowOrder, Verifier, algorithms, default_algorithm,
};
use voxtune_shape::{DType, Direction, KernelSize, Operation, Voxel};

use crate::data::{Product, Tensor};
use crate::kernels::Kernels;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Folder of clouds, `<name>.i32`: little-endian int32 triples.
    #[arg(long)]
    clouds: PathBuf,
    /// Clouds to measure.
    #[arg(long, num_args = 1.., default_values_t = ["waymo-120k".to_owned(), "uniform-130k".to_owned(), "waymo-900k".to_owned(), "shell-512".to_owned()])]
    names: Vec<String>,
    /// Channel pairs, such as 32,64.
    #[arg(long, num_args = 1.., default_values_t = ["3,32", "32,32", "96,20", "64,64", "96,96", "128,128", "128,256", "256,256", "512,512"].map(str::to_owned))]
    channels: Vec<String>,
    /// Storage type.
    #[arg(long, default_value = "float16")]
    dtype: DType,
    /// Rounds; the median counts.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Only algorithms whose id contains one of these.
    #[arg(long, num_args = 0..)]
    filter: Vec<String>,
    /// Where to write every time as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Print every algorithm, not only the best.
    #[arg(long)]
    all: bool,
}

type Error = Box<dyn std::error::Error>;

/// Everything that a measurement needs.
struct Bench {
    kernels: Kernels,
    verifier: Verifier,
    flush: CacheFlush,
    probe: Probe,
    failures: usize,
    rows: Vec<Value>,
}

pub(crate) fn run(mut kernels: Kernels, options: &Options) -> std::result::Result<bool, Error> {
    let kernel = KernelSize::submanifold(3)?;
    let pairs = options
        .channels
        .iter()
        .map(|text| channel_pair(text))
        .collect::<std::result::Result<Vec<_>, _>>()?;
    let clouds = options
        .names
        .iter()
        .map(|name| Ok((name.as_str(), read_cloud(&options.clouds.join(format!("{name}.i32")))?)))
        .collect::<std::result::Result<Vec<_>, Error>>()?;

    let mut instances =
        vec![Instance::kernel_map(), Instance::probe(), Instance::reference(options.dtype)];
    for &(c_in, c_out) in &pairs {
        for direction in Direction::ALL {
            let op = Operation::submanifold(direction, options.dtype, c_in, c_out, kernel);
            instances.extend(
                pool(&op, options, 100_000).filter_map(|algorithm| algorithm.instance(&op)),
            );
        }
    }
    kernels.compile(instances);
    let builder = kernels.map_builder()?;
    let mut probe = kernels.probe()?;
    let verifier = kernels.verifier(options.dtype)?;
    let mut ceilings =
        json!({ "copy_bytes_per_s": probe.copy_rate(1 << 30)?, "clock_mhz": probe.clock_mhz()? });
    if let Some(cublas) = kernels.cublas() {
        let a = Tensor::repeated(&kernels.device, options.dtype, 8192 * 8192, 1)?;
        let mut dense = DeviceBuffer::alloc(&kernels.device, a.len_bytes())?;
        let mut other = DeviceBuffer::alloc(&kernels.device, a.len_bytes())?;
        let host: Vec<u8> = a.bytes()?;
        dense.upload(0, &host)?;
        other.upload(0, &host)?;
        ceilings["dense_flops"] =
            json!(cublas.dense_rate(&kernels.device, options.dtype, &dense, &other, 8192)?);
    }
    println!("ceilings: {ceilings}");
    let flush = CacheFlush::new(&kernels.device)?;
    let mut bench = Bench { kernels, verifier, flush, probe, failures: 0, rows: Vec::new() };
    for (name, voxels) in &clouds {
        let map = bench.map(&builder, name, voxels, kernel)?;
        for &(c_in, c_out) in &pairs {
            for direction in Direction::ALL {
                let op = Operation::submanifold(direction, options.dtype, c_in, c_out, kernel);
                bench.row(name, &map, &op, options)?;
            }
        }
    }
    if let Some(path) = &options.json {
        let identity = bench.kernels.device.identity().to_string();
        let report = json!({ "device": identity, "ceilings": ceilings, "rows": bench.rows });
        fs::write(path, report.to_string())?;
    }
    println!("bench: {} failures", bench.failures);
    Ok(bench.failures == 0)
}

fn channel_pair(text: &str) -> std::result::Result<(u32, u32), Error> {
    let (c_in, c_out) = text.split_once(',').ok_or("expected C_IN,C_OUT")?;
    Ok((c_in.parse()?, c_out.parse()?))
}

fn read_cloud(path: &Path) -> std::result::Result<Vec<Voxel>, Error> {
    let bytes = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let axis = |cell: &[u8], at: usize| {
        i32::from_le_bytes([cell[at], cell[at + 1], cell[at + 2], cell[at + 3]])
    };
    Ok(bytes
        .chunks_exact(12)
        .map(|cell| Voxel::new(0, axis(cell, 0), axis(cell, 4), axis(cell, 8)))
        .collect())
}

fn pool<'a>(
    op: &'a Operation,
    options: &'a Options,
    n: usize,
) -> impl Iterator<Item = &'static Algorithm> + 'a {
    let named = |algorithm: &Algorithm| {
        options.filter.is_empty()
            || options.filter.iter().any(|text| algorithm.id().as_str().contains(text))
    };
    algorithms().iter().filter(move |algorithm| {
        let default = default_algorithm(op).id() == algorithm.id();
        default || algorithm.in_auto_pool(op, n) && named(algorithm)
    })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

impl Bench {
    /// Builds the map, and says how long that takes.
    fn map(
        &mut self,
        builder: &MapBuilder,
        name: &str,
        voxels: &[Voxel],
        kernel: KernelSize,
    ) -> Result<DeviceKernelMap> {
        let coords = DeviceBuffer::from_host(&self.kernels.device, voxels)?;
        let mut times: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for _ in 0..6 {
            let mut lap = |what, start: Instant| -> Result<()> {
                self.kernels.device.synchronize()?;
                times.entry(what).or_default().push(start.elapsed().as_secs_f64() * 1e3);
                Ok(())
            };
            let start = Instant::now();
            let mut map = builder.submanifold_on_device(&coords, voxels.len(), kernel)?;
            lap("map_ms", start)?;
            for (what, order) in [("sorted_ms", RowOrder::Sorted), ("global_ms", RowOrder::Global)]
            {
                let start = Instant::now();
                builder.add_order(&mut map, order)?;
                lap(what, start)?;
            }
        }
        let times: BTreeMap<&str, f64> =
            times.into_iter().map(|(what, times)| (what, median(times))).collect();
        let mut map = builder.submanifold_on_device(&coords, voxels.len(), kernel)?;
        builder.add_order(&mut map, RowOrder::Sorted)?;
        builder.add_order(&mut map, RowOrder::Global)?;
        let density = map.counts().total_pairs() as f64 / voxels.len() as f64;
        println!("{name}: {} voxels, {density:.2} pairs a row, {times:.3?}", voxels.len());
        self.rows.push(
            json!({ "cloud": name, "voxels": voxels.len(), "density": density, "map": times }),
        );
        Ok(map)
    }

    /// One cloud, one operation: every algorithm of the pool, interleaved.
    fn row(
        &mut self,
        cloud: &str,
        map: &DeviceKernelMap,
        op: &Operation,
        options: &Options,
    ) -> std::result::Result<(), Error> {
        let device = self.kernels.device.clone();
        let mut product = Product::large(&device, op, map.counts())?;
        let mut racers: Vec<(&'static Algorithm, Prepared)> = Vec::new();
        for algorithm in pool(op, options, map.counts().n_out) {
            if self.kernels.available(algorithm, op) {
                racers.push((algorithm, self.kernels.prepare(algorithm, op)?));
            }
        }
        let bytes =
            racers.iter().map(|(algorithm, _)| algorithm.workspace_bytes(op, map.counts())).max();
        let mut workspace = DeviceBuffer::alloc(&device, bytes.unwrap_or(0))?;

        // float64 where that takes a moment; else the default's result, itself checked against
        // float64 at small sizes.
        let default = default_algorithm(op);
        let verified = self.kernels.prepare(default, op)?;
        product.with(|operands| verified.launch(map, operands, &mut workspace))?;
        let small = op.flops(map.counts().total_pairs()) < 60_000_000_000;
        let expected = if small {
            self.verifier.reference(op, map, product.first.get(), product.second.get())?
        } else {
            self.verifier.widen(op, product.result.get())?
        };
        for (algorithm, prepared) in &racers {
            product.result.poison()?;
            product.with(|operands| prepared.launch(map, operands, &mut workspace))?;
            let error = self.verifier.worst_error(op, product.result.get(), &expected)?;
            if error > 2.0 * op.dtype.tolerance() {
                let against = if small { "float64" } else { default.id().as_str() };
                println!("FAILED {algorithm} on {op}, {cloud}: {error:e} from {against}");
                self.failures += 1;
            }
        }
        drop(expected);

        let mut times_ns: Vec<Vec<f64>> = vec![Vec::new(); racers.len()];
        for round in 0..=options.rounds {
            for (times, (_, prepared)) in times_ns.iter_mut().zip(&racers) {
                let mut timer = EventTimer::new(&device)?;
                self.flush.flush()?;
                timer.start()?;
                product.with(|operands| prepared.launch(map, operands, &mut workspace))?;
                timer.stop()?;
                if round > 0 {
                    times.push(timer.elapsed_ns()?);
                }
            }
        }
        let clock = self.probe.clock_mhz()?;
        let mut ranking: Vec<(f64, &'static Algorithm)> = times_ns
            .into_iter()
            .map(median)
            .zip(racers.iter().map(|(algorithm, _)| *algorithm))
            .collect();
        ranking.sort_by(|a, b| a.0.total_cmp(&b.0));
        let of = |wanted: &dyn Fn(&Algorithm) -> bool| {
            ranking
                .iter()
                .find(|(_, algorithm)| wanted(algorithm))
                .map_or(f64::NAN, |(time, _)| time / 1e6)
        };
        let explicit = of(&|algorithm| algorithm.requires_cublas());
        let default_ms = of(&|algorithm| algorithm.id() == default.id());
        let (best, winner) = ranking[0];
        println!(
            "{cloud:13} {:26} {:8.4} ms  default {default_ms:8.4}  explicit {explicit:8.4}  {winner}",
            op.to_string(),
            best / 1e6
        );
        if options.all {
            for (time, algorithm) in &ranking {
                println!("      {:8.4} {algorithm}", time / 1e6);
            }
        }
        let all: Vec<Value> = ranking
            .iter()
            .map(|(time, algorithm)| json!([algorithm.id().as_str(), time / 1e6]))
            .collect();
        self.rows.push(json!({
            "cloud": cloud, "direction": op.direction.as_str(), "dtype": op.dtype.as_str(),
            "c_in": op.c_in, "c_out": op.c_out, "best_ms": best / 1e6, "winner": winner.id().as_str(),
            "default_ms": default_ms, "explicit_ms": explicit, "clock_mhz": clock, "ranking": all,
        }));
        Ok(())
    }
}
