//! Which device a worker opens.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use voxtune::{Device, DeviceChoice, DeviceError, KernelSource};
use voxtune_nvcc::Nvcc;

/// What a worker is told about its device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceSpec {
    /// Which device.
    #[serde(with = "choice")]
    pub choice: DeviceChoice,
    /// Worker threads of the host, if the device is the host; all processors if absent.
    pub threads: Option<usize>,
    /// Folder of compiled kernels; that of [`KernelSource::from_env`] if absent.
    #[serde(with = "path")]
    pub kernels: Option<PathBuf>,
    /// Folder of a toolkit to compile missing kernels with; without one none are compiled.
    #[serde(with = "path")]
    pub toolkit: Option<PathBuf>,
    /// Whatever a program that opens devices of its own wants its worker to know.
    pub note: String,
    /// The program that serves as the worker: one whose `main` begins with
    /// [`super::serve_if_asked_with`]. If absent, it is the program of this very process.
    #[serde(skip)]
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

/// A choice by its text.
mod choice {
    use serde::{Deserialize as _, Deserializer, Serializer, de};
    use voxtune::DeviceChoice;

    pub(super) fn serialize<S: Serializer>(
        choice: &DeviceChoice,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(choice)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<DeviceChoice, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// A path, which need not be Unicode.
mod path {
    use std::ffi::OsString;
    use std::path::PathBuf;

    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    pub(super) fn serialize<S: Serializer>(
        path: &Option<PathBuf>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        path.as_ref().map(|path| path.as_os_str()).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<PathBuf>, D::Error> {
        Ok(Option::<OsString>::deserialize(deserializer)?.map(PathBuf::from))
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
        let text = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<DeviceSpec>(&text).unwrap(), spec);
    }
}
