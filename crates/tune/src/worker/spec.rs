//! Which device a worker opens.

use std::ffi::OsString;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use voxtune::{Device, DeviceChoice, DeviceError, KernelSource};
use voxtune_nvcc::Nvcc;

/// What a worker is told about its device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceSpec {
    /// Which device.
    pub choice: DeviceChoice,
    /// Worker threads of the host, if the device is the host; all processors if absent.
    pub threads: Option<usize>,
    /// Folder of compiled kernels; that of [`KernelSource::from_env`] if absent.
    pub kernels: Option<PathBuf>,
    /// Folder of a toolkit to compile missing kernels with; without one none are compiled.
    pub toolkit: Option<PathBuf>,
    /// Whatever a program that opens devices of its own wants its worker to know.
    pub note: String,
    /// The program that serves as the worker: one whose `main` begins with
    /// [`super::serve_if_asked_with`]. If absent, it is the program of this very process.
    pub worker: Option<PathBuf>,
}

impl DeviceSpec {
    /// Opens the device. The second value says why [`DeviceChoice::Auto`] is not a GPU, where it is
    /// not.
    ///
    /// # Errors
    /// If a demanded device does not exist or cannot be used.
    pub fn open(&self) -> Result<(Device, Option<String>), DeviceError> {
        let source = match (&self.kernels, &self.toolkit) {
            (Some(kernels), Some(toolkit)) => KernelSource::compiling(kernels, Nvcc::new(toolkit)),
            (Some(kernels), None) => KernelSource::folder(kernels),
            (None, _) => KernelSource::from_env(),
        };
        let (device, why) = Device::open_with(self.choice, &source)?;
        match self.threads {
            Some(threads) if !device.identity().arch.is_cuda() => {
                Ok((Device::cpu_with_threads(threads)?, why))
            }
            _ => Ok((device, why)),
        }
    }
}

/// As it goes through the pipe to a worker that runs: paths need not be Unicode.
#[derive(Serialize, Deserialize)]
pub(super) struct WireSpec {
    choice: String,
    threads: Option<usize>,
    kernels: Option<OsString>,
    toolkit: Option<OsString>,
    note: String,
}

impl From<&DeviceSpec> for WireSpec {
    fn from(spec: &DeviceSpec) -> Self {
        let DeviceSpec { choice, threads, kernels, toolkit, note, worker: _ } = spec.clone();
        Self {
            choice: choice.to_string(),
            threads,
            kernels: kernels.map(PathBuf::into_os_string),
            toolkit: toolkit.map(PathBuf::into_os_string),
            note,
        }
    }
}

impl TryFrom<WireSpec> for DeviceSpec {
    type Error = String;

    fn try_from(wire: WireSpec) -> Result<Self, String> {
        let WireSpec { choice, threads, kernels, toolkit, note } = wire;
        Ok(Self {
            choice: choice.parse().map_err(|error| format!("{error}"))?,
            threads,
            kernels: kernels.map(PathBuf::from),
            toolkit: toolkit.map(PathBuf::from),
            note,
            worker: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specs_go_through_a_pipe() {
        let spec = DeviceSpec {
            choice: DeviceChoice::Cuda(3),
            threads: Some(2),
            kernels: Some("/a".into()),
            toolkit: None,
            note: "a note".to_owned(),
            worker: None,
        };
        let text = serde_json::to_string(&WireSpec::from(&spec)).unwrap();
        let back: WireSpec = serde_json::from_str(&text).unwrap();
        assert_eq!(DeviceSpec::try_from(back), Ok(spec));
    }
}
