//! Finding nvcc and learning how to call it.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use voxtune_cuda::{CudaError, Result};

/// A usable nvcc: where it is, which version, and the arguments and environment that every call
/// shares.
#[derive(Clone, Debug)]
pub struct Toolchain {
    nvcc: PathBuf,
    /// Every path at which nvdisasm is looked for, in order.
    nvdisasm: Vec<PathBuf>,
    version: String,
    release: (u32, u32),
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
}

/// Where programs lie in a folder: in a toolkit, and in the folder that NVIDIA's wheels make.
const PLACES: [&str; 2] = ["bin", "nvidia/cu13/bin"];

impl Toolchain {
    /// The first usable nvcc of: the variable `NVCC`, `CUDA_HOME`, the folders of `PATH`, `extra`.
    ///
    /// `extra` is where [`crate::cuda_toolkit::install`] puts a toolkit, such as
    /// `target/cuda-toolkit`.
    ///
    /// # Errors
    /// [`CudaError::NvccNotFound`] with every place looked at; [`CudaError::NvccUnusable`] if it
    /// does not run; [`CudaError::HostCompiler`] without a C++ compiler.
    pub fn find(extra: Option<&Path>) -> Result<Self> {
        let looked = candidates("nvcc", |name| env::var_os(name), extra);
        let found = looked.iter().find(|path| path.is_file());
        let nvcc = found.ok_or_else(|| CudaError::NvccNotFound { looked: looked.clone() })?;
        let mut toolchain = Self::probe(nvcc)?;
        toolchain.nvdisasm.extend(candidates("nvdisasm", |name| env::var_os(name), extra));
        Ok(toolchain)
    }

    /// This very nvcc.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub fn probe(nvcc: &Path) -> Result<Self> {
        let unusable = |output: String| CudaError::NvccUnusable { path: nvcc.to_owned(), output };
        let answer = Command::new(nvcc).arg("--version").output();
        let answer = answer.map_err(|error| unusable(error.to_string()))?;
        let text = String::from_utf8_lossy(&answer.stdout).trim().to_owned();
        let release = parse_release(&text).filter(|_| answer.status.success());
        let release = release.ok_or_else(|| {
            unusable(format!("{text}{}", String::from_utf8_lossy(&answer.stderr)))
        })?;
        let command = shared_command()?;
        // Compilations run in folders of their own.
        let nvcc = std::path::absolute(nvcc).unwrap_or_else(|_| nvcc.to_owned());
        Ok(Self {
            // A toolkit's own disassembler knows what its compiler makes.
            nvdisasm: vec![nvcc.with_file_name("nvdisasm")],
            nvcc,
            version: text,
            release,
            args: command.get_args().map(Into::into).collect(),
            env: command
                .get_envs()
                .filter_map(|(name, value)| Some((name.into(), value?.into())))
                .collect(),
        })
    }

    /// The compiler's path.
    #[must_use]
    pub fn nvcc(&self) -> &Path {
        &self.nvcc
    }

    /// The disassembler: beside nvcc, else where nvcc is looked for, `NVDISASM` taking the place of
    /// `NVCC`.
    ///
    /// # Errors
    /// [`CudaError::NvdisasmNotFound`] with every place looked at.
    pub(super) fn nvdisasm(&self) -> Result<&Path> {
        let found = self.nvdisasm.iter().find(|path| path.is_file());
        let missing = || CudaError::NvdisasmNotFound { looked: self.nvdisasm.clone() };
        found.map(PathBuf::as_path).ok_or_else(missing)
    }

    /// Everything that `nvcc --version` says.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// CUDA's version, such as (13, 0).
    #[must_use]
    pub const fn release(&self) -> (u32, u32) {
        self.release
    }

    /// The arguments that every call shares.
    pub(crate) fn args(&self) -> &[OsString] {
        &self.args
    }

    /// A call with the shared arguments and environment.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.nvcc);
        command.args(&self.args).envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// Every path at which a program is looked for, in order.
fn candidates(
    program: &str,
    variable: impl Fn(&str) -> Option<OsString>,
    extra: Option<&Path>,
) -> Vec<PathBuf> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    let mut paths = Vec::new();
    paths.extend(set(&program.to_uppercase()).map(PathBuf::from));
    if let Some(home) = set("CUDA_HOME") {
        paths.push(Path::new(&home).join(PLACES[0]).join(program));
    }
    if let Some(path) = set("PATH") {
        paths.extend(env::split_paths(&path).map(|folder| folder.join(program)));
    }
    let extra = extra.iter().flat_map(|folder| PLACES.map(|place| folder.join(place)));
    paths.extend(extra.map(|folder| folder.join(program)));
    // A name without a folder, such as NVCC=nvcc, is searched for in PATH by the entries that
    // follow.
    paths.retain(|path| path.components().count() > 1 || path.is_file());
    paths
}

