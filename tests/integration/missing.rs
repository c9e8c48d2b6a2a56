//! Keys that no cache holds: recorded for later, measured at once, or refused.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use voxtune::{
    AlgoId, Algorithm, ConvError, DType, Device, Direction, Grade, GradeKind, KernelHash,
    KernelMap, KernelSize, Launch, MapCounts, Miss, MissJournal, MissPolicy, Operation, Registry,
    Source, SparseConv3d, SparseConvTranspose3d, SparseInverseConv3d, SparseTensor, SubmConv3d,
    Tensor, TuneError, TuneOnMiss, Tuner, Voxel, Voxels, WeightLayout,
};
use voxtune_cache::{CacheDir, Decisions};
use voxtune_tune::TuneNow;

use crate::command::{Finished, run, voxtune};
use crate::populating::evidence;

const ROWS: i32 = 800;

fn device() -> Device {
    Device::cpu_with_threads(1).unwrap()
}

fn layer(device: &Device, tuner: &Tuner) -> SubmConv3d {
    let kernel = KernelSize::submanifold(3).unwrap();
    let weights = vec![0.5; kernel.volume() * 4 * 6];
    SubmConv3d::builder(4, 6)
        .kernel(kernel)
        .weights(WeightLayout::Rsck, &weights)
        .tuner(tuner.clone())
        .build(device)
        .unwrap()
}

fn input(device: &Device) -> SparseTensor {
    let cells = (0..ROWS).map(|i| Voxel::new(0, i % 10, i / 10 % 10, i / 100)).collect();
    let voxels = Voxels::new(device, cells).unwrap();
    let features = Tensor::from_fn(device, DType::Float32, ROWS as usize, 4, |i| i as f32).unwrap();
    SparseTensor::new(voxels, features).unwrap()
}

/// The grade of a layer's forward direction after a call.
fn grade_after_call(device: &Device, tuner: &Tuner) -> Grade {
    let (layer, input) = (layer(device, tuner), input(device));
    layer.forward(&input).unwrap();
    layer.resolve(Direction::Forward, input.voxels()).unwrap().grade().clone()
}

fn tune_now(folder: &Path) -> MissPolicy {
    let hook = TuneNow::new(CacheDir::new(folder)).budget(Duration::ZERO);
    MissPolicy::TuneNow(Arc::new(hook))
}

#[test]
fn a_journal_is_populated() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("misses");
    let device = device();
    let tuner = Tuner::builder().journal(MissJournal::new(&path)).build();
    assert_eq!(grade_after_call(&device, &tuner), Grade::Default);
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(
        text.starts_with("voxels=800 channels=4,6 kernel=3x3x3 dtype=float32 direction=forward")
    );

    // A writer that was killed left half a line.
    std::fs::write(&path, text.clone() + "voxels=8").unwrap();
    let out = folder.path().join("caches");
    let mut command = voxtune();
    command.args(["populate", "--device", "cpu", "--threads", "1", "--budget", "0"]);
    command.args(["--clouds", "uniform", "--from-misses"]).arg(&path).arg("--out").arg(&out);
    let finished = Finished::of(command.output().unwrap()).success();
    assert_eq!(finished.last_line(), "requested 1 = measured 1 + skipped 0 + failed 0");
    assert!(finished.stderr.contains("line 2"), "{finished:?}");
    assert!(finished.stderr.contains("which no generated cloud has"), "{finished:?}");
    let evidence = evidence(&out);
    let (entry, _) = evidence.entries().next().unwrap();
    assert_eq!((evidence.len(), entry.workload.rows_out), (1, 800));
    // The made-up cloud is dense, the generated one is not: near enough to answer.
    let tuned = Tuner::builder().folder(&out).build();
    assert_eq!(grade_after_call(&device, &tuned).kind(), GradeKind::Default);
}

#[test]
fn a_miss_is_tuned_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let device = device();
    let tuner = Tuner::builder().policy(tune_now(folder.path())).build();
    let exact = Grade::Exact { source: Source::User };
    assert_eq!(grade_after_call(&device, &tuner), exact);
    // It is on the disk: another process finds it without tuning.
    let later = Tuner::builder().user_folder(folder.path().join("missing")).build();
    assert_eq!(grade_after_call(&device, &later), Grade::Default);
    let later = Tuner::builder().folder(folder.path()).policy(MissPolicy::Fail).build();
    assert_eq!(grade_after_call(&device, &later), exact);
    let evidence = evidence(folder.path());
    let (entry, records) = evidence.entries().next().unwrap();
    assert_eq!((evidence.len(), &*entry.workload.cloud), (1, "call"));
    assert!(records.iter().any(|record| record.timing().is_some()));
}

