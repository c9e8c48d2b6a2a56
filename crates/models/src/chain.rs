//! The convolutions of a network, one behind the other, without weights: what a tuner measures.

use voxtune::{Geometry, KernelSize, LayerKind};

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

/// Layers so far.
#[derive(Default)]
pub(crate) struct Chain(pub(crate) Vec<NetworkLayer>);

impl Chain {
    pub(crate) fn submanifold(&mut self, extent: u8, c_in: u32, c_out: u32) {
        let geometry = Geometry::submanifold(size([extent; 3]), [1; 3]);
        self.0.push(NetworkLayer { geometry, c_in, c_out });
    }

    pub(crate) fn repeat(&mut self, times: usize, extent: u8, channels: u32) {
        for _ in 0..times {
            self.submanifold(extent, channels, channels);
        }
    }

    pub(crate) fn strided(
        &mut self,
        extents: [u8; 3],
        stride: [u8; 3],
        padding: [i16; 3],
        c_in: u32,
        c_out: u32,
    ) {
        let geometry = Geometry { padding, ..Geometry::strided(size(extents), stride) };
        self.0.push(NetworkLayer { geometry, c_in, c_out });
    }

    /// The way back of a U-Net with these widths from fine to coarse: layers of 2×2×2 upwards, and
    /// behind each a block with a shortcut and another without.
    pub(crate) fn back_up(&mut self, widths: &[u32; 5], upwards: [u32; 4]) {
        let mut c_in = widths[4];
        for (stage, c_out) in upwards.into_iter().enumerate() {
            self.inverse(2, c_in, c_out);
            let joined = c_out + widths[3 - stage];
            self.submanifold(3, joined, c_out);
            self.submanifold(1, joined, c_out);
            self.repeat(3, 3, c_out);
            c_in = c_out;
        }
    }

    fn inverse(&mut self, extent: u8, c_in: u32, c_out: u32) {
        let down = Geometry::strided(size([extent; 3]), [extent; 3]);
        let geometry = down.with_kind(LayerKind::Inverse);
        self.0.push(NetworkLayer { geometry, c_in, c_out });
    }
}

fn size(extents: [u8; 3]) -> KernelSize {
    KernelSize::try_from(extents).expect("extents of known networks are 1 to 7")
}