/// `release 13.0` out of the version text.
fn parse_release(version: &str) -> Option<(u32, u32)> {
    let text = version.split("release ").nth(1)?;
    let number = text.split([',', ' ', '\n']).next()?;
    let (major, minor) = number.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// What `cc` would run to compile CUDA for this machine, host compiler included. Only its arguments
/// and environment count. `cc` looks for nvcc in the process's environment alone and takes a
/// missing one for success, so the program is ours to name.
///
/// Never with debug information: it means `-G`, which makes every timing worthless.
fn shared_command() -> Result<Command> {
    let host_compiler = |reason: String| CudaError::HostCompiler { reason };
    let scratch = tempfile::tempdir().map_err(|error| host_compiler(error.to_string()))?;
    let target = host_triple();
    let compiler = cc::Build::new()
        .cuda(true)
        .debug(false)
        .target(target)
        .host(target)
        .opt_level(3)
        .out_dir(scratch.path())
        .cargo_metadata(false)
        .cargo_warnings(false)
        .try_get_compiler()
        .map_err(|error| host_compiler(error.to_string()))?;
    Ok(compiler.to_command())
}

/// The machine this runs on, as `cc` spells it.
const fn host_triple() -> &'static str {
    if cfg!(target_arch = "aarch64") {
        "aarch64-unknown-linux-gnu"
    } else if cfg!(windows) {
        "x86_64-pc-windows-msvc"
    } else {
        "x86_64-unknown-linux-gnu"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_in_the_promised_order() {
        let vars = |name: &str| match name {
            "NVCC" => Some("/a/nvcc".into()),
            "NVDISASM" => Some("/a/other".into()),
            "CUDA_HOME" => Some("/b".into()),
            "PATH" => Some("/c:/d".into()),
            _ => None,
        };
        let found = candidates("nvcc", vars, Some(Path::new("/e")));
        let expected = [
            "/a/nvcc",
            "/b/bin/nvcc",
            "/c/nvcc",
            "/d/nvcc",
            "/e/bin/nvcc",
            "/e/nvidia/cu13/bin/nvcc",
        ];
        assert_eq!(found, expected.map(PathBuf::from));
        let found = candidates("nvdisasm", vars, None);
        let expected = ["/a/other", "/b/bin/nvdisasm", "/c/nvdisasm", "/d/nvdisasm"];
        assert_eq!(found, expected.map(PathBuf::from));
    }

    #[test]
    fn a_missing_compiler_names_the_places_and_the_remedy() {
        let looked = candidates("nvcc", |name| (name == "PATH").then(|| "/c".into()), None);
        let text = CudaError::NvccNotFound { looked }.to_string();
        assert!(text.contains("/c/nvcc") && text.contains("voxtune cuda-toolkit"), "{text}");
        let nowhere = candidates("nvcc", |_| None, None);
        assert!(nowhere.is_empty());
        assert!(CudaError::NvccNotFound { looked: nowhere }.to_string().contains("PATH is empty"));
    }

    #[test]
    fn a_program_that_is_no_nvcc_is_refused() {
        let error = Toolchain::probe(Path::new("/bin/true")).unwrap_err();
        assert!(matches!(error, CudaError::NvccUnusable { .. }), "{error}");
        let error = Toolchain::probe(Path::new("/nonexistent/nvcc")).unwrap_err();
        assert!(matches!(error, CudaError::NvccUnusable { .. }), "{error}");
    }

    #[test]
    fn reads_the_release() {
        let text = "Cuda compilation tools, release 13.0, V13.0.88\nBuild cuda_13.0";
        assert_eq!(parse_release(text), Some((13, 0)));
        assert_eq!(parse_release("gcc 12"), None);
    }

    #[test]
    fn shared_arguments_are_nvccs_and_not_for_the_debugger() {
        let command = shared_command().unwrap();
        let args: Vec<&str> = command.get_args().map(|arg| arg.to_str().unwrap()).collect();
        assert!(args.contains(&"-O3"), "{args:?}");
        for (at, arg) in args.iter().enumerate() {
            assert!(*arg != "-G" && *arg != "-g", "{args:?}");
            // nvcc itself refuses the host compiler's -f options.
            assert!(!arg.starts_with("-f") || args[at - 1] == "-Xcompiler", "{args:?}");
        }
    }
}
