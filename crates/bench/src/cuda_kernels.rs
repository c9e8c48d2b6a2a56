//! A GPU with its compiled kernels, for commands that look at kernels one by one.
//!
//! The tuner runs algorithms through the registry of [`voxtune::Device`]. What it does not offer,
//! such as a misaligned operand, the rate of a copy or a kernel map read back, is reached from
//! here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use voxtune::{DType, Operation};
use voxtune_cuda::{
    Algorithm, BlockingKernel, Compiled, Cublas, CudaDevice, CudaError, Instance, MapBuilder,
    NetworkMapBuilder, Prepared, Probe, Result, StridedMapBuilder, Verifier, find_compiled,
};
use voxtune_nvcc::Toolchain;

/// A device with a folder of compiled instances, and a compiler for those that it lacks.
#[derive(Debug)]
pub struct CudaKernels {
    device: CudaDevice,
    toolchain: std::result::Result<Toolchain, String>,
    folder: PathBuf,
    held: BTreeMap<Instance, Compiled>,
    failed: BTreeMap<Instance, String>,
    cublas: Option<Arc<Cublas>>,
}

/// What a compilation did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compilation {
    /// Instances asked for that were not held yet.
    pub instances: usize,
    /// Of these, not in the folder before.
    pub fresh: usize,
    /// Of these, failed.
    pub failed: usize,
    /// Size of the cubins.
    pub len_bytes: usize,
    /// How long it took.
    pub elapsed: Duration,
}