/// On the map of the call, with its padding, dilation and shape, whichever side it begins with.
/// What a journal notes of the same layers, populate measures.
#[test]
fn layers_of_every_kind_are_tuned() {
    let folder = tempfile::tempdir().unwrap();
    let (device, journal) = (device(), folder.path().join("misses"));
    let tuned = Tuner::builder().policy(tune_now(folder.path())).build();
    let noted = Tuner::builder().journal(MissJournal::new(&journal)).build();
    let cells = (0..ROWS).map(|i| Voxel::new(0, i % 10, i / 10 % 10, i / 100)).collect();
    let voxels = Voxels::within(&device, [10, 10, 8], cells).unwrap();
    let features =
        Tensor::from_fn(&device, DType::Float32, ROWS as usize, 4, |i| i as f32).unwrap();
    let input = SparseTensor::new(voxels, features).unwrap();
    for (tuner, grade) in [(&tuned, GradeKind::Exact), (&noted, GradeKind::Default)] {
        let dilated = SubmConv3d::builder(4, 4).dilation(2).tuner(tuner.clone());
        let down = SparseConv3d::builder(4, 6).kernel([3, 3, 2]).stride(2).padding([0, 1, 1]);
        let up = SparseConvTranspose3d::builder(6, 2).kernel(3).stride(2).output_padding(1);
        let back = SparseInverseConv3d::builder(6, 4).kernel([3, 3, 2]).stride(2);
        let dilated = dilated.build(&device).unwrap();
        let down = down.tuner(tuner.clone()).build(&device).unwrap();
        let up = up.tuner(tuner.clone()).build(&device).unwrap();
        let back = back.tuner(tuner.clone()).build(&device).unwrap();
        dilated.forward(&input).unwrap();
        let coarse = down.forward(&input).unwrap();
        up.forward(&coarse).unwrap();
        back.forward(&coarse).unwrap();
        let resolutions = [
            dilated.resolve(Direction::Forward, input.voxels()),
            down.resolve(Direction::Forward, input.voxels()),
            up.resolve(Direction::Forward, coarse.voxels()),
            back.resolve(Direction::Forward, coarse.voxels()),
        ];
        let grades = resolutions.map(|one| one.unwrap().grade().kind());
        assert_eq!(grades, [grade; 4]);
    }
    assert_eq!(evidence(folder.path()).len(), 4);

    let out = folder.path().join("caches");
    let mut command = voxtune();
    command.args(["populate", "--device", "cpu", "--threads", "1", "--budget", "0"]);
    command.args(["--clouds", "uniform", "--from-misses"]).arg(&journal).arg("--out").arg(&out);
    let finished = Finished::of(command.output().unwrap()).success();
    assert_eq!(finished.last_line(), "requested 4 = measured 4 + skipped 0 + failed 0");
    let mut found: Vec<String> =
        evidence(&out).entries().map(|(entry, _)| entry.key.operation.to_string()).collect();
    found.sort_unstable();
    let expected = [
        "forward float32 4→4 k3",
        "forward float32 4→6 k3x3x2 s2x2x2",
        "forward float32 6→2 k3 s2x2x2 transposed",
        "forward float32 6→4 k3x3x2 s2x2x2 inverse",
    ];
    assert_eq!(found, expected);
}

/// Each tuner is as good as a process: they share the folder and nothing else. One measures, the
/// others take what it found.
#[test]
fn of_many_that_miss_at_once_one_measures() {
    let folder = tempfile::tempdir().unwrap();
    let runs_alone = runs_until_exact(&folder.path().join("alone"));
    let shared = folder.path().join("shared");
    let runs: usize = std::thread::scope(|scope| {
        let threads = [(); 4].map(|()| scope.spawn(|| runs_until_exact(&shared)));
        threads.map(|thread| thread.join().unwrap()).into_iter().sum()
    });
    // Each of the others runs its own call. A first run that a busy machine stretches is not
    // repeated.
    assert!(runs <= runs_alone + 3 + 1, "{runs} runs, {runs_alone} alone");
    assert_eq!(evidence(&shared).len(), 1);
}

/// How often an algorithm runs until a tuner that tunes into this folder has answered a call.
fn runs_until_exact(folder: &Path) -> usize {
    let runs = Arc::default();
    let own = device();
    let inner = own.registry().algorithms().find(|one| one.id().family() == "explicit_gemm");
    let counted = Counted { inner: Arc::clone(inner.unwrap()), runs: Arc::clone(&runs) };
    let device = own.with_registry(Registry::new(vec![Arc::new(counted)]));
    let tuner = Tuner::builder().policy(tune_now(folder)).build();
    assert_eq!(grade_after_call(&device, &tuner), Grade::Exact { source: Source::User });
    runs.load(Ordering::Relaxed)
}

