//! A GPU's algorithms in the registry.

use std::sync::Arc;

use voxtune_cache::{KernelHash, Requirement};
use voxtune_cuda::model::{Correction, LearnedModel, MapSize, Rates};
use voxtune_cuda::{CudaError, Epilogue, Instance, Operands};
use voxtune_types::{AlgoId, ComputeCapability, Direction, Operation, PitchClass};

use super::{Algorithm, Launch};
use crate::cost::{self, Basis};
use crate::device::{CudaBackend, KernelStore};
use crate::{ConvError, Device, Estimate, KernelMap, KernelSource, MapCounts, MapPart, Voxels};

struct CudaAlgorithm {
    algorithm: &'static voxtune_cuda::Algorithm,
    /// Where it is among [`voxtune_cuda::algorithms`].
    place: usize,
    capability: ComputeCapability,
    rates: Rates,
    /// What was learned of it, in wgrad and out of it.
    corrections: [Option<Correction>; 2],
    has_cublas: bool,
    /// Where kernels come from; nowhere where nothing is to run.
    store: Option<Arc<KernelStore>>,
}

pub(super) fn algorithms(backend: &CudaBackend) -> Vec<Arc<dyn Algorithm>> {
    let device = backend.device();
    let (capability, sms) = (device.capability(), device.identity().units);
    let learned = cost::learned(capability);
    listed(capability, sms, backend.has_cublas(), Some(backend.store()), learned)
}

/// The algorithms of a GPU with so many SMs, which need not be here. They have the kernels of a
/// source, or all, and what a model has learned of them.
pub(crate) fn absent(
    capability: ComputeCapability,
    sms: u32,
    kernels: Option<&KernelSource>,
    learned: Option<&LearnedModel>,
) -> Vec<Arc<dyn Algorithm>> {
    let store = kernels.map(|kernels| Arc::new(KernelStore::new(kernels.clone(), capability)));
    listed(capability, sms, true, store.as_ref(), learned)
}

fn listed(
    capability: ComputeCapability,
    sms: u32,
    has_cublas: bool,
    store: Option<&Arc<KernelStore>>,
    learned: Option<&LearnedModel>,
) -> Vec<Arc<dyn Algorithm>> {
    let rates = Rates::of(capability, sms);
    voxtune_cuda::algorithms()
        .iter()
        .enumerate()
        .map(|(place, algorithm)| {
            let store = store.cloned();
            let of = |wgrad| learned?.correction(algorithm.id(), wgrad);
            let corrections = [of(false), of(true)];
            let listed = CudaAlgorithm {
                algorithm,
                place,
                capability,
                rates,
                corrections,
                has_cublas,
                store,
            };
            Arc::new(listed) as Arc<dyn Algorithm>
        })
        .collect()
}

/// Offsets of the kernels that constants were fitted to, 3×3×3, in submanifold layers.
const FITTED_VOLUME: usize = 27;

/// Counts that a GPU's map can have: no more rows and pairs than its kernels count. A question
/// about a map of more gets the answer for the largest.
fn possible(counts: MapCounts) -> MapCounts {
    let most = |count: usize| count.min(i32::MAX as usize);
    let MapCounts { n_in, n_out, pairs } = counts;
    MapCounts { n_in: most(n_in), n_out: most(n_out), pairs: most(pairs) }
}

impl CudaAlgorithm {
    fn has(&self, instance: &Instance) -> bool {
        self.store.as_ref().is_none_or(|store| store.has(instance))
    }

    fn correction(&self, operation: &Operation) -> Option<&Correction> {
        self.corrections[usize::from(operation.direction == Direction::Wgrad)].as_ref()
    }

    fn backend<'a>(&self, device: &'a Device) -> Result<&'a CudaBackend, ConvError> {
        device.cuda().ok_or_else(|| ConvError::WrongDevice {
            algorithm: self.algorithm.to_string(),
            device: device.identity().clone(),
        })
    }
}

impl Algorithm for CudaAlgorithm {
    fn id(&self) -> &AlgoId {
        self.algorithm.id()
    }

    fn applies(&self, operation: &Operation) -> bool {
        self.algorithm.fits(operation, self.capability)
            && self.algorithm.instance(operation).is_some_and(|instance| self.has(&instance))
    }

