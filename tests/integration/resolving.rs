//! What the runtime makes of caches: grades, guards and pins, over decisions made by hand.

use std::fmt::Write;

use voxtune::{
    AlgoId, ConvError, DType, Device, DeviceIdentity, Direction, KernelSize, MissPolicy, Operation,
    ShapeKey, SparseTensor, SubmConv3d, Tensor, Tuner, Voxel, Voxels, WeightLayout,
};
use voxtune_cache::{Decision, Decisions};
use voxtune_types::mode::AlgoModes;

const EXPLICIT: &str = "explicit_gemm";
const NARROW: &str = "implicit_gemm:rows=64:cols=32";
const WIDE: &str = "implicit_gemm:rows=512:cols=32";

fn device() -> Device {
    Device::cpu_with_threads(1).unwrap()
}

fn operation(direction: Direction) -> Operation {
    let kernel = KernelSize::submanifold(3).unwrap();
    Operation::submanifold(direction, DType::Float32, 32, 32, kernel)
}

/// A key of this many rows with this many pairs per row.
fn key(direction: Direction, rows: usize, pairs_per_row: usize) -> ShapeKey {
    ShapeKey::new(operation(direction), rows, rows, rows * pairs_per_row)
}

fn id(text: &str) -> AlgoId {
    text.parse().unwrap()
}

fn decision(device: &DeviceIdentity, key: ShapeKey, winner: &str, safe: &[&str]) -> Decision {
    let mut safe: Vec<AlgoId> = safe.iter().map(|text| id(text)).collect();
    safe.push(id(winner));
    safe.sort_unstable();
    safe.dedup();
    Decision {
        device: device.clone(),
        key,
        winner: id(winner),
        runner_up: None,
        without_libraries: None,
        safe,
    }
}

fn tuner(decisions: Vec<Decision>) -> Tuner {
    Tuner::builder().decisions(decisions.into_iter().collect::<Decisions>()).build()
}

#[test]
fn each_grade_answers_where_the_better_ones_cannot() {
    use Direction::{Dgrad, Forward, Wgrad};
    let device = device();
    let own = device.identity().clone();
    let sibling = DeviceIdentity { name: "a sibling".to_owned(), units: 64, ..own.clone() };
    let tuner = tuner(vec![
        // Forward: two sizes whose winners are not safe for one another, and a third between them
        // and the next that share one.
        decision(&own, key(Forward, 1 << 10, 5), NARROW, &[]),
        decision(&own, key(Forward, 1 << 13, 5), WIDE, &[EXPLICIT]),
        decision(&own, key(Forward, 1 << 16, 5), EXPLICIT, &[NARROW]),
        decision(&sibling, key(Forward, 1 << 20, 5), WIDE, &[]),
        // Gradients of features: only known on a sibling.
        decision(&sibling, key(Dgrad, 1 << 13, 5), WIDE, &[]),
        // Gradients of weights: known for denser clouds.
        decision(&own, key(Wgrad, 1 << 13, 9), EXPLICIT, &[]),
    ]);
    let questions = [
        (Forward, 1 << 10, 5),
        (Forward, 1 << 11, 5),
        (Forward, 1 << 15, 5),
        (Forward, 1 << 8, 5),
        (Forward, 1 << 6, 5),
        (Forward, 1 << 13, 9),
        (Forward, 1 << 13, 20),
        (Forward, 1 << 20, 5),
        (Dgrad, 1 << 13, 5),
        (Dgrad, 1 << 14, 5),
        (Wgrad, 1 << 13, 5),
        (Wgrad, 1 << 13, 2),
    ];
    let mut text = String::new();
    for (direction, rows, pairs_per_row) in questions {
        let resolution = tuner.resolve(&device, &key(direction, rows, pairs_per_row)).unwrap();
        let name = match resolution.algorithm().id().as_str() {
            EXPLICIT => "explicit",
            NARROW => "narrow",
            WIDE => "wide",
            _ => "the default",
        };
        // The processor's name is not the test's business.
        let grade = resolution.grade().to_string().replace(&own.arch.to_string(), "ARCH");
        writeln!(text, "{} → {name} [{grade}]", resolution.key()).unwrap();
    }
    insta::assert_snapshot!("grades", text);
}

