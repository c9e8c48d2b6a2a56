//! The backbone of SECOND.

use voxtune::{AxisOrder, Sequential};

use crate::chain::Chain;
use crate::encoder::{self, Behind, Height};
use crate::error::ModelError;
use crate::load::Definition;
use crate::model::{Model, kind};
use crate::names::{C_BN, NameMap, STAGE};
use crate::source::Source;

/// The middle encoder of SECOND (Yan et al., *SECOND: Sparsely Embedded Convolutional Detection*,
/// 2018), PV-RCNN and Voxel R-CNN: `VoxelBackBone8x` of OpenPCDet, a `SparseEncoder` of
/// `conv_module`s in mmdetection3d. 12 convolutions without residuals.
///
/// Coordinates are `(batch, z, y, x)`, within the grid's shape in that order, one cell more along z
/// than the range holds: `[41, 1600, 1408]` for KITTI at 0.05 m.
pub type SecondBackbone = Model<Second>;

kind! {
    /// That of [`SecondBackbone`].
    Second, DEFINITION, Height::First
}

pub(crate) static DEFINITION: Definition = Definition {
    name: "second",
    network: "SECOND's backbone",
    names: NAMES,
    first: &["stem.conv", "stem.norm"],
    epsilon: 1e-3,
    axes: AxisOrder::Zyx,
    describe,
    layers,
};

const NAMES: &[NameMap] = &[
    NameMap {
        of: "OpenPCDet",
        order: None,
        modules: &[
            ("conv_input", "stem", STAGE),
            ("conv1.{b}", "level1.layer{b}", STAGE),
            ("conv{l}.0", "level{l}.down", STAGE),
            ("conv{l}.{b+1}", "level{l}.layer{b}", STAGE),
            ("conv_out", "out", STAGE),
        ],
    },
    NameMap {
        of: "mmdetection3d",
        order: None,
        modules: &[
            ("conv_input", "stem", STAGE),
            ("encoder_layers.encoder_layer1.{b}", "level1.layer{b}", STAGE),
            ("encoder_layers.encoder_layer{l}.0", "level{l}.down", STAGE),
            ("encoder_layers.encoder_layer{l}.{b+1}", "level{l}.layer{b}", STAGE),
            ("conv_out", "out", STAGE),
        ],
    },
    // One list of modules: a convolution `c` with its normalisation `bn`.
    NameMap {
        of: "a list of modules",
        order: None,
        modules: &[
            ("net.0", "stem", C_BN),
            ("net.1", "level1.layer0", C_BN),
            ("net.2", "level2.down", C_BN),
            ("net.5", "level3.down", C_BN),
            ("net.8", "level4.down", C_BN),
            ("net.11", "out", C_BN),
            ("net.{b+9}", "level4.layer{b}", C_BN),
            ("net.{b+6}", "level3.layer{b}", C_BN),
            ("net.{b+3}", "level2.layer{b}", C_BN),
        ],
    },
];

fn describe(source: &mut Source<'_>) -> Result<(Sequential, u32), ModelError> {
    encoder::describe(source, Height::First)
}

fn layers(chain: &mut Chain) {
    encoder::chain(chain, Height::First, 4, [16, 32, 64, 64], Behind::Layers(1));
}
