//! What a run asks of an executor.

use std::time::Duration;

use voxtune::L2State;
use voxtune_types::Direction;
use voxtune_types::mode::AlgoModes;

use crate::plan::expand::{Plan, PlannedConfiguration, Request};

/// The part of a plan and its request that running candidates takes. What is done with stored
/// evidence is not in it: executors know no files.
#[derive(Clone, Debug)]
pub struct Job {
    /// What is measured, in this order.
    pub configurations: Vec<PlannedConfiguration>,
    /// Samples in a generated cloud.
    pub batch_size: usize,
    /// Seed of clouds and operands.
    pub seed: u64,
    /// Directions to measure.
    pub directions: Vec<Direction>,
    /// Which algorithms compete.
    pub modes: AlgoModes,
    /// Time for an entry; see [`crate::race::Policy::budget`].
    pub budget: Duration,
    /// What a GPU's L2 cache holds when a sample begins.
    pub l2_state: L2State,
    /// Least time that a candidate gets before it counts as hung.
    pub time_limit: Duration,
    /// Speed of the device, if it is known already: the calibration of [`crate::measure::estimate`]
    /// is left out where a worker starts anew.
    pub flops_per_second: Option<f64>,
}

impl Job {
    /// The job of a planned request.
    #[must_use]
    pub fn new(plan: &Plan, request: &Request) -> Self {
        Self {
            configurations: plan.configurations.clone(),
            batch_size: request.batch_size,
            seed: request.seed,
            directions: request.directions.clone(),
            modes: request.modes.clone(),
            budget: request.budget,
            l2_state: request.l2_state,
            time_limit: request.time_limit,
            flops_per_second: None,
        }
    }
}