#[test]
fn retired_ids_are_passed_over() {
    let device = device();
    let key = key(Direction::Forward, 1000, 5);
    let mut retired = decision(device.identity(), key, "retired_gemm:tile=9", &[]);
    let resolve = |decision: Decision| {
        let resolution = tuner(vec![decision]).resolve(&device, &key).unwrap();
        (resolution.algorithm().id().to_string(), resolution.grade().to_string())
    };
    assert_eq!(resolve(retired.clone()).1, "default");
    retired.runner_up = Some(id(EXPLICIT));
    assert_eq!(resolve(retired), (EXPLICIT.to_owned(), "exact (user)".to_owned()));
}

#[test]
fn a_strict_policy_refuses_guesses() {
    let device = device();
    let known = key(Direction::Forward, 1000, 5);
    let decisions: Decisions =
        std::iter::once(decision(device.identity(), known, EXPLICIT, &[])).collect();
    let strict = Tuner::builder().decisions(decisions).policy(MissPolicy::Fail).build();
    assert!(strict.resolve(&device, &known).is_ok());
    let error = strict.resolve(&device, &key(Direction::Forward, 3000, 5)).unwrap_err();
    assert!(matches!(error, ConvError::Miss { .. }));
    assert!(error.to_string().contains("voxtune populate"), "{error}");
}

#[test]
fn a_pinned_algorithm_runs_or_is_refused() {
    let device = device();
    let key = key(Direction::Dgrad, 1000, 5);
    let pinned = |value: &str| {
        let variable = |name: &str| (name == "WARPCONVNET_BWD_ALGO_MODE").then(|| value.to_owned());
        let decisions = vec![decision(device.identity(), key, WIDE, &[])];
        let tuner = Tuner::builder()
            .decisions(decisions.into_iter().collect())
            .modes(AlgoModes::resolve(None, variable).unwrap())
            .build();
        let resolution = tuner.resolve(&device, &key)?;
        Ok((resolution.algorithm().id().to_string(), resolution.grade().to_string()))
    };
    let answer = |id: &str, grade: &str| (id.to_owned(), grade.to_owned());
    let found = |value| pinned(value).map_err(|error: ConvError| error.to_string());
    assert_eq!(found("auto"), Ok(answer(WIDE, "exact (user)")));
    assert_eq!(found(EXPLICIT), Ok(answer(EXPLICIT, "pinned")));
    assert_eq!(found(NARROW), Ok(answer(NARROW, "pinned")));
    // The cached winner, if it is one of those named.
    assert_eq!(found("[explicit_gemm,implicit_gemm]"), Ok(answer(WIDE, "pinned")));
    let refused = found("nonesuch").unwrap_err();
    assert!(refused.contains("nonesuch") && refused.contains("ALGO_MODE"), "{refused}");
}

/// What was measured of it: for the key, on another device, for neighbouring keys; else the
/// default.
#[test]
fn a_pinned_family_runs_its_best() {
    use Direction::Forward;
    let device = device();
    let own = device.identity().clone();
    let sibling = DeviceIdentity { name: "a sibling".to_owned(), units: 64, ..own.clone() };
    let decisions = [
        decision(&own, key(Forward, 1 << 10, 5), EXPLICIT, &[WIDE]),
        decision(&sibling, key(Forward, 1 << 20, 5), EXPLICIT, &[WIDE]),
    ];
    let tuner = |name: &str| {
        Tuner::builder()
            .decisions(decisions.iter().cloned().collect())
            .pin(Forward, name.parse().unwrap())
            .build()
    };
    let resolve = |tuner: Tuner, key: &ShapeKey| {
        let resolution = tuner.resolve(&device, key).unwrap();
        assert_eq!(resolution.grade().to_string(), "pinned");
        resolution.algorithm().id().to_string()
    };
    for rows in [1 << 10, 1 << 20, 1 << 12] {
        assert_eq!(resolve(tuner("implicit_gemm"), &key(Forward, rows, 5)), WIDE, "{rows}");
        assert_eq!(resolve(tuner(NARROW), &key(Forward, rows, 5)), NARROW, "{rows}");
        assert_eq!(resolve(tuner("explicit_gemm"), &key(Forward, rows, 5)), EXPLICIT, "{rows}");
    }
    // Nothing was measured of such rows.
    let unknown = key(Forward, 1 << 10, 27);
    let default = Tuner::empty().resolve(&device, &unknown).unwrap();
    assert_eq!(default.grade().to_string(), "default");
    let default = default.algorithm().id().to_string();
    assert_eq!(resolve(tuner("implicit_gemm"), &unknown), default);
    // A member is itself, whether its family was asked for before or will be.
    let asked_last = key(Forward, 1 << 11, 27);
    let all = device.registry().algorithms();
    let members = all.filter(|one| one.applies(&operation(Forward)));
    let members = members.map(|one| one.id().to_string());
    for member in members.filter(|id| id.starts_with("implicit_gemm")) {
        assert_eq!(resolve(tuner(&member), &unknown), member);
        assert_eq!(resolve(tuner(&member), &asked_last), member);
    }
    assert_eq!(resolve(tuner("implicit_gemm"), &asked_last), default);
}

