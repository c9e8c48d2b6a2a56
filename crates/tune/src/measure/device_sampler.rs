//! A race's track on a real device: candidates run over one cloud, timed by the device's clock.

use std::time::{Duration, Instant};

use voxtune::Algorithm;
use voxtune_cache::Reason;

use crate::inputs::monitor::Monitor;
use crate::inputs::operands::Workbench;
use crate::measure::context::Entry;
use crate::measure::throttle::Steady;
use crate::race::Track;
use crate::verify::full_size::AtScale;
use crate::verify::rejection::{Rejection, guarded};

/// One that races.
pub(crate) struct Racer<'a> {
    /// In the field.
    number: usize,
    algorithm: &'a dyn Algorithm,
    has_run: bool,
}

impl<'a> Racer<'a> {
    /// The candidate of this number in the field.
    pub(crate) fn new(number: usize, algorithm: &'a dyn Algorithm) -> Self {
        Self { number, algorithm, has_run: false }
    }
}

/// What a race notes by the way.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Notes {
    /// Takes the samples.
    pub(crate) steady: Steady,
    /// What comparing results cost.
    pub(crate) proofs: Duration,
}

/// The real thing: candidates on a device.
pub(crate) struct DeviceTrack<'a> {
    pub(crate) entry: Entry<'a>,
    pub(crate) racers: Vec<Racer<'a>>,
    pub(crate) bench: &'a mut Workbench,
    pub(crate) at_scale: Option<&'a AtScale>,
    pub(crate) start: Instant,
    /// For one sample.
    pub(crate) limit: Duration,
    pub(crate) monitor: &'a mut dyn Monitor,
    pub(crate) notes: Notes,
    pub(crate) device_lost: bool,
}

impl Track for DeviceTrack<'_> {
    type Failure = Rejection;

    fn sample(&mut self, lane: usize) -> Result<u64, Rejection> {
        let Entry { device, setup, operation, job, .. } = self.entry;
        let racer = &mut self.racers[lane];
        self.monitor.running(racer.number, self.limit);
        if !std::mem::replace(&mut racer.has_run, true) {
            guarded(|| racer.algorithm.prepare_map(device, operation, &setup.map))
                .inspect_err(|rejection| self.device_lost = rejection.device_lost)?;
        }
        let bench = &mut *self.bench;
        let taken = self.notes.steady.take(|| {
            let run = || {
                let launch = bench.launch(operation, setup);
                device.registry().run(racer.algorithm, device, launch)
            };
            guarded(|| device.time(job.regime, run))
        });
        let sample = taken.inspect_err(|rejection| self.device_lost = rejection.device_lost)?;
        Ok(sample.elapsed_ns.max(1))
    }

    /// The result is poisoned before and compared behind, both outside of the timed window.
    fn proven_sample(&mut self, lane: usize) -> Result<u64, Rejection> {
        let device = self.entry.device;
        let Some(at_scale) = self.at_scale else {
            let reason = Reason::WrongResult;
            return Err(Rejection::new(reason, "nothing at full size to compare with"));
        };
        let sample =
            guarded(|| self.bench.operands.out.poison(device)).and_then(|()| self.sample(lane));
        let start = Instant::now();
        let proven =
            sample.and_then(|ns| at_scale.check(device, &self.bench.operands.out).map(|()| ns));
        self.notes.proofs += start.elapsed();
        proven.inspect_err(|rejection| self.device_lost = rejection.device_lost)
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    fn interrupted(&self) -> bool {
        self.device_lost || self.monitor.interrupted()
    }
}
