//! A session: a device, a job, and what configurations share.
//!
//! A session decides nothing and writes nothing. It lists the candidates of an entry, and measures
//! those that it is told to. It runs in the supervisor's process, or in a worker.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use voxtune::{
    BackgroundCompile, Device, Direction, Grade, KernelHash, MapCounts, Operation, Tuner,
};
use voxtune_types::{AlgoId, AlgoMode};

use crate::evidence::entry::{Measured, PreparedEntry};
use crate::inputs::candidate::Candidate;
use crate::inputs::cloud_setup::{CloudSetup, SetupCache};
use crate::inputs::entry::Entry;
use crate::inputs::error::MeasureError;
use crate::inputs::memory::lack_of_memory;
use crate::inputs::monitor::{Limits, Monitor};
use crate::inputs::operands::OperandBuffers;
use crate::inputs::planned_cloud::PlannedCloud;
use crate::inputs::readers::Readers;
use crate::measure::candidate_set::CandidateSet;
use crate::measure::estimate::{Estimate, configuration_bytes, estimate};
use crate::measure::throttle::ThrottleFilter;
use crate::plan::expand::PlannedConfiguration;
use crate::plan::job::Job;
use crate::plan::kernels::wanted_kernels;
use crate::plan::protocol::Protocol;
use crate::race::Policy;
use crate::verify::float64::Verifier;

/// An entry to be measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Number of the configuration in the job.
    pub configuration: usize,
    /// Number of the cloud in the configuration.
    pub cloud: usize,
    /// The direction.
    pub direction: Direction,
    /// Candidates that race. Names that cannot run here are skipped.
    pub candidates: Vec<AlgoId>,
    /// Algorithms that must not run, not even as reference, with the quarantined hash of their
    /// code.
    pub avoid: Vec<(AlgoId, KernelHash)>,
    /// The winner by stored evidence. If it loses the race, confirmation rounds follow.
    pub incumbent: Option<AlgoId>,
}

/// A device at work on a job.
#[derive(Debug)]
pub struct Session {
    device: Device,
    job: Job,
    limits: Limits,
    /// What resolves by the decisions of this program alone.
    shipped: Tuner,
    setups: SetupCache,
    verifier: Verifier,
    /// Made with the first measurement, and freed where memory runs short.
    buffers: Option<OperandBuffers>,
    /// Kernels that compile in the background.
    background_compile: Option<BackgroundCompile>,
    /// Time waited for kernels that measurements have already reported.
    waited: Duration,
}

impl Session {
    /// Takes up a job.
    #[must_use]
    pub fn new(device: Device, job: Job) -> Self {
        let flops_per_second = job.flops_per_second.unwrap_or(Limits::SLOW_FLOPS_PER_SECOND);
        let limits = Limits { least: job.protocol.time_limit, flops_per_second };
        Self {
            device,
            job,
            limits,
            shipped: Tuner::builder().embedded().build(),
            setups: SetupCache::default(),
            verifier: Verifier::default(),
            buffers: None,
            background_compile: None,
            waited: Duration::ZERO,
        }
    }

    /// Begins to compile the code of all candidates, where it is not part of the program, in the
    /// order in which configurations need it. A call that needs a kernel sooner waits for it.
    /// Returns the number of candidates over all operations.
    pub fn compile(&mut self, order: &[usize]) -> usize {
        let wanted = wanted_kernels(self.device.registry(), &self.job, order.iter().copied());
        let candidates = wanted.len();
        self.background_compile = Some(self.device.compile_ahead(wanted));
        candidates
    }

    /// What the job will need, after a calibration that leaves some algorithms out.
    ///
    /// # Errors
    /// If the device does not work.
    pub fn estimate(
        &mut self,
        avoid: &[AlgoId],
        monitor: &mut dyn Monitor,
    ) -> Result<Estimate, MeasureError> {
        let estimate = estimate(&self.device, &self.job, avoid, monitor)?;
        self.limits.flops_per_second = estimate.flops_per_second;
        Ok(estimate)
    }

