//! What an algorithm is to the registry.

use std::fmt;

use voxtune_cache::{KernelHash, Requirement};
use voxtune_types::{AlgoId, Operation};

use super::Launch;
use crate::{ConvError, Device, Estimate, KernelMap, MapCounts, MapPart, Voxels};

/// A kernel with its parameters.
pub trait Algorithm: Send + Sync {
    /// The permanent name.
    fn id(&self) -> &AlgoId;

    /// Whether it can compute this operation at all: a kernel that is neither in a pack nor can be
    /// compiled cannot.
    fn applies(&self, operation: &Operation) -> bool;

    /// Whether its geometry suits this operation over such a map.
    fn in_auto_pool(&self, operation: &Operation, counts: MapCounts) -> bool;

    /// How long a model expects a call to take; `None` where no model describes it. One
    /// without a model is never left out of a race for its cost, and never chosen by one.
    fn estimate(&self, _operation: &Operation, _counts: MapCounts) -> Option<Estimate> {
        None
    }

    /// Whether a model may choose it where nothing was measured, and so nothing verified.
    fn is_safe_unverified(&self, _operation: &Operation) -> bool {
        true
    }

    /// Whether it is what runs where nothing was measured. One applicable algorithm says yes.
    fn is_default(&self, operation: &Operation) -> bool;

    /// Whether a call waits until the device has counted the map's pairs. Where a frame waits for
    /// nothing, such an algorithm does not run.
    fn waits_for_counts(&self, _operation: &Operation) -> bool {
        false
    }

    /// Scratch memory of a call beyond operands and map.
    ///
    /// # Units
    /// Bytes.
    fn workspace_bytes(&self, operation: &Operation, map: &KernelMap) -> u64;

    /// Identity of the code that runs: a measurement holds for this code only.
    ///
    /// # Errors
    /// If the code is to be compiled first, and is not.
    fn kernel_hash(&self, device: &Device, operation: &Operation) -> Result<KernelHash, ConvError>;

    /// The library beyond the driver that it needs.
    fn requires(&self) -> Option<Requirement> {
        None
    }

    /// Whether what it [requires](Self::requires) is there.
    fn is_available(&self) -> bool {
        true
    }

    /// Makes the parts of a map that a run over it reads and that are made at their first use. Also
    /// the room for its results in between.
    ///
    /// # Errors
    /// If the device fails.
    fn prepare_map(
        &self,
        _device: &Device,
        _operation: &Operation,
        _map: &KernelMap,
    ) -> Result<(), ConvError> {
        Ok(())
    }

    /// What a run reads beyond a map itself. What a part is made of comes before it, and each is
    /// made once for all layers over the map that read it.
    fn map_parts(&self, _operation: &Operation) -> Vec<MapPart> {
        Vec::new()
    }

    /// Makes parts of `count` maps like this one of layers over these voxels and gives them back,
    /// whether or not the map has them. What they cost is by how much longer this takes than
    /// without them. Where frames make all of their maps at once, with their parts, these are made
    /// so.
    ///
    /// # Errors
    /// If the device fails.
    fn make_parts(
        &self,
        _device: &Device,
        _operation: &Operation,
        _count: usize,
        _over: (&Voxels, &KernelMap),
        _parts: &[MapPart],
    ) -> Result<(), ConvError> {
        Ok(())
    }

    /// Computes the result.
    ///
    /// # Errors
    /// If operands do not fit the operation or the kernel fails.
    fn run(&self, device: &Device, launch: Launch<'_>) -> Result<(), ConvError>;
}

impl fmt::Debug for dyn Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.id())
    }
}
