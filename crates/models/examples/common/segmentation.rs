//! What a network that segments reads and says.

use voxtune::{ConvError, DType, SparseTensor, Tensor, Voxels};

/// Where overfit writes its network, and segment looks for one.
pub(crate) const CHECKPOINT: &str = "overfit.safetensors";

/// Voxels of which each says the same, 1 in every channel: all that a network can tell them by is
/// where they lie.
///
/// # Errors
/// If the device cannot hold the features.
pub(crate) fn input(
    voxels: Voxels,
    dtype: DType,
    channels: usize,
) -> Result<SparseTensor, ConvError> {
    let ones = Tensor::from_fn(voxels.device(), dtype, voxels.len(), channels, |_| 1.0)?;
    SparseTensor::new(voxels, ones)
}

/// The class of the largest of each row's scores.
///
/// # Errors
/// If the device fails.
pub(crate) fn predictions(scores: &Tensor) -> Result<Vec<u32>, ConvError> {
    let largest = |row: &[f32]| {
        let classes = (0..).zip(row);
        classes.max_by(|(_, one), (_, other)| one.total_cmp(other)).map_or(0, |(class, _)| class)
    };
    Ok(scores.to_f32()?.chunks(scores.channels().max(1)).map(largest).collect())
}