/// An algorithm whose runs are counted.
struct Counted {
    inner: Arc<dyn Algorithm>,
    runs: Arc<AtomicUsize>,
}

impl Algorithm for Counted {
    fn id(&self) -> &AlgoId {
        self.inner.id()
    }

    fn applies(&self, operation: &Operation) -> bool {
        self.inner.applies(operation)
    }

    fn in_auto_pool(&self, operation: &Operation, counts: MapCounts) -> bool {
        self.inner.in_auto_pool(operation, counts)
    }

    fn is_default(&self, _operation: &Operation) -> bool {
        true
    }

    fn workspace_bytes(&self, operation: &Operation, map: &KernelMap) -> u64 {
        self.inner.workspace_bytes(operation, map)
    }

    fn kernel_hash(&self, device: &Device, operation: &Operation) -> Result<KernelHash, ConvError> {
        self.inner.kernel_hash(device, operation)
    }

    fn run(&self, device: &Device, launch: Launch<'_>) -> Result<(), ConvError> {
        self.runs.fetch_add(1, Ordering::Relaxed);
        self.inner.run(device, launch)
    }
}

#[derive(Debug, Default)]
struct Failing(AtomicUsize);

impl TuneOnMiss for Failing {
    fn tune(&self, miss: &Miss<'_>) -> Result<Decisions, TuneError> {
        assert_eq!((miss.counts.n_out, miss.voxels.len()), (800, 800));
        self.0.fetch_add(1, Ordering::Relaxed);
        Err(TuneError("no".into()))
    }
}

#[test]
fn a_tuner_that_fails_is_asked_once() {
    let device = device();
    let hook = Arc::new(Failing::default());
    let policy = MissPolicy::TuneNow(hook.clone());
    let tuner = Tuner::builder().policy(policy).build();
    for _ in 0..3 {
        assert_eq!(grade_after_call(&device, &tuner), Grade::Default);
    }
    assert_eq!(hook.0.load(Ordering::Relaxed), 1);
}

#[test]
fn a_file_of_shapes_is_planned_line_by_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shapes");
    let text = "# two layers\nvoxels=100000 channels=32,64\nvoxels=120000 channels=32,64\n\
                voxels=500000 channels=64,64 dtype=bfloat16 kernel=5 direction=forward\n";
    std::fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap();
    let listed = run(&["populate", "--dry-run", "--shapes", path, "--clouds", "surface"]).success();
    insta::assert_snapshot!("shapes", listed.stdout);
    assert!(listed.stderr.contains("3, in 2 configurations"), "{listed:?}");
    let refused = run(&["populate", "--dry-run", "--shapes", path, "--channels", "3,4"]);
    assert_eq!(refused.status, Some(2), "{refused:?}");
}

#[test]
fn files_without_shapes_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shapes");
    for (bytes, mention) in [
        (&b""[..], "no shape"),
        (b"voxels=5\n", "line 1"),
        (b"[{\"voxels\": 5}]", "channels"),
        (b"\x80", "namespaces"),
        (b"voxels=5 channels=3,4 kernel=2\n", "1, 3 or 5"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let finished = run(&["populate", "--dry-run", "--shapes", path.to_str().unwrap()]);
        assert_eq!(finished.status, Some(2), "{finished:?}");
        assert!(finished.stderr.contains(mention), "{finished:?}");
    }
}

#[cfg(unix)]
#[cfg(unix)]
#[test]
fn a_folder_that_others_can_write_does_not_count() {
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt as _;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("caches");
    let device = device();
    let tuner = Tuner::builder().policy(tune_now(&path)).build();
    grade_after_call(&device, &tuner);
    let own = || Tuner::builder().user_folder(&path).build();
    assert_eq!(own().warnings().len(), 0, "{:?}", own().warnings());
    assert_eq!(grade_after_call(&device, &own()).kind(), GradeKind::Exact);
    set_permissions(&path, Permissions::from_mode(0o777)).unwrap();
    let open = own();
    assert_eq!(open.warnings().len(), 1);
    let warning = open.warnings()[0].to_string();
    assert!(warning.contains("777") && warning.contains("caches"), "{warning}");
    assert_eq!(grade_after_call(&device, &open), Grade::Default);
    // What the program names itself counts.
    let named = Tuner::builder().folder(&path).build();
    assert_eq!(grade_after_call(&device, &named).kind(), GradeKind::Exact);
}
