//! Fits the cost model's constants to an evidence file, and says how well they predict clouds that
//! they were not fitted to.
//!
//! ```text
//! cargo run --release -p voxtune --example fit_cost_model -- caches/sm_90.evidence.msgpack
//! ```
//!
//! Constants of `crates/cuda/src/model/constants.rs` are the start of the search; what it prints
//! may take their place.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "an example prints what it finds")]

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::path::PathBuf;

use clap::Parser;
use voxtune_cache::decode_evidence;
use voxtune_cuda::model::{Constants, MapSize, Rates, Work};
use voxtune_types::{Arch, DType, Direction};

#[derive(Parser)]
struct Options {
    /// An evidence file of a GPU.
    #[arg(default_value = "caches/sm_90.evidence.msgpack")]
    file: PathBuf,
}

/// What constants are fitted for: a family, in wgrad or out of it.
type Group = (&'static str, bool);

struct Timing {
    entry: usize,
    cloud: String,
    group: Group,
    work: Work,
    rates: Rates,
    time_ns: f64,
    /// The fastest time of the entry over this one: who is far behind need not be predicted well.
    weight: f64,
}

/// The constants by place, so that a search can turn them one after another.
type Vector = [f64; 6];

/// Places of a [`Vector`].
const LAUNCH: usize = 4;
const TRAFFIC: usize = 5;

type Fitted = BTreeMap<Group, Vector>;

const fn to_vector(of: Constants) -> Vector {
    [of.copy_clocks, of.stage_ns, of.thread_copy_ns, of.block_ns, of.launch_ns, of.traffic]
}

const fn from_vector(of: Vector) -> Constants {
    let [copy_clocks, stage_ns, thread_copy_ns, block_ns, launch_ns, traffic] = of;
    Constants { copy_clocks, stage_ns, thread_copy_ns, block_ns, launch_ns, traffic }
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    let (timings, starts) = read(&options)?;
    let all: Vec<&Timing> = timings.iter().collect();
    println!("{} timings\n", all.len());
    println!(
        "family        wgrad  copy clk  stage ns  copy ns  block ns  launch ns  traffic   rms"
    );
    let fitted = fit(&all, &starts);
    for ((family, wgrad), vector) in &fitted {
        let of: Vec<&Timing> =
            all.iter().copied().filter(|timing| timing.group == (*family, *wgrad)).collect();
        let [copy, stage, thread, block, launch, traffic] = vector;
        println!(
            "{family:<14}{wgrad:<7}{copy:8.1} {stage:9.0} {thread:8.1} {block:9.0} {launch:10.0} \
             {traffic:8.2} {:5.2}",
            root_mean_square(&of, *vector)
        );
    }
    println!(
        "\nregret                      first by model: mean    95 %     worst  ×1.4: mean   worst"
    );
    show("constants in use", &judge(&all, &starts));
    show("fitted to all", &judge(&all, &fitted));
    let clouds: BTreeSet<&str> = all.iter().map(|timing| timing.cloud.as_str()).collect();
    let mut left_out = Vec::new();
    for cloud in clouds {
        let (of_it, others): (Vec<&Timing>, Vec<&Timing>) =
            all.iter().partition(|timing| timing.cloud == cloud);
        let judged = judge(&of_it, &fit(&others, &starts));
        show(&format!("without {cloud}"), &judged);
        left_out.extend(judged);
    }
    show("each left out", &left_out);
    Ok(())
}

fn read(options: &Options) -> Result<(Vec<Timing>, Fitted), Box<dyn Error>> {
    let name = options.file.display().to_string();
    let evidence = decode_evidence(&std::fs::read(&options.file)?, &name)?;
    let (mut timings, mut starts) = (Vec::new(), BTreeMap::new());
    for (entry, (key, records)) in evidence.entries().enumerate() {
        let Arch::Cuda(capability) = key.device.arch else { continue };
        let rates = Rates::of(capability, key.device.units);
        let operation = &key.key.operation;
        let workload = &key.workload;
        let size = MapSize {
            n_in: workload.rows_in as usize,
            n_out: workload.rows_out as usize,
            pairs: workload.pairs as usize,
        };
        let measured = || {
            records.preferred().into_iter().filter_map(|record| {
                Some((voxtune_cuda::algorithm(&record.algo)?, record.timing()?.median_ns as f64))
            })
        };
        let fastest = measured().map(|(_, time_ns)| time_ns).fold(f64::INFINITY, f64::min);
        for (algorithm, time_ns) in measured().filter(|_| operation.dtype != DType::Float32) {
            let (Some(work), Some(constants)) =
                (algorithm.work(operation, size, &rates), algorithm.cost_constants(operation))
            else {
                continue;
            };
            let group = (algorithm.id().family(), operation.direction == Direction::Wgrad);
            starts.insert(group, to_vector(constants));
            let cloud = workload.cloud.clone();
            let weight = (fastest / time_ns).sqrt();
            timings.push(Timing { entry, cloud, group, work, rates, time_ns, weight });
        }
    }
    Ok((timings, starts))
}

fn error(timing: &Timing, vector: Vector) -> f64 {
    (timing.work.time_ns(&timing.rates, &from_vector(vector)) / timing.time_ns).ln()
}

fn root_mean_square(timings: &[&Timing], vector: Vector) -> f64 {
    let squares: f64 = timings.iter().map(|timing| error(timing, vector).powi(2)).sum();
    (squares / timings.len() as f64).sqrt()
}

/// Deviations past a tenth count by their size and not its square.
fn loss(timings: &[&Timing], vector: Vector) -> f64 {
    const STRAY: f64 = 0.1;
    let of = |timing: &&Timing| {
        let deviation = error(timing, vector) * timing.weight / STRAY;
        (1.0 + deviation * deviation).sqrt() - 1.0
    };
    timings.iter().map(of).sum()
}

/// Turns one constant at a time by ever smaller factors, as long as the loss falls. A constant that
/// is 0 stays 0: the family lacks what it stands for. Where one launch does everything, traffic
/// happens once and the launch's own time is left as it is: no timing is short enough to tell it
/// from the rest.
fn fit(timings: &[&Timing], starts: &Fitted) -> Fitted {
    let of_group = |(group, start): (&Group, &Vector)| {
        let own: Vec<&Timing> =
            timings.iter().copied().filter(|timing| timing.group == *group).collect();
        let (mut best, mut least) = (*start, loss(&own, *start));
        let one_launch = own.iter().any(|timing| matches!(timing.work, Work::Tiles(_)));
        let mut factor = 1.5_f64;
        while factor > 1.005 {
            let mut improved = false;
            for place in 0..best.len() {
                if one_launch && [LAUNCH, TRAFFIC].contains(&place) {
                    continue;
                }
                for by in [factor, 1.0 / factor] {
                    let mut turned = best;
                    turned[place] *= by;
                    let loss = loss(&own, turned);
                    if loss < least {
                        (best, least, improved) = (turned, loss, true);
                    }
                }
            }
            if !improved {
                factor = factor.sqrt();
            }
        }
        (*group, best)
    };
    starts.iter().map(of_group).collect()
}

/// For each entry, what is lost by taking the first by model, and by taking the best of those
/// within 1.4 times its modelled time.
fn judge(timings: &[&Timing], constants: &Fitted) -> Vec<(f64, f64)> {
    let mut entries: BTreeMap<usize, Vec<(f64, f64)>> = BTreeMap::new();
    for timing in timings {
        let modelled_ns =
            timing.work.time_ns(&timing.rates, &from_vector(constants[&timing.group]));
        entries.entry(timing.entry).or_default().push((modelled_ns, timing.time_ns));
    }
    let of_entry = |mut timings: Vec<(f64, f64)>| {
        timings.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let fastest = |of: &[(f64, f64)]| of.iter().map(|it| it.1).fold(f64::INFINITY, f64::min);
        let within = timings.partition_point(|it| it.0 <= timings[0].0 * 1.4);
        let best = fastest(&timings);
        (timings[0].1 / best - 1.0, fastest(&timings[..within]) / best - 1.0)
    };
    entries.into_values().map(of_entry).collect()
}

fn show(what: &str, judged: &[(f64, f64)]) {
    let summary = |of: fn(&(f64, f64)) -> f64| {
        let mut all: Vec<f64> = judged.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        let mean = all.iter().sum::<f64>() / all.len() as f64;
        (mean, all[(all.len() - 1) * 95 / 100], all[all.len() - 1])
    };
    let (mean, high, worst) = summary(|it| it.0);
    let (pruned_mean, _, pruned_worst) = summary(|it| it.1);
    println!(
        "{what:<24} {:>4} entries {mean:12.4} {high:8.4} {worst:8.4} {pruned_mean:12.4} {pruned_worst:8.4}",
        judged.len()
    );
}
