//! A CUDA toolkit out of NVIDIA's own PyPI wheels, for machines without one.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use voxtune_cuda::{CudaError, Result};
use xshell::{Shell, cmd};

use crate::io::IoContext as _;

/// One wheel: its version, and the SHA-256 of its file for each processor.
struct Wheel {
    name: &'static str,
    version: &'static str,
    sha256: [&'static str; 2],
}

/// What nvcc needs to make cubins, and the disassembler that inspects them, whose wheels begin with
/// a later release than that. It reads code of every earlier one. Version and hashes change here
/// and nowhere else. Hashes: x86-64, 64-bit Arm.
const WHEELS: [Wheel; 6] = [
    Wheel {
        name: "nvidia-cuda-nvcc",
        version: "13.0.88",
        sha256: [
            "56fe502eb77625a12f25172caa3cdddb4e4c8ba2c8c17dba44b164761b380f03",
            "c7ff28f86a24effdc6c034fa15230c549a273e4771b10a7fec14996f8cf3307f",
        ],
    },
    Wheel {
        name: "nvidia-nvvm",
        version: "13.0.88",
        sha256: [
            "c5f41ffeb6466944a026dfa5317d7d85355c119bbec279205d22f1869d1054e0",
            "c4376a291d72d22a315d9d2f69bdae8f8cd83a627f75bad395cee49a0fe65dc1",
        ],
    },
    Wheel {
        name: "nvidia-cuda-crt",
        version: "13.0.88",
        sha256: [
            "2c8043c7c9e02492716426e9919fc78d2c5b3b2a7a768a88e952676b08aa55a4",
            "ee2ea2a97073e02ee62bb27841f437332be2c248e3eac013df07997ada39c003",
        ],
    },
    Wheel {
        name: "nvidia-cuda-runtime",
        version: "13.0.96",
        sha256: [
            "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548",
            "ef9bcbe90493a2b9d810e43d249adb3d02e98dd30200d86607d8d02687c43f55",
        ],
    },
    Wheel {
        name: "nvidia-cuda-cccl",
        version: "13.0.85",
        sha256: [
            "e0da7ad981f3a8aff08241b5bfc1af868742a63e2762f53a5171c492ef242649",
            "6f0203e29fed809ee2b7fe9b1344df66ecab990c37d6a2e0e189b26d6c97ed7c",
        ],
    },
    Wheel {
        name: "nvidia-cuda-nvdisasm",
        version: "13.2.51",
        sha256: [
            "5a7acf77c55d6d2911ed6155d4d5bc156ffadf9df7a68a89b0c1155f4b13688c",
            "483c8f652c1ca006135584b4faf7ea1d2bafe4c40ec1c9ef57a04c6acfbdd57f",
        ],
    },
];

/// The file that says which wheels a folder holds.
const MARKER: &str = "voxtune-wheels.txt";

/// Whether this is what the pinned compiler says of its version.
pub(crate) fn is_pinned(version: &str) -> bool {
    let pinned = WHEELS.iter().find(|wheel| wheel.name == "nvidia-cuda-nvcc");
    pinned.is_some_and(|wheel| {
        version.lines().any(|line| line.ends_with(&format!("V{}", wheel.version)))
    })
}

/// What an installation did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Installed {
    /// The toolkit was there already, in the pinned versions.
    Already,
    /// It was downloaded and unpacked.
    Now,
}

/// Puts the pinned wheels into a folder, where [`crate::Toolchain::find`] takes it as `extra`.
///
/// The download is the user's own `pip`, with the user's own settings, and refuses any file whose
/// hash is not in the table. The folder appears whole or not at all; another version in its place
/// is replaced, and anything that is not ours is left alone.
///
/// # Errors
/// [`CudaError::ToolkitInstall`] without Python and pip, or where a download fails or does not
/// match; [`CudaError::Io`] where the folder cannot be written.
pub fn install(into: &Path) -> Result<Installed> {
    let pinned = requirements();
    match voxtune_files::read_to_string(&into.join(MARKER)) {
        Ok(marker) if marker == pinned => return Ok(Installed::Already),
        Ok(_) => {}
        Err(_) if into.exists() => {
            return Err(CudaError::ToolkitInstall {
                reason: format!(
                    "{} exists and was not made by this command: remove it",
                    into.display()
                ),
            });
        }
        Err(_) => {}
    }
    let parent = into.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    fs::create_dir_all(parent).at(parent)?;
    let scratch = tempfile::tempdir_in(parent).at(parent)?;
    let wheels = download(&pinned, scratch.path())?;
    let unpacked = scratch.path().join("toolkit");
    for wheel in &wheels {
        unpack(wheel, &unpacked)?;
    }
    fs::write(unpacked.join(MARKER), &pinned).at(into)?;
    if into.exists() {
        fs::rename(into, scratch.path().join("replaced")).at(into)?;
    }
    fs::rename(&unpacked, into).at(into)?;
    Ok(Installed::Now)
}

