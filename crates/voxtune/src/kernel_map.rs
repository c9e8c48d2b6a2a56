//! Which input rows meet which output rows, on a device.

use voxtune_shape::{Operation, ShapeKey};

/// Row and pair counts of a kernel map: what a key and a workspace follow from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapCounts {
    /// Input rows.
    pub n_in: usize,
    /// Output rows.
    pub n_out: usize,
    /// Pairs over all offsets.
    pub pairs: usize,
}

impl MapCounts {
    /// The key of an operation over a map with these counts.
    #[must_use]
    pub const fn key(self, operation: Operation) -> ShapeKey {
        ShapeKey::new(operation, self.n_in, self.n_out, self.pairs)
    }
}

/// A kernel map where its device can read it. Built by [`crate::Voxels::kernel_map`].
#[derive(Debug)]
pub struct KernelMap {
    host: voxtune_cpu::KernelMap,
}

impl KernelMap {
    pub(crate) const fn from_host(host: voxtune_cpu::KernelMap) -> Self {
        Self { host }
    }

    /// The map in host memory.
    #[must_use]
    pub const fn host(&self) -> &voxtune_cpu::KernelMap {
        &self.host
    }

    /// Row and pair counts.
    #[must_use]
    pub fn counts(&self) -> MapCounts {
        MapCounts { n_in: self.host.n_in(), n_out: self.host.n_out(), pairs: self.host.pairs() }
    }
}
