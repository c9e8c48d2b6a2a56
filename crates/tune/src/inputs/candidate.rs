//! A candidate: an algorithm, and the version of its code.

use serde::{Deserialize, Serialize};
use voxtune::{Algorithm, Device, KernelHash, Operation, Requirement};
use voxtune_cache::{Environment, Outcome, Record};
use voxtune_types::AlgoId;

/// Stands for the code of a candidate that could not be compiled: no code has this hash.
pub const NOT_COMPILED: KernelHash = KernelHash::new(0);

/// A candidate for an operation on a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// Which algorithm.
    pub id: AlgoId,
    /// Which version of its code; [`NOT_COMPILED`] if there is none.
    pub kernel_hash: KernelHash,
    /// Whether it runs where nothing was measured.
    pub default: bool,
    /// The optional library that it needs.
    pub requires: Option<Requirement>,
}

impl Candidate {
    /// An algorithm of a device's registry.
    #[must_use]
    pub fn new(device: &Device, operation: &Operation, algorithm: &dyn Algorithm) -> Self {
        Self {
            id: algorithm.id().clone(),
            kernel_hash: algorithm.kernel_hash(device, operation).unwrap_or(NOT_COMPILED),
            default: algorithm.is_default(operation),
            requires: algorithm.requires(),
        }
    }

    /// Whether it is this code of this algorithm.
    #[must_use]
    pub fn is_version(&self, id: &AlgoId, kernel_hash: KernelHash) -> bool {
        self.id == *id && self.kernel_hash == kernel_hash
    }

    /// The record that evidence keeps of it, where something else ships as the winner.
    #[must_use]
    pub fn record(&self, environment: &Environment, outcome: Outcome) -> Record {
        Record {
            algo: self.id.clone(),
            kernel_hash: self.kernel_hash,
            default: self.default,
            shipped: false,
            requires: self.requires,
            environment: environment.clone(),
            outcome,
        }
    }
}

/// The software around measurements on a device.
#[must_use]
pub fn environment(device: &Device) -> Environment {
    let (driver, toolkit) = device.driver_and_toolkit();
    Environment { tool: format!("voxtune {}", env!("CARGO_PKG_VERSION")), driver, toolkit }
}
