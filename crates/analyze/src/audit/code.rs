//! What runs today under the name of an algorithm: by it a timing is told to be of other code.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use voxtune::{AlgoId, Arch, Operation};
use voxtune_cache::{Evidence, KernelHash};
use voxtune_cuda::{Instance, find_compiled};
use voxtune_nvcc::Toolchain;
use voxtune_types::ComputeCapability;

/// The code of an algorithm for an operation, as of this build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// It has this hash.
    Runs(KernelHash),
    /// This build has no such algorithm for the operation.
    Retired,
    /// It is not compiled here.
    Unknown,
}

/// Tells what runs today.
pub trait CurrentCode {
    /// The code of an algorithm for an operation on an architecture.
    fn of(&mut self, arch: Arch, algo: &AlgoId, operation: &Operation) -> Code;
}

/// The code of this build: host algorithms by their sources, GPU kernels by the compiled instances
/// of a folder.
#[derive(Debug)]
pub struct BuiltCode {
    folder: PathBuf,
    held: HashMap<(ComputeCapability, Instance), Option<KernelHash>>,
}

impl BuiltCode {
    /// Looks GPU kernels up in this folder, such as `voxtune kernels` fills; it need not exist.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), held: HashMap::new() }
    }

    /// Compiles the kernels of every record of some evidence into the folder, as far as they are
    /// not there; returns how many are there now. Whatever does not compile stays unknown.
    pub fn compile(&mut self, evidence: &Evidence, toolchain: &Toolchain, jobs: usize) -> usize {
        let mut wanted: BTreeSet<(u8, u8, Instance)> = BTreeSet::new();
        for (entry, records) in evidence.entries() {
            let Arch::Cuda(capability) = entry.device.arch else { continue };
            wanted.extend(records.iter().filter_map(|record| {
                let instance = instance(&record.algo, &entry.key.operation)?;
                Some((capability.major, capability.minor, instance))
            }));
        }
        let capabilities: BTreeSet<(u8, u8)> = wanted.iter().map(|one| (one.0, one.1)).collect();
        let mut compiled = 0;
        for (major, minor) in capabilities {
            let capability = ComputeCapability { major, minor };
            let here = wanted.iter().filter(|one| (one.0, one.1) == (major, minor));
            let instances: Vec<Instance> = here.map(|one| one.2.clone()).collect();
            let results = toolchain.compile(&instances, capability, &self.folder, jobs, &|_| ());
            for (instance, result) in instances.into_iter().zip(results) {
                let hash = result.ok().map(|compiled| KernelHash::new(compiled.kernel_hash));
                compiled += usize::from(hash.is_some());
                self.held.insert((capability, instance), hash);
            }
        }
        compiled
    }
}

impl CurrentCode for BuiltCode {
    fn of(&mut self, arch: Arch, algo: &AlgoId, operation: &Operation) -> Code {
        let Arch::Cuda(capability) = arch else { return host_code(algo, operation) };
        let Some(instance) = instance(algo, operation) else { return Code::Retired };
        let Self { folder, held } = self;
        let hash = *held.entry((capability, instance)).or_insert_with_key(|(_, instance)| {
            // A cubin that cannot be read says as little as none.
            let compiled = find_compiled(instance, capability, folder).ok().flatten()?;
            Some(KernelHash::new(compiled.kernel_hash))
        });
        hash.map_or(Code::Unknown, Code::Runs)
    }
}

/// The instance that an algorithm of this name compiles for an operation.
fn instance(algo: &AlgoId, operation: &Operation) -> Option<Instance> {
    voxtune_cuda::algorithm(algo)?.instance(operation)
}

/// Host algorithms are compiled into this program for every processor alike, so their sources are
/// at hand for each of them.
fn host_code(algo: &AlgoId, operation: &Operation) -> Code {
    let named = voxtune_cpu::algorithms().iter().find(|algorithm| algorithm.id() == algo);
    match named.filter(|algorithm| algorithm.applies(operation)) {
        Some(algorithm) => Code::Runs(KernelHash::new(algorithm.source_hash())),
        None => Code::Retired,
    }
}

#[cfg(test)]
mod tests {
    use voxtune::{DType, Device, Direction, KernelSize};
    use voxtune_types::CpuIsa;

    use super::*;

    fn operation() -> Operation {
        let kernel = KernelSize::submanifold(3).unwrap();
        Operation::submanifold(Direction::Forward, DType::Float32, 32, 32, kernel)
    }

    /// What a populate would store is what an audit finds.
    #[test]
    fn host_code_is_that_of_the_registry() {
        let device = Device::cpu().unwrap();
        let mut code = BuiltCode::new(Path::new("nowhere"));
        let arch = Arch::Cpu(CpuIsa::Portable);
        for algorithm in device.registry().algorithms().filter(|one| one.applies(&operation())) {
            let expected = algorithm.kernel_hash(&device, &operation()).unwrap();
            assert_eq!(code.of(arch, algorithm.id(), &operation()), Code::Runs(expected));
        }
        let gone = "no_such_family:rows=1".parse().unwrap();
        assert_eq!(code.of(arch, &gone, &operation()), Code::Retired);
    }

    #[test]
    fn kernels_that_are_not_compiled_are_unknown() {
        let folder = tempfile::tempdir().unwrap();
        let mut code = BuiltCode::new(folder.path());
        let arch = Arch::sm(9, 0);
        let known = voxtune_cuda::default_algorithm(&operation()).id();
        assert_eq!(code.of(arch, known, &operation()), Code::Unknown);
        let gone = "no_such_family:rows=1".parse().unwrap();
        assert_eq!(code.of(arch, &gone, &operation()), Code::Retired);
    }
}
