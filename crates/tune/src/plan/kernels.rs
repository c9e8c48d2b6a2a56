//! Which kernels a job needs, in the order of need.

use std::collections::HashSet;
use std::sync::Arc;

use crate::plan::grid::Configuration;
use voxtune::{Algorithm, Direction, KernelSize, MapCounts, Operation, Registry};
use voxtune_types::AlgoId;

use crate::inputs::planned_cloud::PlannedCloud;
use crate::plan::job::Job;

/// The candidates of every operation of a job whose configurations are measured in this order, those
/// first that are needed first. The registry may be that of a device that is not there.
#[must_use]
pub fn wanted_kernels(
    registry: &Registry,
    job: &Job,
    order: impl IntoIterator<Item = usize>,
) -> Vec<(AlgoId, Operation)> {
    let mut seen = HashSet::new();
    let mut wanted = Vec::new();
    let mut want = |one: &Arc<dyn Algorithm>, operation| {
        let key = (one.id().clone(), operation);
        if seen.insert(key.clone()) {
            wanted.push(key);
        }
    };
    for planned in order.into_iter().filter_map(|index| job.configurations.get(index)) {
        for &direction in &job.directions {
            let operation = operation_of(&planned.configuration, direction);
            for cloud in &planned.clouds {
                let counts = expected_counts(cloud, operation.kernel);
                let pool = registry.pool(job.modes.of(direction), &operation, counts);
                pool.iter().for_each(|one| want(one, operation));
            }
            // Winners are compared with the default even where it is not asked for.
            registry.default_for(&operation).into_iter().for_each(|one| want(one, operation));
        }
    }
    wanted
}

/// One direction of a configuration's layer.
#[must_use]
pub const fn operation_of(configuration: &Configuration, direction: Direction) -> Operation {
    let Configuration { channels, kernel, dtype, .. } = *configuration;
    Operation::submanifold(direction, dtype, channels.c_in, channels.c_out, kernel)
}

/// The counts of a cloud's kernel map as far as they are known before there is one.
#[must_use]
pub fn expected_counts(cloud: &PlannedCloud, kernel: KernelSize) -> MapCounts {
    let rows = cloud.voxels();
    let pairs = rows as f64 * cloud.expected_pairs_per_row(kernel.volume());
    MapCounts { n_in: rows, n_out: rows, pairs: pairs as usize }
}
