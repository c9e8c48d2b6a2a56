//! Files that somebody else can reach: pipes and sockets in their place, folders that cannot be
//! entered or written, locks that are never freed.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use voxtune::{
    DType, Device, Direction, GradeKind, KernelSize, MissPolicy, SparseTensor, WeightLayout,
};
use voxtune::{SubmConv3d, Tensor, Tuner, Voxel, Voxels};
use voxtune_cache::CacheDir;
use voxtune_tune::run::populate::PopulateError;
use voxtune_tune::{Event, TuneNow};

use crate::command::{Finished, run, small_populate, voxtune};
use crate::faulty::{Fault, Injected, spec};
use crate::injected::Run;
use crate::populating::evidence;

#[test]
fn f02_a_home_that_cannot_be_entered_stops_nobody() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    std::os::unix::fs::symlink("loop", folder.path().join("loop")).unwrap();
    let explain = |variable: &str, value: &Path| {
        let mut command = voxtune();
        command.args(["explain", "--num-voxels", "1000", "--channels", "8,8", "--device", "cpu"]);
        command.args(["--dtypes", "float32"]).env_remove("XDG_CACHE_HOME").env(variable, value);
        Finished::of(command.output().unwrap())
    };
    for name in ["file", "loop", &"n".repeat(300)] {
        for variable in ["HOME", "XDG_CACHE_HOME", "VOXTUNE_CACHE_DIR"] {
            let finished = explain(variable, &folder.path().join(name)).success();
            assert!(finished.stdout.contains("runs"), "{finished:?}");
        }
    }
    // One that is there and cannot be read is obeyed by nobody, and nothing is run against it.
    fs::create_dir(folder.path().join("algo-modes")).unwrap();
    assert_eq!(explain("VOXTUNE_CACHE_DIR", folder.path()).status, Some(2));
}

/// A layer's grade after a call over a cube of so many cells a side.
fn grade(device: &Device, tuner: &Tuner, side: i32) -> GradeKind {
    let kernel = KernelSize::submanifold(3).unwrap();
    let weights = vec![0.5; kernel.volume() * 4 * 6];
    let tuner = tuner.clone();
    let layer = SubmConv3d::builder(4, 6)
        .kernel(kernel)
        .weights(WeightLayout::Rsck, &weights)
        .tuner(tuner)
        .build(device);
    let layer = layer.unwrap();
    let cell = |i: i32| Voxel::new(0, i % side, i / side % side, i / side / side);
    let voxels = Voxels::new(device, (0..side.pow(3)).map(cell).collect()).unwrap();
    let rows = side.pow(3) as usize;
    let features = Tensor::from_fn(device, DType::Float32, rows, 4, |i| i as f32).unwrap();
    let input = SparseTensor::new(voxels, features).unwrap();
    layer.forward(&input).unwrap();
    layer.resolve(Direction::Forward, input.voxels()).unwrap().grade().kind()
}

fn tuner(hook: TuneNow) -> Tuner {
    let hook = hook.budget(Duration::ZERO);
    Tuner::builder().policy(MissPolicy::TuneNow(Arc::new(hook))).build()
}

#[test]
fn f12_what_cannot_be_kept_holds_for_the_process() {
    let device = Device::cpu_with_threads(1).unwrap();
    let root = tempfile::tempdir().unwrap();
    let arch = device.identity().arch;
    // A place where no folder can be made, a folder without room for the lock, and one without room
    // for results.
    let [file, locked, full] = ["file", "locked", "full"].map(|name| root.path().join(name));
    fs::write(&file, "").unwrap();
    fs::create_dir_all(locked.join(format!("{arch}.tuning.lock"))).unwrap();
    fs::create_dir_all(CacheDir::new(&full).evidence_path(arch)).unwrap();
    for folder in [file.join("below"), locked, full] {
        let tuner = tuner(TuneNow::new(CacheDir::new(&folder)));
        for side in [3, 6] {
            let found = grade(&device, &tuner, side);
            assert_eq!(found, GradeKind::Exact, "{}", folder.display());
        }
    }
}

