//! A block of TRELLIS.2's variational autoencoder.

use voxtune::{Activation, AxisOrder, Residual, Sequential, Submanifold};

use crate::blocks::then;
use crate::chain::{Chain, Norm, submanifold};
use crate::error::ModelError;
use crate::load::Definition;
use crate::model::{Model, kind};
use crate::names::{ITSELF, NameMap};
use crate::source::{Kernel, Source};

/// `SparseConvNeXtBlock3d` of TRELLIS.2's sparse autoencoder (`sparse_unet_vae.py`), after ConvNeXt
/// (Liu et al., *A ConvNet for the 2020s*, 2022). It is a submanifold convolution, a layer
/// normalisation of epsilon 1e-6, two linear layers with a SiLU between, and the input added.
///
/// A checkpoint has many such blocks, so say which by
/// [`LoadOptions::prefix`](crate::LoadOptions::prefix), such as `blocks.1.0.`. Coordinates are
/// `(batch, x, y, z)`.
pub type TrellisBlock = Model<ConvNeXtBlock>;

kind! {
    /// That of [`TrellisBlock`].
    ConvNeXtBlock, DEFINITION
}

pub(crate) static DEFINITION: Definition = Definition {
    name: "trellis",
    network: "a ConvNeXt block of TRELLIS.2",
    names: NAMES,
    first: &["block.conv"],
    epsilon: 1e-6,
    axes: AxisOrder::Xyz,
    describe,
    layers,
};

const NAMES: &[NameMap] = &[
    NameMap {
        of: "TRELLIS.2",
        order: None,
        modules: &[
            ("conv", "block.conv", ITSELF),
            ("norm", "block.norm", ITSELF),
            ("mlp.0", "block.widen", ITSELF),
            ("mlp.2", "block.narrow", ITSELF),
        ],
    },
    NameMap {
        of: "TRELLIS.2 on spconv",
        order: None,
        modules: &[
            ("conv.conv", "block.conv", ITSELF),
            ("norm", "block.norm", ITSELF),
            ("mlp.0", "block.widen", ITSELF),
            ("mlp.2", "block.narrow", ITSELF),
        ],
    },
];

fn describe(source: &mut Source<'_>) -> Result<(Sequential, u32), ModelError> {
    let (conv, weights) =
        source.conv::<Submanifold>("block.conv", Kernel::Odd, None, |conv, _| conv)?;
    let channels = weights.c_out;
    if weights.c_in != channels {
        source.shortcut_differs("block.conv.weight", weights.c_in);
    }
    let norm = source.layer_norm("block.norm", channels)?;
    let (widen, wide) = source.linear("block.widen", channels, None)?;
    let (narrow, _) = source.linear("block.narrow", wide, Some(channels))?;
    let body = then(then(Sequential::new(), conv), norm);
    let body = then(then(body, widen).then(Activation::Silu), narrow);
    let block = Residual::new(body, Activation::Identity);
    Ok((Sequential::new().then(block), channels))
}

fn layers(chain: &mut Chain) {
    let conv = chain.conv("block.conv", submanifold(3), 512, 512);
    (conv.norm, conv.has_bias) = (Some(Norm::Layer), true);
    chain.linear("block.widen", 512, 2048);
    chain.linear("block.narrow", 2048, 512);
}
