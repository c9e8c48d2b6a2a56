//! Algorithms with faults, and devices that have them, in this process or in a worker.
//!
//! A worker learns by the note of its [`DeviceSpec`] which faults to inject.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cudarc::cublas::result::CublasError;
use cudarc::cublas::sys::cublasStatus_t;
use serde::{Deserialize, Serialize};
use voxtune::{
    AlgoId, Algorithm, ConvError, DType, Device, DeviceError, Direction, KernelHash, KernelMap,
    KernelSize, Launch, MapCounts, MapPart, Operation, Registry, Voxels,
};
use voxtune_cpu::ElementsMut;
use voxtune_cuda::{CudaError, RowOrder};
use voxtune_tune::DeviceSpec;

use crate::astray;

/// What an injected candidate does instead of its duty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// Does its duty.
    None,
    /// One element of the result is off by a hundredth of its scale.
    OneElementWrong,
    /// Every third run is wrong.
    Racy,
    /// One element is never written.
    Forgetful,
    /// Panics, whatever it is asked for.
    Panics,
    /// Refuses to launch.
    Fails,
    /// Ends its process by a signal.
    Aborts,
    /// Ends its process in good order.
    Exits,
    /// Has its process killed, as a system does that runs out of memory.
    GetsKilled,
    /// Asks for more memory than any machine has.
    Starves,
    /// Never returns.
    Hangs,
    /// Answers as a GPU does whose kernel went astray; whatever runs after it says nothing.
    LosesContext,
    /// Answers as a GPU does that is full.
    FillsMemory,
    /// Has no code: its kernel does not compile.
    DoesNotCompile,
    /// Right, but it takes this many milliseconds more.
    Takes(u64),
    /// Right, and it reads an order of its map that takes this many milliseconds to make.
    Sorts(u64),
    /// Right, but it takes this many milliseconds more, and leaves the number of its process in the
    /// folder of the device.
    Signs(u64),
    /// Ends its process, and a device that has a folder cannot be opened again.
    TakesDeviceAway,
    /// The first run of the race takes 30 ms more, as if something were loaded.
    SlowFirst,
    /// Every run takes 30 ms more until it has lost a race, as beside a neighbour that is busy for
    /// a while.
    LosesItsRace,
    /// Takes this many milliseconds more, and with each run of any candidate three hundredths of
    /// that on top, as on a device whose clock falls.
    Drifts(u64),
    /// Touches memory of a GPU that is not there.
    IllegalAddress,
    /// Leaves a kernel on a GPU that never ends.
    GpuHangs,
    /// Every third result on a GPU is corrupted.
    GpuRacy,
}

/// A candidate to inject.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Injected {
    name: String,
    fault: Fault,
    default: bool,
    hash: u64,
}

impl Injected {
    /// A candidate of this name, which is no default.
    #[must_use]
    pub fn new(name: &str, fault: Fault) -> Self {
        Self { name: name.to_owned(), fault, default: false, hash: 7 }
    }

    /// The same as the default.
    #[must_use]
    pub fn default(self) -> Self {
        Self { default: true, ..self }
    }

    /// The same with code of another hash.
    #[must_use]
    pub fn with_hash(self, hash: u64) -> Self {
        Self { hash, ..self }
    }
}

/// The file in a device's folder that says that the device is gone.
const GONE: &str = "gone";

/// The device of a specification: on the host with the injected candidates alone, on a GPU with
/// them beside its own.
///
/// # Errors
/// As [`DeviceSpec::open`], and if the device has been taken away.
///
/// # Panics
/// If the note is none of injected candidates.
pub fn open(spec: &DeviceSpec) -> Result<(Device, Option<String>), DeviceError> {
    if spec.note.is_empty() {
        return spec.open();
    }
    let injected: Vec<Injected> = serde_json::from_str(&spec.note).unwrap();
    let folder = &spec.kernels;
    if folder.as_ref().is_some_and(|folder| folder.join(GONE).exists()) {
        let why = "the device has fallen off the bus".to_owned();
        return Err(DeviceError::Unusable { asked: spec.choice, why });
    }
    let (device, _) = spec.open()?;
    let is_cuda = device.identity().arch.is_cuda();
    let kernel = KernelSize::submanifold(3).unwrap();
    let operation = Operation::submanifold(Direction::Forward, DType::Float16, 32, 32, kernel);
    let host: AlgoId = "explicit_gemm".parse().unwrap();
    let mut own: Vec<Arc<dyn Algorithm>> = device.registry().algorithms().cloned().collect();
    let suits = |one: &&Arc<dyn Algorithm>| {
        if is_cuda { one.is_default(&operation) } else { *one.id() == host }
    };
    let inner = Arc::clone(own.iter().find(suits).expect("there is a default"));
    if !is_cuda {
        own.clear();
    }
    for Injected { name, fault, default, hash } in injected {
        let (id, inner, runs) = (name.parse().unwrap(), Arc::clone(&inner), AtomicUsize::new(0));
        let folder = folder.clone();
        own.push(Arc::new(Faulty { id, fault, default, hash, inner, runs, folder }));
    }
    Ok((device.with_registry(Registry::new(own)), None))
}

/// A right algorithm with a fault.
struct Faulty {
    id: AlgoId,
    fault: Fault,
    default: bool,
    hash: u64,
    inner: Arc<dyn Algorithm>,
    runs: AtomicUsize,
    /// Of the device, where it has one.
    folder: Option<PathBuf>,
}

