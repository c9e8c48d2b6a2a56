//! Which kernels a job needs, in the order of need.

use std::collections::HashSet;
use std::sync::Arc;

use voxtune::{Algorithm, Geometry, LayerKind, MapCounts, Operation, Registry};
use voxtune_types::AlgoId;

use crate::inputs::planned_cloud::PlannedCloud;
use crate::plan::job::Job;

/// The candidates of every operation of a job whose configurations are measured in this order,
/// those first that are needed first. The registry may be that of a device that is not there.
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
        for &direction in &job.protocol.directions {
            let operation = planned.configuration.operation(direction);
            for cloud in &planned.clouds {
                let counts = expected_counts(cloud, planned.configuration.layer);
                let pool = registry.pool(job.protocol.modes.of(direction), &operation, counts);
                pool.iter().for_each(|one| want(one, operation));
            }
            // Winners are compared with the default even where it is not asked for.
            registry.default_for(&operation).into_iter().for_each(|one| want(one, operation));
        }
    }
    wanted
}

/// The counts of a layer's kernel map over a cloud as far as they are known before there is one.
#[must_use]
pub fn expected_counts(cloud: &PlannedCloud, layer: Geometry) -> MapCounts {
    let (rows, volume) = (cloud.voxels(), layer.kernel.volume());
    let steps: usize = layer.stride.iter().map(|&step| usize::from(step)).product();
    // Each fine row meets this many coarse ones.
    let met = volume.div_ceil(steps);
    match layer.kind {
        LayerKind::Submanifold => {
            let pairs = rows as f64 * cloud.expected_pairs_per_row(volume);
            MapCounts { n_in: rows, n_out: rows, pairs: pairs as usize }
        }
        LayerKind::Inverse => {
            let coarse = rows.min(rows * met / 2).max(1);
            MapCounts { n_in: coarse, n_out: rows, pairs: rows * met }
        }
        LayerKind::Transposed => {
            MapCounts { n_in: rows, n_out: rows * steps, pairs: rows * volume }
        }
        _ => {
            let coarse = rows * met / steps.clamp(1, 2);
            MapCounts { n_in: rows, n_out: coarse.max(1), pairs: rows * met }
        }
    }
}
