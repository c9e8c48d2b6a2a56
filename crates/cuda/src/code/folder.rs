//! A folder of compiled instances, and how its files are named.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use voxtune_types::ComputeCapability;

use super::compiled::{Code, Compiled};
use super::content::source_hash;
use crate::error::{IoContext as _, Result};
use crate::instance::Instance;

/// Which compiler made a file: CUDA's version, and a hash of the compiler's version and of the
/// arguments that all its calls share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompilerId {
    /// CUDA's version, such as (13, 0).
    pub release: (u32, u32),
    /// The hash.
    pub hash: u64,
}

impl CompilerId {
    /// CUDA's version as the driver counts: 1000 · major + 10 · minor.
    #[must_use]
    pub const fn cuda_version(self) -> i32 {
        version_number(self.release.0, self.release.1)
    }
}

/// The name of the file that holds an instance as this compiler makes it.
#[must_use]
pub fn file_name(
    code: Code,
    instance: &Instance,
    arch: ComputeCapability,
    compiler: CompilerId,
) -> String {
    let (CompilerId { release: (major, minor), hash }, extension) = (compiler, code.extension());
    let prefix = name_prefix(code, instance, arch);
    format!("{prefix}cuda{major}.{minor}-{hash:016x}.{extension}")
}

/// CUDA's version as the driver counts: 1000 · major + 10 · minor.
const fn version_number(major: u32, minor: u32) -> i32 {
    (1000 * major + 10 * minor) as i32
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
    let bytes = voxtune_files::read(&path).at(&path)?;
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
#[must_use]
pub fn instance_args(code: Code, instance: &Instance, arch: ComputeCapability) -> Vec<OsString> {
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
}
