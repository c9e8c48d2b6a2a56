//! A GPU's algorithms in the registry.

use std::sync::Arc;

use voxtune_cache::{KernelHash, Requirement};
use voxtune_cuda::{CudaError, Operands};
use voxtune_shape::{AlgoId, ComputeCapability, Operation};

use super::{Algorithm, Launch};
use crate::device::CudaBackend;
use crate::{ConvError, Device, KernelMap, MapCounts};

struct CudaAlgorithm {
    algorithm: &'static voxtune_cuda::Algorithm,
    capability: ComputeCapability,
    has_cublas: bool,
}

pub(super) fn algorithms(
    capability: ComputeCapability,
    has_cublas: bool,
) -> Vec<Arc<dyn Algorithm>> {
    voxtune_cuda::algorithms()
        .iter()
        .map(|algorithm| {
            Arc::new(CudaAlgorithm { algorithm, capability, has_cublas }) as Arc<dyn Algorithm>
        })
        .collect()
}

impl CudaAlgorithm {
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
        self.algorithm.applies(operation) && self.algorithm.fits(operation, self.capability)
    }

    fn in_auto_pool(&self, operation: &Operation, counts: MapCounts) -> bool {
        self.algorithm.in_auto_pool(operation, counts.n_out)
    }

    fn is_default(&self, operation: &Operation) -> bool {
        self.algorithm.is_default(operation)
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
        Ok(self.backend(device)?.prepare_map(self.algorithm, operation, map)?)
    }

    fn run(&self, device: &Device, launch: Launch<'_>) -> Result<(), ConvError> {
        let Launch { operation, map, a, b, out } = launch;
        let backend = self.backend(device)?;
        let elsewhere = || CudaError::MapLacks { what: "copy in device memory" };
        let mut operands =
            Operands { first: a.cuda()?, second: b.cuda()?, result: out.cuda_mut()? };
        let map = map.cuda().ok_or_else(elsewhere)?;
        Ok(backend.launch(self.algorithm, operation, map, &mut operands)?)
    }
}
