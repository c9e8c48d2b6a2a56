//! Layers and networks that spconv has computed.

use std::path::{Path, PathBuf};

use voxtune::Device;
use voxtune_bench::fixtures;

use crate::needs::open_gpu;

#[test]
fn layers_and_networks_give_what_spconv_gives() {
    all_hold(&Device::cpu().unwrap());
}

#[test]
#[ignore = "needs a GPU"]
fn layers_and_networks_give_what_spconv_gives_on_a_gpu() {
    all_hold(&open_gpu().unwrap());
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/spconv")
}

fn all_hold(device: &Device) {
    let index = fixtures::index(&folder()).unwrap();
    assert_eq!(index.len(), 16);
    for (name, entry) in &index {
        let report = fixtures::run(&folder(), name, entry, device);
        assert!(report.holds(), "{report:?}");
        assert!(
            report.comparisons.iter().any(|one| one.worst > 0.0) || name.starts_with("maxpool")
        );
    }
}

/// A damaged value, a missing array, a layer that nobody knows.
#[test]
fn fixtures_that_differ_are_told() {
    let device = Device::cpu().unwrap();
    let entry = |text: &str| serde_json::from_str(text).unwrap();
    let layer = |name: &str, padding: u32, c_in: u32| {
        entry(&format!(
            r#"{{"layers": [{{"layer": "{name}", "kernel": [3, 3, 3], "stride": [2, 2, 2],
                "padding": [{padding}, 1, 1], "in": {c_in}, "out": 8}}]}}"#
        ))
    };
    let run = |name: &str, entry| fixtures::run(&folder(), name, &entry, &device);
    assert!(run("sparse_k3_s2_p1", layer("SparseConv3d", 1, 5)).holds());
    for (name, entry, words) in [
        ("sparse_k3_s2_p1", layer("SparseConv3d", 0, 5), "shape of the outputs"),
        ("sparse_k3_s2_p1", layer("SparseConv3d", 1, 6), "weights"),
        ("sparse_k3_s2_p1", layer("Conv4d", 1, 5), "Conv4d"),
        ("maxpool_k2_s2", layer("SparseConv3d", 1, 5), "0_weight"),
        ("none", layer("SparseConv3d", 1, 5), "none.npz"),
        ("subm_k5", entry(r#"{"network": "centerpoint"}"#), "conv_input.0.weight"),
        ("subm_k5", entry(r#"{"network": "resnet"}"#), "resnet"),
    ] {
        let report = run(name, entry);
        let failure = report.failure.clone().unwrap_or_default();
        assert!(!report.holds() && failure.contains(words), "{words}: {failure}");
    }
}