    /// Sets up the clouds of a configuration and lists its entries.
    ///
    /// # Errors
    /// If it needs more memory than is free, its clouds cannot be made, or it has no candidate.
    pub fn prepare(
        &mut self,
        configuration: usize,
        monitor: &mut dyn Monitor,
    ) -> Result<Vec<PreparedEntry>, MeasureError> {
        let planned = self.planned(configuration)?.clone();
        let layer = planned.configuration.layer;
        self.setups.keep_only(&planned.clouds, layer);
        self.check_memory(configuration_bytes(&planned, &self.job.protocol.directions))?;
        let mut entries = Vec::new();
        for (number, cloud) in planned.clouds.iter().enumerate() {
            let setup = self.setup(&planned, number, monitor)?;
            for &direction in &self.job.protocol.directions {
                let operation = planned.configuration.operation(direction);
                let readers = planned.readers;
                let key = self.entry(&operation, cloud, &setup, readers, [None; 2]).key();
                let pool = self.pool(&operation, setup.map.counts())?;
                entries.push(PreparedEntry { key, cloud: number, pool });
            }
        }
        Ok(entries)
    }

    /// Verifies and races candidates.
    ///
    /// # Errors
    /// If the entry needs more memory than there is or cannot be set up, the device is lost, or the
    /// run interrupted.
    pub fn measure(
        &mut self,
        task: &Task,
        monitor: &mut dyn Monitor,
    ) -> Result<Measured, MeasureError> {
        let planned = self.planned(task.configuration)?.clone();
        let setup = self.setup(&planned, task.cloud, monitor)?;
        let operation = planned.configuration.operation(task.direction);
        let set = CandidateSet::new(&self.device, &operation, &task.candidates, &task.avoid);
        let mut buffers = match self.buffers.take() {
            Some(buffers) => buffers,
            None => OperandBuffers::new(&self.device)?,
        };
        // Buffers that could not be filled are not kept: others may lack their memory.
        let mut verifier = std::mem::take(&mut self.verifier);
        let cloud = &planned.clouds[task.cloud];
        let shipped = self.shipped(&operation, setup.map.counts());
        let winners = [task.incumbent.as_ref(), shipped.as_ref()];
        let entry = self.entry(&operation, cloud, &setup, planned.readers, winners);
        let filter = &mut ThrottleFilter::default();
        let policy = Policy::of(self.device.identity().arch, self.job.protocol.budget);
        let measured = entry.measure(&mut verifier, &mut buffers, filter, &set, &policy, monitor);
        self.verifier = verifier;
        let mut measured = measured?;
        self.buffers = Some(buffers);
        let waited = self.device.waited_for_kernels();
        measured.spent.compile = waited.saturating_sub(self.waited);
        self.waited = waited;
        let compile = self.background_compile.as_ref();
        measured.compiling = compile.map(BackgroundCompile::time_left);
        Ok(measured)
    }

