//! What the encoders of LiDAR detectors have in common. Levels of submanifold layers follow each
//! other, each half as fine as the one before; a last layer leaves little of the height.

use voxtune::{ConvError, Sequential, Sparse, SparseTensor, Tensor};

use crate::chain::{Chain, strided, submanifold};
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
                    conv.stride(2).padding(padding(weights.kernel, level, axis))
                })?;
            (layers, channels) = (layers.then(down), c_out);
        }
        (layers, channels, blocks) = source.blocks(layers, &name, channels)?;
    }
    let (kernel, stride) = last(axis);
    let (kernel, stride) = (Kernel::Of(kernel.map(From::from)), stride.map(u32::from));
    let (out, channels) =
        source.stage::<Sparse>("out", kernel, Some(channels), |conv, _| conv.stride(stride))?;
    Ok((layers.then(out), channels))
}

/// What levels have behind their strided layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behind {
    /// So many convolutions on the first level, and two on each other.
    Layers(u32),
    /// Two residual blocks, whose convolutions have biases or not.
    Blocks { biases: bool },
}

/// The network at the widths of its authors.
pub(crate) fn chain(
    chain: &mut Chain,
    height: Height,
    c_in: u32,
    widths: [u32; 4],
    behind: Behind,
) {
    let axis = height.axis();
    let mut before = widths[0];
    chain.stage("stem", submanifold(3), c_in, before);
    for (level, width) in (1..).zip(widths) {
        if level > 1 {
            // Libraries whose last axis is the height count the layer behind the blocks before it.
            let counted = if height == Height::Last { "2" } else { "" };
            let geometry = strided([3; 3], [2; 3], padding([3; 3], level, axis));
            chain.stage(&format!("level{level}.down{counted}"), geometry, before, width);
        }
        let layers = match behind {
            Behind::Layers(of_first) if level == 1 => of_first,
            _ => 2,
        };
        for number in 0..layers {
            match behind {
                Behind::Layers(_) => {
                    let name = format!("level{level}.layer{number}");
                    chain.stage(&name, submanifold(3), width, width);
                }
                Behind::Blocks { biases } => {
                    chain.block(&format!("level{level}.block{number}"), width, width, biases);
                }
            }
        }
        before = width;
    }
    let (kernel, stride) = last(axis);
    chain.stage("out", strided(kernel, stride, [0; 3]), before, 128);
}

/// Padding of a level's strided layer: half the kernel, but for the height of the last level.
fn padding<T: From<u8> + std::ops::Div<Output = T>>(
    kernel: [T; 3],
    level: u32,
    axis: usize,
) -> [T; 3] {
    let mut padding = kernel.map(|extent| extent / T::from(2));
    if level == LEVELS {
        padding[axis] = T::from(0);
    }
    padding
}

/// Kernel and stride of the layer that leaves little of the height.
const fn last(axis: usize) -> ([u8; 3], [u8; 3]) {
    let (mut kernel, mut stride) = ([1; 3], [1; 3]);
    (kernel[axis], stride[axis]) = (3, 2);
    (kernel, stride)
}

/// The bird's-eye view of so many samples: `(samples · channels, heights · cells)`, which is
/// `(samples, channels · heights, …)` with the other two axes in their order.
pub(crate) fn bird_eye_view(
    output: &SparseTensor,
    height: Height,
    samples: u32,
) -> Result<Tensor, ConvError> {
    match height {
        Height::First => output.to_dense(samples as usize),
        Height::Last => output.to_dense_z_first(samples as usize),
    }
}
