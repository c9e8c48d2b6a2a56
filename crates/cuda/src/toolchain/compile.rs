//! Compiling instances in parallel, each once.

use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;
use voxtune_kernels::SOURCES;
use voxtune_types::ComputeCapability;

use super::content::{self, compiler_hash};
use super::cubin::{machine_code_hash, ptx_hash};
use super::find::Toolchain;
use super::turn::Turn;
use crate::error::{CudaError, IoContext as _, Result};
use crate::instance::Instance;

/// What nvcc makes of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    /// Machine code of one architecture.
    Cubin,
    /// NVIDIA's intermediate language, of which a driver makes machine code for any later
    /// architecture.
    Ptx,
}

/// A compiled instance.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// What was compiled.
    pub instance: Instance,
    /// What it was compiled to.
    pub code: Code,
    /// For which architecture; of PTX, the least that takes it.
    pub arch: ComputeCapability,
    /// The version of CUDA that compiled it, which the driver must support, as 1000 · major + 10 ·
    /// minor.
    pub cuda_version: i32,
    /// Where the file lies; the name of the pack where it comes out of one.
    pub path: PathBuf,
    /// The file.
    pub bytes: Vec<u8>,
    /// Hash of its machine code, or of its PTX: equal hashes run equally.
    pub kernel_hash: u64,
    /// Whether it was there already.
    pub cached: bool,
}

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
        compiler_hash(self.args(), self.version())
    }

    /// Compiles an instance for an architecture, unless it lies in `cache_dir` already.
    ///
    /// # Errors
    /// [`CudaError::NvccFailed`] with the compiler's words; whatever the folder's file system fails with.
    pub fn compile_one(
        &self,
        code: Code,
        instance: &Instance,
        arch: ComputeCapability,
        cache_dir: &Path,
    ) -> Result<Compiled> {
        let own_args = instance_args(code, instance, arch);
        let (major, minor) = self.release();
        let compiler = self.compiler_hash();
        let prefix = name_prefix(code, instance, arch);
        let name = format!("{prefix}cuda{major}.{minor}-{compiler:016x}.{}", code.extension());
        let path = cache_dir.join(name);
        let (bytes, cached) = match code.read_made(&path) {
            Some(bytes) => (bytes, true),
            None => {
                fs::create_dir_all(cache_dir).at(cache_dir)?;
                let _turn = Turn::wait_for(&path);
                match code.read_made(&path) {
                    // Somebody else was faster.
                    Some(bytes) => (bytes, true),
                    None => (self.run_nvcc(code, instance, &own_args, &path, cache_dir)?, false),
                }
            }
        };
        Compiled::new(code, instance, arch, version_number(major, minor), path, bytes, cached)
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
            fs::write(&file, source.text).at(file)?;
        }
        let made = scratch.path().join("made");
        let output = self
            .command()
            .args(args)
            .args(code.reporting_args())
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
        // Code appears last: whoever finds it finds what the assembler said about it.
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
pub(super) fn notes_path(cubin: &Path) -> PathBuf {
    cubin.with_extension("ptxas")
}

impl Compiled {
    fn new(
        code: Code,
        instance: &Instance,
        arch: ComputeCapability,
        cuda_version: i32,
        path: PathBuf,
        bytes: Vec<u8>,
        cached: bool,
    ) -> Result<Self> {
        let (hash, reason) = match code {
            Code::Cubin => (machine_code_hash(&bytes), "no machine code in it"),
            Code::Ptx => (ptx_hash(&bytes), "it is no text of PTX"),
        };
        let kernel_hash = hash.ok_or_else(|| CudaError::MalformedCubin {
            what: path.display().to_string(),
            reason,
        })?;
        let instance = instance.clone();
        Ok(Self { instance, code, arch, cuda_version, path, bytes, kernel_hash, cached })
    }

