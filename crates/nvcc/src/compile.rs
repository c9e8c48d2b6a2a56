//! Compiling instances in parallel, each once.

use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;
use voxtune_cuda::{
    Code, Compiled, CompilerId, CudaError, Instance, Result, file_name, hash_fields, instance_args,
};
use voxtune_kernels::SOURCES;
use voxtune_types::ComputeCapability;

use crate::compile_lock::CompileLock;
use crate::find::Toolchain;
use crate::io::IoContext as _;
use crate::sources::check_sources;

/// How far a compilation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Instances done, failed ones included.
    pub done: usize,
    /// Instances in all.
    pub total: usize,
}

impl Toolchain {
    /// Compiles each instance for an architecture, at most `jobs` at a time; what lies in
    /// `cache_dir` already is not compiled again.
    ///
    /// A cubin's file is named by a hash of everything that decides its bytes, and appears there
    /// whole or not at all. Results are in the order of the instances. `progress` is called after
    /// each one, from any thread.
    ///
    /// # Errors
    /// Each instance has its own; one that fails does not stop the others.
    pub fn compile(
        &self,
        instances: &[Instance],
        arch: ComputeCapability,
        cache_dir: &Path,
        jobs: usize,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Vec<Result<Compiled>> {
        self.compile_to(Code::Cubin, instances, arch, cache_dir, jobs, progress)
    }

    /// [`Self::compile`] to cubins or to PTX.
    ///
    /// # Errors
    /// Each instance has its own; one that fails does not stop the others.
    pub fn compile_to(
        &self,
        code: Code,
        instances: &[Instance],
        arch: ComputeCapability,
        cache_dir: &Path,
        jobs: usize,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Vec<Result<Compiled>> {
        let done = AtomicUsize::new(0);
        let compile = |instance: &Instance| {
            let result = self.compile_one(code, instance, arch, cache_dir);
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            progress(Progress { done, total: instances.len() });
            result
        };
        let run = || instances.par_iter().map(compile).collect();
        match rayon::ThreadPoolBuilder::new().num_threads(jobs.max(1)).build() {
            Ok(pool) => pool.install(run),
            // Without threads of our own the shared ones do.
            Err(_) => run(),
        }
    }

    /// Hash of the compiler's version and of the arguments that all compilations share.
    #[must_use]
    pub fn compiler_hash(&self) -> u64 {
        let args = self.args().iter().map(|arg| arg.as_encoded_bytes());
        hash_fields(std::iter::once(self.version().as_bytes()).chain(args))
    }

    /// Compiles an instance for an architecture, unless it lies in `cache_dir` already.
    ///
    /// # Errors
    /// [`CudaError::NvccFailed`] with the compiler's words; [`CudaError::OtherSources`] if the
    /// hashes in `voxtune-cuda` are of other sources; whatever the folder's file system fails with.
    pub fn compile_one(
        &self,
        code: Code,
        instance: &Instance,
        arch: ComputeCapability,
        cache_dir: &Path,
    ) -> Result<Compiled> {
        check_sources()?;
        let own_args = instance_args(code, instance, arch);
        let compiler = CompilerId { release: self.release(), hash: self.compiler_hash() };
        let path = cache_dir.join(file_name(code, instance, arch, compiler));
        let (bytes, cached) = match read_made(code, &path) {
            Some(bytes) => (bytes, true),
            None => {
                fs::create_dir_all(cache_dir).at(cache_dir)?;
                let _lock = CompileLock::wait_for(&path);
                match read_made(code, &path) {
                    // Another process was faster.
                    Some(bytes) => (bytes, true),
                    None => (self.run_nvcc(code, instance, &own_args, &path, cache_dir)?, false),
                }
            }
        };
        Compiled::new(code, instance, arch, compiler.cuda_version(), path, bytes, cached)
    }

    fn run_nvcc(
        &self,
        code: Code,
        instance: &Instance,
        args: &[OsString],
        path: &Path,
        cache_dir: &Path,
    ) -> Result<Vec<u8>> {
        let scratch = tempfile::tempdir_in(cache_dir).at(cache_dir)?;
        for source in SOURCES {
            let file = scratch.path().join(source.name);
            if let Some(folder) = file.parent() {
                fs::create_dir_all(folder).at(folder)?;
            }
            fs::write(&file, source.text).at(file)?;
        }
        let made = scratch.path().join("made");
        let output = self
            .command()
            .args(args)
            .args(reporting_args(code))
            .arg(scratch.path().join(instance.source))
            .arg("-o")
            .arg(&made)
            .current_dir(scratch.path())
            .output()
            .at(self.nvcc())?;
        let mut text = String::from_utf8_lossy(&output.stderr).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stdout));
        if !output.status.success() {
            return Err(CudaError::NvccFailed { instance: instance.to_string(), output: text });
        }
        let bytes = fs::read(&made).at(&made)?;
        // Code appears last: a process that finds it also finds what the assembler said.
        if code == Code::Cubin {
            persist(text.as_bytes(), &notes_path(path), cache_dir)?;
        }
        persist(&bytes, path, cache_dir)?;
        Ok(bytes)
    }
}