#[test]
fn f12_a_frozen_peer_is_waited_for_once() {
    use voxtune::{Miss, TuneOnMiss as _};

    let device = Device::cpu_with_threads(1).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let arch = device.identity().arch;
    let lock = fs::File::create(folder.path().join(format!("{arch}.tuning.lock"))).unwrap();
    lock.lock().unwrap();
    let hook = TuneNow::new(CacheDir::new(folder.path())).budget(Duration::ZERO);
    let hook = hook.wait(Duration::from_millis(20));
    let cells = (0..60).map(|x| Voxel::new(0, x, 0, 0)).collect();
    let voxels = Voxels::new(&device, cells).unwrap();
    let kernel = KernelSize::submanifold(3).unwrap();
    let map = voxels.kernel_map(kernel).unwrap();
    let (counts, geometry) = (map.counts(), map.geometry());
    let tune = |channels| {
        let operation = voxtune::Operation::submanifold(
            Direction::Forward,
            DType::Float32,
            channels,
            channels,
            kernel,
        );
        let key = counts.key(operation);
        hook.tune(&Miss { device: &device, key: &key, counts, voxels: &voxels, geometry })
    };
    let waits = [4, 5].map(|channels| tune(channels).unwrap_err().to_string());
    assert!(waits[0].contains("still tunes after"), "{}", waits[0]);
    assert!(waits[1].contains("waited for in vain before"), "{}", waits[1]);
    lock.unlock().unwrap();
    assert_eq!(tune(6).unwrap().len(), 1);
}

/// Runs a command that must end, with its standard input closed.
fn ends(command: &mut Command) -> Finished {
    const LIMIT: Duration = Duration::from_secs(120);
    let null = Stdio::null();
    let mut child: Child =
        command.stdin(null).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() > LIMIT {
            child.kill().unwrap();
            panic!("it hangs: {command:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Finished::of(child.wait_with_output().unwrap())
}

#[test]
fn f16_a_pipe_in_the_place_of_a_file_hangs_no_command() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    let arch = Device::cpu_with_threads(1).unwrap().identity().arch;
    let caches = CacheDir::new(at("caches"));
    fs::create_dir(caches.path()).unwrap();
    let fifo = |path: &Path| {
        assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    };
    fifo(&caches.decisions_path(arch));
    fifo(&caches.evidence_path(arch));
    fifo(&at("fifo"));
    fifo(&at("scan.i32"));
    let _socket = UnixListener::bind(at("socket")).unwrap();
    let (dir, decisions) = (caches.path().to_owned(), caches.decisions_path(arch));
    let small = ["--num-voxels", "60", "--channels", "4,4", "--dtypes", "float32"];
    let sound = at("sound");
    assert!(small_populate(&sound).output().unwrap().status.success());
    let sound = sound.to_str().unwrap();
    let commands: [(&[&str], &Path); 14] = [
        (&["inspect"], &dir),
        (&["inspect"], &decisions),
        (&["verify"], &dir),
        (&["verify"], &decisions),
        (&["migrate"], &dir),
        (&["forget", "--all", "--out"], &dir),
        (&["merge", "--out", "/nonexistent/out"], &dir),
        (&["regret", "--cache"], &dir),
        (&["regret", "--cache", sound], &at("fifo")),
        (&["regret", "--cache", sound], &at("socket")),
        (&["populate", "--device", "cpu", "--shapes"], &at("fifo")),
        (&["populate", "--device", "cpu", "--from-misses"], &at("socket")),
        (&["bench", "--device", "cpu", "--peers"], &at("fifo")),
        (&["bench", "--device", "cpu", "--clouds"], &at("scan.i32")),
    ];
    for (arguments, path) in commands {
        let finished = ends(voxtune().args(arguments).arg(path));
        assert_ne!(finished.status, Some(0), "{arguments:?} {finished:?}");
        let said = finished.stdout.clone() + &finished.stderr;
        assert!(said.contains("expected a regular file"), "{arguments:?} {said}");
    }
    let populate = |out: &Path, samples: &Path| {
        ends(small_populate(out).arg("--no-isolation").arg("--samples").arg(samples))
    };
    let other = at("other");
    for (out, samples) in [(&*dir, at("fresh")), (&*other, at("fifo"))] {
        let finished = populate(out, &samples);
        assert_eq!(finished.status, Some(1), "{finished:?}");
        assert!(finished.stderr.contains("found a named pipe"), "{finished:?}");
    }
    let explain =
        ends(voxtune().args(["explain", "--device", "cpu", "--out"]).arg(&dir).args(small));
    assert!(explain.success().stderr.contains("found a named pipe"));
}

/// A pipe, and a device that never ends, in the place of each file that a folder of caches may
/// hold.
#[test]
fn f16_nothing_in_a_folder_of_caches_hangs_a_command() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    let arch = Device::cpu_with_threads(1).unwrap().identity().arch;
    let sound = at("sound");
    Finished::of(small_populate(&sound).output().unwrap()).success();
    let (dir, other) = (at("caches"), at("other"));
    let names = ["msgpack", "evidence.msgpack", "lock"]
        .map(|end| format!("{arch}.{end}"))
        .into_iter()
        .chain(["algo-modes", "sm_90.kernels"].map(str::to_owned));
    for name in names {
        for is_pipe in [true, false] {
            _ = fs::remove_dir_all(&dir);
            fs::create_dir(&dir).unwrap();
            for file in fs::read_dir(&sound).unwrap() {
                let path = file.unwrap().path();
                fs::copy(&path, dir.join(path.file_name().unwrap())).unwrap();
            }
            let place = dir.join(&name);
            _ = fs::remove_file(&place);
            if is_pipe {
                assert!(Command::new("mkfifo").arg(&place).status().unwrap().success());
            } else {
                std::os::unix::fs::symlink("/dev/zero", &place).unwrap();
            }
            let commands: [&[&Path]; 5] = [
                &["inspect".as_ref(), &dir],
                &["verify".as_ref(), &dir],
                &["migrate".as_ref(), &dir],
                &["merge".as_ref(), &dir, "--out".as_ref(), &other],
                &["merge".as_ref(), &sound, "--out".as_ref(), &dir],
            ];
            for command in commands {
                ends(voxtune().args(command));
            }
            ends(small_populate(&dir).arg("--resume"));
            ends(voxtune().args(["forget", "--all", "--out"]).arg(&dir));
            let layer = ["--num-voxels", "60", "--channels", "4,4", "--dtypes", "float32"];
            let mut explain = voxtune();
            explain.args(["explain", "--device", "cpu"]).args(layer);
            ends(explain.env("VOXTUNE_CACHE_DIR", &dir));
            assert!(fs::metadata(&place).is_ok_and(|found| !found.is_file()), "{name} is replaced");
        }
    }
}

