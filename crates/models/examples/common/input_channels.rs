//! How wide a network's input is.

use voxtune::Module;

use super::outcome::Anything;

/// Channels that a network reads: those of its first layer, which comes first.
///
/// # Errors
/// If the network was fused, or the device fails.
pub(crate) fn input_channels(network: &dyn Module) -> Result<usize, Anything> {
    match network.parameter_shapes()?.first() {
        Some((_, shape)) if shape.len() == 5 => Ok(shape[3]),
        _ => {
            Err("expected a network that begins with a convolution: ask before it is fused".into())
        }
    }
}
