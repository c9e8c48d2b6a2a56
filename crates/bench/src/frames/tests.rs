//! Small networks on the CPU, all the way to the report.

use voxtune::Voxel;
use voxtune_models::Network;

use super::options::grid_of;
use super::peers::FramePeers;
use super::*;
use crate::bench::roofline::Rates;

fn spec(text: &str) -> ModelSpec {
    text.parse().unwrap()
}

fn cloud(label: &str, voxels: i32) -> NamedCloud {
    let cells = (0..voxels).map(|at| Voxel::new(0, at - 3, at / 2, at % 5)).collect();
    NamedCloud { label: label.to_owned(), cells, warnings: Vec::new() }
}

fn options(models: &[&str]) -> FrameOptions {
    FrameOptions {
        models: models.iter().map(|text| spec(text)).collect(),
        clouds: vec![cloud("street", 40), cloud("lake", 9)],
        dtypes: vec![DType::Float32],
        frames: 2,
        warm_ups: 1,
        training: true,
        many: Some(3),
        grid: None,
        profiles: Vec::new(),
        seed: 0,
        peers: None,
    }
}

#[test]
fn names_say_channels_and_clouds() {
    let second = spec("second/5:street,lake");
    assert_eq!((second.network, second.c_in), (Network::Second, Some(5)));
    assert_eq!(second.clouds, ["street", "lake"]);
    for text in ["spunet", "second/5", "spconv-bench:a", "minkunet/6:a,b"] {
        assert_eq!(spec(text).to_string(), text);
    }
    for text in ["", "spunit", "spunet/", "spunet/0", "spunet/x", "spunet:", "spunet:a,", "/5"] {
        assert!(text.parse::<ModelSpec>().is_err(), "{text:?}");
    }
}

#[test]
fn detectors_have_the_grid_of_their_sweeps_where_they_fit() {
    let cells = [Voxel::new(0, 900, 1200, 39), Voxel::new(0, 0, 7, 40)];
    assert_eq!(grid_of(Network::CenterPoint, &cells), [1440, 1440, 41]);
    assert_eq!(grid_of(Network::SpUNet, &cells), [996, 1296, 136]);
    let tall = [Voxel::new(0, 900, 1200, 41)];
    assert_eq!(grid_of(Network::Second, &tall), [996, 1296, 137]);
}

