//! Looking an algorithm up allocates nothing, the first time included, nor does comparing a
//! launch's map with its operation.

use std::hint::black_box;

use voxtune::{
    DType, Device, DeviceIdentity, Direction, GradeKind, KernelSize, Launch, Operation, ShapeKey,
    Tensor, Tuner, Voxel, Voxels,
};
use voxtune_cache::{Decision, Decisions};

#[test]
fn no_grade_allocates() {
    let device = Device::cpu_with_threads(1).unwrap();
    let own = device.identity().clone();
    let mut sibling = own.clone();
    sibling.units += 7;
    let kernel = KernelSize::submanifold(3).unwrap();
    let key = |direction, rows: usize| {
        let operation = Operation::submanifold(direction, DType::Float32, 32, 32, kernel);
        ShapeKey::new(operation, rows, rows, rows * 5)
    };
    let registry = device.registry();
    let id = |key: &ShapeKey| {
        let applicable = registry.algorithms().filter(|one| one.applies(&key.operation));
        applicable.last().unwrap().id().clone()
    };
    let decision = |device: &DeviceIdentity, key: ShapeKey| Decision {
        device: device.clone(),
        key,
        winner: id(&key),
        runner_up: None,
        without_libraries: None,
        safe: vec![id(&key)],
    };
    let decisions: Decisions = [
        decision(&own, key(Direction::Forward, 1_000)),
        decision(&own, key(Direction::Forward, 9_000)),
        decision(&sibling, key(Direction::Dgrad, 1_000)),
    ]
    .into_iter()
    .collect();
    let tuner = Tuner::builder().decisions(decisions).build();
    for (key, grade) in [
        (key(Direction::Forward, 1_000), GradeKind::Exact),
        (key(Direction::Dgrad, 1_000), GradeKind::Sibling),
        (key(Direction::Forward, 3_000), GradeKind::Near),
        (key(Direction::Wgrad, 1_000), GradeKind::Default),
    ] {
        // What the model says of a key is remembered.
        tuner.resolve(&device, &key).unwrap();
        let mut found = None;
        let allocations = allocation_counter::measure(|| {
            found = Some(tuner.resolve(&device, black_box(&key)).unwrap());
        });
        assert_eq!(found.unwrap().grade().kind(), grade);
        assert_eq!(allocations.count_total, 0, "{grade}");
    }
}

#[test]
fn a_refused_launch_allocates_nothing() {
    let device = Device::cpu_with_threads(1).unwrap();
    let voxels = Voxels::new(&device, vec![Voxel::new(0, 0, 0, 0)]).unwrap();
    let kernel = KernelSize::submanifold(3).unwrap();
    let (_, map) = voxels.strided(kernel, [2; 3]).unwrap();
    let operation = Operation::submanifold(Direction::Forward, DType::Float32, 2, 2, kernel);
    let tensor = |rows| Tensor::zeros(&device, DType::Float32, rows, 2).unwrap();
    let (a, b, mut out) = (tensor(1), tensor(54), tensor(map.counts().n_out));
    let algorithm = device.registry().default_for(&operation).unwrap();
    let mut result = Ok(());
    let allocations = allocation_counter::measure(|| {
        let launch = Launch {
            operation: &operation,
            map: &map,
            a: &a,
            b: &b,
            out: &mut out,
            epilogue: None,
        };
        result = device.registry().run(&**algorithm, &device, launch);
    });
    assert!(result.is_err());
    assert_eq!(allocations.count_total, 0);
}
