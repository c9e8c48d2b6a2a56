//! The GPUs of one host at work on one run, each with a worker of its own.
//!
//! One process decides and writes; each worker measures what it is handed, on its own device.
//! Results are stored under the kind of a device, not under its number, so only devices of one kind
//! can share a run.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use voxtune::{DeviceChoice, DeviceIdentity};

use crate::worker::executor::Executor;
use crate::worker::failure::WorkerError;
use crate::worker::{DeviceSpec, Worker};

/// The argument of `--gpus`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gpus {
    /// Every GPU of the host.
    All,
    /// Those of these ordinals, each once.
    These(Vec<u32>),
}

/// A text that names no GPUs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no GPUs: expected all, or numbers without repetition such as 0,1")]
pub struct MalformedGpus(pub String);

impl FromStr for Gpus {
    type Err = MalformedGpus;

    fn from_str(text: &str) -> Result<Self, MalformedGpus> {
        if text == "all" {
            return Ok(Self::All);
        }
        let malformed = || MalformedGpus(text.to_owned());
        let number = |part: &str| {
            let is_number = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            part.parse().ok().filter(|_| is_number).ok_or_else(malformed)
        };
        let ordinals = text.split(',').map(number).collect::<Result<Vec<u32>, _>>()?;
        let distinct: BTreeSet<u32> = ordinals.iter().copied().collect();
        if distinct.len() < ordinals.len() {
            return Err(malformed());
        }
        Ok(Self::These(ordinals))
    }
}

impl fmt::Display for Gpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::These(ordinals) => {
                let ordinals: Vec<String> = ordinals.iter().map(u32::to_string).collect();
                f.write_str(&ordinals.join(","))
            }
        }
    }
}

impl Gpus {
    /// The devices meant, in the order given.
    ///
    /// # Errors
    /// If all are meant and there are none.
    pub fn devices(&self) -> Result<Vec<DeviceChoice>, DevicePoolError> {
        match self {
            Self::These(ordinals) => Ok(ordinals.iter().copied().map(DeviceChoice::Cuda).collect()),
            Self::All => match voxtune_cuda::devices() {
                Ok(found) if found.is_empty() => {
                    Err(DevicePoolError::NoGpu("there is none".to_owned()))
                }
                Ok(found) => Ok((0..).take(found.len()).map(DeviceChoice::Cuda).collect()),
                Err(error) => Err(DevicePoolError::NoGpu(error.to_string())),
            },
        }
    }
}

/// GPUs that cannot share a run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DevicePoolError {
    /// The host has no GPU.
    #[error("no GPU was found: {0}")]
    NoGpu(String),
    /// One of them has no worker.
    #[error("{device}: {source}")]
    Worker {
        /// Which one.
        device: DeviceChoice,
        /// Why not.
        source: WorkerError,
    },
    /// They are of several kinds.
    #[error(
        "one run needs devices of one kind, whose results are valid for each other: found {}; name \
         those of one kind, and populate for each kind in a run of its own", listed(.0)
    )]
    Mixed(Vec<(DeviceChoice, DeviceIdentity)>),
}

fn listed(found: &[(DeviceChoice, DeviceIdentity)]) -> String {
    let each = found.iter().map(|(device, identity)| format!("{device} is {identity}"));
    each.collect::<Vec<_>>().join(", ")
}

impl DevicePoolError {
    /// Whether a device does not exist, rather than not work.
    #[must_use]
    pub const fn is_not_found(&self) -> bool {
        match self {
            Self::NoGpu(_) => true,
            Self::Worker { source, .. } => {
                matches!(source, WorkerError::Refused { not_found: true, .. })
            }
            Self::Mixed(_) => false,
        }
    }
}

/// Executors on devices of one kind.
#[derive(Debug)]
pub struct DevicePool {
    primary: Executor,
    others: Vec<Executor>,
}

impl From<Executor> for DevicePool {
    fn from(primary: Executor) -> Self {
        Self { primary, others: Vec::new() }
    }
}

impl DevicePool {
    /// Starts a worker for each specification, all at the same time.
    ///
    /// # Errors
    /// If one cannot be started or have its device, or the devices are not of one kind. An empty
    /// list has no GPU.
    pub fn start(specs: &[DeviceSpec]) -> Result<Self, DevicePoolError> {
        let started: Vec<Result<Worker, WorkerError>> = std::thread::scope(|scope| {
            let starts: Vec<_> =
                specs.iter().map(|spec| scope.spawn(|| Worker::start(spec))).collect();
            starts
                .into_iter()
                .map(|start| start.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        });
        let mut workers = Vec::new();
        for (spec, worker) in specs.iter().zip(started) {
            let worker =
                worker.map_err(|source| DevicePoolError::Worker { device: spec.choice, source })?;
            workers.push((spec.choice, worker));
        }
        let kinds: BTreeSet<&DeviceIdentity> =
            workers.iter().map(|(_, worker)| &worker.opened().identity).collect();
        if kinds.len() > 1 {
            let found =
                workers.iter().map(|(device, one)| (*device, one.opened().identity.clone()));
            return Err(DevicePoolError::Mixed(found.collect()));
        }
        let mut executors = workers.into_iter().map(|(_, worker)| Executor::from(worker));
        let primary =
            executors.next().ok_or_else(|| DevicePoolError::NoGpu("none was named".to_owned()))?;
        Ok(Self { primary, others: executors.collect() })
    }

    /// The first executor. It stands for all: devices and algorithms are the same.
    #[must_use]
    pub const fn primary(&self) -> &Executor {
        &self.primary
    }

    /// How many executors there are.
    #[must_use]
    pub const fn size(&self) -> usize {
        1 + self.others.len()
    }

    pub(crate) fn split(&mut self) -> (&mut Executor, &mut [Executor]) {
        (&mut self.primary, &mut self.others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_are_all_or_numbers_without_repetition() {
        for text in ["all", "0", "3,1", "0,1,2"] {
            assert_eq!(text.parse::<Gpus>().unwrap().to_string(), text);
        }
        for text in ["", "ALL", "0,", "0,0", "-1", "+1", "cuda:0", "0-3", "99999999999"] {
            let error = text.parse::<Gpus>().unwrap_err();
            assert!(error.to_string().contains("0,1"), "{error}");
        }
        let devices = Gpus::These(vec![3, 1]).devices().unwrap();
        assert_eq!(devices, [DeviceChoice::Cuda(3), DeviceChoice::Cuda(1)]);
    }

    #[test]
    fn nobody_is_no_pool() {
        let error = DevicePool::start(&[]).unwrap_err();
        assert!(error.is_not_found(), "{error}");
    }

    #[test]
    fn what_was_found_is_said() {
        let identity = |name: &str| DeviceIdentity {
            arch: voxtune_types::Arch::sm(9, 0),
            name: name.to_owned(),
            units: 132,
        };
        let text = DevicePoolError::Mixed(vec![
            (DeviceChoice::Cuda(0), identity("NVIDIA H100")),
            (DeviceChoice::Cuda(1), identity("NVIDIA H200")),
        ])
        .to_string();
        assert!(
            text.contains("cuda:0 is NVIDIA H100 (") && text.contains("cuda:1 is NVIDIA H200 ("),
            "{text}"
        );
    }
}