/// Every way of every network that is asked for, and no number that nobody measured.
#[test]
fn a_run_on_the_cpu_measures_every_way() {
    let device = Device::cpu_with_threads(1).unwrap();
    let mut options = options(&["second/5:street", "spconv-bench:lake"]);
    let peers = r#"{"peer":"other","net":"second","cloud":"street","N":39,"folded":true,"ms":1e9,"kernel_ms":1}
{"peer":"other","net":"spconv_bench","cloud":"lake","N":9,"folded":false,"ms":2e9,"step_ms":4e9}"#;
    options.peers = Some(FramePeers::parse(peers).unwrap());
    let mut events = Vec::new();
    let report = run(&device, None, &options, &mut |event| {
        if let FrameEvent::Network(name) = event {
            events.push((*name).to_owned());
        }
    });
    assert_eq!(report.failures, Vec::<String>::new());
    assert_eq!(events, ["second float32 on street", "spconv-bench float32 on lake"]);
    let [second, bench] = &report.networks[..] else { panic!("{:?}", report.networks) };
    assert_eq!((second.voxels, second.c_in, second.shape), (40, 5, [41, 1440, 1440]));
    assert_eq!((bench.voxels, bench.c_in), (9, 3));
    for network in [second, bench] {
        let ways: Vec<Way> = network.ways.iter().map(|way| way.way).collect();
        assert_eq!(ways, [Way::Fresh, Way::Expected, Way::Held, Way::Step]);
        for way in &network.ways {
            let wall = way.wall_ms;
            assert!(0.0 < wall.least && wall.least <= wall.median && wall.p95 <= wall.largest);
            assert_eq!((way.span_ms, way.device_ms, way.launches), (None, None, None));
            assert_eq!((way.waits, way.peak_bytes), (None, None));
        }
        assert_eq!(network.many.len(), 2);
        for many in &network.many {
            assert_eq!((many.frames, many.samples.len()), (3, 3));
            assert!(many.voxels[0] <= many.voxels[1] && many.wall_ms.least > 0.0);
        }
        assert!(network.first_ms > 0.0 && network.first_step_ms.unwrap() > 0.0);
    }
    assert!(second.view_ms.unwrap() > 0.0 && bench.view_ms.is_none());
    // Without ceilings there is no floor; at given rates it is that of every convolution.
    assert_eq!((second.floor, second.layers.len(), bench.layers.len()), (None, 12, 14));
    let rates = Rates { copy_bytes_per_s: 1e12, dense_flops_per_s: 1e12 };
    let flops = |network: &report::NetworkReport| -> u64 {
        network.layers.iter().map(|(operation, counts)| operation.flops(counts.pairs)).sum()
    };
    let floor = bench.floor_at(rates);
    assert_eq!(floor.flops, flops(bench));
    assert!(
        floor.floor_ms >= floor.flops as f64 / 1e9 && floor.floor_ms >= floor.bytes as f64 / 1e9
    );
    assert_eq!(second.layers[0].0.c_in, 5);
    // Four levels and the last layer: outputs, and submanifold maps of all but the last.
    assert_eq!(second.steps.len(), 4 + 4);
    assert!(second.steps.iter().all(|step| step.inputs > 0 && step.wall_ms > 0.0));
    // Seven levels.
    assert_eq!(bench.steps.len(), 7 + 6);

    let rows: Vec<(&str, Way)> =
        report.peers.iter().map(|row| (row.network.as_str(), row.way)).collect();
    let of_second = [("second", Way::Fresh), ("second", Way::Expected)];
    // The peer has timed no step of the first.
    let of_bench = [Way::Fresh, Way::Expected, Way::Step].map(|way| ("spconv-bench", way));
    assert_eq!(rows, [&of_second[..], &of_bench].concat());
    assert_eq!(report.peers[0].other_voxels, Some(39));
    assert!(report.peers[0].wall_ms.unwrap().ratio < 1e-3);
    assert!(report.peers[4].wall_ms.unwrap().peer == 4e9 && report.peers[4].other_voxels.is_none());

    let text = text::report(&report, usize::MAX);
    for words in ["spconv-bench", "maps held", "other (39 voxels!)", "networks 2, failures 0"] {
        assert!(text.contains(words), "{words} in\n{text}");
    }
    let json: serde_json::Value = serde_json::to_value(&report).unwrap();
    assert_eq!(json["networks"][0]["ways"][2]["way"], "held");
    assert_eq!(json["networks"][1]["steps"].as_array().unwrap().len(), 13);
}

/// What cannot be loaded is told, and the others are measured.
#[test]
fn a_network_that_fails_leaves_the_others() {
    let device = Device::cpu_with_threads(1).unwrap();
    let mut options = options(&["trellis/8:lake", "second:lake"]);
    (options.training, options.many) = (false, None);
    let report = run(&device, None, &options, &mut |_| ());
    assert_eq!(report.networks.len(), 1);
    let [failure] = &report.failures[..] else { panic!("{:?}", report.failures) };
    assert!(failure.starts_with("trellis float32 on lake: "), "{failure}");
    assert!(text::report(&report, usize::MAX).contains("\nFAILED trellis"));
}