#[test]
fn f16_what_the_shell_hands_over_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let shapes = folder.path().join("shapes");
    fs::write(&shapes, "voxels=60 channels=4,4 kernel=3x3x3 dtype=float32\n").unwrap();
    let mut command = voxtune();
    command.args(["populate", "--device", "cpu", "--dry-run", "--shapes", "/dev/stdin"]);
    let by_file = command.stdin(fs::File::open(&shapes).unwrap()).output().unwrap();
    let by_file = Finished::of(by_file).success();
    assert!(by_file.last_line().contains("1 configurations"), "{by_file:?}");
    let mut cat = Command::new("cat").arg(&shapes).stdout(Stdio::piped()).spawn().unwrap();
    let by_pipe = command.stdin(cat.stdout.take().unwrap()).output().unwrap();
    cat.wait().unwrap();
    assert_eq!(Finished::of(by_pipe).success().last_line(), by_file.last_line());
}

/// The lock is held from the first configuration on, and Ctrl-C comes when saving waits for it.
#[test]
fn f19_an_interrupted_run_saves_beside_a_held_lock() {
    let run_of = Run::small();
    let (mut held, interrupt) = (None, &run_of.interrupt);
    let lock = || {
        let files = fs::read_dir(run_of.folder()).unwrap().map(|file| file.unwrap().path());
        let mut locks = files.filter(|path| path.extension().is_some_and(|end| end == "lock"));
        let file = fs::File::open(locks.next().unwrap()).unwrap();
        file.lock().unwrap();
        file
    };
    let error = run_of.failing_when_watched(
        &spec(&[Injected::new("plain", Fault::None).default()]),
        &mut |event| match event {
            Event::ConfigurationStarted { index: 0, .. } => held = Some(lock()),
            Event::SavingWaits { .. } => interrupt.store(true, Ordering::Relaxed),
            _ => {}
        },
    );
    let text = error.to_string();
    let PopulateError::Unsaved { unsaved: 1, beside: Some((beside, out)), .. } = error else {
        panic!("{text}");
    };
    assert!(text.contains("unsaved-1") && text.contains("voxtune merge"), "{text}");
    assert_eq!(evidence(&beside).len(), 1);
    drop(held);
    run(&["merge", beside.to_str().unwrap(), "--out", out.to_str().unwrap()]).success();
    assert_eq!(evidence(run_of.folder()).len(), 1);
}
