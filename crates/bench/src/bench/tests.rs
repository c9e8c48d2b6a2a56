//! A run on the host.

use voxtune::{AlgoMode, KernelHash, KernelMap, KernelSize, L2State, Launch, Registry};
use voxtune_pointcloud::{Generator, generate};
use voxtune_tune::plan::grid::ChannelPair;
use voxtune_tune::plan::groups::Groups;

use super::peers::Peers;
use super::*;

fn options() -> BenchOptions {
    let cloud = |label: &str, voxels| NamedCloud {
        label: label.to_owned(),
        cells: generate(Generator::Surface, voxels, 1, 0).unwrap(),
        warnings: Vec::new(),
    };
    BenchOptions {
        clouds: vec![cloud("street", 300), cloud("field", 100)],
        channels: None,
        groups: Groups::ONE,
        kernel: KernelSize::submanifold(3).unwrap(),
        directions: Direction::ALL.to_vec(),
        dtypes: vec![DType::Float32],
        mode: AlgoMode::Auto,
        filter: Vec::new(),
        rounds: 2,
        calls: None,
        l2_state: L2State::Cold,
        seed: 0,
        peers: None,
        rates: None,
    }
}

fn peers() -> Peers {
    let line = |cloud: &str, c_out: u32| {
        format!(
            r#"{{"peer":"p","cloud":"{cloud}","cin":4,"cout":{c_out},"dtype":"float32","fwd_kernel_ms":1.0,"train_kernel_ms":3.0}}"#
        )
    };
    Peers::parse([line("street", 8), line("street", 16), line("lake", 8)].join("\n")).unwrap()
}

#[test]
fn layers_are_named_or_the_peers_or_the_default_ones() {
    let pair = |c_in, c_out| ChannelPair { c_in, c_out };
    let own = BenchOptions { peers: Some(peers()), ..options() };
    assert_eq!(own.channels_on("street", DType::Float32), [pair(4, 8), pair(4, 16)]);
    assert_eq!(own.channels_on("field", DType::Float32), DEFAULT_CHANNELS);
    assert_eq!(own.channels_on("street", DType::Float16), DEFAULT_CHANNELS);
    let named = BenchOptions { channels: Some(vec![pair(1, 2)]), ..own };
    assert_eq!(named.channels_on("street", DType::Float32), [pair(1, 2)]);
}

#[test]
fn a_run_on_the_host_measures_every_row() {
    let device = Device::cpu_with_threads(1).unwrap();
    let rates = Rates { copy_bytes_per_s: 1e10, dense_flops_per_s: 1e11 };
    let options = BenchOptions {
        channels: Some(vec![ChannelPair { c_in: 4, c_out: 8 }]),
        calls: Some(2),
        peers: Some(peers()),
        rates: Some(rates),
        ..options()
    };
    let mut rows = 0;
    let bench = Bench { device: &device, kernels: None, options: &options };
    let report = bench.run(&mut |event| rows += usize::from(matches!(event, BenchEvent::Row(_))));
    assert!(report.failures.is_empty(), "{:?}", report.failures);
    assert_eq!((rows, report.rows.len(), report.clouds.len()), (6, 6, 2));
    for row in &report.rows {
        assert!(row.default().is_some() && row.roofline_share().is_some(), "{row:?}");
        assert_eq!(row.calls.is_some(), row.direction == Direction::Forward);
    }
    assert!(report.clouds.iter().all(|cloud| cloud.map_ms.is_some_and(|ms| ms > 0.0)));
    let peers = report.peers.as_ref().unwrap();
    assert_eq!((peers.layers.len(), peers.left_out), (1, 2));
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["rows"][0]["direction"], "forward");
    let printed = text::report(&report, false, usize::MAX);
    assert!(printed.contains("geometric mean"), "{printed}");
}

/// Writes nothing.
struct Idle(AlgoId);

