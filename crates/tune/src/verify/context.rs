//! Where and on what candidates are verified.

use voxtune::{Device, Operation};

use crate::inputs::monitor::Limits;
use crate::inputs::planned_cloud::PlannedCloud;

/// Where and on what candidates are verified.
#[derive(Clone, Copy, Debug)]
pub struct VerifyContext<'a> {
    /// Where they run.
    pub device: &'a Device,
    /// What they compute.
    pub operation: &'a Operation,
    /// The cloud of which they get a part.
    pub cloud: &'a PlannedCloud,
    /// Seed of the measurement; verification takes another.
    pub seed: u64,
    /// How long they may take.
    pub limits: Limits,
}
