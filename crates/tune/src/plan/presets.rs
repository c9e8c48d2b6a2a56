//! The grids that populate knows by name.

use std::fmt;
use std::str::FromStr;

use voxtune_types::{DType, KernelSize};

use crate::plan::grid::{ChannelPair, Grid};

/// A named grid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Preset {
    /// Layers of MinkUNet, MaxViT-UNet and SparseConvUNet from indoor to outdoor sizes: 364
    /// configurations.
    #[default]
    Default,
    /// Three layers at two sizes: 6 configurations.
    Quick,
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

impl Preset {
    /// All presets.
    pub const ALL: [Self; 2] = [Self::Default, Self::Quick];

    /// The preset's name on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Quick => "quick",
        }
    }

    /// The axes of the grid.
    #[must_use]
    pub fn grid(self) -> Grid {
        let kernels = vec![KernelSize::submanifold(3).expect("3 is a submanifold extent")];
        let pair = |(c_in, c_out)| ChannelPair { c_in, c_out };
        match self {
            Self::Default => Grid {
                voxels: DEFAULT_VOXELS.to_vec(),
                channels: DEFAULT_CHANNELS.map(pair).to_vec(),
                kernels,
                dtypes: vec![DType::Float16, DType::BFloat16],
            },
            Self::Quick => Grid {
                voxels: vec![100_000, 500_000],
                channels: [(32, 32), (64, 128), (128, 256)].map(pair).to_vec(),
                kernels,
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
#[error("unknown preset `{0}`: expected default or quick")]
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
