//! Right or wrong at full size, where float64 would take too long: by comparison among candidates.
//!
//! The first candidate whose verdict is good, the default before others, computes the very problem of
//! the race. It has been compared with float64 on another cloud; in the race, others are compared
//! with it, every element, and so is it itself. What only goes wrong at size or now and then shows there.

use std::sync::Arc;

use voxtune::{Algorithm, ConvError, Device, Reference, Tensor};
use voxtune_cache::Reason;
use voxtune_types::AlgoId;

use crate::inputs::cloud_setup::CloudSetup;
use crate::inputs::monitor::Monitor;
use crate::inputs::operands::OperandBuffers;
use crate::verify::context::VerifyContext;
use crate::verify::rejection::{Rejection, Verdict, guarded};
use crate::verify::tolerance::tolerance;

/// A result at full size that others must agree with.
#[derive(Debug)]
pub struct FullSizeReference {
    expected: Reference,
    /// Whose it is.
    produced_by: AlgoId,
    tolerance: f64,
}

impl FullSizeReference {
    /// What the first of the trusted ones that works makes of the operands; `None` if nobody works. Whoever
    /// fails over it gets that as its verdict.
    ///
    /// # Errors
    /// If the device fails.
    pub fn new(
        context: &VerifyContext<'_>,
        setup: &CloudSetup,
        buffers: &mut OperandBuffers,
        algorithms: &[Arc<dyn Algorithm>],
        trusted: &[usize],
        verdicts: &mut [Verdict],
        monitor: &mut dyn Monitor,
    ) -> Result<Option<Self>, ConvError> {
        let VerifyContext { device, operation, limits, .. } = *context;
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

    /// Whether a result agrees.
    ///
    /// # Errors
    /// If it does not.
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

    /// Gives the memory of the result back to the bench.
    pub fn give_back(self, buffers: &mut OperandBuffers) {
        buffers.spare_result = self.expected.into_result();
    }
}