/// Writes a file that appears whole or not at all.
fn persist(bytes: &[u8], path: &Path, folder: &Path) -> Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(folder).at(folder)?;
    file.write_all(bytes).at(path)?;
    file.persist(path).map_err(|error| error.error).at(path)?;
    Ok(())
}

/// Where the assembler's words about a cubin lie: beside it.
pub(crate) fn notes_path(cubin: &Path) -> PathBuf {
    cubin.with_extension("ptxas")
}

/// A file that has been made, if it is whole: a cubin with the assembler's words about it.
fn read_made(code: Code, path: &Path) -> Option<Vec<u8>> {
    let whole = code == Code::Ptx || notes_path(path).is_file();
    whole.then(|| voxtune_files::read(path).ok())?
}

/// Arguments by which the assembler tells about its code. They change what is printed and no
/// instruction, so names of files do not depend on them.
const fn reporting_args(code: Code) -> &'static [&'static str] {
    match code {
        Code::Cubin => &["-Xptxas", "-v"],
        Code::Ptx => &[],
    }
}

#[cfg(test)]
mod tests {
    use voxtune_cuda::find_compiled;

    use super::*;

    /// Where there is an nvcc, a kernel compiles, the second time out of the cache, and a broken
    /// one shows nvcc's own words. Where there is none, the error says what to do.
    #[test]
    fn compiles_once_or_says_what_is_missing() {
        let toolkit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/cuda-toolkit");
        let toolchain = match Toolchain::find(Some(&toolkit)) {
            Ok(toolchain) => toolchain,
            Err(error) => {
                assert!(error.to_string().contains("voxtune cuda-toolkit"), "{error}");
                return;
            }
        };
        let cache = tempfile::tempdir().unwrap();
        let arch = ComputeCapability { major: 9, minor: 0 };
        let broken = Instance::new("mask_gemm.cu", &[("ROWS", 7)]);
        let instances = [Instance::probe(), broken];
        let compile = || toolchain.compile(&instances, arch, cache.path(), 2, &|_| {});
        let first = compile();
        let compiled = first[0].as_ref().unwrap();
        assert!(!compiled.cached && compiled.path.is_file());
        let text = first[1].as_ref().unwrap_err().to_string();
        assert!(text.contains("mask_gemm ROWS=7") && text.contains("error"), "{text}");
        let second = compile();
        let again = second[0].as_ref().unwrap();
        assert!(again.cached && again.kernel_hash == compiled.kernel_hash);
        let found = find_compiled(&Instance::probe(), arch, cache.path()).unwrap().unwrap();
        assert_eq!(
            (found.kernel_hash, found.cuda_version),
            (again.kernel_hash, again.cuda_version)
        );
        let elsewhere = ComputeCapability { major: 8, minor: 0 };
        assert!(find_compiled(&Instance::probe(), elsewhere, cache.path()).unwrap().is_none());
        // Nothing but the cubin and the words about it stays behind; without the words it is made
        // again.
        assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 2);
        fs::remove_file(notes_path(&again.path)).unwrap();
        let made_again = compile()[0].as_ref().unwrap().cached;
        assert!(!made_again && notes_path(&again.path).is_file());
    }
}
