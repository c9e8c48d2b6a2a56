//! The [`Sampler`] of a real device: runs candidates over one cloud, timed by the device's clock.

use std::time::{Duration, Instant};

use voxtune::Algorithm;
use voxtune_cache::Reason;

use crate::inputs::monitor::Monitor;
use crate::inputs::operands::OperandBuffers;
use crate::measure::context::Entry;
use crate::measure::throttle::ThrottleFilter;
use crate::race::Sampler;
use crate::verify::full_size::FullSizeReference;
use crate::verify::rejection::{Rejection, guarded};

/// A candidate that races.
pub(crate) struct RacingCandidate<'a> {
    /// Its number in the candidate set.
    number: usize,
    algorithm: &'a dyn Algorithm,
    has_run: bool,
}

impl<'a> RacingCandidate<'a> {
    /// The candidate of this number in the candidate set.
    pub(crate) fn new(number: usize, algorithm: &'a dyn Algorithm) -> Self {
        Self { number, algorithm, has_run: false }
    }
}

/// Statistics of a race's samples.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SamplerStats {
    /// Takes the samples, and counts discarded ones.
    pub(crate) throttle_filter: ThrottleFilter,
    /// Time that comparing results took.
    pub(crate) comparing: Duration,
}

/// Runs and times candidates on a device.
pub(crate) struct DeviceSampler<'a> {
    pub(crate) entry: Entry<'a>,
    pub(crate) racing: Vec<RacingCandidate<'a>>,
    pub(crate) buffers: &'a mut OperandBuffers,
    pub(crate) full_size: Option<&'a FullSizeReference>,
    pub(crate) start: Instant,
    /// For one sample.
    pub(crate) limit: Duration,
    pub(crate) monitor: &'a mut dyn Monitor,
    pub(crate) stats: SamplerStats,
    pub(crate) device_lost: bool,
}

impl Sampler for DeviceSampler<'_> {
    type Failure = Rejection;

    fn sample(&mut self, candidate: usize) -> Result<u64, Rejection> {
        let Entry { device, setup, operation, job, .. } = self.entry;
        let racing = &mut self.racing[candidate];
        self.monitor.running(racing.number, self.limit);
        if !std::mem::replace(&mut racing.has_run, true) {
            guarded(|| racing.algorithm.prepare_map(device, operation, &setup.map))
                .inspect_err(|rejection| self.device_lost = rejection.device_lost)?;
        }
        let buffers = &mut *self.buffers;
        let taken = self.stats.throttle_filter.take(|| {
            let run = || {
                let launch = buffers.launch(operation, setup);
                device.registry().run(racing.algorithm, device, launch)
            };
            guarded(|| device.time(job.protocol.l2_state, run))
        });
        let sample = taken.inspect_err(|rejection| self.device_lost = rejection.device_lost)?;
        Ok(sample.elapsed_ns.max(1))
    }

    /// Poisons the result before and compares it after, both outside the timed window.
    fn verified_sample(&mut self, candidate: usize) -> Result<u64, Rejection> {
        let device = self.entry.device;
        let Some(full_size) = self.full_size else {
            let reason = Reason::WrongResult;
            return Err(Rejection::new(reason, "nothing at full size to compare with"));
        };
        let sample = guarded(|| self.buffers.operands.out.poison(device))
            .and_then(|()| self.sample(candidate));
        let start = Instant::now();
        let verified =
            sample.and_then(|ns| full_size.check(device, &self.buffers.operands.out).map(|()| ns));
        self.stats.comparing += start.elapsed();
        verified.inspect_err(|rejection| self.device_lost = rejection.device_lost)
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    fn interrupted(&self) -> bool {
        self.device_lost || self.monitor.interrupted()
    }
}
