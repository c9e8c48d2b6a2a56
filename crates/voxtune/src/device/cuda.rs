//! A GPU as a device: kernels prepared once, launched without allocation or waiting.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use voxtune_cuda::ops::FeatureKernels;
use voxtune_cuda::{
    Algorithm, BlockingKernel, CacheFlush, Cloud, Compiled, Cublas, CudaDevice, CudaError,
    DeviceKernelMap, EventTimer, Instance, MapBuilder, MapPart, NetworkMapBuilder, NoiseFill,
    Operands, OutputsBuilder, PointsBuilder, Prepared, Probe, StridedMapBuilder, Verifier,
    VoxelIndex, Workspace, algorithms,
};
use voxtune_types::{DType, DeviceIdentity, Direction, Geometry, LayerKind, Operation};

use super::compile_ahead::CompileProgress;
use super::kernels::{KernelSource, KernelStore};
use super::{L2State, Sample};

/// A GPU in one execution context: a stream with kernels bound to it, a workspace and page-locked
/// reports. Contexts share where kernels come from, the code that is loaded, and what is prepared.
pub(crate) struct CudaBackend {
    device: CudaDevice,
    store: Arc<KernelStore>,
    has_cublas: bool,
    /// Made at the first use: a handle takes memory.
    cublas: OnceLock<Cublas>,
    map_builder: OnceLock<MapBuilder>,
    strided_builder: OnceLock<StridedMapBuilder>,
    outputs_builder: OnceLock<OutputsBuilder>,
    network_map_builder: OnceLock<NetworkMapBuilder>,
    points_builder: OnceLock<PointsBuilder>,
    workspace: Mutex<Workspace>,
    stopwatch: Mutex<Option<Stopwatch>>,
    noise_fill: OnceLock<NoiseFill>,
    /// By storage type: float16, bfloat16, float32.
    verifiers: [OnceLock<Verifier>; 3],
    features: [OnceLock<FeatureKernels>; 3],
}

/// What timing a run takes: events, a cache to empty, a blocking kernel to queue behind, a clock to
/// read.
struct Stopwatch {
    timer: EventTimer,
    /// Made at the first use: it takes memory, of which others may ask how much is taken.
    flush: Option<CacheFlush>,
    blocking_kernel: BlockingKernel,
    probe: Probe,
}

impl Stopwatch {
    fn new(device: &CudaDevice, compiled: &Compiled) -> Result<Self, CudaError> {
        Ok(Self {
            timer: EventTimer::new(device)?,
            flush: None,
            blocking_kernel: BlockingKernel::new(device, compiled)?,
            probe: Probe::new(device, compiled)?,
        })
    }

    fn flush(&mut self, device: &CudaDevice) -> Result<(), CudaError> {
        match &mut self.flush {
            Some(flush) => flush.flush(),
            empty => empty.insert(CacheFlush::new(device)?).flush(),
        }
    }