impl Algorithm for Idle {
    fn id(&self) -> &AlgoId {
        &self.0
    }
    fn applies(&self, _: &Operation) -> bool {
        true
    }
    fn in_auto_pool(&self, _: &Operation, _: MapCounts) -> bool {
        true
    }
    fn is_default(&self, _: &Operation) -> bool {
        false
    }
    fn workspace_bytes(&self, _: &Operation, _: &KernelMap) -> u64 {
        0
    }
    fn kernel_hash(&self, _: &Device, _: &Operation) -> Result<KernelHash, ConvError> {
        Ok(KernelHash::new(1))
    }
    fn run(&self, _: &Device, _: Launch<'_>) -> Result<(), ConvError> {
        Ok(())
    }
}

#[test]
fn who_computes_nothing_is_a_failure_and_the_rest_is_timed() {
    let mut algorithms: Vec<Arc<dyn Algorithm>> = Registry::cpu().algorithms().cloned().collect();
    algorithms.insert(0, Arc::new(Idle("idle".parse().unwrap())));
    let device = Device::cpu_with_registry(1, Registry::new(algorithms)).unwrap();
    let options = BenchOptions {
        channels: Some(vec![ChannelPair { c_in: 8, c_out: 16 }]),
        mode: AlgoMode::All,
        rounds: 3,
        ..options()
    };
    let report = Bench { device: &device, kernels: None, options: &options }.run(&mut |_| ());
    assert_eq!(report.failures.len(), report.rows.len(), "{:?}", report.failures);
    assert!(report.failures.iter().all(|one| one.contains(": idle on ")), "{:?}", report.failures);
    for row in &report.rows {
        assert!(row.ranking.is_sorted_by(|a, b| a.median_ms <= b.median_ms));
        assert!(row.ranking.iter().all(|ranked| ranked.algorithm != "idle"));
        assert_eq!(row.default().unwrap().samples, 3);
    }
}

#[test]
fn layers_whose_channels_do_not_divide_are_left_out() {
    let device = Device::cpu_with_threads(1).unwrap();
    let pairs = [(4, 4), (3, 5), (4, 8)].map(|(c_in, c_out)| ChannelPair { c_in, c_out });
    let options = BenchOptions { channels: Some(pairs.to_vec()), ..options() };
    let layers = |groups: &str| {
        let options = BenchOptions { groups: groups.parse().unwrap(), ..options.clone() };
        let report = Bench { device: &device, kernels: None, options: &options }.run(&mut |_| ());
        assert!(report.failures.is_empty(), "{:?}", report.failures);
        let of_cloud = report.rows.iter().filter(|row| row.cloud == "field");
        of_cloud.step_by(3).map(report::RowReport::layer).collect::<Vec<_>>()
    };
    assert_eq!(layers("depthwise"), ["4→4 g4"]);
    assert_eq!(layers("2"), ["4→4 g2", "4→8 g2"]);
}

#[test]
fn a_filter_keeps_the_default() {
    let device = Device::cpu_with_threads(1).unwrap();
    let options = BenchOptions { filter: vec!["no such text".to_owned()], ..options() };
    let bench = Bench { device: &device, kernels: None, options: &options };
    let operation = options.operations("street")[0];
    let counts = MapCounts { n_in: 300, n_out: 300, pairs: 900 };
    let pool = bench.pool(&operation, counts);
    assert_eq!(pool.len(), 1);
    assert!(pool[0].is_default(&operation));
}

#[test]
fn a_cloud_that_cannot_be_used_is_a_failure_and_the_next_one_is_measured() {
    let device = Device::cpu_with_threads(1).unwrap();
    let mut options = BenchOptions {
        channels: Some(vec![ChannelPair { c_in: 4, c_out: 4 }]),
        directions: vec![Direction::Forward],
        ..options()
    };
    let twice = options.clouds[0].cells[0];
    options.clouds[0].cells.push(twice);
    let report = Bench { device: &device, kernels: None, options: &options }.run(&mut |_| ());
    assert_eq!(report.failures.len(), 1);
    assert!(report.failures[0].starts_with("street: "), "{:?}", report.failures);
    assert_eq!(report.rows.len(), 1);
    assert_eq!(report.rows[0].cloud, "field");
}
