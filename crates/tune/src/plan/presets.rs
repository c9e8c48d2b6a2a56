//! The grids that populate knows by name.

use std::fmt;
use std::str::FromStr;

use voxtune_pointcloud::Generator;
use voxtune_types::{AlgoMode, DType, Geometry, KernelSize, LayerKind};

use crate::plan::grid::{ChannelPair, Configuration, Grid, Stride};
use crate::plan::groups::Groups;

/// A named grid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Preset {
    /// Layers of MinkUNet, MaxViT-UNet and SparseConvUNet from indoor to outdoor sizes: 364
    /// configurations.
    #[default]
    Default,
    /// Three layers at two sizes: 6 configurations.
    Quick,
    /// What the script of WarpConvNet 1.8 measures by default, its 37 pairs of channels at four
    /// sizes: 296 configurations.
    Script,
    /// The layers of CenterPoint, SECOND, BEVFusion and their like at the sizes of a LiDAR's
    /// frames.
    Lidar,
    /// The layers of MinkUNet34C and SpUNet at the sizes of rooms and streets.
    Unet,
}

const DEFAULT_VOXELS: [usize; 7] =
    [30_000, 65_000, 130_000, 260_000, 500_000, 1_000_000, 2_000_000];

const DEFAULT_CHANNELS: [(u32, u32); 26] = [
    (3, 32),
    (6, 32),
    (6, 48),
    (32, 32),
    (32, 64),
    (48, 48),
    (48, 96),
    (64, 64),
    (64, 128),
    (96, 96),
    (96, 192),
    (128, 128),
    (128, 256),
    (192, 192),
    (192, 384),
    (256, 256),
    (256, 128),
    (384, 384),
    (384, 512),
    (512, 512),
    (128, 96),
    (384, 256),
    (512, 384),
    (96, 10),
    (96, 20),
    (128, 20),
];

const SCRIPT_VOXELS: [usize; 4] = [5_000, 50_000, 500_000, 2_000_000];

/// The pairs of the script beyond those of the default preset: layers of decoders.
const SCRIPT_CHANNELS: [(u32, u32); 11] = [
    (64, 32),
    (128, 32),
    (128, 64),
    (192, 96),
    (192, 128),
    (256, 64),
    (256, 192),
    (384, 128),
    (384, 192),
    (512, 128),
    (512, 256),
];

/// Layers over clouds of some sizes.
struct Level {
    voxels: &'static [usize],
    layers: &'static [Shape],
}

