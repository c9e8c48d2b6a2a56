//! What candidates compute, on which device and over which cloud.

use voxtune::{Device, Operation};

use crate::inputs::cloud_setup::CloudSetup;
use crate::inputs::monitor::Limits;
use crate::inputs::planned_cloud::PlannedCloud;

/// What candidates compute, on which device and over which cloud.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Where they run.
    pub device: &'a Device,
    /// What they compute.
    pub operation: &'a Operation,
    /// The cloud, for samples of it of another size.
    pub cloud: &'a PlannedCloud,
    /// The cloud on the device.
    pub setup: &'a CloudSetup,
    /// Seed of the measurement; verification takes another.
    pub seed: u64,
    /// How long they may take.
    pub limits: Limits,
}
