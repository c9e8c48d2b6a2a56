//! Networks of files and known ones, and the maps that their layers are measured on.

use std::collections::BTreeMap;
use std::fmt::Write;

use voxtune::Direction;
use voxtune_tune::inputs::cloud_setup::CloudSetup;
use voxtune_tune::inputs::generated_cells::GeneratedCells;
use voxtune_tune::{Preset, Request};

use super::*;

fn host() -> Device {
    Device::cpu_with_threads(1).unwrap()
}

fn steps_of(text: &str) -> Result<Steps, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("layers.json");
    std::fs::write(&path, text).unwrap();
    read(&path)
}

/// A plan's configurations with the maps that a worker builds for them.
fn planned(steps: &Steps, cells: Vec<Voxel>) -> Vec<(Configuration, CloudSetup)> {
    let (host, folder) = (host(), tempfile::tempdir().unwrap());
    let start = match steps.grid {
        None => Voxels::new(&host, cells).unwrap(),
        Some(grid) => Voxels::within(&host, grid, cells).unwrap(),
    };
    let label = "scan".to_owned();
    let mut levels = Levels { folder: folder.path(), label, held: Vec::new() };
    let list = measured(&steps.steps, start, &[DType::Float32], &mut levels).unwrap();
    let plan = Plan::of_scans(&Request::new(Preset::Quick.grid()), &list).unwrap();
    let set_up = plan.configurations.iter().flat_map(|planned| {
        planned.clouds.iter().map(|cloud| {
            let layer = planned.configuration.layer;
            let cells = cloud.cells(&host, &mut GeneratedCells::default(), (1, 0)).unwrap();
            let setup = CloudSetup::new(&host, cloud, cells, layer).unwrap();
            (planned.configuration, setup)
        })
    });
    set_up.collect()
}

fn cells() -> Vec<Voxel> {
    let mut cells: Vec<Voxel> =
        (0..60).map(|i| Voxel::new(0, i * 7 % 11, i * 5 % 9, i / 3)).collect();
    // As files of voxels are read.
    cells.sort_unstable();
    cells
}

/// The pairs of each offset.
fn pairs(map: &voxtune::KernelMap) -> Vec<Vec<(u32, u32)>> {
    let (map, volume) = (map.host().unwrap(), map.geometry().kernel.volume());
    let of =
        |offset| map.pair_list(offset).iter().map(|pair| (pair.in_row, pair.out_row)).collect();
    (0..volume).map(of).collect()
}

/// Padding and dilation as in the checkpoints of networks, with and without a grid.
#[test]
fn layers_are_measured_where_their_rows_meet() {
    for grid in ["null", "[11, 9, 20]"] {
        for layer in [
            r#""SparseConv3d", "kernel": [3, 3, 3], "stride": [2, 2, 2], "padding": [1, 1, 1]"#,
            r#""SparseConv3d", "kernel": [3, 3, 3], "stride": [2, 2, 2], "padding": [0, 1, 1]"#,
            r#""SparseConv3d", "kernel": [3, 1, 1], "stride": [2, 1, 1]"#,
            r#""SparseConv3d", "kernel": [2, 2, 2], "stride": [2, 2, 2]"#,
            r#""SparseConv3d", "kernel": [3, 3, 3], "stride": [2, 2, 2], "dilation": [2, 1, 3]"#,
            r#""SubmConv3d", "kernel": [3, 5, 3], "dilation": [3, 1, 2]"#,
            r#""SparseConvTranspose3d", "kernel": [3, 3, 3], "stride": [2, 1, 2],
                "padding": [1, 0, 1], "output_padding": [1, 0, 0]"#,
        ] {
            let text = format!(
                r#"{{"spatial_shape": {grid}, "layers": [{{"layer": {layer}, "in": 4, "out": 8}}]}}"#
            );
            let steps = steps_of(&text).unwrap();
            let geometry = steps.steps[0].geometry;
            let start = match steps.grid {
                None => Voxels::new(&host(), cells()).unwrap(),
                Some(grid) => Voxels::within(&host(), grid, cells()).unwrap(),
            };
            let expected = start.outputs_of(&geometry).unwrap().1;
            let found = planned(&steps, cells());
            assert_eq!(found.len(), 1);
            let map = &found[0].1.map;
            assert_eq!(map.counts(), expected.counts(), "{geometry} in {grid}");
            assert_eq!(pairs(map), pairs(&expected), "{geometry} in {grid}");
        }
    }
}

