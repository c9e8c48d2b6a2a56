//! The candidates of an entry's measurement.

use std::sync::Arc;

use voxtune::{Algorithm, Device, KernelHash, Operation};
use voxtune_types::AlgoId;

use crate::inputs::candidate::Candidate;
use crate::inputs::error::MeasureError;
use crate::verify::rejection::{Rejection, Verdict};

/// The candidates of an entry's measurement.
#[derive(Clone, Debug)]
pub struct CandidateSet {
    /// Candidates that race, in the order of the registry. Behind them the default, if it may run
    /// and does not race: results are compared with its.
    pub(super) algorithms: Vec<Arc<dyn Algorithm>>,
    /// The same, by name.
    pub(super) candidates: Vec<Candidate>,
    /// How many race.
    pub(super) racing: usize,
}

impl CandidateSet {
    /// The candidates of these names that can run here, and the default, without code that is to be
    /// avoided.
    #[must_use]
    pub fn new(
        device: &Device,
        operation: &Operation,
        names: &[AlgoId],
        avoid: &[(AlgoId, KernelHash)],
    ) -> Self {
        let registry = device.registry();
        let candidate = |algorithm: &Arc<dyn Algorithm>| {
            let candidate = Candidate::new(device, operation, &**algorithm);
            let is_avoided = avoid.iter().any(|(id, hash)| candidate.is_version(id, *hash));
            (!is_avoided).then(|| (Arc::clone(algorithm), candidate))
        };
        let usable = names.iter().filter_map(|id| registry.usable(id, operation));
        let mut set: Vec<(Arc<dyn Algorithm>, Candidate)> = usable.filter_map(candidate).collect();
        let racing = set.len();
        // Only GPUs are fast enough to compare all candidates at full size.
        if device.identity().arch.is_cuda()
            && let Some(default) = registry.default_for(operation)
            && !names.contains(default.id())
        {
            set.extend(candidate(default));
        }
        let (algorithms, candidates) = set.into_iter().unzip();
        Self { algorithms, candidates, racing }
    }

    /// All candidates, the default included.
    #[must_use]
    pub fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }

    pub(super) fn algorithm(&self, number: usize) -> &dyn Algorithm {
        &*self.algorithms[number]
    }

    /// Numbers of the candidates that may serve as reference: the default first.
    pub(super) fn trusted(&self) -> Vec<usize> {
        let mut numbers: Vec<usize> = (0..self.candidates.len()).collect();
        numbers.sort_by_key(|&number| !self.candidates[number].default);
        numbers
    }

    pub(super) fn device_lost(&self, index: usize, rejection: Rejection) -> MeasureError {
        rejection.into_loss(self.candidates[index].clone())
    }

    /// Whether the device still works, as far as verdicts tell.
    pub(super) fn check_device(&self, verdicts: &[Verdict]) -> Result<(), MeasureError> {
        let lost = verdicts.iter().enumerate().find_map(|(index, verdict)| {
            let rejection = verdict.as_ref().err().filter(|rejection| rejection.device_lost)?;
            Some(self.device_lost(index, rejection.clone()))
        });
        lost.map_or(Ok(()), Err)
    }
}