/// Runs that verification on the host makes of each candidate before it races.
const VERIFICATION_RUNS: usize = 3;

/// Runs of a race after which a dominated candidate leaves: one that does not count, and one that
/// does.
const DOMINATED_RUNS: usize = 2;

static DRIFT: AtomicUsize = AtomicUsize::new(0);

impl Faulty {
    /// What it does before its duty, or in its stead.
    fn before(&self, run: usize) -> Result<(), ConvError> {
        // The driver's own answers cannot be put into words where there is no driver.
        let answer = |status| {
            let (what, source) = ("a matrix product", CublasError(status));
            Err(ConvError::from(CudaError::Cublas { what, source }))
        };
        let pause = |milliseconds| std::thread::sleep(Duration::from_millis(milliseconds));
        match self.fault {
            Fault::Panics => panic!("an illegal address"),
            Fault::Fails => {
                let detail = "too many resources requested".to_owned();
                return Err(ConvError::Launch { algorithm: self.id.to_string(), detail });
            }
            Fault::Aborts => std::process::abort(),
            Fault::Exits => std::process::exit(0),
            Fault::GetsKilled => {
                let id = std::process::id().to_string();
                Command::new("kill").args(["-KILL", &id]).status().unwrap();
                pause(60_000);
            }
            Fault::Starves => drop(Vec::<u8>::with_capacity(1 << 46)),
            Fault::Hangs => loop {
                pause(60_000);
            },
            Fault::LosesContext => return answer(cublasStatus_t::CUBLAS_STATUS_EXECUTION_FAILED),
            Fault::FillsMemory => return answer(cublasStatus_t::CUBLAS_STATUS_ALLOC_FAILED),
            Fault::Takes(milliseconds) => pause(milliseconds),
            Fault::Signs(milliseconds) => {
                let folder = self.folder.as_ref().unwrap();
                std::fs::write(folder.join(std::process::id().to_string()), "").unwrap();
                pause(milliseconds);
            }
            Fault::TakesDeviceAway => {
                if let Some(folder) = &self.folder {
                    std::fs::write(folder.join(GONE), "").unwrap();
                    std::process::abort();
                }
            }
            Fault::SlowFirst if run == VERIFICATION_RUNS => pause(30),
            Fault::LosesItsRace if run < VERIFICATION_RUNS + DOMINATED_RUNS => pause(30),
            Fault::Drifts(milliseconds) => {
                let drift = DRIFT.fetch_add(1, Ordering::Relaxed) as u64;
                std::thread::sleep(Duration::from_micros(milliseconds * (1_000 + 30 * drift)));
            }
            Fault::IllegalAddress => astray::touch_an_illegal_address(),
            Fault::GpuHangs => astray::hang(),
            _ => {}
        }
        Ok(())
    }
}

impl Algorithm for Faulty {
    fn id(&self) -> &AlgoId {
        &self.id
    }

    fn applies(&self, operation: &Operation) -> bool {
        self.inner.applies(operation)
    }

    fn in_auto_pool(&self, _operation: &Operation, _counts: MapCounts) -> bool {
        true
    }

    fn is_default(&self, _operation: &Operation) -> bool {
        self.default
    }

    fn workspace_bytes(&self, operation: &Operation, map: &KernelMap) -> u64 {
        self.inner.workspace_bytes(operation, map)
    }

    fn kernel_hash(
        &self,
        _device: &Device,
        _operation: &Operation,
    ) -> Result<KernelHash, ConvError> {
        if self.fault == Fault::DoesNotCompile {
            let (instance, output) = (self.id.to_string(), "error: expected a `;`".to_owned());
            return Err(CudaError::NvccFailed { instance, output }.into());
        }
        Ok(KernelHash::new(self.hash))
    }

    fn map_parts(&self, _operation: &Operation) -> Vec<MapPart> {
        match self.fault {
            Fault::Sorts(_) => vec![MapPart::Order(RowOrder::Global)],
            _ => Vec::new(),
        }
    }

    fn make_parts(
        &self,
        _device: &Device,
        _operation: &Operation,
        count: usize,
        _over: (&Voxels, &KernelMap),
        parts: &[MapPart],
    ) -> Result<(), ConvError> {
        if let (Fault::Sorts(milliseconds), [MapPart::Order(_)]) = (self.fault, parts) {
            std::thread::sleep(Duration::from_millis(milliseconds) * count as u32);
        }
        Ok(())
    }

    fn run(&self, device: &Device, launch: Launch<'_>) -> Result<(), ConvError> {
        let run = self.runs.fetch_add(1, Ordering::Relaxed);
        self.before(run)?;
        let Launch { operation, map, a, b, out, epilogue } = launch;
        self.inner.run(device, Launch { operation, map, a, b, out: &mut *out, epilogue })?;
        if self.fault == Fault::GpuRacy && run % 3 == 1 {
            return out.poison(device);
        }
        let corrupted = match self.fault {
            Fault::OneElementWrong => Some(0.01),
            Fault::Racy if run % 3 == 1 => Some(0.5),
            Fault::Forgetful => Some(f32::NAN),
            _ => None,
        };
        if let (Some(offset), Some(ElementsMut::Float32(elements))) = (corrupted, out.host_mut()) {
            let last = elements.len() - 1;
            elements[last] += offset;
        }
        Ok(())
    }
}
