//! The host's algorithms in the registry.

use std::sync::Arc;

use voxtune_cache::KernelHash;
use voxtune_cpu::{Epilogue, Operands};
use voxtune_types::{AlgoId, Operation};

use super::{Algorithm, Launch};
use crate::{ConvError, Device, KernelMap, MapCounts};

struct CpuAlgorithm(&'static voxtune_cpu::Algorithm);

pub(super) fn algorithms() -> Vec<Arc<dyn Algorithm>> {
    voxtune_cpu::algorithms()
        .iter()
        .map(|algorithm| Arc::new(CpuAlgorithm(algorithm)) as Arc<dyn Algorithm>)
        .collect()
}

impl Algorithm for CpuAlgorithm {
    fn id(&self) -> &AlgoId {
        self.0.id()
    }

    fn applies(&self, operation: &Operation) -> bool {
        self.0.applies(operation)
    }

    fn in_auto_pool(&self, operation: &Operation, counts: MapCounts) -> bool {
        self.0.in_auto_pool(operation, counts.result_rows(operation.direction))
    }

    fn is_default(&self, operation: &Operation) -> bool {
        voxtune_cpu::default_algorithm(operation).id() == self.0.id()
    }

    fn workspace_bytes(&self, operation: &Operation, map: &KernelMap) -> u64 {
        map.host().map_or(0, |map| self.0.workspace_bytes(operation, map) as u64)
    }

    fn kernel_hash(
        &self,
        _device: &Device,
        _operation: &Operation,
    ) -> Result<KernelHash, ConvError> {
        Ok(KernelHash::new(self.0.source_hash()))
    }

    fn run(&self, device: &Device, launch: Launch<'_>) -> Result<(), ConvError> {
        launch.check()?;
        let Launch { operation, map, a, b, out, epilogue } = launch;
        let elsewhere = || ConvError::WrongDevice {
            algorithm: self.0.id().to_string(),
            device: device.identity().clone(),
        };
        let operands = Operands {
            a: a.host().ok_or_else(elsewhere)?,
            b: b.host().ok_or_else(elsewhere)?,
            out: out.host_mut().ok_or_else(elsewhere)?,
            epilogue: match epilogue {
                Some(epilogue) => epilogue.host().ok_or_else(elsewhere)?,
                None => Epilogue::default(),
            },
        };
        let map = map.host().ok_or_else(elsewhere)?;
        Ok(device.install(|| self.0.run(operation, map, operands))?)
    }
}
