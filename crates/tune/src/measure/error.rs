//! What ends the measurement of an entry.

use voxtune_types::AlgoId;

use crate::inputs::cloud_setup::SetupError;
use crate::verify::rejection::Rejection;

/// An entry that could not be measured, through no fault of a candidate or by that of one that took
/// the device with it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// Clouds or operands cannot be set up.
    #[error(transparent)]
    SetUp(#[from] SetupError),
    /// The device cannot be used any more by this process.
    #[error("{candidate} took the device down: {}", rejection.detail)]
    DeviceLost {
        /// By whom.
        candidate: AlgoId,
        /// What it did.
        rejection: Rejection,
    },
}
