//! The residual backbone of CenterPoint.

use voxtune::{AxisOrder, Sequential};

use crate::chain::Chain;
use crate::encoder::{self, Behind, Height};
use crate::error::ModelError;
use crate::load::Definition;
use crate::model::{Model, kind};
use crate::names::{BLOCK, C_BN, C_BN_BLOCK, NameMap, STAGE};
use crate::source::Source;

/// `SpMiddleResNetFHD` of CenterPoint (Yin et al., *Center-based 3D Object Detection and Tracking*,
/// 2021), which OpenPCDet calls `VoxelResBackBone8x`. It has 21 convolutions from voxels of a LiDAR
/// to a bird's-eye view an eighth as wide.
///
/// Coordinates are `(batch, z, y, x)`, within the grid's shape in that order, one cell more along z
/// than the range holds: `[41, 1440, 1440]` for nuScenes at 0.075 m.
///
/// ```no_run
/// use voxtune::{Device, SparseTensor, Tensor, Voxel, Voxels};
/// use voxtune_models::CenterPointBackbone;
///
/// let device = Device::cpu()?;
/// let mut network = CenterPointBackbone::from_safetensors("centerpoint.safetensors", &device)?;
/// network.fuse()?;
/// let voxels = Voxels::within(&device, [41, 1440, 1440], vec![Voxel::new(0, 20, 700, 700)])?;
/// let input = SparseTensor::new(voxels, Tensor::from_rows(&device, &[[1.0; 5]])?)?;
/// let view = network.forward_bev(&input, 1)?; // (1, 256, 180, 180)
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type CenterPointBackbone = Model<CenterPoint>;

kind! {
    /// That of [`CenterPointBackbone`].
    CenterPoint, DEFINITION, Height::First
}

pub(crate) static DEFINITION: Definition = Definition {
    name: "centerpoint",
    network: "CenterPoint's or OpenPCDet's backbone",
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
            ("conv1.{b}", "level1.block{b}", BLOCK),
            ("conv{l}.0", "level{l}.down", STAGE),
            ("conv{l}.{b+1}", "level{l}.block{b}", BLOCK),
            ("conv_out", "out", STAGE),
        ],
    },
    NameMap {
        of: "CenterPoint",
        order: None,
        modules: &[
            ("conv_input", "stem", STAGE),
            ("conv1.{b}", "level1.block{b}", BLOCK),
            ("conv{l}", "level{l}.down", STAGE),
            ("conv{l}.{b+3}", "level{l}.block{b}", BLOCK),
            ("extra_conv", "out", STAGE),
        ],
    },
    NameMap {
        of: "mmdetection3d",
        order: None,
        modules: &[
            ("conv_input", "stem", STAGE),
            ("encoder_layers.encoder_layer{l}.{b}", "level{l}.block{b}", BLOCK),
            ("encoder_layers.encoder_layer{l}.{n}", "level{l+1}.down{n}", STAGE),
            ("conv_out", "out", STAGE),
        ],
    },
    // One list of modules: a convolution `c` with its normalisation `bn`, blocks of two such, `a`
    // and `b`.
    NameMap {
        of: "a list of modules",
        order: None,
        modules: &[
            ("net.0", "stem", C_BN),
            ("net.3", "level2.down", C_BN),
            ("net.6", "level3.down", C_BN),
            ("net.9", "level4.down", C_BN),
            ("net.{b+10}", "level4.block{b}", C_BN_BLOCK),
            ("net.{b+7}", "level3.block{b}", C_BN_BLOCK),
            ("net.{b+4}", "level2.block{b}", C_BN_BLOCK),
            ("net.{b+1}", "level1.block{b}", C_BN_BLOCK),
            ("net.12", "out", C_BN),
        ],
    },
];

fn describe(source: &mut Source<'_>) -> Result<(Sequential, u32), ModelError> {
    encoder::describe(source, Height::First)
}

fn layers(chain: &mut Chain) {
    encoder::chain(chain, Height::First, 5, [16, 32, 64, 128], Behind::Blocks { biases: true });
}
