//! Compiled instances by need.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use voxtune_cuda::{
    Algorithm, Compiled, Cublas, CudaDevice, CudaError, Instance, MapBuilder, Prepared, Probe,
    Result, Toolchain, Verifier,
};
use voxtune_shape::{DType, Operation};

/// A device with a compiler for it.
pub(crate) struct Kernels {
    pub(crate) device: CudaDevice,
    toolchain: Toolchain,
    cubins: PathBuf,
    jobs: usize,
    compiled: BTreeMap<Instance, Compiled>,
    cublas: Option<Arc<Cublas>>,
    pub(crate) failures: Vec<String>,
}

impl Kernels {
    pub(crate) fn new(
        device: CudaDevice,
        toolchain: Toolchain,
        cubins: PathBuf,
        jobs: usize,
    ) -> Self {
        let cublas = match Cublas::new(&device) {
            Ok(cublas) => Some(Arc::new(cublas)),
            Err(error) => {
                println!("left out: explicit_gemm ({error})");
                None
            }
        };
        Self {
            device,
            toolchain,
            cubins,
            jobs,
            compiled: BTreeMap::new(),
            cublas,
            failures: Vec::new(),
        }
    }

    pub(crate) fn cublas(&self) -> Option<&Arc<Cublas>> {
        self.cublas.as_ref()
    }

    /// Compiles what is not compiled yet.
    pub(crate) fn compile(&mut self, instances: impl IntoIterator<Item = Instance>) {
        let mut wanted: Vec<Instance> = instances
            .into_iter()
            .filter(|instance| !self.compiled.contains_key(instance))
            .collect();
        wanted.sort();
        wanted.dedup();
        let start = Instant::now();
        let results = self.toolchain.compile(
            &wanted,
            self.device.capability(),
            &self.cubins,
            self.jobs,
            &|_| {},
        );
        let (mut fresh, mut bytes) = (0, 0);
        for result in results {
            match result {
                Ok(compiled) => {
                    fresh += usize::from(!compiled.cached);
                    bytes += compiled.bytes.len();
                    self.compiled.insert(compiled.instance.clone(), compiled);
                }
                Err(error) => self.failures.push(error.to_string()),
            }
        }
        println!(
            "compiled {fresh} of {} instances in {:.1} s, {} KiB",
            wanted.len(),
            start.elapsed().as_secs_f64(),
            bytes / 1024
        );
    }

    pub(crate) fn compiled(&mut self, instance: &Instance) -> Result<Compiled> {
        if !self.compiled.contains_key(instance) {
            self.compile([instance.clone()]);
        }
        self.compiled.get(instance).cloned().ok_or_else(|| CudaError::NvccFailed {
            instance: instance.to_string(),
            output: self.failures.last().cloned().unwrap_or_default(),
        })
    }

    pub(crate) fn map_builder(&mut self) -> Result<MapBuilder> {
        let compiled = self.compiled(&Instance::kernel_map())?;
        MapBuilder::new(&self.device, &compiled)
    }

    pub(crate) fn probe(&mut self) -> Result<Probe> {
        let compiled = self.compiled(&Instance::probe())?;
        Probe::new(&self.device, &compiled)
    }

    pub(crate) fn verifier(&mut self, dtype: DType) -> Result<Verifier> {
        let compiled = self.compiled(&Instance::reference(dtype))?;
        Verifier::new(&self.device, &compiled)
    }

    /// Whether this machine can run an algorithm.
    pub(crate) fn available(&self, algorithm: &Algorithm, op: &Operation) -> bool {
        (self.cublas.is_some() || !algorithm.requires_cublas())
            && algorithm.fits(op, self.device.capability())
    }

    pub(crate) fn prepare(
        &mut self,
        algorithm: &'static Algorithm,
        op: &Operation,
    ) -> Result<Prepared> {
        let instance = algorithm.instance(op).ok_or_else(|| CudaError::NotApplicable {
            algorithm: algorithm.to_string(),
            operation: op.to_string(),
        })?;
        let compiled = self.compiled(&instance)?;
        Prepared::new(&self.device, algorithm, op, &compiled, self.cublas.as_ref())
    }
}
