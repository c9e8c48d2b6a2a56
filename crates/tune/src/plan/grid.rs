//! The grid of problem shapes and its expansion into configurations.

use std::fmt;
use std::str::FromStr;

use voxtune_types::{DType, KernelSize, VoxelBucket};

/// Input and output channels of a layer, written `C_in,C_out`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelPair {
    /// Input channels.
    pub c_in: u32,
    /// Output channels.
    pub c_out: u32,
}

impl ChannelPair {
    /// The most channels that a layer may have.
    pub const MAX: u32 = 8192;
}

/// A text that is no pair of channels.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a channel pair: expected C_in,C_out with both between 1 and {max}, such as 32,64",
    max = ChannelPair::MAX
)]
pub struct MalformedChannelPair(pub String);

impl FromStr for ChannelPair {
    type Err = MalformedChannelPair;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let channels = |part: &str| {
            let count: u32 = part.parse().ok()?;
            (1..=Self::MAX).contains(&count).then_some(count)
        };
        text.split_once(',')
            .and_then(|(c_in, c_out)| Some(Self { c_in: channels(c_in)?, c_out: channels(c_out)? }))
            .ok_or_else(|| MalformedChannelPair(text.to_owned()))
    }
}

impl fmt::Display for ChannelPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}→{}", self.c_in, self.c_out))
    }
}

/// The axes of a grid. Its configurations are their product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Voxel counts of the clouds.
    pub voxels: Vec<usize>,
    /// Channels of the layers.
    pub channels: Vec<ChannelPair>,
    /// Kernel sizes.
    pub kernels: Vec<KernelSize>,
    /// Storage types.
    pub dtypes: Vec<DType>,
}

/// Axes that replace those of a preset; an absent one leaves the preset's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GridOverrides {
    /// Replaces the voxel counts.
    pub voxels: Option<Vec<usize>>,
    /// Replaces the channel pairs.
    pub channels: Option<Vec<ChannelPair>>,
    /// Replaces the kernel sizes.
    pub kernels: Option<Vec<KernelSize>>,
    /// Replaces the storage types.
    pub dtypes: Option<Vec<DType>>,
}

/// One point of the grid: a layer over a cloud of this size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Configuration {
    /// Voxel count of the cloud.
    pub voxels: usize,
    /// Channels of the layer.
    pub channels: ChannelPair,
    /// Kernel size of the layer.
    pub kernel: KernelSize,
    /// Storage type of the layer.
    pub dtype: DType,
}

/// A voxel count that was left out because an earlier one stands for its bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MergedCount {
    /// The count left out.
    pub voxels: usize,
    /// The count that is measured instead.
    pub into: usize,
}

/// The configurations of a grid and what was merged to get them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expansion {
    /// Distinct configurations, in the order in which they are measured.
    pub configurations: Vec<Configuration>,
    /// Counts that share a bucket with an earlier one.
    pub merged: Vec<MergedCount>,
}

impl Grid {
    /// This grid with some axes replaced.
    #[must_use]
    pub fn with(self, overrides: GridOverrides) -> Self {
        Self {
            voxels: overrides.voxels.unwrap_or(self.voxels),
            channels: overrides.channels.unwrap_or(self.channels),
            kernels: overrides.kernels.unwrap_or(self.kernels),
            dtypes: overrides.dtypes.unwrap_or(self.dtypes),
        }
    }

    /// The distinct configurations. Counts that share a [`VoxelBucket`] are merged into the first
    /// of them; repeated values of the other axes count once. The cloud varies slowest, so that
    /// neighbours in the list share their kernel map.
    #[must_use]
    pub fn expand(&self) -> Expansion {
        let (counts, merged) = merge_by_bucket(&self.voxels);
        let channels = distinct(&self.channels);
        let dtypes = distinct(&self.dtypes);
        let mut configurations = Vec::new();
        for &voxels in &counts {
            for &kernel in &distinct(&self.kernels) {
                for &channels in &channels {
                    for &dtype in &dtypes {
                        configurations.push(Configuration { voxels, channels, kernel, dtype });
                    }
                }
            }
        }
        Expansion { configurations, merged }
    }
}

fn merge_by_bucket(voxels: &[usize]) -> (Vec<usize>, Vec<MergedCount>) {
    let mut kept: Vec<usize> = Vec::new();
    let mut merged = Vec::new();
    for &count in voxels {
        match kept.iter().find(|&&other| VoxelBucket::of(other) == VoxelBucket::of(count)) {
            Some(&into) if into != count => merged.push(MergedCount { voxels: count, into }),
            Some(_) => {}
            None => kept.push(count),
        }
    }
    (kept, merged)
}

fn distinct<T: Copy + PartialEq>(values: &[T]) -> Vec<T> {
    let mut kept = Vec::new();
    for &value in values {
        if !kept.contains(&value) {
            kept.push(value);
        }
    }
    kept
}

impl fmt::Display for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { voxels, channels, kernel, dtype } = self;
        write!(f, "{voxels:>7} voxels  {channels:>7}  kernel {kernel}  {dtype}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Preset;

    fn listing(grid: &Grid) -> String {
        let Expansion { configurations, merged } = grid.expand();
        let mut lines: Vec<String> = configurations.iter().map(ToString::to_string).collect();
        lines.extend(merged.iter().map(|m| format!("merged {} into {}", m.voxels, m.into)));
        lines.push(format!("{} configurations", configurations.len()));
        lines.join("\n")
    }

    #[test]
    fn default_preset() {
        insta::assert_snapshot!(listing(&Preset::Default.grid()));
    }

    #[test]
    fn quick_preset() {
        insta::assert_snapshot!(listing(&Preset::Quick.grid()));
    }

    #[test]
    fn each_override() {
        let overrides = [
            GridOverrides { voxels: Some(vec![200_000, 1_000_000]), ..Default::default() },
            GridOverrides {
                channels: Some(vec!["7,9".parse().unwrap(), "1,1".parse().unwrap()]),
                ..Default::default()
            },
            GridOverrides {
                kernels: Some(vec![
                    KernelSize::submanifold(1).unwrap(),
                    KernelSize::submanifold(5).unwrap(),
                ]),
                ..Default::default()
            },
            GridOverrides { dtypes: Some(DType::ALL.to_vec()), ..Default::default() },
        ];
        let text: Vec<String> =
            overrides.map(|o| listing(&Preset::Quick.grid().with(o))).into_iter().collect();
        insta::assert_snapshot!(text.join("\n\n"));
    }

    #[test]
    fn counts_of_one_bucket_merge_into_the_first() {
        let overrides = GridOverrides {
            voxels: Some(vec![100_000, 131_072, 65_537, 65_536, 131_073, 100_000]),
            ..Default::default()
        };
        insta::assert_snapshot!(listing(&Preset::Quick.grid().with(overrides)));
    }

    #[test]
    fn repeated_values_count_once() {
        let pair: ChannelPair = "8,8".parse().unwrap();
        let grid = Preset::Quick
            .grid()
            .with(GridOverrides { channels: Some(vec![pair, pair]), ..Default::default() });
        assert_eq!(grid.expand().configurations.len(), 2);
    }

    #[test]
    fn malformed_pairs_are_refused() {
        for text in ["32", "0,32", "32,0", "a,b", "32,64,1", "", ",", "-1,4", "32, 64", "9000,1"] {
            assert!(text.parse::<ChannelPair>().is_err(), "{text:?}");
        }
    }
}
