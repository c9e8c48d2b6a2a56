//! The kernels of what won, for machines without a compiler.

use std::error::Error;
use std::path::Path;

use voxtune::Arch;
use voxtune_analyze::pack::{PackPlan, Target, Toolchain};
use voxtune_cache::CacheDir;

/// Writes a pack for each GPU architecture that a folder has decisions of. Needs nvcc, and no GPU.
pub(crate) fn pack(folder: &Path) -> Result<(), Box<dyn Error>> {
    let caches = CacheDir::new(folder);
    let gpus = caches.archs()?.into_iter().filter_map(|arch| match arch {
        Arch::Cuda(capability) => Some(Target::Cubin(capability)),
        _ => None,
    });
    for target in gpus {
        let plan = PackPlan::winners(target, &caches)?;
        let toolchain = Toolchain::find(Some(Path::new("target/cuda-toolkit")))?;
        let jobs = std::thread::available_parallelism()?.get();
        let path = folder.join(target.file_name());
        let made = plan.make(&path, &toolchain, (Path::new("target/kernels"), jobs), &|_| ())?;
        made.write(&path)?;
    }
    Ok(())
}
