//! The grid of problem shapes and its expansion into configurations.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use voxtune_types::{
    DType, Direction, Geometry, KernelSize, LayerKind, Operation, ShapeKey, VoxelBucket,
};

use super::groups::Groups;

/// Input and output channels of a layer, written `C_in,C_out`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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

/// The steps between a strided layer's outputs, written as one number for all axes or three.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stride(pub [u8; 3]);

/// A text that is no stride.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a stride: expected a number from 1 to 8, or one for each axis, such as 2,1,1"
)]
pub struct MalformedStride(pub String);

impl FromStr for Stride {
    type Err = MalformedStride;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let step = |part: &str| part.parse().ok().filter(|step| (1..=8).contains(step));
        let parts: Option<Vec<u8>> = text.split(',').map(step).collect();
        match parts.as_deref() {
            Some(&[all]) => Ok(Self([all; 3])),
            Some(&[x, y, z]) => Ok(Self([x, y, z])),
            _ => Err(MalformedStride(text.to_owned())),
        }
    }
}

/// The axes of a grid. Its configurations are their product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Voxel counts of the clouds.
    pub voxels: Vec<usize>,
    /// Channels of the layers.
    pub channels: Vec<ChannelPair>,
    /// Groups of these channels. Channels that do not divide into groups have no layer of so many.
    pub groups: Vec<Groups>,
    /// Kernel sizes.
    pub kernels: Vec<KernelSize>,
    /// Kinds of layers. Submanifold ones have odd kernels up to 5 and no stride.
    pub kinds: Vec<LayerKind>,
    /// Strides of the layers of other kinds.
    pub strides: Vec<Stride>,
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
    /// Replaces the groups.
    pub groups: Option<Vec<Groups>>,
    /// Replaces the kernel sizes.
    pub kernels: Option<Vec<KernelSize>>,
    /// Replaces the kinds of layers.
    pub kinds: Option<Vec<LayerKind>>,
    /// Replaces the strides.
    pub strides: Option<Vec<Stride>>,
    /// Replaces the storage types.
    pub dtypes: Option<Vec<DType>>,
}

/// One point of the grid: a layer over a cloud of this size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Configuration {
    /// Voxel count of the cloud.
    pub voxels: usize,
    /// Channels of the layer.
    pub channels: ChannelPair,
    /// Groups of these channels.
    pub groups: u32,
    /// What kind of layer, and where its rows meet. Padding and dilation act on the kernel map
    /// alone: layers that differ in nothing else are configurations of their own, and share a key.
    pub layer: Geometry,
    /// Storage type of the layer.
    pub dtype: DType,
}

impl Configuration {
    /// One direction of the layer.
    #[must_use]
    pub const fn operation(&self, direction: Direction) -> Operation {
        let Self { channels, groups, layer, dtype, .. } = *self;
        let Geometry { kind, kernel, stride, .. } = layer;
        let ChannelPair { c_in, c_out } = channels;
        let operation = Operation::strided(direction, dtype, c_in, c_out, kernel, stride);
        operation.with_kind(kind).with_groups(groups)
    }
}

/// The class of a key's rows on the side of the cloud that it was measured on. That side is the
/// inputs, but of an inverse layer the outputs: it goes back to that cloud.
#[must_use]
pub const fn cloud_bucket(key: &ShapeKey) -> VoxelBucket {
    match key.operation.kind {
        LayerKind::Inverse => key.bucket_out,
        _ => key.bucket_in,
    }
}

