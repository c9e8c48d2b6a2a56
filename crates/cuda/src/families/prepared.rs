//! An algorithm ready to run: its kernels loaded, its launches known.

use std::sync::Arc;

use voxtune_types::Operation;

use super::Algorithm;
use super::explicit_gemm::Cublas;
use super::family::{Bound, Launch};
use super::operands::Operands;
use crate::code::Compiled;
use crate::device::CudaDevice;
use crate::error::{CudaError, Result};
use crate::gpu::Gpu;
use crate::instance::Instance;
use crate::map::DeviceKernelMap;
use crate::module::LoadedInstance;
use crate::workspace::Workspace;

/// An algorithm with its kernels loaded on a device for one operation, for every execution context
/// there: a launch is of the workspace's.
#[derive(Debug)]
pub struct Prepared {
    gpu: Arc<Gpu>,
    algorithm: &'static Algorithm,
    operation: Operation,
    bound: Box<dyn Bound>,
}

impl Prepared {
    /// Loads what an algorithm needs for an operation.
    ///
    /// # Errors
    /// [`CudaError::NotApplicable`] if the algorithm does not compute the operation or the instance
    /// is another. [`CudaError::ParameterSize`] if the code takes other parameters than this
    /// program passes; whatever loading fails with.
    pub fn new(
        device: &CudaDevice,
        algorithm: &'static Algorithm,
        operation: &Operation,
        compiled: &Compiled,
    ) -> Result<Self> {
        let own = algorithm.instance(operation);
        let stand_in = own.as_ref().and_then(Instance::for_any_channels);
        let watched = own.as_ref().map(Instance::for_race_detector);
        if ![own, stand_in, watched].iter().flatten().any(|one| *one == compiled.instance) {
            return Err(CudaError::NotApplicable {
                algorithm: algorithm.to_string(),
                operation: operation.to_string(),
            });
        }
        let loaded = LoadedInstance::load(device, compiled)?;
        let bound = algorithm.variant().bind(operation, &loaded)?;
        Ok(Self { gpu: Arc::clone(device.gpu()), algorithm, operation: *operation, bound })
    }

    /// The algorithm.
    #[must_use]
    pub const fn algorithm(&self) -> &'static Algorithm {
        self.algorithm
    }

    /// The operation.
    #[must_use]
    pub const fn operation(&self) -> &Operation {
        &self.operation
    }

    /// Dynamic shared memory of a block, as the compiled instance says. Bytes; `None` for
    /// `explicit_gemm`.
    #[must_use]
    pub fn compiled_shared_bytes(&self) -> Option<u32> {
        self.bound.compiled_shared_bytes()
    }

    /// Queues the product on the stream of the workspace's context. Nothing is allocated or waited
    /// for, but by the first launch that reads a row order or the pair lists of a map, which makes
    /// them. Map and result are of that context; the other operands may be of any one on the
    /// device. So is `cublas`, which is needed where [`Algorithm::requires_cublas`] says so.
    ///
    /// # Errors
    /// [`CudaError::OtherStream`] for what is of another context and must not be;
    /// [`CudaError::NotOnDevice`] for what is of another device; [`CudaError::NoCublas`];
    /// [`CudaError::Length`] for an operand or a workspace of the wrong length (see
    /// [`Algorithm::workspace_bytes_for`]); [`CudaError::EpilogueOfGradient`].
    /// [`CudaError::MapVolume`], [`CudaError::MapLacks`] for a map that does not fit;
    /// [`CudaError::DuplicateVoxel`] from wgrad and cuBLAS, which need the map's counts; whatever
    /// the driver fails with.
    pub fn launch(
        &self,
        map: &DeviceKernelMap,
        operands: &mut Operands<'_>,
        workspace: &mut Workspace,
        cublas: Option<&Cublas>,
    ) -> Result<()> {
        let op = &self.operation;
        self.check(map, operands)?;
        let device = &workspace.device().clone();
        if self.gpu.context.ordinal() != device.gpu().context.ordinal() {
            return Err(CudaError::NotOnDevice { what: "the workspace" });
        }
        device.expect_same_stream("the kernel map", map.device())?;
        let expected = self.algorithm.workspace_bytes_for(op, map)?;
        let found = workspace.scratch_bytes();
        if found < expected {
            return Err(CudaError::Length { what: "the workspace", expected, found });
        }
        operands.used_by(device)?;
        let scheduler = workspace.counters();
        let workspace = workspace.scratch();
        self.bound.launch(Launch { device, op, map, operands, workspace, scheduler, cublas })
    }

    /// Compares map and operands with the operation, as [`Self::launch`] does: to be asked before
    /// memory for a launch is made.
    ///
    /// # Errors
    /// [`CudaError::MapVolume`], [`CudaError::Length`], [`CudaError::Pitch`],
    /// [`CudaError::EpilogueOfGradient`].
    pub fn check(&self, map: &DeviceKernelMap, operands: &Operands<'_>) -> Result<()> {
        let op = &self.operation;
        if map.kernel != op.kernel {
            return Err(CudaError::MapVolume {
                expected: op.kernel.volume(),
                found: map.kernel.volume(),
            });
        }
        operands.check(op, map.n_in(), map.n_out())
    }
}
