//! A GPU with its compiled kernels, for commands that look at kernels one by one.
//!
//! Algorithms run through the registry of its [`Device`] alone. What that does not offer, such as
//! the rate of a copy, a kernel map read back or the float64 product itself, is reached from here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use voxtune::inspection::cuda_device;
use voxtune::{DType, Device, DeviceChoice, DeviceError, KernelSource, Operation};
use voxtune_cuda::{
    Algorithm, BlockingKernel, Compiled, CudaDevice, CudaError, Instance, KernelCompiler,
    MapBuilder, NetworkMapBuilder, Prepared, Probe, Result, StridedMapBuilder, Verifier,
    find_compiled,
};
use voxtune_nvcc::{Nvcc, Toolchain};
use voxtune_types::ComputeCapability;

/// A device with a folder of compiled instances, and a compiler for those that it lacks.
#[derive(Debug)]
pub struct CudaKernels {
    device: Device,
    cuda: CudaDevice,
    ordinal: u32,
    toolkit: PathBuf,
    toolchain: std::result::Result<Toolchain, String>,
    folder: PathBuf,
    held: BTreeMap<Instance, Compiled>,
    failed: BTreeMap<Instance, String>,
    /// Whether algorithms run instances that a race detector can follow.
    is_watched: bool,
}

/// Compiles instances that a race detector can follow in the place of others.
#[derive(Debug)]
struct ForRaceDetector(Arc<Nvcc>);

impl KernelCompiler for ForRaceDetector {
    fn release(&self) -> Option<(u32, u32)> {
        self.0.release()
    }

    fn compile(
        &self,
        instance: &Instance,
        capability: ComputeCapability,
        folder: &Path,
    ) -> Result<Compiled> {
        self.0.compile(&instance.for_race_detector(), capability, folder)
    }
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
    pub fn open(
        ordinal: u32,
        folder: &Path,
        toolkit: &Path,
    ) -> std::result::Result<Self, DeviceError> {
        Self::open_compiling(ordinal, folder, toolkit, Nvcc::new(toolkit))
    }

    /// The same device once more, where algorithms run instances that a race detector can follow:
    /// see [`Instance::for_race_detector`].
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn for_race_detector(&self) -> std::result::Result<Self, DeviceError> {
        let compiler = Arc::new(ForRaceDetector(Nvcc::new(&self.toolkit)));
        let Self { ordinal, folder, toolkit, .. } = self;
        let opened = Self::open_compiling(*ordinal, folder, toolkit, compiler)?;
        Ok(Self { is_watched: true, ..opened })
    }

    fn open_compiling(
        ordinal: u32,
        folder: &Path,
        toolkit: &Path,
        compiler: Arc<dyn KernelCompiler>,
    ) -> std::result::Result<Self, DeviceError> {
        let asked = DeviceChoice::Cuda(ordinal);
        let (device, _) = Device::open_with(asked, &KernelSource::compiling(folder, compiler))?;
        let cuda = cuda_device(&device)
            .cloned()
            .ok_or_else(|| DeviceError::Unusable { asked, why: "it is no GPU".to_owned() })?;
        let toolchain = Toolchain::find(Some(toolkit)).map_err(|error| error.to_string());
        let (folder, toolkit) = (folder.to_owned(), toolkit.to_owned());
        let (held, failed) = (BTreeMap::new(), BTreeMap::new());
        let is_watched = false;
        Ok(Self { device, cuda, ordinal, toolkit, toolchain, folder, held, failed, is_watched })
    }

    /// The device, whose registry runs algorithms.
    #[must_use]
    pub const fn device(&self) -> &Device {
        &self.device
    }

    /// The same below the registry.
    #[must_use]
    pub const fn cuda(&self) -> &CudaDevice {
        &self.cuda
    }

    /// Device, driver and compiler in one line.
    #[must_use]
    pub fn describe(&self) -> String {
        let driver = self.cuda.driver_version();
        let compiler = match &self.toolchain {
            Ok(toolchain) => format!("nvcc {}.{}", toolchain.release().0, toolchain.release().1),
            Err(_) => "no nvcc".to_owned(),
        };
        let (major, minor) = (driver / 1000, driver % 1000 / 10);
        format!("{}, driver for CUDA {major}.{minor}, {compiler}", self.cuda.identity())
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
        let capability = self.cuda.capability();
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
        let device = self.cuda.clone();
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
        let device = self.cuda.clone();
        Probe::new(&device, self.compiled(&Instance::probe())?)
    }

    /// A blocking kernel for what is timed.
    ///
    /// # Errors
    /// If it cannot be compiled or loaded.
    pub fn blocking_kernel(&mut self) -> Result<BlockingKernel> {
        let device = self.cuda.clone();
        BlockingKernel::new(&device, self.compiled(&Instance::probe())?)
    }

    /// The float64 convolution of a storage type.
    ///
    /// # Errors
    /// If its kernels cannot be had.
    pub fn verifier(&mut self, dtype: DType) -> Result<Verifier> {
        let device = self.cuda.clone();
        Verifier::new(&device, self.compiled(&Instance::reference(dtype))?)
    }

    /// Dynamic shared memory that an algorithm's code was compiled for, in bytes; `None` of cuBLAS.
    /// Launches nothing.
    ///
    /// # Errors
    /// If the code cannot be had.
    pub(crate) fn compiled_shared_bytes(
        &mut self,
        algorithm: &'static Algorithm,
        operation: &Operation,
    ) -> Result<Option<usize>> {
        if algorithm.requires_cublas() {
            return Ok(None);
        }
        let instance = algorithm.instance(operation).ok_or_else(|| CudaError::NotApplicable {
            algorithm: algorithm.to_string(),
            operation: operation.to_string(),
        })?;
        let instance = if self.is_watched { instance.for_race_detector() } else { instance };
        let device = self.cuda.clone();
        let compiled = self.compiled(&instance)?;
        let prepared = Prepared::new(&device, algorithm, operation, compiled)?;
        Ok(prepared.compiled_shared_bytes().map(|bytes| bytes as usize))
    }
}