    /// Queues work behind the blocking kernel, lets the device begin, and waits for it.
    fn sample<E: From<CudaError>>(
        &mut self,
        work: impl FnOnce() -> Result<(), E>,
    ) -> Result<Sample, E> {
        self.timer.start()?;
        let queued = work();
        self.timer.stop()?;
        let host_was_late = !self.blocking_kernel.unblock();
        queued?;
        // The clock first: it is queued at once, and the wait for it is the only one.
        let clock_mhz = self.probe.clock_mhz()? as u32;
        let elapsed_ns = self.timer.elapsed_ns()? as u64;
        Ok(Sample { elapsed_ns, clock_mhz: Some(clock_mhz), host_was_late })
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl CudaBackend {
    pub(super) fn open(ordinal: u32, source: KernelSource) -> Result<Self, CudaError> {
        let device = CudaDevice::open(ordinal as usize)?;
        let store = Arc::new(KernelStore::new(source, device.capability()));
        // A device without its kernel map, or with a driver too old for it, can do nothing. Say so
        // now and not at the first layer.
        let needed = store.get(&Instance::kernel_map())?.minimum_driver();
        let found = device.driver_version();
        if found < needed {
            return Err(CudaError::DriverTooOld { found, needed });
        }
        let cublas = Cublas::new(&device).ok().map(OnceLock::from);
        let has_cublas = cublas.is_some();
        Self::of(device, store, has_cublas, cublas.unwrap_or_default())
    }

    /// The same GPU in another execution context.
    pub(super) fn within(&self, device: CudaDevice) -> Result<Self, CudaError> {
        Self::of(device, Arc::clone(&self.store), self.has_cublas, OnceLock::new())
    }

    fn of(
        device: CudaDevice,
        store: Arc<KernelStore>,
        has_cublas: bool,
        cublas: OnceLock<Cublas>,
    ) -> Result<Self, CudaError> {
        let workspace = Mutex::new(Workspace::new(&device)?);
        Ok(Self {
            device,
            store,
            has_cublas,
            cublas,
            map_builder: OnceLock::new(),
            strided_builder: OnceLock::new(),
            outputs_builder: OnceLock::new(),
            network_map_builder: OnceLock::new(),
            points_builder: OnceLock::new(),
            workspace,
            stopwatch: Mutex::default(),
            noise_fill: OnceLock::new(),
            verifiers: Default::default(),
            features: Default::default(),
        })
    }

    pub(super) fn identity(&self) -> &DeviceIdentity {
        self.device.identity()
    }

    pub(crate) const fn device(&self) -> &CudaDevice {
        &self.device
    }

    pub(crate) const fn store(&self) -> &Arc<KernelStore> {
        &self.store
    }

    pub(crate) const fn has_cublas(&self) -> bool {
        self.has_cublas
    }

    fn cublas(&self) -> Result<&Cublas, CudaError> {
        if let Some(handle) = self.cublas.get() {
            return Ok(handle);
        }
        let handle = Cublas::new(&self.device)?;
        Ok(self.cublas.get_or_init(|| handle))
    }

    pub(super) fn driver_and_toolkit(&self) -> (String, String) {
        let version = self.device.driver_version();
        let driver = format!("CUDA {}.{}", version / 1000, version % 1000 / 10);
        (driver, self.store.toolkit_version())
    }

    /// Memory that is free now, with what the workspace could give back.
    pub(super) fn free_memory_bytes(&self) -> u64 {
        self.device.memory().map_or(0, |memory| memory.free_bytes as u64)
    }

    /// Voxels by hash, for maps of them.
    pub(crate) fn index(&self, cloud: Cloud<'_>) -> Result<Arc<VoxelIndex>, CudaError> {
        self.builder()?.index(cloud)
    }

    /// The map of layers of a geometry, between voxels that are on the device.
    pub(crate) fn build_map(
        &self,
        inputs: &Arc<VoxelIndex>,
        outputs: &Arc<VoxelIndex>,
        geometry: &Geometry,
    ) -> Result<DeviceKernelMap, CudaError> {
        let Geometry { kind, kernel, dilation, .. } = *geometry;
        match (kind, dilation) {
            (LayerKind::Submanifold, [1, 1, 1]) => self.builder()?.submanifold_of(inputs, kernel),
            (LayerKind::Submanifold, _) => {
                self.strided_builder()?.dilated_of(inputs, kernel, dilation)
            }
            _ => self.strided_builder()?.build_of(inputs, outputs, geometry),
        }
    }

    fn builder(&self) -> Result<&MapBuilder, CudaError> {
        if let Some(builder) = self.map_builder.get() {
            return Ok(builder);
        }
        let builder = MapBuilder::new(&self.device, &*self.store.get(&Instance::kernel_map())?)?;
        Ok(self.map_builder.get_or_init(|| builder))
    }

    /// The builder of maps between two clouds, loaded at the first use: most programs that need
    /// none should not wait for it.
    pub(super) fn strided_builder(&self) -> Result<&StridedMapBuilder, CudaError> {
        if let Some(builder) = self.strided_builder.get() {
            return Ok(builder);
        }
        let compiled = self.store.get(&Instance::strided_map())?;
        let builder = StridedMapBuilder::new(self.builder()?, &compiled)?;
        Ok(self.strided_builder.get_or_init(|| builder))
    }

    /// What finds the outputs of strided and transposed layers, loaded at the first use.
    pub(crate) fn outputs_builder(&self) -> Result<&OutputsBuilder, CudaError> {
        if let Some(builder) = self.outputs_builder.get() {
            return Ok(builder);
        }
        let [coordinates, network_maps] = [Instance::coordinates(), Instance::network_maps()];
        let (by_rows, by_bricks) = (self.store.get(&coordinates)?, self.store.get(&network_maps)?);
        let builder = OutputsBuilder::new(self.builder()?, &by_rows, &by_bricks)?;
        Ok(self.outputs_builder.get_or_init(|| builder))
    }

    /// What makes levels and maps of a network side by side, loaded at the first use.
    pub(crate) fn network_map_builder(&self) -> Result<&NetworkMapBuilder, CudaError> {
        if let Some(builder) = self.network_map_builder.get() {
            return Ok(builder);
        }
        let compiled = self.store.get(&Instance::network_maps())?;
        let builder = NetworkMapBuilder::new(self.builder()?, self.strided_builder()?, &compiled)?;
        Ok(self.network_map_builder.get_or_init(|| builder))
    }

    /// Gets ready what the first frame of a network needs, whatever its layers are: the code of
    /// kernel maps, strided ones too, and memory. A driver takes longer for the latter than a
    /// kernel over it: 0.2 ms for what a detector's frame takes while it waits for counts.
    pub(crate) fn warm_up(&self) -> Result<(), CudaError> {
        /// A detector's frame of 80,000 voxels takes 44 MiB, and 85 where it expects its counts.
        const FIRST_FRAME_BYTES: usize = 96 << 20;
        self.device.warm_up_memory(FIRST_FRAME_BYTES)?;
        self.outputs_builder()?;
        self.network_map_builder()?;
        Ok(())
    }

    /// What makes voxels of points, loaded at the first use.
    pub(crate) fn points_builder(&self) -> Result<&PointsBuilder, CudaError> {
        if let Some(builder) = self.points_builder.get() {
            return Ok(builder);
        }
        let builder = PointsBuilder::new(&self.device, &*self.store.get(&Instance::points())?)?;
        Ok(self.points_builder.get_or_init(|| builder))
    }

    /// Reads or compiles the instances of some algorithms in their order, in parallel, until all
    /// are there or it is told to stop.
    pub(super) fn compile(
        &self,
        wanted: &[(&'static Algorithm, Operation)],
        jobs: usize,
        progress: &CompileProgress,
    ) {
        let mut seen = HashSet::new();
        let instances = wanted.iter().filter_map(|(algorithm, op)| algorithm.instance(op));
        let distinct: Vec<Instance> =
            instances.filter(|instance| seen.insert(instance.clone())).collect();
        self.store.get_all(&distinct, jobs, progress);
    }

    /// How long calls have waited for kernels to be read or compiled.
    pub(super) fn waited_for_kernels(&self) -> Duration {
        self.store.waited()
    }

    /// The machine code that an algorithm runs for an operation.
    pub(crate) fn kernel_hash(
        &self,
        algorithm: &'static Algorithm,
        operation: &Operation,
    ) -> Result<u64, CudaError> {
        let instance = algorithm.instance(operation).ok_or_else(|| CudaError::NotApplicable {
            algorithm: algorithm.to_string(),
            operation: operation.to_string(),
        })?;
        Ok(self.store.get(&instance)?.kernel_hash)
    }

    /// The launch of the algorithm at a place among [`algorithms`], for any context.
    fn prepare(&self, place: usize, operation: &Operation) -> Result<Arc<Prepared>, CudaError> {
        self.store.resolve_cache().launch(place, operation, || {
            let algorithm = &algorithms()[place];
            let not_applicable = || CudaError::NotApplicable {
                algorithm: algorithm.to_string(),
                operation: operation.to_string(),
            };
            let instance = algorithm.instance(operation).ok_or_else(not_applicable)?;
            Prepared::new(&self.device, algorithm, operation, &*self.store.get(&instance)?)
        })
    }

    /// This context's handle of cuBLAS for an algorithm that needs one.
    fn cublas_for(&self, algorithm: &Algorithm) -> Result<Option<&Cublas>, CudaError> {
        algorithm.requires_cublas().then(|| self.cublas()).transpose()
    }

    /// Queues a product. Allocates only when a workspace grows, and where the map's tables or pair
    /// lists are read for the first time.
    pub(crate) fn launch(
        &self,
        place: usize,
        operation: &Operation,
        map: &DeviceKernelMap,
        operands: &mut Operands<'_>,
    ) -> Result<(), CudaError> {
        let prepared = self.prepare(place, operation)?;
        prepared.check(map, operands)?;
        let algorithm = prepared.algorithm();
        let cublas = self.cublas_for(algorithm)?;
        let needed = algorithm.workspace_bytes_for(operation, map)?;
        let mut workspace = locked(&self.workspace);
        workspace.reserve(needed)?;
        prepared.launch(map, operands, &mut workspace, cublas)
    }

    /// Makes what an algorithm reads of a map, the workspace that it needs over it, and its launch.
    pub(crate) fn prepare_map(
        &self,
        place: usize,
        operation: &Operation,
        map: &DeviceKernelMap,
    ) -> Result<(), CudaError> {
        let algorithm = self.prepare(place, operation)?.algorithm();
        self.cublas_for(algorithm)?;
        let builder = self.builder()?;
        for part in algorithm.map_parts(operation, self.device.identity().units as usize) {
            builder.add_part(map, operation.direction, part)?;
        }
        let needed = algorithm.workspace_bytes_for(operation, map)?;
        locked(&self.workspace).reserve(needed)
    }

    /// Makes a part of a map that a direction reads, and gives it back, see
    /// [`MapBuilder::make_part`].
    pub(crate) fn make_part(
        &self,
        map: &DeviceKernelMap,
        direction: Direction,
        part: MapPart,
    ) -> Result<(), CudaError> {
        self.builder()?.make_part(map, direction, part)
    }

    /// Overwrites the scratch memory.
    pub(crate) fn fill_workspace(&self, byte: u8) -> Result<(), CudaError> {
        locked(&self.workspace).fill_scratch(byte)
    }

    /// Times queued work with events. A blocking kernel before it ends once all of it is queued, so
    /// the host's time for that is hidden.
    pub(super) fn time<E: From<CudaError>>(
        &self,
        l2_state: L2State,
        mut work: impl FnMut() -> Result<(), E>,
    ) -> Result<Sample, E> {
        let mut slot = locked(&self.stopwatch);
        let stopwatch = self.stopwatch(&mut slot)?;
        match l2_state {
            L2State::Cold => stopwatch.flush(&self.device)?,
            L2State::Hot => work()?,
        }
        stopwatch.blocking_kernel.block()?;
        stopwatch.sample(work)
    }

    /// [`Self::time`] of work that takes the host up to `limit` to queue, with L2 as it is.
    pub(super) fn time_whole<E: From<CudaError>>(
        &self,
        limit: Duration,
        work: impl FnOnce() -> Result<(), E>,
    ) -> Result<Sample, E> {
        let mut slot = locked(&self.stopwatch);
        let stopwatch = self.stopwatch(&mut slot)?;
        stopwatch.blocking_kernel.block_for(limit)?;
        stopwatch.sample(work)
    }

    /// The time between two events around queued work, what the device waited for included.
    pub(super) fn span<E: From<CudaError>>(
        &self,
        work: impl FnOnce() -> Result<(), E>,
    ) -> Result<Duration, E> {
        let mut timer = EventTimer::new(&self.device)?;
        timer.start()?;
        let queued = work();
        timer.stop()?;
        queued?;
        Ok(Duration::from_nanos(timer.elapsed_ns()? as u64))
    }

    fn stopwatch<'a>(
        &self,
        slot: &'a mut Option<Stopwatch>,
    ) -> Result<&'a mut Stopwatch, CudaError> {
        Ok(match slot {
            Some(stopwatch) => stopwatch,
            empty => {
                let compiled = self.store.get(&Instance::probe())?;
                empty.insert(Stopwatch::new(&self.device, &compiled)?)
            }
        })
    }

    pub(crate) fn noise_fill(&self) -> Result<&NoiseFill, CudaError> {
        if let Some(fill) = self.noise_fill.get() {
            return Ok(fill);
        }
        let fill = NoiseFill::new(&self.device, &*self.store.get(&Instance::noise())?)?;
        Ok(self.noise_fill.get_or_init(|| fill))
    }

    /// The kernels of features in a storage type, loaded at the first use.
    pub(crate) fn features(&self, dtype: DType) -> Result<&FeatureKernels, CudaError> {
        let slot = &self.features[dtype.index()];
        if let Some(kernels) = slot.get() {
            return Ok(kernels);
        }
        let compiled = self.store.get(&Instance::features(dtype))?;
        let kernels = FeatureKernels::new(&self.device, dtype, &compiled)?;
        Ok(slot.get_or_init(|| kernels))
    }

    pub(crate) fn verifier(&self, dtype: DType) -> Result<&Verifier, CudaError> {
        let slot = &self.verifiers[dtype.index()];
        if let Some(verifier) = slot.get() {
            return Ok(verifier);
        }
        let compiled = self.store.get(&Instance::reference(dtype))?;
        let verifier = Verifier::new(&self.device, &compiled)?;
        Ok(slot.get_or_init(|| verifier))
    }
}