    fn entry<'a>(
        &'a self,
        operation: &'a Operation,
        cloud: &'a PlannedCloud,
        setup: &'a CloudSetup,
        readers: Readers,
        [incumbent, shipped]: [Option<&'a AlgoId>; 2],
    ) -> Entry<'a> {
        let Self { device, limits, job: Job { protocol, .. }, .. } = self;
        let Protocol { batch_size, seed, l2_state, charges, .. } = *protocol;
        let (limits, readers) = (*limits, charges.then_some(readers));
        Entry {
            device,
            operation,
            cloud,
            setup,
            batch_size,
            seed,
            limits,
            l2_state,
            readers,
            incumbent,
            shipped,
        }
    }

    /// The algorithm that this program ships as measured for a key, on this device or a sibling.
    fn shipped(&self, operation: &Operation, counts: MapCounts) -> Option<AlgoId> {
        let found = self.shipped.resolve(&self.device, &counts.key(*operation)).ok()?;
        let is_measured = matches!(found.grade(), Grade::Exact { .. } | Grade::Sibling { .. });
        is_measured.then(|| found.algorithm().id().clone())
    }

    fn planned(&self, configuration: usize) -> Result<&PlannedConfiguration, MeasureError> {
        let found = self.job.configurations.get(configuration);
        found.ok_or_else(|| {
            let count = self.job.configurations.len();
            MeasureError::Configuration(format!("number {configuration} of {count}"))
        })
    }

    fn setup(
        &mut self,
        planned: &PlannedConfiguration,
        cloud: usize,
        monitor: &mut dyn Monitor,
    ) -> Result<CloudSetup, MeasureError> {
        let Protocol { batch_size, seed, .. } = self.job.protocol;
        let Some(cloud) = planned.clouds.get(cloud) else {
            return Err(MeasureError::Configuration(format!("it has no cloud {cloud}")));
        };
        monitor.working(self.limits.of_set_up(0.0));
        let layer = planned.configuration.layer;
        self.setups.get(&self.device, cloud, layer, batch_size, seed)
    }

    /// The candidates that the job asks for.
    fn pool(
        &self,
        operation: &Operation,
        counts: MapCounts,
    ) -> Result<Vec<Candidate>, MeasureError> {
        let Protocol { modes, also, .. } = &self.job.protocol;
        let mode: &AlgoMode = modes.of(operation.direction);
        let registry = self.device.registry();
        let mut pool = registry.pool(mode, operation, counts);
        if !also.is_empty() {
            let named = AlgoMode::Named(also.clone());
            for one in registry.pool(&named, operation, counts) {
                if pool.iter().all(|held| held.id() != one.id()) {
                    pool.push(one);
                }
            }
        }
        if pool.is_empty() {
            return Err(MeasureError::Configuration(format!(
                "{mode} has no candidate for {operation} on {}",
                self.device.identity().arch
            )));
        }
        Ok(pool.iter().map(|one| Candidate::new(&self.device, operation, &**one)).collect())
    }

    fn check_memory(&mut self, needed_bytes: u64) -> Result<(), MeasureError> {
        let mut free_bytes = self.device.free_memory_bytes();
        if needed_bytes > free_bytes && self.buffers.take().is_some() {
            free_bytes = self.device.free_memory_bytes();
        }
        let lack = lack_of_memory(needed_bytes, free_bytes);
        lack.map_or(Ok(()), |lack| Err(MeasureError::Configuration(lack)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use voxtune::DeviceChoice;
    use voxtune_cache::Decision;
    use voxtune_types::{Density, ShapeKey};

    use super::*;
    use crate::Preset;
    use crate::inputs::monitor::Unwatched;
    use crate::plan::expand::{Plan, Request};
    use crate::plan::grid::GridOverrides;

    /// One layer over a cloud of a thousand voxels, forward, on the host.
    fn session() -> Session {
        let overrides = GridOverrides {
            voxels: Some(vec![1000]),
            channels: Some(vec!["4,8".parse().unwrap()]),
            ..GridOverrides::default()
        };
        let protocol = Protocol {
            directions: vec![Direction::Forward],
            budget: Duration::ZERO,
            ..Protocol::default()
        };
        let request = Request { protocol, ..Request::new(Preset::Quick.grid().with(overrides)) };
        let job = Job::new(&Plan::new(&request).unwrap(), &request);
        Session::new(Device::open(DeviceChoice::Cpu).unwrap().0, job)
    }

    #[test]
    fn records_say_which_algorithm_ships_as_the_winner() {
        let interrupt = AtomicBool::new(false);
        let mut monitor = Unwatched { interrupt: &interrupt };
        let mut session = session();
        let entry = session.prepare(0, &mut monitor).unwrap().pop().unwrap();
        let pool: Vec<AlgoId> = entry.pool.iter().map(|one| one.id.clone()).collect();
        let winner = entry.pool.iter().rfind(|one| !one.default).unwrap().id.clone();
        let task = Task {
            configuration: 0,
            cloud: 0,
            direction: Direction::Forward,
            candidates: pool,
            avoid: Vec::new(),
            incumbent: None,
        };
        let mut shipped = |session: &mut Session| -> Vec<AlgoId> {
            let records = session.measure(&task, &mut monitor).unwrap().records;
            records.into_iter().filter(|one| one.shipped).map(|one| one.algo).collect()
        };
        let decision = |key| Decision {
            device: entry.key.device.clone(),
            key,
            winner: winner.clone(),
            runner_up: None,
            without_libraries: None,
            safe: vec![winner.clone()],
        };
        let ships = |key| Tuner::builder().decisions([decision(key)].into_iter().collect()).build();
        let key = entry.key.key;
        session.shipped = ships(key);
        assert_eq!(shipped(&mut session), std::slice::from_ref(&winner));
        // What a neighbour's decision comes to was not measured for this key.
        let density = Density::from_index(key.density.index() + 1).unwrap();
        session.shipped = ships(ShapeKey { density, ..key });
        assert_eq!(shipped(&mut session), [] as [AlgoId; 0]);
        session.shipped = Tuner::empty();
        assert_eq!(shipped(&mut session), [] as [AlgoId; 0]);
    }
}
