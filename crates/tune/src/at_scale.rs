//! Right or wrong at full size, where float64 would take too long: by comparison among candidates.

use std::sync::Arc;

use voxtune::{Algorithm, Launch, Reference};

use crate::monitor::Monitor;
use crate::setup::{CloudSetup, Operands, SetupError};
use crate::verify::{Stand, Verdict, ask, guarded, tolerance};

/// Whether candidates agree with a verified one on the very problem that they are raced on, every
/// element, twice: what only goes wrong at size or now and then shows here. Each verdict is replaced
/// by its rejection if it does not stand.
///
/// The first whose verdict is good is compared with, in the order of `trusted`: it has been compared
/// with float64 on a smaller problem. If it fails here, the next takes its place. Two right results
/// differ by up to twice the tolerance.
///
/// # Errors
/// If the device fails.
pub fn compare_at_scale(
    stand: &Stand<'_>,
    setup: &CloudSetup,
    operands: &mut Operands,
    field: &[Arc<dyn Algorithm>],
    trusted: &[usize],
    verdicts: &mut [Verdict],
    monitor: &mut dyn Monitor,
) -> Result<(), SetupError> {
    let Stand { device, operation, limits, .. } = *stand;
    let limit = limits.of(operation.flops(setup.map.counts().pairs) as f64);
    let expected = trusted_result(stand, setup, operands, field, trusted, verdicts, monitor)?;
    let Some(expected) = expected else { return Ok(()) };
    let tolerance = 2.0 * tolerance(operation, setup.map.counts());
    for (number, (algorithm, verdict)) in field.iter().zip(verdicts).enumerate() {
        for _ in 0..2 {
            let Ok(worst) = *verdict else { break };
            monitor.running(number, limit);
            let again = ask(device, &**algorithm, operation, setup, operands, &expected, tolerance);
            let lost = again.as_ref().is_err_and(|rejection| rejection.device_lost);
            *verdict = again.map(|_| worst);
            if lost {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// What the first of the trusted ones that works makes of the operands.
fn trusted_result(
    stand: &Stand<'_>,
    setup: &CloudSetup,
    operands: &mut Operands,
    field: &[Arc<dyn Algorithm>],
    trusted: &[usize],
    verdicts: &mut [Verdict],
    monitor: &mut dyn Monitor,
) -> Result<Option<Reference>, SetupError> {
    let Stand { device, operation, limits, .. } = *stand;
    let limit = limits.of(operation.flops(setup.map.counts().pairs) as f64);
    for &number in trusted {
        if verdicts[number].is_err() {
            continue;
        }
        monitor.running(number, limit);
        let Operands { a, b, out } = &mut *operands;
        let launch = Launch { operation, map: &setup.map, a, b, out };
        let run = guarded(|| device.registry().run(&*field[number], device, launch))
            .and_then(|()| guarded(|| device.synchronize()));
        match run {
            Ok(()) => return Ok(Some(Reference::of_result(device, operation, &operands.out)?)),
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
