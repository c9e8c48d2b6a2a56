//! Counts on the edge of their bucket, which stand for a cloud of nearly their size badly.

use std::fmt;

use voxtune_types::VoxelBucket;

use crate::inputs::planned_cloud::PlannedCloud;
use crate::plan::expand::Plan;

/// A voxel count that is the first or the last of its bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CountOnEdge {
    /// The count.
    pub voxels: usize,
}

impl fmt::Display for CountOnEdge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bucket = VoxelBucket::of(self.voxels);
        let (least, most) = (bucket.min_rows(), bucket.max_rows());
        let (end, beyond) = if self.voxels == most { ("last", "more") } else { ("first", "less") };
        write!(
            f,
            "{} voxels are the {end} count of their bucket, {least} to {most}: a cloud with one \
             {beyond} has another key; {} stands for this bucket better",
            self.voxels,
            least.midpoint(most)
        )
    }
}

impl Plan {
    /// Counts of generated clouds that are the first or the last of their bucket, in the order of
    /// the plan. A cloud with one voxel less or more has another key.
    #[must_use]
    pub fn counts_on_edges(&self) -> Vec<CountOnEdge> {
        let mut found = Vec::new();
        for cloud in self.configurations.iter().flat_map(|planned| &planned.clouds) {
            let PlannedCloud::Generated { voxels, .. } = *cloud else { continue };
            let edge = CountOnEdge { voxels };
            if VoxelBucket::of(voxels).is_edge(voxels) && !found.contains(&edge) {
                found.push(edge);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Preset;
    use crate::plan::expand::Request;

    #[test]
    fn the_ends_of_buckets_are_found_and_no_preset_has_any() {
        let edges = |voxels: Vec<usize>| {
            let mut request = Request::new(Preset::Quick.grid());
            request.grid.voxels = voxels;
            let found = Plan::new(&request).unwrap().counts_on_edges();
            found.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let found = edges(vec![65_536, 65_537, 200_000, 262_143]);
        assert_eq!(
            found,
            [
                "65536 voxels are the last count of their bucket, 32769 to 65536: a cloud with one \
                 more has another key; 49152 stands for this bucket better",
                "65537 voxels are the first count of their bucket, 65537 to 131072: a cloud with \
                 one less has another key; 98304 stands for this bucket better",
            ]
        );
        for preset in Preset::ALL {
            let counts = preset.configurations().into_iter().map(|one| one.voxels).collect();
            assert_eq!(edges(counts), [""; 0], "{preset}");
        }
    }
}
