//! Kinds and kernels of layers on the command line.

use voxtune::{KernelSize, LayerKind};

use crate::exit::Failure;

/// An extent, or one for each axis.
pub(crate) fn kernel_size(text: &str) -> Result<KernelSize, String> {
    let expected = || "expected 1, 3 or 5, or of other kinds of layers 1 to 5 along each axis";
    let extent = |part: &str| part.parse().ok().filter(|extent| (1..=5_u8).contains(extent));
    let parts: Option<Vec<u8>> = text.split(',').map(extent).collect();
    let extents = match parts.as_deref() {
        Some(&[all]) => [all; 3],
        Some(&[x, y, z]) => [x, y, z],
        _ => return Err(expected().to_owned()),
    };
    KernelSize::try_from(extents).map_err(|error| error.to_string())
}

/// A kind that a layer can be measured as by itself.
pub(crate) fn layer_kind(text: &str) -> Result<LayerKind, String> {
    match text.parse() {
        Ok(LayerKind::Given) | Err(_) => {
            Err("expected submanifold, sparse, inverse or transposed".to_owned())
        }
        Ok(kind) => Ok(kind),
    }
}

/// Refuses kernels that no layer of these kinds has.
pub(crate) fn check_kernels(kinds: &[LayerKind], kernels: &[KernelSize]) -> Result<(), Failure> {
    let only_submanifold = kinds.iter().all(|kind| *kind == LayerKind::Submanifold);
    match kernels.iter().find(|kernel| only_submanifold && !kernel.is_centred()) {
        None => Ok(()),
        Some(kernel) => Err(Failure::usage(format!(
            "--kernel-sizes: {kernel} does not fit a submanifold convolution: expected odd extents, \
             such as 1, 3 or 5, or another kind of layer"
        ))),
    }
}
