//! MinkowskiEngine's U-Net.

use voxtune::AxisOrder;

use crate::chain::Chain;
use crate::load::Definition;
use crate::model::{Model, kind};
use crate::names::{ITSELF, NameMap, Parts, STAGE, WeightOrder};
use crate::unet;

/// `MinkUNet` and `Res16UNet` of MinkowskiEngine (Choy et al., *4D Spatio-Temporal ConvNets*,
/// 2019), such as MinkUNet34C, and `SparseResUNet` of torchsparse, such as `SparseResUNet42`.
/// Blocks are basic ones, of two convolutions.
///
/// Coordinates are `(batch, x, y, z)` divided by the voxel size, and need no grid
/// ([`Voxels::new`](voxtune::Voxels::new)). Outputs are in the order of the inputs.
pub type MinkUNet = Model<MinkowskiUNet>;

kind! {
    /// That of [`MinkUNet`].
    MinkowskiUNet, DEFINITION
}

pub(crate) static DEFINITION: Definition = Definition {
    name: "minkunet",
    network: "MinkUNet of basic blocks",
    names: NAMES,
    first: &["stem0.conv", "stem0.norm"],
    epsilon: 1e-5,
    axes: AxisOrder::Xyz,
    describe: unet::describe,
    layers,
};

/// A basic block of MinkowskiEngine, whose normalisations wrap PyTorch's.
const BASIC: Parts = &[
    ("conv1", "conv1"),
    ("norm1.bn", "norm1"),
    ("conv2", "conv2"),
    ("norm2.bn", "norm2"),
    ("downsample.0", "proj.conv"),
    ("downsample.1.bn", "proj.norm"),
];

/// A residual block of torchsparse.
const MAIN: Parts = &[
    ("main.0", "conv1"),
    ("main.1", "norm1"),
    ("main.3", "conv2"),
    ("main.4", "norm2"),
    ("shortcut.0", "proj.conv"),
    ("shortcut.1", "proj.norm"),
];

const NAMES: &[NameMap] = &[
    NameMap {
        of: "MinkowskiEngine",
        order: Some(WeightOrder::Minkowski),
        modules: &[
            ("conv0p1s1", "stem0.conv", ITSELF),
            ("bn0.bn", "stem0.norm", ITSELF),
            ("conv1p1s2", "down0.conv", ITSELF),
            ("conv2p2s2", "down1.conv", ITSELF),
            ("conv3p4s2", "down2.conv", ITSELF),
            ("conv4p8s2", "down3.conv", ITSELF),
            ("bn1.bn", "down0.norm", ITSELF),
            ("bn2.bn", "down1.norm", ITSELF),
            ("bn3.bn", "down2.norm", ITSELF),
            ("bn4.bn", "down3.norm", ITSELF),
            ("block1.{b}", "enc0.block{b}", BASIC),
            ("block2.{b}", "enc1.block{b}", BASIC),
            ("block3.{b}", "enc2.block{b}", BASIC),
            ("block4.{b}", "enc3.block{b}", BASIC),
            ("convtr4p16s2", "up3.conv", ITSELF),
            ("convtr5p8s2", "up2.conv", ITSELF),
            ("convtr6p4s2", "up1.conv", ITSELF),
            ("convtr7p2s2", "up0.conv", ITSELF),
            ("bntr4.bn", "up3.norm", ITSELF),
            ("bntr5.bn", "up2.norm", ITSELF),
            ("bntr6.bn", "up1.norm", ITSELF),
            ("bntr7.bn", "up0.norm", ITSELF),
            ("block5.{b}", "dec3.block{b}", BASIC),
            ("block6.{b}", "dec2.block{b}", BASIC),
            ("block7.{b}", "dec1.block{b}", BASIC),
            ("block8.{b}", "dec0.block{b}", BASIC),
            ("final", "head", ITSELF),
        ],
    },
    NameMap {
        of: "torchsparse",
        order: Some(WeightOrder::Torchsparse),
        modules: &[
            ("stem.0", "stem0.conv", ITSELF),
            ("stem.1", "stem0.norm", ITSELF),
            ("stem.3", "stem1.conv", ITSELF),
            ("stem.4", "stem1.norm", ITSELF),
            ("encoders.{s}.0", "down{s}", STAGE),
            ("encoders.{s}.{b+1}", "enc{s}.block{b}", MAIN),
            ("decoders.0.upsample", "up3", STAGE),
            ("decoders.1.upsample", "up2", STAGE),
            ("decoders.2.upsample", "up1", STAGE),
            ("decoders.3.upsample", "up0", STAGE),
            ("decoders.0.fuse.{b}", "dec3.block{b}", MAIN),
            ("decoders.1.fuse.{b}", "dec2.block{b}", MAIN),
            ("decoders.2.fuse.{b}", "dec1.block{b}", MAIN),
            ("decoders.3.fuse.{b}", "dec0.block{b}", MAIN),
        ],
    },
];

/// MinkUNet34C.
fn layers(chain: &mut Chain) {
    chain.unet(3, false);
}
