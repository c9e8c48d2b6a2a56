//! Full-size check: compares each candidate with the verified default, because a float64 reference
//! is too slow there.
//!
//! The first verified candidate, the default before others, computes the very problem of the race.
//! It was compared with float64 on another cloud. In the race every element of each result is
//! compared with it. That shows errors which occur only at size, or now and then.

use std::sync::Arc;

use voxtune::{Algorithm, ConvError, Device, Reference, Tensor};
use voxtune_cache::Reason;
use voxtune_types::AlgoId;

use crate::inputs::entry::Entry;
use crate::inputs::monitor::Monitor;
use crate::inputs::operands::OperandBuffers;
use crate::verify::rejection::{Rejection, Verdict, guarded};
use crate::verify::tolerance::tolerance;

/// A result at full size that the candidates of a race must agree with.
#[derive(Debug)]
pub struct FullSizeReference {
    expected: Reference,
    /// The algorithm that produced it.
    produced_by: AlgoId,
    tolerance: f64,
}

impl FullSizeReference {
    /// Keeps the result of the first trusted candidate that works; `None` if none works. A
    /// candidate that fails here gets that as its verdict.
    ///
    /// # Errors
    /// If the device fails.
    pub fn new(
        entry: &Entry<'_>,
        buffers: &mut OperandBuffers,
        algorithms: &[Arc<dyn Algorithm>],
        trusted: &[usize],
        verdicts: &mut [Verdict],
        monitor: &mut dyn Monitor,
    ) -> Result<Option<Self>, ConvError> {
        let Entry { device, operation, setup, limits, .. } = *entry;
        let limit = limits.of(operation.flops(setup.map.counts().pairs) as f64);
        for &number in trusted {
            if verdicts[number].is_err() {
                continue;
            }
            monitor.running(number, limit);
            buffers.operands.out.poison(device)?;
            let launch = buffers.launch(operation, setup);
            let run = guarded(|| device.registry().run(&*algorithms[number], device, launch))
                .and_then(|()| guarded(|| device.synchronize()));
            match run {
                Ok(()) => {
                    let result = buffers.take_result(device)?;
                    return Ok(Some(Self {
                        expected: Reference::from_result(device, operation, result)?,
                        produced_by: algorithms[number].id().clone(),
                        // Two right results differ by up to twice the tolerance.
                        tolerance: 2.0 * tolerance(operation, setup.map.counts()),
                    }));
                }
                Err(rejection) => {
                    let lost = rejection.device_lost;
                    verdicts[number] = Err(rejection);
                    if lost {
                        return Ok(None);
                    }
                }
            }
        }
        Ok(None)
    }

    /// Compares a result with the reference.
    ///
    /// # Errors
    /// If they differ by more than the tolerance.
    pub fn check(&self, device: &Device, result: &Tensor) -> Result<(), Rejection> {
        let worst = guarded(|| self.expected.worst_error(device, result))?;
        if worst <= self.tolerance {
            return Ok(());
        }
        let Self { produced_by, tolerance, .. } = self;
        let rows = result.rows();
        let detail = format!(
            "{worst:.2e} from {produced_by} at full size, {rows} rows, tolerance {tolerance:.0e}"
        );
        Err(Rejection::new(Reason::WrongResult, detail))
    }

    /// Returns the result's memory to the buffers.
    pub fn give_back(self, buffers: &mut OperandBuffers) {
        buffers.spare_result = self.expected.into_result();
    }
}