#[test]
fn the_least_of_peers_counts_folded_ones_first() {
    let message = |text: &str| FramePeers::parse(text).unwrap_err().to_string();
    assert!(message("").contains("no measurement"));
    assert!(message("{\"peer\":1}").starts_with("line 1: "));
    let zero = r#"{"peer":"a","net":"n","cloud":"c","ms":0}"#;
    assert!(message(zero).contains("above 0"));
    let failed = r#"{"peer":"a","net":"n","cloud":"c","error":"no memory"}"#;
    assert!(message(failed).contains("no measurement"));
    let mut network = report::NetworkReport {
        network: "n".to_owned(),
        cloud: "c".to_owned(),
        dtype: DType::Float16,
        voxels: 9,
        c_in: 1,
        shape: [1; 3],
        weights_bytes: Some(100),
        first_ms: 6.0,
        first_way: Way::Fresh,
        first_step_ms: Some(9.0),
        view_ms: None,
        floor: None,
        layers: Vec::new(),
        ways: Vec::new(),
        many: Vec::new(),
        steps: Vec::new(),
    };
    let way = |way| report::WayReport {
        way,
        frames: 3,
        wall_ms: report::Spread { least: 2.0, median: 3.0, p95: 4.0, largest: 5.0 },
        host_ms: 1.0,
        span_ms: Some(2.5),
        device_ms: Some(1.5),
        launches: Some(80),
        waits: Some(0),
        peak_bytes: Some(300),
    };
    network.ways = vec![way(Way::Expected), way(Way::Held), way(Way::Step)];
    let peers = FramePeers::parse(
        r#"{"peer":"a","net":"n","cloud":"c","folded":false,"ms":1,"step_ms":12,"step_peak_bytes":800}
{"peer":"a","net":"n","cloud":"c","folded":true,"ms":7,"kernel_ms":3,"peak_bytes":400}
{"peer":"b","net":"n","cloud":"c","folded":true,"ms":6,"kernel_ms":4,"error":null}
{"peer":"b","net":"n","cloud":"elsewhere","folded":true,"ms":1}"#,
    );
    let rows = peers.unwrap().beside(std::slice::from_ref(&network));
    let beside = |own, peer| Some(peers::Beside { own, peer, ratio: own / peer });
    let [frame, step] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!((frame.wall_ms, frame.device_ms), (beside(3.0, 6.0), beside(1.5, 3.0)));
    assert_eq!((frame.peak_bytes, frame.peer.as_str()), (beside(200.0, 400.0), "a, b"));
    assert_eq!((step.wall_ms, step.peak_bytes), (beside(3.0, 12.0), beside(200.0, 800.0)));
    assert_eq!(step.device_ms, None);
    let firsts = network.ways.iter().map(|way| network.first_over_steady(way));
    assert_eq!(firsts.collect::<Vec<_>>(), [Some(2.0), None, Some(3.0)]);
    // One that expected its counts is compared with those that do.
    network.ways.push(way(Way::Fresh));
    let fresh = |network: &report::NetworkReport| network.first_over_steady(&network.ways[3]);
    assert_eq!(fresh(&network), Some(2.0));
    network.first_way = Way::Expected;
    assert_eq!(fresh(&network), None);
    assert_eq!(network.first_over_steady(&network.ways[0]), Some(2.0));
}

#[test]
fn a_first_frame_goes_by_its_networks_profile_or_by_that_of_all() {
    let device = Device::cpu_with_threads(1).unwrap();
    let cloud = cloud("street", 40);
    let mut options = options(&["spunet"]);
    let spec = &options.models[0];
    let subject = Subject::new(&device, spec, &cloud, DType::Float32, &options);
    let frames = vec![subject.over(subject.voxels().unwrap()).unwrap()];
    let profile = subject.inference().unwrap().frame_profile(frames).unwrap();
    let margin = |network| Some(options.profile_of(network)?.margin());
    assert_eq!(margin(Network::SpUNet), None);
    options.profiles = vec![
        (None, profile.clone().with_margin(2.0)),
        (Some(Network::SpUNet), profile.with_margin(3.0)),
    ];
    let margin = |network| Some(options.profile_of(network)?.margin());
    assert_eq!((margin(Network::SpUNet), margin(Network::Second)), (Some(3.0), Some(2.0)));
    let spec = &options.models[0];
    let report = measure(&device, spec, &cloud, DType::Float32, &options).unwrap();
    assert_eq!(report.first_way, Way::Expected);
}