impl CudaKernels {
    /// Opens a device. Without a compiler, what lies in the folder still serves.
    ///
    /// # Errors
    /// If there is no driver, no such device, or it cannot be used.
    pub fn open(ordinal: usize, folder: &Path, toolkit: &Path) -> Result<Self> {
        let device = CudaDevice::open(ordinal)?;
        let cublas = Cublas::new(&device).ok().map(Arc::new);
        let toolchain = Toolchain::find(Some(toolkit)).map_err(|error| error.to_string());
        let (held, failed) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { device, toolchain, folder: folder.to_owned(), held, failed, cublas })
    }

    /// The device.
    #[must_use]
    pub const fn device(&self) -> &CudaDevice {
        &self.device
    }

    /// cuBLAS, where it is installed.
    #[must_use]
    pub const fn cublas(&self) -> Option<&Arc<Cublas>> {
        self.cublas.as_ref()
    }

    /// Device, driver and compiler in one line.
    #[must_use]
    pub fn describe(&self) -> String {
        let driver = self.device.driver_version();
        let compiler = match &self.toolchain {
            Ok(toolchain) => format!("nvcc {}.{}", toolchain.release().0, toolchain.release().1),
            Err(_) => "no nvcc".to_owned(),
        };
        let (major, minor) = (driver / 1000, driver % 1000 / 10);
        format!("{}, driver for CUDA {major}.{minor}, {compiler}", self.device.identity())
    }

    /// What could not be compiled so far, with the compiler's words.
    pub fn failures(&self) -> impl Iterator<Item = &str> {
        self.failed.values().map(String::as_str)
    }

    /// Reads or compiles what is not held yet, on all processors.
    pub fn compile(&mut self, instances: impl IntoIterator<Item = Instance>) -> Compilation {
        let start = Instant::now();
        let mut missing: Vec<Instance> = instances
            .into_iter()
            .filter(|one| !self.held.contains_key(one) && !self.failed.contains_key(one))
            .collect();
        missing.sort_unstable();
        missing.dedup();
        let mut done = Compilation { instances: missing.len(), ..Compilation::default() };
        for (instance, result) in missing.iter().zip(self.obtain(&missing)) {
            match result {
                Ok(compiled) => {
                    done.fresh += usize::from(!compiled.cached);
                    done.len_bytes += compiled.bytes.len();
                    self.held.insert(instance.clone(), compiled);
                }
                Err(error) => {
                    done.failed += 1;
                    self.failed.insert(instance.clone(), error.to_string());
                }
            }
        }
        done.elapsed = start.elapsed();
        done
    }

    fn obtain(&self, missing: &[Instance]) -> Vec<Result<Compiled>> {
        let capability = self.device.capability();
        match &self.toolchain {
            Ok(toolchain) => {
                let jobs = std::thread::available_parallelism().map_or(1, usize::from);
                toolchain.compile(missing, capability, &self.folder, jobs, &|_| ())
            }
            Err(why) => missing
                .iter()
                .map(|instance| {
                    find_compiled(instance, capability, &self.folder)?.ok_or_else(|| {
                        CudaError::NvccFailed {
                            instance: instance.to_string(),
                            output: why.clone(),
                        }
                    })
                })
                .collect(),
        }
    }

    fn compiled(&mut self, instance: &Instance) -> Result<&Compiled> {
        self.compile([instance.clone()]);
        self.held.get(instance).ok_or_else(|| CudaError::NvccFailed {
            instance: instance.to_string(),
            output: self.failed.get(instance).cloned().unwrap_or_default(),
        })
    }

    /// A builder of kernel maps.
    ///
    /// # Errors
    /// If its kernels cannot be had.
    pub fn map_builder(&mut self) -> Result<MapBuilder> {
        let device = self.device.clone();
        MapBuilder::new(&device, self.compiled(&Instance::kernel_map())?)
    }

    /// A builder of maps between two clouds.
    ///
    /// # Errors
    /// If its kernels cannot be had.
    pub fn strided_map_builder(&mut self, maps: &MapBuilder) -> Result<StridedMapBuilder> {
        StridedMapBuilder::new(maps, self.compiled(&Instance::strided_map())?)
    }

    /// A builder of levels and maps side by side, for clouds of the builders' device.
    ///
    /// # Errors
    /// If its kernels cannot be had.
    pub fn network_map_builder(
        &mut self,
        maps: &MapBuilder,
        strided: &StridedMapBuilder,
    ) -> Result<NetworkMapBuilder> {
        NetworkMapBuilder::new(maps, strided, self.compiled(&Instance::network_maps())?)
    }

    /// A probe of the device's rates.
    ///
    /// # Errors
    /// If its kernels cannot be had.
    pub fn probe(&mut self) -> Result<Probe> {
        let device = self.device.clone();
        Probe::new(&device, self.compiled(&Instance::probe())?)
    }

    /// A blocking kernel for what is timed.
    ///
    /// # Errors
    /// If it cannot be compiled or loaded.
    pub fn blocking_kernel(&mut self) -> Result<BlockingKernel> {
        let device = self.device.clone();
        BlockingKernel::new(&device, self.compiled(&Instance::probe())?)
    }

    /// The float64 convolution of a storage type.
    ///
    /// # Errors
    /// If its kernels cannot be had.
    pub fn verifier(&mut self, dtype: DType) -> Result<Verifier> {
        let device = self.device.clone();
        Verifier::new(&device, self.compiled(&Instance::reference(dtype))?)
    }

    /// Whether this machine can run an algorithm.
    #[must_use]
    pub fn available(&self, algorithm: &Algorithm, operation: &Operation) -> bool {
        (self.cublas.is_some() || !algorithm.requires_cublas())
            && algorithm.fits(operation, self.device.capability())
    }

    /// An algorithm ready to launch.
    ///
    /// # Errors
    /// If it does not apply, or its kernels cannot be had.
    pub fn prepare(
        &mut self,
        algorithm: &'static Algorithm,
        operation: &Operation,
    ) -> Result<Prepared> {
        self.prepare_as(algorithm, operation, |instance| instance)
    }

    /// The same as a race detector can follow it, see [`Instance::for_race_detector`].
    ///
    /// # Errors
    /// As [`CudaKernels::prepare`].
    pub fn prepare_for_race_detector(
        &mut self,
        algorithm: &'static Algorithm,
        operation: &Operation,
    ) -> Result<Prepared> {
        self.prepare_as(algorithm, operation, |instance| instance.for_race_detector())
    }

    fn prepare_as(
        &mut self,
        algorithm: &'static Algorithm,
        operation: &Operation,
        form: impl FnOnce(Instance) -> Instance,
    ) -> Result<Prepared> {
        let instance = algorithm.instance(operation).ok_or_else(|| CudaError::NotApplicable {
            algorithm: algorithm.to_string(),
            operation: operation.to_string(),
        })?;
        let (device, cublas) = (self.device.clone(), self.cublas.clone());
        let compiled = self.compiled(&form(instance))?;
        Prepared::new(&device, algorithm, operation, compiled, cublas.as_ref())
    }
}