    fn in_auto_pool(&self, operation: &Operation, counts: MapCounts) -> bool {
        let rows = possible(counts).result_rows(operation.direction);
        self.algorithm.in_auto_pool(operation, rows, &self.rates)
    }

    fn estimate(&self, operation: &Operation, counts: MapCounts) -> Option<Estimate> {
        let MapCounts { n_in, n_out, pairs } = possible(counts);
        let size = MapSize { n_in, n_out, pairs };
        let correction = self.correction(operation);
        let time_ns = self.algorithm.expected_ns(operation, size, &self.rates, correction)?;
        let is_fitted = self.rates.is_measured
            && operation.kernel.volume() == FITTED_VOLUME
            && operation.is_submanifold();
        let basis = match correction {
            Some(_) => Basis::Learned,
            None if is_fitted => Basis::Fitted,
            None => Basis::Unfitted,
        };
        Some(Estimate { time_ns, basis })
    }

    fn is_safe_unverified(&self, operation: &Operation) -> bool {
        self.algorithm.is_safe_unverified(operation)
    }

    fn is_default(&self, operation: &Operation) -> bool {
        self.algorithm.is_default(operation)
    }

    fn waits_for_counts(&self, operation: &Operation) -> bool {
        self.algorithm.needs_pair_counts(operation)
    }

    fn workspace_bytes(&self, operation: &Operation, map: &KernelMap) -> u64 {
        let bytes = |map| self.algorithm.workspace_bytes_for(operation, map).ok();
        map.cuda().and_then(bytes).unwrap_or(0) as u64
    }

    fn kernel_hash(&self, device: &Device, operation: &Operation) -> Result<KernelHash, ConvError> {
        let hash = self.backend(device)?.kernel_hash(self.algorithm, operation)?;
        Ok(KernelHash::new(hash))
    }

    fn requires(&self) -> Option<Requirement> {
        self.algorithm.requires_cublas().then_some(Requirement::Cublas)
    }

    fn is_available(&self) -> bool {
        self.has_cublas || !self.algorithm.requires_cublas()
    }

    fn prepare_map(
        &self,
        device: &Device,
        operation: &Operation,
        map: &KernelMap,
    ) -> Result<(), ConvError> {
        let map = map.cuda().ok_or(CudaError::MapLacks { what: "copy in device memory" })?;
        Ok(self.backend(device)?.prepare_map(self.place, operation, map)?)
    }

    fn map_parts(&self, operation: &Operation) -> Vec<MapPart> {
        self.algorithm.map_parts(operation, self.rates.sms as usize)
    }

    fn make_parts(
        &self,
        device: &Device,
        operation: &Operation,
        count: usize,
        (voxels, map): (&Voxels, &KernelMap),
        parts: &[MapPart],
    ) -> Result<(), ConvError> {
        let direction = operation.direction;
        let made = voxels.make_maps_at_once(count, map, direction, parts)?;
        let backend = self.backend(device)?;
        let map = map.cuda().ok_or(CudaError::MapLacks { what: "copy in device memory" })?;
        for &part in parts {
            if !made.as_ref().is_some_and(|made| made.has_part(part)) {
                (0..count).try_for_each(|_| backend.make_part(map, direction, part))?;
            }
        }
        Ok(())
    }

    fn run(&self, device: &Device, launch: Launch<'_>) -> Result<(), ConvError> {
        launch.check()?;
        let Launch { operation, map, a, b, out, epilogue } = launch;
        // What is prepared is the same for either: pitches are parameters of the launch.
        let operation = &Operation { pitch: PitchClass::Dense, ..*operation };
        let backend = self.backend(device)?;
        let elsewhere = || CudaError::MapLacks { what: "copy in device memory" };
        let mut operands = Operands {
            first: a.cuda_matrix()?,
            second: b.cuda_matrix()?,
            result: out.cuda_matrix_mut()?,
            epilogue: epilogue.map_or_else(|| Ok(Epilogue::default()), |one| one.cuda())?,
        };
        let map = map.cuda().ok_or_else(elsewhere)?;
        Ok(backend.launch(self.place, operation, map, &mut operands)?)
    }
}