    /// An instance out of a pack. `name` is the pack's, for messages.
    ///
    /// # Errors
    /// [`CudaError::MalformedCubin`] if the code is not the one that this hash names.
    pub fn packed(
        code: Code,
        instance: &Instance,
        arch: ComputeCapability,
        cuda_version: i32,
        name: &str,
        bytes: Vec<u8>,
        kernel_hash: u64,
    ) -> Result<Self> {
        let compiled =
            Self::new(code, instance, arch, cuda_version, PathBuf::from(name), bytes, true)?;
        if compiled.kernel_hash != kernel_hash {
            return Err(CudaError::MalformedCubin {
                what: format!("{instance} in {name}"),
                reason: "its code is not what its hash says",
            });
        }
        Ok(compiled)
    }
}

impl Compiled {
    /// The CUDA version that a driver must support to load it. A driver loads cubins of every
    /// release of its major version, and compiles PTX of no later release than its own.
    ///
    /// # Units
    /// 1000 · major + 10 · minor.
    #[must_use]
    pub const fn minimum_driver(&self) -> i32 {
        self.code.minimum_driver(self.cuda_version)
    }

    /// Whether a device of this capability can run it: a cubin on its own major version from its minor
    /// one on, with Hopper's instructions on that very one, PTX on everything later.
    #[must_use]
    pub fn runs_on(&self, capability: ComputeCapability) -> bool {
        match self.code {
            Code::Cubin if self.instance.hopper => self.arch == capability,
            Code::Cubin => {
                self.arch.major == capability.major && self.arch.minor <= capability.minor
            }
            Code::Ptx => self.arch <= capability && !self.instance.hopper,
        }
    }
}

impl Code {
    /// [`Compiled::minimum_driver`] for code of a CUDA version.
    #[must_use]
    pub const fn minimum_driver(self, cuda_version: i32) -> i32 {
        match self {
            Self::Cubin => cuda_version / 1000 * 1000,
            Self::Ptx => cuda_version,
        }
    }

    /// A file that has been made, if it is whole: a cubin with the assembler's words about it.
    fn read_made(self, path: &Path) -> Option<Vec<u8>> {
        let whole = self == Self::Ptx || notes_path(path).is_file();
        whole.then(|| fs::read(path).ok())?
    }

    /// Arguments by which the assembler tells about its code. They change what is printed and no
    /// instruction, so names of files do not depend on them.
    const fn reporting_args(self) -> &'static [&'static str] {
        match self {
            Self::Cubin => &["-Xptxas", "-v"],
            Self::Ptx => &[],
        }
    }

    const fn extension(self) -> &'static str {
        match self {
            Self::Cubin => "cubin",
            Self::Ptx => "ptx",
        }
    }
}

/// CUDA's version as the driver counts: 1000 · major + 10 · minor.
const fn version_number(major: u32, minor: u32) -> i32 {
    (1000 * major + 10 * minor) as i32
}

/// Hash of the sources of an instance and of the arguments of its compilation: what a compiled one
/// must have been made of to be today's.
#[must_use]
pub fn source_hash(code: Code, instance: &Instance, arch: ComputeCapability) -> u64 {
    content::source_hash(SOURCES, instance.source, &instance_args(code, instance, arch))
}

/// An instance that some compiler has compiled from these very sources into a folder; of several
/// compilers' the one with the greatest name. `None` if there is none, or no such folder.
///
/// # Errors
/// If the folder or the file cannot be read, or the file is no cubin.
pub fn find_compiled(
    instance: &Instance,
    arch: ComputeCapability,
    folder: &Path,
) -> Result<Option<Compiled>> {
    let prefix = name_prefix(Code::Cubin, instance, arch);
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).at(folder),
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let found = names
        .filter_map(|name| {
            let release = parse_compiler(name.strip_prefix(&prefix)?)?;
            Some((release, name))
        })
        .max();
    let Some((release, name)) = found else { return Ok(None) };
    let path = folder.join(name);
    let bytes = fs::read(&path).at(&path)?;
    let version = version_number(release.0, release.1);
    Compiled::new(Code::Cubin, instance, arch, version, path, bytes, true).map(Some)
}