/// The table in pip's words.
fn requirements() -> String {
    let mut text = String::new();
    for wheel in &WHEELS {
        text.push_str(&format!("{}=={}", wheel.name, wheel.version));
        for hash in wheel.sha256 {
            text.push_str(&format!(" --hash=sha256:{hash}"));
        }
        text.push('\n');
    }
    text
}

fn download(requirements: &str, scratch: &Path) -> Result<Vec<PathBuf>> {
    let list = scratch.join("requirements.txt");
    fs::write(&list, requirements).at(&list)?;
    let folder = scratch.join("wheels");
    let needs_pip = |error: xshell::Error| CudaError::ToolkitInstall {
        reason: format!("python3 with pip is needed to download it ({error})"),
    };
    let shell = Shell::new().map_err(needs_pip)?;
    let download = cmd!(shell, "python3 -m pip download --quiet --disable-pip-version-check")
        .args(["--no-deps", "--require-hashes", "--only-binary", ":all:"])
        .args([Path::new("--requirement"), &list, Path::new("--dest"), &folder]);
    let output = download.quiet().ignore_status().output().map_err(needs_pip)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(CudaError::ToolkitInstall { reason: format!("pip download failed: {said}") });
    }
    let mut wheels = Vec::new();
    for entry in fs::read_dir(&folder).at(&folder)? {
        wheels.push(entry.at(&folder)?.path());
    }
    wheels.sort();
    Ok(wheels)
}

/// Unpacks a wheel, which is a zip file, with the permissions that it records.
fn unpack(wheel: &Path, into: &Path) -> Result<()> {
    let damaged = |error: zip::result::ZipError| CudaError::ToolkitInstall {
        reason: format!("{} is damaged: {error}", wheel.display()),
    };
    let mut archive =
        zip::ZipArchive::new(voxtune_files::open(wheel).at(wheel)?).map_err(damaged)?;
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(damaged)?;
        // A name that leads out of the folder is skipped: no wheel of the table has one.
        let Some(name) = entry.enclosed_name().filter(|_| entry.is_file()) else { continue };
        let path = into.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).at(parent)?;
        }
        let mut file = File::create(&path).at(&path)?;
        io::copy(&mut entry, &mut file).at(&path)?;
        #[cfg(unix)]
        if let Some(mode) = entry.unix_mode() {
            use std::os::unix::fs::PermissionsExt as _;
            fs::set_permissions(&path, fs::Permissions::from_mode(mode & 0o777)).at(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_pinned() {
        let text = requirements();
        assert_eq!(text.lines().count(), WHEELS.len());
        for line in text.lines() {
            assert!(line.contains("==13."), "{line}");
            assert_eq!(line.matches("--hash=sha256:").count(), 2, "{line}");
        }
        for hash in WHEELS.iter().flat_map(|wheel| wheel.sha256) {
            assert!(
                hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()),
                "{hash}"
            );
        }
    }

    #[test]
    fn another_compiler_is_told_apart() {
        assert!(is_pinned("Cuda compilation tools, release 13.0, V13.0.88\nBuild cuda_13.0.r13.0"));
        assert!(!is_pinned(
            "Cuda compilation tools, release 13.0, V13.0.48\nBuild cuda_13.0.r13.0"
        ));
    }

    #[test]
    fn an_installed_toolkit_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(MARKER), requirements()).unwrap();
        assert_eq!(install(folder.path()).unwrap(), Installed::Already);
    }

    #[test]
    fn a_foreign_folder_is_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("precious"), "data").unwrap();
        assert!(matches!(install(folder.path()), Err(CudaError::ToolkitInstall { .. })));
        assert_eq!(fs::read_to_string(folder.path().join("precious")).unwrap(), "data");
    }

    #[test]
    fn unpacks_files_and_refuses_names_that_escape() {
        use std::io::Write as _;
        let folder = tempfile::tempdir().unwrap();
        let wheel = folder.path().join("a.whl");
        let mut writer = zip::ZipWriter::new(File::create(&wheel).unwrap());
        let options = zip::write::SimpleFileOptions::default().unix_permissions(0o755);
        writer.start_file("nvidia/bin/tool", options).unwrap();
        writer.write_all(b"run").unwrap();
        writer.start_file("../escaped", options).unwrap();
        writer.write_all(b"no").unwrap();
        writer.finish().unwrap();
        let into = folder.path().join("toolkit");
        unpack(&wheel, &into).unwrap();
        assert_eq!(fs::read(into.join("nvidia/bin/tool")).unwrap(), b"run");
        assert!(!folder.path().join("escaped").exists());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(into.join("nvidia/bin/tool")).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o755);
        }
    }
}
