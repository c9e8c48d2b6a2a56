//! What happens where no cache holds a key.

use std::fmt;
use std::sync::Arc;

use voxtune_cache::Decisions;
use voxtune_types::{Geometry, ShapeKey};

use crate::{Device, MapCounts, Voxels};

/// What to do where no cache knows the exact key.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum MissPolicy {
    /// Take the best grade there is.
    #[default]
    BestGrade,
    /// Measure the key on the voxels and the map of the call, once per process, and run what won.
    /// Where that fails, in a graph capture, and where there are no voxels: the best grade.
    TuneNow(Arc<dyn TuneOnMiss>),
    /// Fail with [`ConvError::Miss`](crate::ConvError::Miss).
    Fail,
}

/// A key that no cache holds, at the moment when a layer needs it.
#[derive(Clone, Copy, Debug)]
pub struct Miss<'a> {
    /// Where it is to run.
    pub device: &'a Device,
    /// What was looked up.
    pub key: &'a ShapeKey,
    /// Rows and pairs of the call.
    pub counts: MapCounts,
    /// The voxels of the call: those that the layer reads, or those that an inverse one goes back
    /// to.
    pub voxels: &'a Voxels,
    /// Where its rows meet, with padding and dilation.
    pub geometry: Geometry,
}

/// Measures a key while a program runs. The tuner's crate implements it, so that programs that
/// never tune carry no tuner.
pub trait TuneOnMiss: Send + Sync + fmt::Debug {
    /// Measures a key and gives what is decided for it. May be called from several processes at
    /// once; within a process one call is made at a time, and none twice for a key.
    ///
    /// # Errors
    /// If the key cannot be measured.
    fn tune(&self, miss: &Miss<'_>) -> Result<Decisions, TuneError>;
}

/// A key that could not be measured while the program runs.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TuneError(pub Box<dyn std::error::Error + Send + Sync>);
