//! Which input rows meet which output rows, on a device.

use std::fmt;

use voxtune_cuda::{CudaError, DeviceKernelMap};
use voxtune_types::{Direction, Geometry, LayerKind, Operation, Product, ShapeKey, VoxelBucket};

use crate::ConvError;

/// Row and pair counts of a kernel map: what a key follows from.
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

    /// Rows of what a direction computes; those of a weight's gradient are summed over outputs.
    #[must_use]
    pub const fn result_rows(self, direction: Direction) -> usize {
        match direction.product() {
            Product::Forward | Product::Wgrad => self.n_out,
            Product::Dgrad => self.n_in,
        }
    }

    /// Counts in the middle of a key's classes, by ratio.
    #[must_use]
    pub fn typical(key: &ShapeKey) -> Self {
        let rows = |bucket: VoxelBucket| bucket.max_rows() as f64 * std::f64::consts::FRAC_1_SQRT_2;
        let pairs_a_row = f64::from(1_u32 << key.density.index()) * std::f64::consts::SQRT_2;
        let n_out = rows(key.bucket_out);
        let pairs = n_out * pairs_a_row.min(key.operation.kernel.volume() as f64);
        let whole = |count: f64| (count as usize).max(1);
        Self { n_in: whole(rows(key.bucket_in)), n_out: whole(n_out), pairs: whole(pairs) }
    }
}

/// A kernel map where its device can read it. Built by [`crate::Voxels::outputs_of`] and
/// [`crate::Voxels::map_to`]. It knows which layers it is of: an operation of others over it is
/// refused.
pub struct KernelMap {
    geometry: Geometry,
    counts: MapCounts,
    /// Whether calls may wait until the device has counted its pairs.
    waits: bool,
    storage: Storage,
}

enum Storage {
    Host(voxtune_cpu::KernelMap),
    /// Tables and pair lists are made when an algorithm first reads them.
    Cuda(Box<DeviceKernelMap>),
}

impl KernelMap {
    /// A map that was built for layers of this geometry.
    pub(crate) fn from_host(geometry: Geometry, map: voxtune_cpu::KernelMap) -> Self {
        let counts = MapCounts { n_in: map.n_in(), n_out: map.n_out(), pairs: map.pairs() };
        Self { geometry, counts, waits: true, storage: Storage::Host(map) }
    }

    /// A map that was built for layers of this geometry, with the counts that it is expected to
    /// have; waits for its own where none are expected.
    pub(crate) fn from_cuda(
        geometry: Geometry,
        map: DeviceKernelMap,
        expected: Option<MapCounts>,
    ) -> Result<Self, CudaError> {
        let counts = expected.map_or_else(|| counts_of(&map), Ok)?;
        Ok(Self { geometry, counts, waits: true, storage: Storage::Cuda(Box::new(map)) })
    }

    /// The map of the layer that undoes the strided layer of this one, such as the decoder's of an
    /// encoder's. It has for each offset the same pairs, inputs as outputs. Nothing is built anew.
    /// `None` of a submanifold map, over which layers undo each other.
    #[must_use]
    pub fn transposed(&self) -> Option<Self> {
        let MapCounts { n_in, n_out, pairs } = self.counts;
        let storage = match &self.storage {
            Storage::Host(map) if map.is_symmetric() => return None,
            Storage::Host(map) => Storage::Host(map.to_transposed()),
            Storage::Cuda(map) => Storage::Cuda(Box::new(map.transposed()?)),
        };
        let geometry = self.geometry.with_kind(match self.geometry.kind {
            LayerKind::Sparse | LayerKind::Given => LayerKind::Inverse,
            _ => LayerKind::Sparse,
        });
        let counts = MapCounts { n_in: n_out, n_out: n_in, pairs };
        Some(Self { geometry, counts, waits: self.waits, storage })
    }

    /// The same map in a frame that waits for nothing.
    pub(crate) fn without_waiting(self) -> Self {
        Self { waits: false, ..self }
    }

    /// Whether calls may wait until the device has counted its pairs.
    pub(crate) const fn waits(&self) -> bool {
        self.waits
    }

    /// Where the layers' rows meet that the map was built for.
    #[must_use]
    pub const fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Refuses an operation of layers that the map is not of. Rows would meet whose offsets mean
    /// something else, and the result would look like one.
    pub(crate) fn check(&self, operation: &Operation) -> Result<(), ConvError> {
        if operation.is_over(&self.geometry) {
            return Ok(());
        }
        Err(ConvError::WrongMap { operation: *operation, map: self.geometry })
    }

    /// The map in host memory; `None` if it is a GPU's.
    #[must_use]
    pub const fn host(&self) -> Option<&voxtune_cpu::KernelMap> {
        match &self.storage {
            Storage::Host(map) => Some(map),
            Storage::Cuda(_) => None,
        }
    }

    /// The map in device memory; `None` if it is the host's.
    pub(crate) const fn cuda(&self) -> Option<&DeviceKernelMap> {
        match &self.storage {
            Storage::Host(_) => None,
            Storage::Cuda(map) => Some(map),
        }
    }

    /// Row and pair counts as far as the host knows them, which keys follow from. On a GPU they may
    /// be those of earlier frames, or follow from what was counted when the outputs were found.
    #[must_use]
    pub const fn counts(&self) -> MapCounts {
        self.counts
    }

    /// The counts of the map itself. Waits for a GPU that has not reported them.
    ///
    /// # Errors
    /// If two voxels of a side are equal; whatever the device has failed with.
    pub fn exact_counts(&self) -> Result<MapCounts, ConvError> {
        match &self.storage {
            Storage::Host(_) => Ok(self.counts),
            Storage::Cuda(map) => Ok(counts_of(map)?),
        }
    }

    /// Rows of tensors over the inputs.
    #[must_use]
    pub fn n_in(&self) -> usize {
        match &self.storage {
            Storage::Host(map) => map.n_in(),
            Storage::Cuda(map) => map.n_in(),
        }
    }

    /// Rows of tensors over the outputs.
    #[must_use]
    pub fn n_out(&self) -> usize {
        match &self.storage {
            Storage::Host(map) => map.n_out(),
            Storage::Cuda(map) => map.n_out(),
        }
    }
}

fn counts_of(map: &DeviceKernelMap) -> Result<MapCounts, CudaError> {
    let counts = map.counts()?;
    Ok(MapCounts { n_in: counts.n_in, n_out: counts.n_out, pairs: counts.total_pairs() })
}

impl fmt::Debug for KernelMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let storage = match &self.storage {
            Storage::Host(_) => "host",
            Storage::Cuda(_) => "GPU",
        };
        let MapCounts { n_in, n_out, pairs } = self.counts;
        write!(f, "KernelMap({}, {n_in} -> {n_out} rows, {pairs} pairs, {storage})", self.geometry)
    }
}
