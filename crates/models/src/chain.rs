//! A network at the widths of its authors: its steps one behind the other, and what tensors they
//! have.

use voxtune::{Geometry, KernelSize, LayerKind};

/// A step of a network that changes channels or voxels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkStep {
    /// A convolution.
    Convolution(NetworkLayer),
    /// A maximum over windows.
    Pool(Geometry),
}

impl NetworkStep {
    /// Where its rows meet.
    #[must_use]
    pub const fn geometry(&self) -> &Geometry {
        match self {
            Self::Convolution(layer) => &layer.geometry,
            Self::Pool(geometry) => geometry,
        }
    }
}

/// A convolution of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkLayer {
    /// Where its rows meet.
    pub geometry: Geometry,
    /// Input channels, those that are joined included.
    pub c_in: u32,
    /// Output channels.
    pub c_out: u32,
}

/// The tensors of a layer, by our names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LayerTensors {
    /// `stem.conv`.
    pub(crate) name: String,
    pub(crate) layer: NetworkLayer,
    /// Whether its weights are the matrix of a linear layer.
    pub(crate) is_linear: bool,
    pub(crate) has_bias: bool,
    pub(crate) norm: Option<Norm>,
}

/// What normalises a layer's outputs, under the name beside its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Norm {
    Batch,
    Layer,
}

/// A network so far.
#[derive(Default)]
pub(crate) struct Chain {
    pub(crate) steps: Vec<NetworkStep>,
    pub(crate) tensors: Vec<LayerTensors>,
}

impl Chain {
    /// A convolution `name`, with neither bias nor normalisation.
    pub(crate) fn conv(
        &mut self,
        name: impl Into<String>,
        geometry: Geometry,
        c_in: u32,
        c_out: u32,
    ) -> &mut LayerTensors {
        let layer = NetworkLayer { geometry, c_in, c_out };
        self.steps.push(NetworkStep::Convolution(layer));
        let (name, is_linear, has_bias, norm) = (name.into(), false, false, None);
        self.tensors.push(LayerTensors { name, layer, is_linear, has_bias, norm });
        self.tensors.last_mut().expect("one was added")
    }

    /// The convolution `name.conv` and its batch normalisation.
    pub(crate) fn stage(&mut self, name: &str, geometry: Geometry, c_in: u32, c_out: u32) {
        self.conv(format!("{name}.conv"), geometry, c_in, c_out).norm = Some(Norm::Batch);
    }

    /// The residual block of `name.conv1` and `name.conv2`, with a shortcut where channels change.
    pub(crate) fn block(&mut self, name: &str, c_in: u32, c_out: u32, has_bias: bool) {
        let mut part = |part: &str, extent, c_in, has_bias| {
            let conv = self.conv(format!("{name}.{part}"), submanifold(extent), c_in, c_out);
            (conv.norm, conv.has_bias) = (Some(Norm::Batch), has_bias);
        };
        part("conv1", 3, c_in, has_bias);
        if c_in != c_out {
            part("proj.conv", 1, c_in, false);
        }
        part("conv2", 3, c_out, has_bias);
    }

    /// So many blocks, `name.block0` and so on, of which the first changes channels.
    pub(crate) fn blocks(&mut self, count: u32, name: &str, c_in: u32, c_out: u32) {
        for number in 0..count {
            let c_in = if number == 0 { c_in } else { c_out };
            self.block(&format!("{name}.block{number}"), c_in, c_out, false);
        }
    }

    /// A linear layer with a bias, as the submanifold layer of one offset that it is.
    pub(crate) fn linear(&mut self, name: &str, c_in: u32, c_out: u32) {
        let layer = self.conv(name, submanifold(1), c_in, c_out);
        (layer.is_linear, layer.has_bias) = (true, true);
    }

    /// A maximum over windows of 2×2×2 that do not overlap.
    pub(crate) fn pool(&mut self) {
        self.steps.push(NetworkStep::Pool(strided([2; 3], [2; 3], [0; 3])));
    }

    /// MinkUNet34C: a stem of 5×5×5, four levels down and up again, and a head of 20 classes.
    /// Layers on the way down widen, or let the block behind them do so.
    pub(crate) fn unet(&mut self, c_in: u32, down_widens: bool) {
        let (widths, upwards) = ([32, 32, 64, 128, 256], [256, 128, 96, 96]);
        let window = strided([2; 3], [2; 3], [0; 3]);
        self.stage("stem0", submanifold(5), c_in, widths[0]);
        for (level, count) in [2, 3, 4, 6].into_iter().enumerate() {
            let (before, width) = (widths[level], widths[level + 1]);
            let down = if down_widens { width } else { before };
            self.stage(&format!("down{level}"), window, before, down);
            self.blocks(count, &format!("enc{level}"), down, width);
        }
        let mut before = widths[4];
        for (width, level) in upwards.into_iter().zip([3, 2, 1, 0]) {
            let inverse = window.with_kind(LayerKind::Inverse);
            self.stage(&format!("up{level}"), inverse, before, width);
            self.blocks(2, &format!("dec{level}"), width + widths[level], width);
            before = width;
        }
        self.conv("head", submanifold(1), before, 20).has_bias = true;
    }
}

/// The geometry of a submanifold layer.
pub(crate) fn submanifold(extent: u8) -> Geometry {
    Geometry::submanifold(size([extent; 3]), [1; 3])
}

/// The geometry of a strided layer.
pub(crate) fn strided(extents: [u8; 3], stride: [u8; 3], padding: [i16; 3]) -> Geometry {
    Geometry { padding, ..Geometry::strided(size(extents), stride) }
}

fn size(extents: [u8; 3]) -> KernelSize {
    KernelSize::try_from(extents).expect("extents of known networks are 1 to 7")
}
