//! Levels and maps that are made side by side, against the host's.

use std::collections::BTreeSet;

use voxtune_cpu::{KernelMap, layer_outputs};
use voxtune_cuda::{
    Cloud, DeviceBuffer, LevelPlan, MapPlan, NetworkMapBuilder, NetworkMaps, NetworkPlan, RowOrder,
};
use voxtune_types::{Geometry, KernelSize, Voxel};

use super::maps::{clouds, planned_otherwise, tile_plans};
use super::{CheckError, Checker, Findings};

/// Rows that there is room for where their number is not known: enough for every cloud of this
/// step.
const AMPLE: usize = 8;

/// The levels of an encoder for LiDAR, from an input that is clipped or not; a U-Net's, two of them
/// of one level.
fn networks() -> [(&'static str, Vec<(usize, Geometry)>); 2] {
    let layer = |extents, stride, padding| {
        let kernel = KernelSize::try_from(extents).expect("extents of a kernel");
        Geometry { padding, ..Geometry::strided(kernel, stride) }
    };
    let centred = layer([3; 3], [2; 3], [1; 3]);
    let halved = layer([2; 3], [2; 3], [0; 3]);
    let encoder = vec![
        (0, centred),
        (1, layer([3; 3], [2; 3], [0, 1, 1])),
        (2, centred),
        (3, layer([3, 1, 1], [2, 1, 1], [0; 3])),
    ];
    let unet =
        vec![(0, halved), (1, halved), (1, layer([3, 2, 1], [3, 2, 2], [1, 0, 0])), (2, halved)];
    [("an encoder", encoder), ("a U-Net", unet)]
}

fn kernel(extent: u32) -> KernelSize {
    KernelSize::cubic(extent).expect("extents of a kernel")
}

/// Levels with room for so many rows each, the maps to them, and two within each.
fn plan(layers: &[(usize, Geometry)], shape: Option<[u32; 3]>, rows: &[usize]) -> NetworkPlan {
    let mut shapes = vec![shape];
    let mut plan = NetworkPlan::default();
    for (&(from, geometry), &capacity) in layers.iter().zip(rows) {
        let shape = shapes[from].map(|shape| geometry.output_shape(shape));
        shapes.push(shape);
        plan.levels.push(LevelPlan { from, geometry, shape, capacity });
        let orders = vec![RowOrder::Natural, RowOrder::Global];
        // As many as one launch makes of all maps.
        let plans = tile_plans(RowOrder::Natural).into_iter().take(1).collect();
        plan.maps.push(MapPlan { from, to: plan.levels.len(), geometry, orders, plans });
    }
    for level in 0..=layers.len() {
        let within = |extent| Geometry::submanifold(kernel(extent), [1; 3]);
        let map =
            |geometry, orders, plans| MapPlan { from: level, to: level, geometry, orders, plans };
        plan.maps.push(map(within(3), vec![RowOrder::Global], tile_plans(RowOrder::Global)));
        plan.maps.push(map(within(1), vec![RowOrder::Natural], Vec::new()));
    }
    plan
}

/// What a build has found on the device.
struct Found {
    /// The input's voxels, and those of each level.
    levels: Vec<Vec<Voxel>>,
    /// How many rows each level needs.
    needed: Vec<usize>,
    made: NetworkMaps,
}

impl Checker<'_> {
    pub(super) fn network(&mut self) -> Result<Findings, CheckError> {
        let strided = self.kernels.strided_map_builder(&self.builder)?;
        let builder = self.kernels.network_map_builder(&self.builder, &strided)?;
        let mut findings = Findings::default();
        for (name, inputs) in clouds(self.options.quick) {
            if inputs.is_empty() {
                continue;
            }
            for (network, layers) in networks() {
                for shape in [None, Some([60, 41, 33])] {
                    findings.checked += 1;
                    let difference = self.compare_network(&builder, &inputs, &layers, shape)?;
                    let what =
                        |difference| format!("{network} over {name}, {shape:?}: {difference}");
                    findings.failures.extend(difference.map(what));
                }
            }
        }
        Ok(findings)
    }

    fn compare_network(
        &self,
        builder: &NetworkMapBuilder,
        inputs: &[Voxel],
        layers: &[(usize, Geometry)],
        shape: Option<[u32; 3]>,
    ) -> Result<Option<String>, CheckError> {
        let ample = vec![AMPLE * inputs.len() + 64; layers.len()];
        let first = self.build_network(builder, inputs, &plan(layers, shape, &ample))?;
        for (number, &(from, geometry)) in layers.iter().enumerate() {
            let clip = plan(layers, shape, &ample).levels[number].shape;
            let host = match layer_outputs(&first.levels[from], &geometry, clip) {
                Ok(host) => host,
                Err(error) => return Ok(Some(format!("the host refuses level {number}: {error}"))),
            };
            let as_set = |voxels: &[Voxel]| voxels.iter().copied().collect::<BTreeSet<_>>();
            let found = &first.levels[number + 1];
            if as_set(found) != as_set(&host) || found.len() != host.len() {
                let (found, expected) = (found.len(), host.len());
                return Ok(Some(format!("level {number}: {found} outputs for {expected}")));
            }
        }
        // With room for just as many, and for one less.
        let exact = plan(layers, shape, &first.needed);
        let again = self.build_network(builder, inputs, &exact)?;
        if again.levels != first.levels {
            return Ok(Some("another run has other rows".to_owned()));
        }
        for (plan, map) in exact.maps.iter().zip(&again.made.maps) {
            let (from, to) = (&again.levels[plan.from], &again.levels[plan.to]);
            if from.is_empty() || to.is_empty() {
                continue;
            }
            let Some(map) = map else {
                return Ok(Some(format!("the map of {} was not made", plan.geometry)));
            };
            if let Some(order) = plan.orders.iter().find(|order| !map.has_order(**order)) {
                return Ok(Some(format!("{} has no {} order", plan.geometry, order.as_str())));
            }
            let host = match KernelMap::of(from, to, &plan.geometry) {
                Ok(host) => host,
                Err(error) => return Ok(Some(format!("the host refuses it: {error}"))),
            };
            for &tiles in &plan.plans {
                if let Some(difference) = planned_otherwise(map, tiles)? {
                    let (geometry, from) = (plan.geometry, plan.from);
                    return Ok(Some(format!("{geometry} of level {from}: {difference}")));
                }
            }
            if let Some(difference) = self.compare_map(map, &host)? {
                let (geometry, from) = (plan.geometry, plan.from);
                return Ok(Some(format!("{geometry} of level {from}: {difference}")));
            }
        }
        let Some(fullest) = (0..layers.len()).find(|&level| first.needed[level] > 1) else {
            return Ok(None);
        };
        let mut short = first.needed.clone();
        short[fullest] -= 1;
        let spoilt = self.build_network(builder, inputs, &plan(layers, shape, &short))?;
        let has_rows = spoilt.levels[1..].iter().any(|level| !level.is_empty());
        if has_rows || spoilt.needed[fullest] != first.needed[fullest] {
            let needed = spoilt.needed[fullest];
            return Ok(Some(format!(
                "level {fullest} without room: rows {has_rows}, needs {needed}"
            )));
        }
        Ok(None)
    }

    /// Builds what a plan says, and reads back what was found.
    fn build_network(
        &self,
        builder: &NetworkMapBuilder,
        inputs: &[Voxel],
        plan: &NetworkPlan,
    ) -> Result<Found, CheckError> {
        let coords = DeviceBuffer::from_host(self.kernels.cuda(), inputs)?;
        let made = builder.build(Cloud::new(&coords, inputs.len()), plan)?;
        let (mut levels, mut needed) = (vec![inputs.to_vec()], Vec::new());
        for outputs in &made.levels {
            let Some(outputs) = outputs else {
                levels.push(Vec::new());
                needed.push(0);
                continue;
            };
            let rows: Vec<i32> = match &outputs.counted {
                Some(counted) => counted.download(0, 1)?,
                None => vec![0],
            };
            needed.push(outputs.report.wait()?.rows);
            levels.push(outputs.coords.download(0, usize::try_from(rows[0]).unwrap_or(0))?);
        }
        Ok(Found { levels, needed, made })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_have_every_level_and_map() {
        for (_, layers) in networks() {
            let plan = plan(&layers, Some([60, 41, 33]), &vec![100; layers.len()]);
            assert_eq!(plan.levels.len(), layers.len());
            assert_eq!(plan.maps.len(), 3 * layers.len() + 2);
            assert!(plan.levels.iter().all(|level| level.shape.is_some()));
            // Of more, some would be left to be made when they are read.
            assert!(plan.maps.iter().map(|map| map.plans.len()).sum::<usize>() <= 20);
        }
    }
}