/// Two layers of one key are configurations of their own, each with its own pairs.
#[test]
fn dilation_padding_and_grid_change_the_maps_that_are_measured() {
    let text = r#"{"spatial_shape": [11, 9, 20], "layers": [
        {"layer": "SubmConv3d", "kernel": [3, 3, 3], "in": 8, "out": 8, "bias": true},
        {"layer": "SubmConv3d", "kernel": [3, 3, 3], "dilation": [2, 2, 2], "in": 8, "out": 8},
        {"layer": "SubmConv3d", "kernel": [3, 3, 3], "dilation": [3, 1, 1], "in": 8, "out": 8},
        {"layer": "SubmConv3d", "kernel": [3, 3, 3], "dilation": [2, 2, 2], "in": 8, "out": 8,
         "groups": 8},
        {"layer": "SparseConv3d", "kernel": [3, 3, 3], "stride": [2, 2, 2], "in": 8, "out": 16},
        {"layer": "SparseInverseConv3d", "kernel": [3, 3, 3], "stride": [2, 2, 2],
         "in": 16, "out": 8},
        {"layer": "SparseConv3d", "kernel": [3, 3, 3], "stride": [2, 2, 2],
         "padding": [1, 1, 1], "in": 8, "out": 16},
        {"layer": "MaxPool3d", "kernel": [2, 2, 2], "stride": [2, 2, 2]},
        {"layer": "SparseConvTranspose3d", "kernel": [2, 2, 2], "stride": [2, 2, 2],
         "in": 16, "out": 8}]}"#;
    let within = steps_of(text).unwrap();
    let without = steps_of(&text.replace("[11, 9, 20]", "null")).unwrap();
    let mut listing = String::new();
    for (title, steps) in [("within 11 x 9 x 20", within), ("without a grid", without)] {
        writeln!(listing, "{title}").unwrap();
        let mut keys = BTreeSet::new();
        for (configuration, setup) in planned(&steps, cells()) {
            let counts = setup.map.counts();
            let key = counts.key(configuration.operation(Direction::Forward));
            let note = if keys.insert(key) { "" } else { " of a key that was there" };
            writeln!(
                listing,
                "{configuration}: {} to {} rows, {} pairs{note}",
                counts.n_in, counts.n_out, counts.pairs
            )
            .unwrap();
        }
    }
    insta::assert_snapshot!(listing);
}

#[test]
fn layers_with_the_same_map_are_measured_once() {
    let layer = r#"{"layer": "SubmConv3d", "kernel": [3, 3, 3], "in": 8, "out": 8}"#;
    let steps = steps_of(&format!("[{layer}, {layer}, {layer}]")).unwrap();
    assert_eq!(planned(&steps, cells()).len(), 1);
}

