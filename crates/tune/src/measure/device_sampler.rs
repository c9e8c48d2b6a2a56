//! The [`Sampler`] of a real device: runs candidates over one cloud, timed by the device's clock.

use std::time::{Duration, Instant};

use voxtune_cache::Reason;

use crate::inputs::entry::Entry;
use crate::inputs::monitor::Monitor;
use crate::inputs::operands::OperandBuffers;
use crate::measure::candidate_set::CandidateSet;
use crate::measure::throttle::ThrottleFilter;
use crate::race::Sampler;
use crate::verify::full_size::FullSizeReference;
use crate::verify::rejection::{Rejection, guarded};

/// Runs and times candidates on a device.
pub(crate) struct DeviceSampler<'a> {
    pub(crate) entry: Entry<'a>,
    pub(crate) set: &'a CandidateSet,
    /// Numbers in the set of those that race.
    pub(crate) racing: &'a [usize],
    /// Which of these have run.
    pub(crate) has_run: Vec<bool>,
    pub(crate) buffers: &'a mut OperandBuffers,
    pub(crate) full_size: Option<&'a FullSizeReference>,
    pub(crate) start: Instant,
    /// For one sample.
    pub(crate) limit: Duration,
    pub(crate) monitor: &'a mut dyn Monitor,
    /// Takes the samples.
    pub(crate) throttle_filter: &'a mut ThrottleFilter,
    /// Time that comparing results took.
    pub(crate) comparing: Duration,
    pub(crate) device_lost: bool,
}

impl Sampler for DeviceSampler<'_> {
    type Failure = Rejection;

    fn sample(&mut self, candidate: usize) -> Result<u64, Rejection> {
        let Entry { device, setup, operation, l2_state, .. } = self.entry;
        let number = self.racing[candidate];
        let algorithm = self.set.algorithm(number);
        self.monitor.running(number, self.limit);
        if !std::mem::replace(&mut self.has_run[candidate], true) {
            guarded(|| algorithm.prepare_map(device, operation, &setup.map))
                .inspect_err(|rejection| self.device_lost = rejection.device_lost)?;
        }
        let buffers = &mut *self.buffers;
        let taken = self.throttle_filter.take(|| {
            let run = || {
                let launch = buffers.launch(operation, setup);
                device.registry().run(algorithm, device, launch)
            };
            guarded(|| device.time(l2_state, run))
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
        self.comparing += start.elapsed();
        verified.inspect_err(|rejection| self.device_lost = rejection.device_lost)
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    fn interrupted(&self) -> bool {
        self.device_lost || self.monitor.interrupted()
    }
}
