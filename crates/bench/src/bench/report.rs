//! What a run measured, as it is written.

use std::collections::BTreeMap;

use serde::Serialize;
use voxtune::{DType, Direction};

use super::comparison::Comparison;
use super::peers::LayerKey;
use super::roofline::Floor;

/// Everything that a run measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BenchReport {
    /// Device, driver and compiler.
    pub device: String,
    /// Rounds that each median is of.
    pub rounds: usize,
    /// Whether caches of the device were emptied before each sample.
    pub cold: bool,
    /// Whether each sample came right behind an untimed run of the same candidate.
    pub warm: bool,
    /// What the device can do.
    pub ceilings: CeilingsReport,
    /// The clouds and their kernel maps.
    pub clouds: Vec<CloudReport>,
    /// One for each cloud, layer, storage type and direction.
    pub rows: Vec<RowReport>,
    /// The rows beside other libraries' times.
    pub peers: Option<Comparison>,
    /// What went wrong, a line each.
    pub failures: Vec<String>,
}

/// What the device can do, measured in the same run or given.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CeilingsReport {
    /// Whether the rates were given and not measured.
    pub given: bool,
    /// Bytes read plus bytes written, a second.
    pub copy_bytes_per_s: Option<f64>,
    /// Operations of a dense 8192³ product by cuBLAS, a second.
    pub dense_flops_per_s: BTreeMap<DType, f64>,
    /// Time that a launch of nothing takes: part of every time in the report.
    pub empty_launch_ms: Option<f64>,
    /// Clock of the idle device.
    pub clock_mhz: Option<f64>,
}

/// A cloud and its kernel map.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CloudReport {
    /// Its name.
    pub cloud: String,
    /// Number of voxels.
    pub voxels: usize,
    /// Pairs over all offsets.
    pub pairs: usize,
    /// Time until a map is built and the host knows its counts.
    pub map_ms: Option<f64>,
    /// The time of building it by the device's clock, with a cold L2 cache, behind a blocking
    /// kernel that hides the host's.
    pub map_event_ms: Option<f64>,
    /// Time until a map has what the default forward algorithm reads and the device is idle.
    pub ready_ms: Option<f64>,
    /// What other parts add to a map that is built, the host's waiting included.
    pub part_ms: BTreeMap<String, f64>,
}

/// A cloud, a layer, a storage type and a direction.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RowReport {
    /// The cloud's name.
    pub cloud: String,
    /// How features are stored.
    pub dtype: DType,
    /// Input channels.
    pub c_in: u32,
    /// Output channels.
    pub c_out: u32,
    /// Groups of these channels.
    pub groups: u32,
    /// What was computed.
    pub direction: Direction,
    /// The least time that the device's rates allow.
    pub floor: Option<Floor>,
    /// Clock of the device after the fastest and the slowest sample.
    pub clock_mhz: Option<[u32; 2]>,
    /// Algorithms that computed it right, the fastest first.
    pub ranking: Vec<Ranked>,
    /// Calls of the public layer.
    pub calls: Option<CallReport>,
}

/// What an algorithm took.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ranked {
    /// Its id.
    pub algorithm: String,
    /// Whether it runs where nothing is known.
    pub default: bool,
    /// Median of its samples.
    pub median_ms: f64,
    /// Median of their distances from it.
    pub deviation_ms: f64,
    /// The shortest: on a busy host it says more than the median.
    pub least_ms: f64,
    /// Number of samples: one where it had no chance.
    pub samples: usize,
}

/// Means over back-to-back calls of a layer that runs the fastest algorithm, host included.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CallReport {
    /// Number of calls.
    pub calls: usize,
    /// `SubmConv3d::forward`, which allocates its result and fills it with zeros.
    pub forward_ms: f64,
    /// `SubmConv3d::forward_into`, which allocates nothing.
    pub forward_into_ms: f64,
}

impl RowReport {
    /// The fastest.
    #[must_use]
    pub fn best(&self) -> Option<&Ranked> {
        self.ranking.first()
    }

    /// What runs where nothing is known.
    #[must_use]
    pub fn default(&self) -> Option<&Ranked> {
        self.ranking.iter().find(|ranked| ranked.default)
    }

    /// Its channels and, unless all of them meet, their groups.
    #[must_use]
    pub fn layer(&self) -> String {
        let Self { c_in, c_out, groups, .. } = self;
        let groups = if *groups == 1 { String::new() } else { format!(" g{groups}") };
        format!("{c_in}→{c_out}{groups}")
    }

    /// Share of the device's rates that the fastest reaches.
    #[must_use]
    pub fn roofline_share(&self) -> Option<f64> {
        Some(self.floor?.floor_ms / self.best()?.median_ms)
    }

    /// Whether it belongs to a layer, all channels of which meet.
    #[must_use]
    pub fn is_of(&self, layer: &LayerKey) -> bool {
        self.cloud == layer.cloud
            && self.dtype == layer.dtype
            && self.c_in == layer.c_in
            && self.c_out == layer.c_out
            && self.groups == 1
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A row whose best and only algorithm took this long.
    pub(in crate::bench) fn row(
        cloud: &str,
        c_in: u32,
        c_out: u32,
        direction: Direction,
        ms: f64,
    ) -> RowReport {
        let ranked = Ranked {
            algorithm: "plain:rows=64".to_owned(),
            default: true,
            median_ms: ms,
            deviation_ms: 0.0,
            least_ms: ms,
            samples: 7,
        };
        RowReport {
            cloud: cloud.to_owned(),
            dtype: DType::Float16,
            c_in,
            c_out,
            groups: 1,
            direction,
            floor: None,
            clock_mhz: None,
            ranking: vec![ranked],
            calls: None,
        }
    }

    #[test]
    fn a_share_needs_a_floor_and_a_time() {
        let mut one = row("street", 8, 8, Direction::Forward, 0.5);
        assert_eq!(one.roofline_share(), None);
        one.floor = Some(Floor { bytes: 1, flops: 1, floor_ms: 0.2 });
        assert_eq!(one.roofline_share(), Some(0.4));
        one.ranking.clear();
        assert_eq!(one.roofline_share(), None);
    }

    #[test]
    fn layers_of_groups_are_told_apart() {
        let plain = row("street", 8, 8, Direction::Forward, 0.5);
        let depthwise = RowReport { groups: 8, ..plain.clone() };
        assert_eq!((plain.layer(), depthwise.layer()), ("8→8".to_owned(), "8→8 g8".to_owned()));
        let cloud = "street".to_owned();
        let layer = LayerKey { cloud, dtype: DType::Float16, c_in: 8, c_out: 8 };
        assert!(plain.is_of(&layer) && !depthwise.is_of(&layer));
    }

    #[test]
    fn rates_are_written_under_the_name_of_their_storage_type() {
        let dense_flops_per_s = BTreeMap::from([(DType::Float16, 7e14)]);
        let ceilings = CeilingsReport { dense_flops_per_s, ..CeilingsReport::default() };
        let json = serde_json::to_value(&ceilings).unwrap();
        assert_eq!(json["dense_flops_per_s"]["float16"], 7e14);
    }
}