#[test]
fn a_file_of_layers_is_read_and_what_is_wrong_named() {
    let good = r#"[{"layer": "SubmConv3d", "kernel": [3, 3, 3], "in": 4, "out": 16},
        {"layer": "SparseConv3d", "kernel": [3, 1, 1], "stride": [2, 1, 1], "in": 16, "out": 32}]"#;
    let read = steps_of(good).unwrap();
    assert_eq!(read.steps[1].geometry.to_string(), "k3x1x1 s2x1x1 p0x0x0");
    for (text, words) in [
        (r#"[{"layer": "Conv4d", "kernel": [3, 3, 3], "in": 4, "out": 16}]"#, "Conv4d"),
        (r#"[{"layer": "SubmConv3d", "kernel": [2, 2, 2], "in": 4, "out": 16}]"#, "odd"),
        (r#"[{"layer": "SubmConv3d", "kernel": [3, 3, 9], "in": 4, "out": 16}]"#, "9"),
        (r#"[{"layer": "SubmConv3d", "kernel": [3, 3, 3], "in": 0, "out": 16}]"#, "channels"),
        (r#"[{"layer": "SubmConv3d", "kernel": [3, 3, 3], "out": 16}]"#, "channels"),
        (
            r#"[{"layer": "SubmConv3d", "kernel": [3, 3, 3], "in": 6, "out": 8, "groups": 4}]"#,
            "4 groups",
        ),
        (
            r#"[{"layer": "SparseConv3d", "kernel": [2, 2, 2], "stride": [2, 2, 2],
                 "output_padding": [1, 1, 1], "in": 6, "out": 8}]"#,
            "output_padding",
        ),
        (
            r#"[{"layer": "SubmConv3d", "kernel": [3, 3, 3], "dilation": [0, 1, 1],
                 "in": 6, "out": 8}]"#,
            "dilation",
        ),
        (r#"{"layer": []}"#, "list of layers"),
        (r#"{"layers": []}"#, "found none"),
        (r#"[{"layer": "MaxPool3d", "kernel": [2, 2, 2]}]"#, "found none"),
        (r#"{"layers": [], "shape": [1, 2, 3]}"#, "spatial_shape"),
    ] {
        let error = steps_of(text).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
}

/// Every entry of the fixtures that has a convolution can be measured.
#[test]
fn layers_of_fixtures_are_read() {
    let index = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/spconv/index.json");
    // A published crate has no fixtures beside it.
    let Ok(text) = std::fs::read_to_string(index) else { return };
    let entries: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text).unwrap();
    let is_measured = |entry: &serde_json::Value| {
        let layers = entry.get("layers").and_then(|layers| layers.as_array());
        layers.is_some_and(|layers| layers.iter().any(|layer| layer.get("in").is_some()))
    };
    let of_layers = entries.iter().filter(|(_, entry)| is_measured(entry));
    let mut count = 0;
    for (name, entry) in of_layers {
        let steps = steps_of(&entry.to_string());
        assert!(steps.is_ok(), "{name}: {}", steps.unwrap_err());
        count += 1;
    }
    assert!(count > 10, "{count}");
}

#[test]
fn names_are_networks_and_other_texts_files() {
    assert!(matches!("centerpoint".parse(), Ok(Model::Known(Network::CenterPoint))));
    assert!(matches!("my/layers.json".parse(), Ok(Model::File(_))));
    assert!("centrepoint".parse::<Model>().unwrap_err().contains("spunet"));
}

#[test]
fn detectors_have_their_grid_where_a_scan_fits_it() {
    let model = Model::Known(Network::CenterPoint);
    let cells = |x| model.turned(vec![Voxel::new(0, x, 1439, 40)]);
    assert_eq!(model.usual_grid(&cells(1439)), Some([41, 1440, 1440]));
    assert_eq!(model.usual_grid(&cells(1440)), None);
    assert_eq!(model.usual_grid(&cells(-1)), None);
    assert_eq!(Model::Known(Network::SpUNet).usual_grid(&cells(0)), None);
    let named = model.steps(Some([100, 200, 30])).unwrap();
    assert_eq!(named.grid, Some([30, 200, 100]));
}

/// Each layer once a level; the decoder's on the encoder's levels.
#[test]
fn layers_are_measured_on_the_levels_that_they_meet() {
    let folder = tempfile::tempdir().unwrap();
    let cells: Vec<Voxel> =
        (0..4_000).map(|i| Voxel::new(0, i / 64, i % 64, (i / 7) % 3)).collect();
    let start = Voxels::new(&host(), cells).unwrap();
    let mut levels = Levels { folder: folder.path(), label: "scan".to_owned(), held: Vec::new() };
    let steps = Model::Known(Network::SpUNet).steps(None).unwrap().steps;
    let list = measured(&steps, start.clone(), &[DType::Float16], &mut levels).unwrap();
    assert_eq!(levels.held.len(), 5);
    let of = |name: &str| list.iter().filter(|one| one.path.ends_with(name)).count();
    // Stem, down, up, two convolutions and a projection of the decoder's block, the classes.
    assert_eq!(of("scan.npy"), 7);
    let last = &list[list.len() - 1].configuration;
    assert_eq!((last.voxels, last.channels.c_out), (start.len(), 20));
}

/// Where the widest, and any other, reads a map of its level.
#[test]
fn layers_over_one_map_share_what_is_made_of_it() {
    let cells: Vec<Voxel> =
        (0..4_000).map(|i| Voxel::new(0, i / 64, i % 64, (i / 7) % 3)).collect();
    let readers = |network| {
        let folder = tempfile::tempdir().unwrap();
        let label = "scan".to_owned();
        let mut levels = Levels { folder: folder.path(), label, held: Vec::new() };
        let (start, steps) =
            (Voxels::new(&host(), cells.clone()).unwrap(), steps_of_known(network));
        measured(&steps, start, &[DType::Float16], &mut levels).unwrap()
    };
    let of = |list: &[ScanLayer], kind, extent, channels: &str| {
        let kernel = voxtune::KernelSize::cubic(extent).unwrap();
        let found = list.iter().find(|one| {
            let layer = one.configuration.layer;
            (layer.kind, layer.kernel) == (kind, kernel)
                && one.configuration.channels == channels.parse().unwrap()
        });
        let Readers { layers, alike } = found.unwrap().readers;
        (layers, alike)
    };
    let detector = readers(Network::CenterPoint);
    // A stem and two blocks.
    assert_eq!(of(&detector, LayerKind::Submanifold, 3, "5,16"), (5, 1));
    assert_eq!(of(&detector, LayerKind::Submanifold, 3, "16,16"), (5, 4));
    assert_eq!(of(&detector, LayerKind::Submanifold, 3, "64,64"), (4, 4));
    assert_eq!(of(&detector, LayerKind::Sparse, 3, "16,32"), (1, 1));
    // The decoder's blocks read the map of the encoder's.
    let unet = readers(Network::SpUNet);
    assert_eq!(of(&unet, LayerKind::Submanifold, 5, "4,32"), (1, 1));
    assert_eq!(of(&unet, LayerKind::Submanifold, 3, "256,256"), (12, 12));
    assert_eq!(of(&unet, LayerKind::Inverse, 2, "96,96"), (1, 1));
}

fn steps_of_known(network: Network) -> Vec<Step> {
    Model::Known(network).steps(None).unwrap().steps
}

/// Of the maps of a kind, over all networks, three of four have at least as many readers.
#[test]
fn usual_readers_are_those_of_the_networks() {
    let mut layers: BTreeMap<Geometry, Vec<u32>> = BTreeMap::new();
    let mut alike: Vec<u32> = Vec::new();
    for network in Network::ALL {
        let cells = (0..400).map(|x| Voxel::new(0, x, x / 2 % 64, x % 61)).collect();
        let all = met(&steps_of_known(network), Voxels::new(&host(), cells).unwrap()).unwrap();
        for (number, one) in all.iter().enumerate() {
            let readers = one.readers(&all);
            alike.push(readers.alike);
            if all[..number].iter().all(|before| !Arc::ptr_eq(&before.map, &one.map)) {
                layers.entry(one.map.geometry()).or_default().push(readers.layers);
            }
        }
    }
    let quarter = |mut counts: Vec<u32>| {
        counts.sort_unstable();
        counts[counts.len() / 4]
    };
    for (geometry, counts) in layers {
        let usual = Readers::usual(&geometry).layers;
        assert_eq!(usual, quarter(counts.clone()), "{geometry:?}: {counts:?}");
    }
    // Channels change in half of the layers of a block that widens.
    assert_eq!(quarter(alike), 1);
}

/// As bytes, for a program that has not seen the scan.
#[test]
fn a_profile_knows_what_levels_have_and_what_is_made_of_them() {
    let text = r#"{"spatial_shape": [11, 9, 20], "layers": [
        {"layer": "SubmConv3d", "kernel": [3, 3, 3], "in": 4, "out": 8},
        {"layer": "SparseConv3d", "kernel": [3, 3, 3], "stride": [2, 2, 2], "padding": [1, 1, 1],
         "in": 8, "out": 8}
    ]}"#;
    let Steps { steps, grid } = steps_of(text).unwrap();
    let host = host();
    let walk = Walk { network: None, steps, dtype: DType::Float16, inputs: vec![(grid, cells())] };
    let profile = walk.profile(&host).unwrap();
    let read = voxtune::FrameProfile::from_bytes(&profile.to_bytes()).unwrap();
    assert_eq!(read, profile);
    let start = Voxels::within(&host, grid.unwrap(), cells()).unwrap();
    let coarse = start.outputs_of(&walk.steps[1].geometry).unwrap().0;
    let described = format!("{read:?}");
    assert!(described.contains(&format!("input_rows: {}", start.len())), "{described}");
    assert!(described.contains(&format!("]: {}", coarse.len())), "{described}");
}
