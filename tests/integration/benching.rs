//! `bench --model`, and the counters that it reads.

use std::fs;
use std::time::Duration;

use serde_json::Value;
use voxtune::{
    ConvError, DType, Device, ExpectedCounts, Noise, SparseConv3d, SparseTensor, Tensor, Voxels,
};
use voxtune_pointcloud::{Generator, generate};

use crate::command::{Finished, run, voxtune};
use crate::needs::open_gpu;

#[test]
fn hosts_count_nothing() {
    let device = Device::cpu().unwrap();
    layer_over_new_voxels(&device, &ExpectedCounts::new()).unwrap();
    assert_eq!((device.launches(), device.memory_use()), (0, None));
}

#[test]
#[ignore = "needs a GPU"]
fn launches_memory_and_times_are_counted_on_a_gpu() {
    launches_memory_and_times_are_counted(&open_gpu().unwrap());
}

#[test]
fn networks_are_timed_and_written_as_json() {
    let folder = tempfile::tempdir().unwrap();
    let cells: Vec<u8> = (0..60_i32)
        .flat_map(|at| [at % 7, at / 7 % 5, at / 35])
        .flat_map(i32::to_le_bytes)
        .collect();
    let [scan, json, peers] =
        ["street.i32", "out.json", "peers.jsonl"].map(|name| folder.path().join(name));
    fs::write(&scan, cells).unwrap();
    let line = r#"{"peer":"other","net":"second","cloud":"street","N":60,"folded":true,"ms":1e9}"#;
    fs::write(&peers, line).unwrap();
    let mut command = voxtune();
    command.args(["bench", "--device", "cpu", "--threads", "1", "--frames", "2"]);
    command.args(["--model", "second/5:street", "--training", "--grid", "40,40,40"]);
    command.arg("--clouds").arg(&scan).arg("--json").arg(&json).arg("--peers").arg(&peers);
    let finished = Finished::of(command.output().unwrap()).success();
    for words in ["maps held", "40x40x40", "networks 1, failures 0", "none measured"] {
        assert!(finished.stdout.contains(words), "{finished:?}");
    }
    let report: Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    let network = &report["networks"][0];
    assert_eq!((&network["voxels"], &network["c_in"]), (&60.into(), &5.into()));
    let ways = network["ways"].as_array().unwrap();
    let names: Vec<&str> = ways.iter().filter_map(|way| way["way"].as_str()).collect();
    assert_eq!(names, ["fresh", "expected", "held", "step"]);
    let positive = |value: &Value| value.as_f64().unwrap() > 0.0;
    assert!(ways.iter().all(|way| positive(&way["wall_ms"]["median"]) && way["frames"] == 2));
    assert!(positive(&network["first_ms"]) && positive(&network["first_step_ms"]));
    assert!(report["peers"][0]["wall_ms"]["ratio"].as_f64().unwrap() < 1e-3);

    let scan = scan.to_str().unwrap();
    let wrong = run(&["bench", "--device", "cpu", "--clouds", scan, "--model", "second:lake"]);
    assert_eq!(wrong.status, Some(2));
    assert!(wrong.stderr.contains("lake") && wrong.stderr.contains("street"), "{wrong:?}");
}

/// A strided layer over voxels that nobody has seen, and its output.
fn layer_over_new_voxels(
    device: &Device,
    expected: &ExpectedCounts,
) -> Result<SparseTensor, ConvError> {
    let layer = SparseConv3d::builder(8, 16).stride(2).padding(1).seed(1).build(device)?;
    let cells = generate(Generator::Surface, 4_000, 1, 1).unwrap();
    let features = Tensor::noise(device, DType::Float32, cells.len(), 8, Noise::Uniform, 7)?;
    let voxels = Voxels::new(device, cells)?.expecting(expected);
    layer.forward(&SparseTensor::new(voxels, features)?)
}

fn launches_memory_and_times_are_counted(device: &Device) {
    let used = || device.memory_use().unwrap();
    let expected = ExpectedCounts::new();
    layer_over_new_voxels(device, &expected).unwrap().features().count().unwrap();

    device.reset_peak_memory();
    let (before, launches, waits) = (used(), device.launches(), device.waits());
    assert_eq!(before.current_bytes, before.peak_bytes);
    // Zeros are one fill.
    let zeros = |device| Tensor::zeros(device, DType::Float32, 312_500, 4).unwrap();
    let held = zeros(device);
    let with = used();
    assert_eq!(with.current_bytes - before.current_bytes, 5_000_000);
    assert_eq!(device.launches() - launches, 1);
    drop(held);
    assert_eq!((used().current_bytes, used().peak_bytes), (before.current_bytes, with.peak_bytes));
    assert_eq!(device.waits(), waits);
    // Another context's memory is the same device's; its launches are its own.
    let (other, launches) = (device.with_new_stream().unwrap(), device.launches());
    let held = zeros(&other);
    assert!(used().current_bytes >= before.current_bytes + 5_000_000);
    assert_eq!(device.launches(), launches);
    drop((held, other));

    // An input of a frame that waits for nothing.
    let layer = SparseConv3d::builder(8, 16).stride(2).padding(1).seed(1).build(device).unwrap();
    let input = || {
        let cells = generate(Generator::Surface, 4_000, 1, 1).unwrap();
        let features = Tensor::noise(device, DType::Float32, 4_000, 8, Noise::Uniform, 7).unwrap();
        let voxels = Voxels::new(device, cells).unwrap().expecting(&expected);
        SparseTensor::new(voxels, features).unwrap()
    };
    layer.forward(&input()).unwrap().features().count().unwrap();
    let (first, second) = (input(), input());
    let mut outputs = Vec::new();
    let sample = device.time_whole(Duration::from_millis(200), || {
        outputs.push(layer.forward(&first)?);
        Ok(())
    });
    let sample = sample.unwrap();
    let span = device.span(|| {
        outputs.push(layer.forward(&second)?);
        Ok(())
    });
    assert!(!sample.host_was_late && sample.elapsed_ns > 0);
    assert!(span.unwrap() > Duration::ZERO);
    let [first, second] = &outputs[..] else { panic!("{outputs:?}") };
    assert_eq!(first.features().to_f32().unwrap(), second.features().to_f32().unwrap());
}
