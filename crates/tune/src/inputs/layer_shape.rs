//! Where the rows of a layer meet that is measured.

use std::fmt;

use serde::{Deserialize, Serialize};
use voxtune_types::{KernelSize, LayerKind, ShapeKey, VoxelBucket};

/// A layer, apart from its channels: which rows it makes, and where they meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LayerShape {
    /// Which rows there are.
    pub kind: LayerKind,
    /// Kernel size.
    pub kernel: KernelSize,
    /// Step between coarse cells; 1 of submanifold layers.
    pub stride: [u8; 3],
}

impl LayerShape {
    /// A submanifold layer.
    #[must_use]
    pub const fn submanifold(kernel: KernelSize) -> Self {
        Self { kind: LayerKind::Submanifold, kernel, stride: [1; 3] }
    }

    /// The class of the rows of a key on the side of the cloud that it was measured on: the inputs,
    /// but of an inverse layer, which goes back to that cloud.
    #[must_use]
    pub const fn cloud_bucket(self, key: &ShapeKey) -> VoxelBucket {
        match self.kind {
            LayerKind::Inverse => key.bucket_out,
            _ => key.bucket_in,
        }
    }
}

impl fmt::Display for LayerShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, kernel, stride } = *self;
        if kind == LayerKind::Submanifold {
            return f.pad(&kernel.to_string());
        }
        let [x, y, z] = stride;
        let step = if x == y && y == z { x.to_string() } else { format!("{x}x{y}x{z}") };
        f.pad(&format!("{kernel} s{step} {kind}"))
    }
}