/// A cache changes speed, never results: whatever it says, the layer computes the same.
#[test]
fn no_cache_changes_results() {
    let device = device();
    let cells: Vec<Voxel> = (0..500).map(|i| Voxel::new(0, i % 10, i / 10 % 10, i / 100)).collect();
    let voxels = Voxels::new(&device, cells).unwrap();
    let small = |index: usize| ((index * 7) % 5) as f32 - 2.0;
    let features = Tensor::from_fn(&device, DType::Float32, 500, 32, small).unwrap();
    let weights: Vec<f32> =
        (0..27 * 32 * 32).map(|index| ((index * 11) % 3) as f32 - 1.0).collect();
    let input = SparseTensor::new(voxels, features).unwrap();
    let kernel = KernelSize::submanifold(3).unwrap();
    let output = |tuner: Tuner| {
        let layer = SubmConv3d::builder(32, 32)
            .kernel(kernel)
            .weights(WeightLayout::Rsck, &weights)
            .tuner(tuner)
            .build(&device)
            .unwrap();
        let forward = layer.forward(&input).unwrap();
        let dgrad = layer.dgrad(input.voxels(), forward.features()).unwrap();
        let wgrad = layer.wgrad(&input, forward.features()).unwrap();
        [forward.into_features().unwrap(), dgrad, wgrad].map(|tensor| tensor.to_f32().unwrap())
    };
    let expected = output(Tuner::empty());
    let map = input.voxels().kernel_map(kernel).unwrap().counts();
    for winner in [EXPLICIT, NARROW, WIDE, "retired_gemm"] {
        let decisions = Direction::ALL.map(|direction| {
            decision(device.identity(), map.key(operation(direction)), winner, &[])
        });
        assert!(output(tuner(decisions.to_vec())) == expected, "{winner}");
    }
}

#[test]
fn bad_calls_are_errors() {
    let device = device();
    let kernel = KernelSize::submanifold(3).unwrap();
    let layer = |c_in, c_out, weights: &[f32]| {
        SubmConv3d::builder(c_in, c_out)
            .kernel(kernel)
            .weights(WeightLayout::Rsck, weights)
            .tuner(Tuner::empty())
            .build(&device)
    };
    assert!(matches!(layer(0, 4, &[]), Err(ConvError::NoChannels { .. })));
    assert!(matches!(device.capture(|| Ok(())), Err(ConvError::NoGraphs { .. })));
    assert!(matches!(
        layer(2, 4, &[0.0; 5]),
        Err(ConvError::Length { expected: 216, found: 5, .. })
    ));
    let layer = layer(2, 4, &[0.0; 216]).unwrap();
    let cells = vec![Voxel::new(0, 0, 0, 0), Voxel::new(0, 1, 0, 0)];
    let voxels = Voxels::new(&device, cells).unwrap();
    let tensor = |dtype, rows, channels| Tensor::zeros(&device, dtype, rows, channels).unwrap();
    let input = |tensor| SparseTensor::new(voxels.clone(), tensor).unwrap();
    assert!(SparseTensor::new(voxels.clone(), tensor(DType::Float32, 3, 2)).is_err());
    let wrong_channels = layer.forward(&input(tensor(DType::Float32, 2, 3)));
    assert!(matches!(wrong_channels, Err(ConvError::Channels { expected: 2, found: 3, .. })));
    let wrong_dtype = layer.forward(&input(tensor(DType::Float16, 2, 2)));
    assert!(matches!(wrong_dtype, Err(ConvError::DType { .. })));

    let error = Voxels::new(&device, vec![Voxel::new(0, 1, 2, 3); 2]).unwrap_err();
    assert!(error.to_string().contains("batch 0, x 1, y 2, z 3"), "{error}");
}