/// A layer as tables name it: `3`, `3 d2x2x2`, `2 s2 inverse`.
#[must_use]
pub fn layer_text(layer: &Geometry) -> String {
    let Geometry { kind, kernel, stride: [x, y, z], .. } = *layer;
    let mut text = kernel.to_string();
    if kind != LayerKind::Submanifold {
        let step = if x == y && y == z { x.to_string() } else { format!("{x}x{y}x{z}") };
        text += &format!(" s{step} {kind}");
    }
    layer.write_meetings(&mut text).expect("a text takes what is written to it");
    text
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
            groups: overrides.groups.unwrap_or(self.groups),
            kernels: overrides.kernels.unwrap_or(self.kernels),
            kinds: overrides.kinds.unwrap_or(self.kinds),
            strides: overrides.strides.unwrap_or(self.strides),
            dtypes: overrides.dtypes.unwrap_or(self.dtypes),
        }
    }

    /// The distinct configurations. Counts that share a [`VoxelBucket`] are merged into the first
    /// of them; repeated values of the other axes count once. The cloud varies slowest, so that
    /// neighbours in the list share their kernel map.
    #[must_use]
    pub fn expand(&self) -> Expansion {
        let (counts, merged) = merge_by_bucket(&self.voxels);
        let channels = self.channels_in_groups();
        let dtypes = distinct(&self.dtypes);
        let mut configurations = Vec::new();
        for &voxels in &counts {
            for &layer in &self.layers() {
                for &(channels, groups) in &channels {
                    let of = |&dtype| Configuration { voxels, channels, groups, layer, dtype };
                    configurations.extend(dtypes.iter().map(of));
                }
            }
        }
        Expansion { configurations, merged }
    }

    /// The distinct channels, in groups into which they divide.
    fn channels_in_groups(&self) -> Vec<(ChannelPair, u32)> {
        let of = |&channels: &ChannelPair| {
            let groups = self
                .groups
                .iter()
                .filter_map(move |groups| groups.of(channels.c_in, channels.c_out));
            groups.map(move |groups| (channels, groups))
        };
        distinct(&self.channels.iter().flat_map(of).collect::<Vec<_>>())
    }

    /// The distinct layers. A kernel that no submanifold layer has is one of the other kinds alone.
    fn layers(&self) -> Vec<Geometry> {
        let mut layers = Vec::new();
        for &kernel in &self.kernels {
            for &kind in &self.kinds {
                if kind == LayerKind::Submanifold {
                    if kernel.is_centred() && kernel.volume() <= 125 {
                        layers.push(Geometry::submanifold(kernel, [1; 3]));
                    }
                    continue;
                }
                let strided = |&Stride(stride): &Stride| Geometry::centred(kind, kernel, stride);
                layers.extend(self.strides.iter().map(strided));
            }
        }
        distinct(&layers)
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
        let Self { voxels, channels, groups, layer, dtype } = self;
        let layer = layer_text(layer);
        write!(f, "{voxels:>7} voxels  {channels:>7}  kernel {layer}  {dtype}")?;
        if *groups == 1 { Ok(()) } else { write!(f, "  {groups} groups") }
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
    fn kinds_and_strides_make_layers_of_their_own() {
        let overrides = GridOverrides {
            voxels: Some(vec![100_000]),
            channels: Some(vec!["16,32".parse().unwrap()]),
            kernels: Some(vec![KernelSize::cubic(2).unwrap(), KernelSize::cubic(3).unwrap()]),
            kinds: Some(vec![LayerKind::Submanifold, LayerKind::Sparse, LayerKind::Inverse]),
            strides: Some(vec!["2".parse().unwrap(), "2,1,1".parse().unwrap()]),
            ..Default::default()
        };
        insta::assert_snapshot!(listing(&Preset::Quick.grid().with(overrides)));
    }

    #[test]
    fn groups_make_layers_of_the_channels_that_divide_into_them() {
        let pairs = ["16,16", "16,32", "3,32"].map(|pair| pair.parse().unwrap());
        let overrides = GridOverrides {
            voxels: Some(vec![100_000]),
            channels: Some(pairs.to_vec()),
            groups: Some(["1", "4", "depthwise"].map(|text| text.parse().unwrap()).to_vec()),
            ..Default::default()
        };
        let found = Preset::Quick.grid().with(overrides).expand().configurations;
        let groups: Vec<(u32, u32)> =
            found.iter().map(|one| (one.channels.c_out, one.groups)).collect();
        assert_eq!(groups, [(16, 1), (16, 4), (16, 16), (32, 1), (32, 4), (32, 1)]);
        for one in found {
            assert_eq!(one.operation(Direction::Wgrad).groups, one.groups);
            assert_eq!(one.to_string().contains("groups"), one.groups > 1, "{one}");
        }
    }

    #[test]
    fn malformed_strides_are_refused() {
        for text in ["0", "9", "2,2", "2,0,1", "", "x", "2,1,1,1", "-1"] {
            assert!(text.parse::<Stride>().is_err(), "{text:?}");
        }
        assert_eq!("1,2,3".parse(), Ok(Stride([1, 2, 3])));
    }

    #[test]
    fn malformed_pairs_are_refused() {
        for text in ["32", "0,32", "32,0", "a,b", "32,64,1", "", ",", "-1,4", "32, 64", "9000,1"] {
            assert!(text.parse::<ChannelPair>().is_err(), "{text:?}");
        }
    }
}
