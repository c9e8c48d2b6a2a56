//! A network that a file describes.

use std::path::Path;

use serde::Deserialize;
use voxtune::{Geometry, KernelSize, LayerKind};
use voxtune_tune::plan::grid::ChannelPair;
use voxtune_tune::plan::groups::Groups;

use super::{Step, Steps};

/// A network of a file, as an entry of the `index.json` of fixtures describes it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileNetwork {
    /// Cells along the axes of the scan, from 0 up.
    #[serde(default)]
    spatial_shape: Option<[u32; 3]>,
    layers: Vec<FileLayer>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileLayer {
    layer: String,
    kernel: [u8; 3],
    #[serde(default = "ones")]
    stride: [u8; 3],
    #[serde(default)]
    padding: [i16; 3],
    #[serde(default = "ones")]
    dilation: [u8; 3],
    #[serde(default)]
    output_padding: [u8; 3],
    /// Of convolutions.
    #[serde(rename = "in", default)]
    c_in: u32,
    #[serde(rename = "out", default)]
    c_out: u32,
    #[serde(default = "one")]
    groups: u32,
    /// Which kernel is fastest does not depend on it.
    #[serde(rename = "bias", default)]
    _bias: bool,
}

const fn ones() -> [u8; 3] {
    [1; 3]
}

const fn one() -> u32 {
    1
}

/// The network of a file, or why there is none.
pub(super) fn read(path: &Path) -> Result<Steps, String> {
    let bytes = voxtune_files::read_argument(path).map_err(|error| error.to_string())?;
    let is_list = bytes.trim_ascii_start().starts_with(b"[");
    let network = if is_list {
        let layers = serde_json::from_slice(&bytes);
        layers.map(|layers| FileNetwork { spatial_shape: None, layers })
    } else {
        serde_json::from_slice(&bytes)
    };
    let FileNetwork { spatial_shape, layers } = network.map_err(|error| {
        format!(
            "expected a list of layers, or an object of `layers` and `spatial_shape`, as an entry \
             of the index.json of fixtures is: {error}"
        )
    })?;
    let steps = layers.iter().map(FileLayer::checked).collect::<Result<Vec<_>, _>>()?;
    if steps.iter().all(|step| step.convolution.is_none()) {
        return Err("expected convolutions among its layers, found none".to_owned());
    }
    Ok(Steps { steps, grid: spatial_shape })
}

impl FileLayer {
    fn checked(&self) -> Result<Step, String> {
        let Self { ref layer, kernel, stride, padding, dilation, output_padding, .. } = *self;
        let kernel = KernelSize::try_from(kernel).map_err(|error| error.to_string())?;
        let (kind, is_pool) = match &*layer.to_lowercase() {
            "submconv3d" => (LayerKind::Submanifold, false),
            "sparseconv3d" => (LayerKind::Sparse, false),
            "sparseinverseconv3d" => (LayerKind::Inverse, false),
            "sparseconvtranspose3d" => (LayerKind::Transposed, false),
            "maxpool3d" | "sparsemaxpool3d" | "avgpool3d" | "sparseavgpool3d" => {
                (LayerKind::Sparse, true)
            }
            _ => {
                return Err(format!(
                    "layer {layer}: expected SubmConv3d, SparseConv3d, SparseInverseConv3d, \
                     SparseConvTranspose3d, MaxPool3d or AvgPool3d"
                ));
            }
        };
        let geometry = match kind {
            LayerKind::Submanifold => Geometry::submanifold(kernel, dilation),
            _ => {
                let centred = Geometry::centred(kind, kernel, stride);
                Geometry { padding, dilation, output_padding, ..centred }
            }
        };
        geometry.check().map_err(|error| error.to_string())?;
        if output_padding != [0; 3] && kind != LayerKind::Transposed {
            return Err(format!(
                "layer {layer}: output_padding {output_padding:?} is that of SparseConvTranspose3d \
                 alone"
            ));
        }
        let convolution = if is_pool { None } else { Some(self.channels()?) };
        Ok(Step { geometry, convolution })
    }

    fn channels(&self) -> Result<(ChannelPair, u32), String> {
        let Self { c_in, c_out, groups, .. } = *self;
        let most = ChannelPair::MAX;
        if !(1..=most).contains(&c_in) || !(1..=most).contains(&c_out) {
            return Err(format!("{c_in} and {c_out} channels: expected 1 to {most}"));
        }
        if Groups::Number(groups).of(c_in, c_out).is_none() {
            return Err(format!("{c_in} and {c_out} channels do not divide into {groups} groups"));
        }
        Ok((ChannelPair { c_in, c_out }, groups))
    }
}
