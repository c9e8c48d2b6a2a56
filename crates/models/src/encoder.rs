//! What the encoders of LiDAR detectors have in common: levels of submanifold layers, each half as
//! fine as the one before, and a last layer that leaves little of the height.

use voxtune::{Sequential, Sparse, SparseTensor, Tensor};

use crate::error::ModelError;
use crate::source::{Kernel, Source};

/// Levels of every such network.
const LEVELS: u32 = 4;

/// Which of a voxel's coordinates is its height.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Height {
    /// Coordinates are z, y, x.
    First,
    /// Coordinates are x, y, z.
    Last,
}

impl Height {
    const fn axis(self) -> usize {
        match self {
            Self::First => 0,
            Self::Last => 2,
        }
    }
}

/// The layers `stem`, `level1.…` to `level4.…` and `out`; and the channels of the last.
pub(crate) fn describe(
    source: &mut Source<'_>,
    height: Height,
) -> Result<(Sequential, u32), ModelError> {
    let axis = height.axis();
    let (stem, mut channels) = source.submanifold("stem", None)?;
    let mut layers = Sequential::new().then(stem);
    let mut blocks = 0;
    for level in 1..=LEVELS {
        let name = format!("level{level}");
        if level > 1 {
            // Some libraries count the layer among the level before, behind its blocks.
            let counted = format!("{name}.down{blocks}");
            let down = match source.knows(&format!("{counted}.conv")) {
                true => counted,
                false => format!("{name}.down"),
            };
            let (down, c_out) =
                source.stage::<Sparse>(&down, Kernel::Odd, Some(channels), |conv, weights| {
                    let mut padding = weights.kernel.map(|extent| extent / 2);
                    if level == LEVELS {
                        padding[axis] = 0;
                    }
                    conv.stride(2).padding(padding)
                })?;
            (layers, channels) = (layers.then(down), c_out);
        }
        (layers, channels, blocks) = source.blocks(layers, &name, channels)?;
    }
    let (mut kernel, mut stride) = ([1; 3], [1; 3]);
    (kernel[axis], stride[axis]) = (3, 2);
    let kernel = Kernel::Of(kernel);
    let (out, channels) =
        source.stage::<Sparse>("out", kernel, Some(channels), |conv, _| conv.stride(stride))?;
    Ok((layers.then(out), channels))
}

/// The bird's-eye view of so many samples: `(samples · channels, heights · cells)`, which is
/// `(samples, channels · heights, …)` with the other two axes in their order.
pub(crate) fn bird_eye_view(
    output: &SparseTensor,
    height: Height,
    samples: u32,
) -> Result<Tensor, ModelError> {
    Ok(match height {
        Height::First => output.to_dense(samples as usize)?,
        Height::Last => output.to_dense_z_first(samples as usize)?,
    })
}
