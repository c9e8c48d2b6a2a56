//! The LiDAR encoder of BEVFusion.

use voxtune::{AxisOrder, Sequential};

use crate::chain::Chain;
use crate::encoder::{self, Behind, Height};
use crate::error::ModelError;
use crate::load::Definition;
use crate::model::{Model, kind};
use crate::names::{BLOCK, NameMap, STAGE};
use crate::source::Source;

/// `SparseEncoder` of BEVFusion (Liu et al., *BEVFusion: Multi-Task Multi-Sensor Fusion*, 2022) and
/// TransFusion-L: CenterPoint's backbone with the axes reversed, 21 convolutions.
///
/// Coordinates are `(batch, x, y, z)`, within the grid's shape in that order, one cell more along z
/// than the range holds: `[1440, 1440, 41]` for nuScenes at 0.075 m. A checkpoint whose axes are z,
/// y, x is that of a [`CenterPointBackbone`](crate::CenterPointBackbone), and an error here: its
/// last kernel is 3×1×1.
pub type BevFusionEncoder = Model<BevFusion>;

kind! {
    /// That of [`BevFusionEncoder`].
    BevFusion, DEFINITION, Height::Last
}

pub(crate) static DEFINITION: Definition = Definition {
    name: "bevfusion",
    network: "BEVFusion's LiDAR encoder",
    names: NAMES,
    first: &["stem.conv", "stem.norm"],
    epsilon: 1e-3,
    axes: AxisOrder::Xyz,
    describe,
    layers,
};

const NAMES: &[NameMap] = &[NameMap {
    of: "BEVFusion and mmdetection3d",
    order: None,
    modules: &[
        ("conv_input", "stem", STAGE),
        ("encoder_layers.encoder_layer{l}.{b}", "level{l}.block{b}", BLOCK),
        ("encoder_layers.encoder_layer{l}.{n}", "level{l+1}.down{n}", STAGE),
        ("conv_out", "out", STAGE),
    ],
}];

fn describe(source: &mut Source<'_>) -> Result<(Sequential, u32), ModelError> {
    encoder::describe(source, Height::Last)
}

fn layers(chain: &mut Chain) {
    encoder::chain(chain, Height::Last, 5, [16, 32, 64, 128], Behind::Blocks { biases: false });
}