/// What a file's name says about an instance, apart from the compiler.
fn name_prefix(code: Code, instance: &Instance, arch: ComputeCapability) -> String {
    let sources = source_hash(code, instance, arch);
    let number = format!("{}{}", arch.major, arch.minor);
    match code {
        Code::Cubin => format!("{}-sm_{number}-{sources:016x}-", instance.family()),
        Code::Ptx => format!("{}-compute_{number}-{sources:016x}-", instance.family()),
    }
}

/// CUDA's version out of the rest of a file's name, `cuda13.0-0123456789abcdef.cubin`.
fn parse_compiler(rest: &str) -> Option<(u32, u32)> {
    let (release, _) = rest.strip_suffix(".cubin")?.strip_prefix("cuda")?.split_once('-')?;
    let (major, minor) = release.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// The arguments that make an instance out of its family.
fn instance_args(code: Code, instance: &Instance, arch: ComputeCapability) -> Vec<OsString> {
    let number = format!("{}{}{}", arch.major, arch.minor, if instance.hopper { "a" } else { "" });
    // The long form of -arch: the short one also runs a pass for the architecture without its
    // suffix.
    let (form, target) = match code {
        Code::Cubin => ("-cubin", "sm"),
        Code::Ptx => ("-ptx", "compute"),
    };
    let mut args = vec![
        form.to_owned(),
        format!("-gencode=arch=compute_{number},code={target}_{number}"),
        "-std=c++17".to_owned(),
    ];
    args.extend(instance.defines.iter().map(|(name, value)| format!("-D{name}={value}")));
    args.into_iter().map(Into::into).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_give_the_compiler_away() {
        assert_eq!(parse_compiler("cuda13.0-0123456789abcdef.cubin"), Some((13, 0)));
        for name in ["cuda13-01.cubin", "cuda13.0-01.tmp", "13.0-01.cubin", "cuda13.0.cubin"] {
            assert_eq!(parse_compiler(name), None, "{name}");
        }
        let missing = Path::new("no such folder");
        let arch = ComputeCapability { major: 9, minor: 0 };
        assert!(find_compiled(&Instance::probe(), arch, missing).unwrap().is_none());
    }

    #[test]
    fn defines_and_architecture_become_arguments() {
        let mut instance = Instance::new("mask_gemm.cu", &[("ROWS", 128), ("COLS", 64)]);
        let args = instance_args(Code::Cubin, &instance, ComputeCapability { major: 9, minor: 0 });
        let text = |args: &[OsString]| {
            args.iter().map(|arg| arg.to_str().unwrap()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            text(&args),
            "-cubin -gencode=arch=compute_90,code=sm_90 -std=c++17 -DROWS=128 -DCOLS=64"
        );
        instance.hopper = true;
        let args = instance_args(Code::Cubin, &instance, ComputeCapability { major: 9, minor: 0 });
        assert!(text(&args).contains("arch=compute_90a,code=sm_90a"));
        let args = instance_args(
            Code::Cubin,
            &Instance::probe(),
            ComputeCapability { major: 12, minor: 0 },
        );
        assert!(text(&args).contains("code=sm_120"));
        let ptx =
            instance_args(Code::Ptx, &Instance::probe(), ComputeCapability { major: 8, minor: 0 });
        assert!(text(&ptx).starts_with("-ptx -gencode=arch=compute_80,code=compute_80 "));
    }

    /// Where there is an nvcc, a kernel compiles, the second time out of the cache, and a broken
    /// one shows nvcc's own words; where there is none, the error says what to do.
    #[test]
    fn compiles_once_or_says_what_is_missing() {
        let toolkit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/cuda-toolkit");
        let toolchain = match Toolchain::find(Some(&toolkit)) {
            Ok(toolchain) => toolchain,
            Err(error) => {
                assert!(error.to_string().contains("cargo xtask cuda-toolkit"), "{error}");
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
        // Nothing but the cubin and the words about it stays behind.
        assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 2);
        // Without the words it is made again.
        fs::remove_file(notes_path(&again.path)).unwrap();
        let made_again = compile()[0].as_ref().unwrap().cached;
        assert!(!made_again && notes_path(&again.path).is_file());
    }
}