/// A layer: its kind, the extents of its kernel, its stride, its channels.
type Shape = (LayerKind, [u8; 3], [u8; 3], &'static [(u32, u32)]);

const SUBMANIFOLD: LayerKind = LayerKind::Submanifold;
const SPARSE: LayerKind = LayerKind::Sparse;
const INVERSE: LayerKind = LayerKind::Inverse;

/// Strided layers stand at the level of their inputs. 7,000 to 135,000 rows.
const LIDAR: &[Level] = &[
    Level {
        voxels: &[20_000, 45_000, 80_000, 135_000],
        layers: &[
            (SUBMANIFOLD, [3; 3], [1; 3], &[(5, 16), (4, 16), (16, 16)]),
            (SPARSE, [3; 3], [2; 3], &[(16, 32)]),
        ],
    },
    Level {
        voxels: &[27_000, 60_000, 110_000],
        layers: &[
            (SUBMANIFOLD, [3; 3], [1; 3], &[(32, 32)]),
            (SPARSE, [3; 3], [2; 3], &[(32, 64)]),
        ],
    },
    Level {
        voxels: &[14_000, 29_000, 50_000],
        layers: &[
            (SUBMANIFOLD, [3; 3], [1; 3], &[(64, 64)]),
            (SPARSE, [3; 3], [2; 3], &[(64, 64), (64, 128)]),
        ],
    },
    Level {
        voxels: &[7_000, 11_000, 20_000],
        layers: &[
            (SUBMANIFOLD, [3; 3], [1; 3], &[(128, 128)]),
            (SPARSE, [3, 1, 1], [2, 1, 1], &[(128, 128), (64, 128)]),
            (SPARSE, [1, 1, 3], [1, 1, 2], &[(128, 128)]),
        ],
    },
    // SECOND's last level has no more channels than the one before.
    Level { voxels: &[7_000], layers: &[(SUBMANIFOLD, [3; 3], [1; 3], &[(64, 64)])] },
];

/// Strided layers and those that undo them stand at the finer level.
const UNET: &[Level] = &[
    Level {
        voxels: &[40_000, 126_000, 500_000],
        layers: &[
            (SUBMANIFOLD, [5; 3], [1; 3], &[(3, 32), (4, 32), (6, 32)]),
            (SUBMANIFOLD, [3; 3], [1; 3], &[(32, 32), (128, 96), (96, 96)]),
            (SUBMANIFOLD, [1; 3], [1; 3], &[(128, 96), (96, 20)]),
            (SPARSE, [2; 3], [2; 3], &[(32, 32)]),
            (INVERSE, [2; 3], [2; 3], &[(96, 96)]),
        ],
    },
    // Layers of the first level again, at sizes that it has not.
    Level {
        voxels: &[16_000, 250_000],
        layers: &[
            (SUBMANIFOLD, [3; 3], [1; 3], &[(32, 32), (128, 96), (96, 96)]),
            (SUBMANIFOLD, [1; 3], [1; 3], &[(128, 96)]),
            (SPARSE, [2; 3], [2; 3], &[(32, 32)]),
        ],
    },
    Level {
        voxels: &[16_000, 60_000, 250_000],
        layers: &[(SPARSE, [2; 3], [2; 3], &[(32, 64)]), (INVERSE, [2; 3], [2; 3], &[(128, 96)])],
    },
    Level {
        voxels: &[7_000, 27_000, 100_000],
        layers: &[
            (SUBMANIFOLD, [3; 3], [1; 3], &[(32, 64), (64, 64), (192, 128), (128, 128)]),
            (SUBMANIFOLD, [1; 3], [1; 3], &[(32, 64), (192, 128)]),
            (SPARSE, [2; 3], [2; 3], &[(64, 64), (64, 128)]),
            (INVERSE, [2; 3], [2; 3], &[(256, 128)]),
        ],
    },
    Level {
        voxels: &[3_000, 11_000, 40_000],
        layers: &[
            (SUBMANIFOLD, [3; 3], [1; 3], &[(64, 128), (128, 128), (384, 256), (256, 256)]),
            (SUBMANIFOLD, [1; 3], [1; 3], &[(64, 128), (384, 256)]),
            (SPARSE, [2; 3], [2; 3], &[(128, 128), (128, 256)]),
            (INVERSE, [2; 3], [2; 3], &[(256, 256)]),
        ],
    },
    Level {
        voxels: &[1_200, 4_500, 18_000],
        layers: &[
            (SUBMANIFOLD, [3; 3], [1; 3], &[(128, 256), (256, 256)]),
            (SUBMANIFOLD, [1; 3], [1; 3], &[(128, 256)]),
        ],
    },
];

/// The layers of a network in float16, each at the sizes of its level.
fn listed(levels: &[Level]) -> Vec<Configuration> {
    let mut all = Vec::new();
    for Level { voxels, layers } in levels {
        for &voxels in *voxels {
            for &(kind, extents, stride, channels) in *layers {
                let kernel = KernelSize::try_from(extents).expect("extents are 1 to 7");
                let layer = Geometry::centred(kind, kernel, stride);
                let configuration = |&(c_in, c_out): &(u32, u32)| {
                    let (channels, dtype) = (ChannelPair { c_in, c_out }, DType::Float16);
                    Configuration { voxels, channels, groups: 1, layer, dtype }
                };
                all.extend(channels.iter().map(configuration));
            }
        }
    }
    all
}

impl Preset {
    /// All presets.
    pub const ALL: [Self; 5] = [Self::Default, Self::Quick, Self::Script, Self::Lidar, Self::Unet];

    /// The preset's name on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Quick => "quick",
            Self::Script => "script",
            Self::Lidar => "lidar",
            Self::Unet => "unet",
        }
    }

    /// The configurations of a preset that is no product of axes.
    #[must_use]
    pub fn list(self) -> Option<Vec<Configuration>> {
        match self {
            Self::Default | Self::Quick | Self::Script => None,
            Self::Lidar => Some(listed(LIDAR)),
            Self::Unet => Some(listed(UNET)),
        }
    }

    /// The distinct configurations, in the order in which they are measured.
    #[must_use]
    pub fn configurations(self) -> Vec<Configuration> {
        self.list().unwrap_or_else(|| self.grid().expand().configurations)
    }

    /// The clouds that populate measures it on.
    #[must_use]
    pub const fn clouds(self) -> &'static [Generator] {
        match self {
            Self::Default | Self::Script => &[Generator::Uniform, Generator::Surface],
            Self::Quick => &[Generator::Uniform],
            Self::Lidar | Self::Unet => &[Generator::Surface, Generator::Thick],
        }
    }

    /// Which algorithms compete unless told otherwise.
    #[must_use]
    pub const fn mode(self) -> AlgoMode {
        match self {
            Self::Script => AlgoMode::Trimmed,
            Self::Default | Self::Quick | Self::Lidar | Self::Unet => AlgoMode::Auto,
        }
    }

    /// The axes of the grid; of a preset that is a list those of [`Self::Quick`], which other axes
    /// replace.
    #[must_use]
    pub fn grid(self) -> Grid {
        let kernels = vec![KernelSize::submanifold(3).expect("3 is a submanifold extent")];
        let pair = |(c_in, c_out)| ChannelPair { c_in, c_out };
        let groups = vec![Groups::ONE];
        let (kinds, strides) = (vec![LayerKind::Submanifold], vec![Stride([2; 3])]);
        match self {
            Self::Default => Grid {
                voxels: DEFAULT_VOXELS.to_vec(),
                channels: DEFAULT_CHANNELS.map(pair).to_vec(),
                groups,
                kernels,
                kinds,
                strides,
                dtypes: vec![DType::Float16, DType::BFloat16],
            },
            Self::Script => Grid {
                voxels: SCRIPT_VOXELS.to_vec(),
                channels: DEFAULT_CHANNELS.into_iter().chain(SCRIPT_CHANNELS).map(pair).collect(),
                ..Self::Default.grid()
            },
            Self::Quick | Self::Lidar | Self::Unet => Grid {
                voxels: vec![100_000, 500_000],
                channels: [(32, 32), (64, 128), (128, 256)].map(pair).to_vec(),
                groups,
                kernels,
                kinds,
                strides,
                dtypes: vec![DType::Float16],
            },
        }
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that names no preset.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown preset `{0}`: expected default, quick, script, lidar or unet")]
pub struct UnknownPreset(pub String);

impl FromStr for Preset {
    type Err = UnknownPreset;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|preset| preset.as_str() == text)
            .ok_or_else(|| UnknownPreset(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use voxtune_types::VoxelBucket;

    use super::*;

    fn text(preset: Preset) -> String {
        let all = preset.configurations();
        let lines: Vec<String> = all.iter().map(ToString::to_string).collect();
        format!("{}\n{} configurations", lines.join("\n"), all.len())
    }

    #[test]
    fn lidar_preset() {
        insta::assert_snapshot!(text(Preset::Lidar));
    }

    #[test]
    fn unet_preset() {
        insta::assert_snapshot!(text(Preset::Unet));
    }

    #[test]
    fn script_preset() {
        let text = text(Preset::Script);
        assert!(text.ends_with("\n296 configurations"), "{text}");
        insta::assert_snapshot!(text);
    }

    /// What shares a bucket would be measured twice for one key.
    #[test]
    fn no_layer_is_listed_twice_in_a_bucket() {
        for preset in Preset::ALL {
            let all = preset.configurations();
            let keys: BTreeSet<_> = all
                .iter()
                .map(|one| {
                    (VoxelBucket::of(one.voxels), one.channels, one.groups, one.layer, one.dtype)
                })
                .collect();
            assert_eq!(keys.len(), all.len(), "{preset}");
        }
    }
}
