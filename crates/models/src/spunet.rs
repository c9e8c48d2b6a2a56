//! Pointcept's U-Net.

use voxtune::AxisOrder;

use crate::chain::Chain;
use crate::load::Definition;
use crate::model::{Model, kind};
use crate::names::{BLOCK, C_BN, C_BN_BLOCK, ITSELF, NameMap, Parts, STAGE};
use crate::unet;

/// `SpUNet-v1m1` of Pointcept (`spconv_unet_v1m1_base.py`), the U-Net of MinkowskiEngine's
/// MinkUNet34C (Choy et al., *4D Spatio-Temporal ConvNets*, 2019) on spconv: a class for each
/// voxel.
///
/// Coordinates are `(batch, x, y, z)`. Outputs are in the order of the inputs.
pub type SpUNet = Model<PointceptSpUNet>;

kind! {
    /// That of [`SpUNet`].
    PointceptSpUNet, DEFINITION
}

pub(crate) static DEFINITION: Definition = Definition {
    name: "spunet",
    network: "Pointcept's SpUNet",
    names: NAMES,
    first: &["stem0.conv", "stem0.norm"],
    epsilon: 1e-3,
    axes: AxisOrder::Xyz,
    describe: unet::describe,
    layers,
};

/// A shortcut of one offset beside the two convolutions.
const PROJ: Parts = &[("proj.0", "proj.conv"), ("proj.1", "proj.norm")];

const NAMES: &[NameMap] = &[
    NameMap {
        of: "Pointcept",
        order: None,
        modules: &[
            ("conv_input", "stem0", STAGE),
            ("down.{s}", "down{s}", STAGE),
            ("enc.{s}.block{b}", "enc{s}.block{b}", BLOCK),
            ("enc.{s}.block{b}", "enc{s}.block{b}", PROJ),
            ("up.{s}", "up{s}", STAGE),
            ("dec.{s}.block{b}", "dec{s}.block{b}", BLOCK),
            ("dec.{s}.block{b}", "dec{s}.block{b}", PROJ),
            ("final", "head", ITSELF),
        ],
    },
    // A convolution `c` with its normalisation `bn`, blocks of two such, `a` and `b`. The way back
    // is counted from the coarsest of four levels.
    NameMap {
        of: "lists of modules",
        order: None,
        modules: &[
            ("stem", "stem0", C_BN),
            ("down.{s}", "down{s}", C_BN),
            ("enc.{s}.{b}", "enc{s}.block{b}", C_BN_BLOCK),
            ("up.0", "up3", C_BN),
            ("up.1", "up2", C_BN),
            ("up.2", "up1", C_BN),
            ("up.3", "up0", C_BN),
            ("dec.0.{b}", "dec3.block{b}", C_BN_BLOCK),
            ("dec.1.{b}", "dec2.block{b}", C_BN_BLOCK),
            ("dec.2.{b}", "dec1.block{b}", C_BN_BLOCK),
            ("dec.3.{b}", "dec0.block{b}", C_BN_BLOCK),
            ("head", "head", ITSELF),
        ],
    },
];

fn layers(chain: &mut Chain) {
    chain.unet(4, true);
}
