//! CenterPoint's backbone as nobody has trained it.

use voxtune_models::Checkpoint;

use super::outcome::Anything;
use super::weights::RandomWeights;

/// Channels of a voxel: the means of x, y, z, intensity and time.
pub(crate) const C_IN: usize = 5;

/// Of the levels, from fine to coarse.
const WIDTHS: [usize; 4] = [16, 32, 64, 128];

/// A checkpoint of the network's own widths, with OpenPCDet's names.
///
/// # Errors
/// If memory cannot hold it.
pub(crate) fn random_checkpoint() -> Result<Checkpoint, Anything> {
    let mut weights = RandomWeights::new(0);
    let mut stage = |conv: &str, norm: &str, kernel, c_in, c_out| -> Result<(), Anything> {
        weights.conv(conv, kernel, c_in, c_out)?;
        if conv.contains(".conv") {
            weights.bias(conv, c_out)?;
        }
        weights.norm(norm, c_out)
    };
    stage("conv_input.0", "conv_input.1", [3; 3], C_IN, WIDTHS[0])?;
    for (level, width) in (1..).zip(WIDTHS) {
        let first = usize::from(level > 1);
        if level > 1 {
            let (conv, norm) = (format!("conv{level}.0.0"), format!("conv{level}.0.1"));
            stage(&conv, &norm, [3; 3], WIDTHS[level - 2], width)?;
        }
        for block in first..first + 2 {
            for number in 1..=2 {
                let of = |part| format!("conv{level}.{block}.{part}{number}");
                stage(&of("conv"), &of("bn"), [3; 3], width, width)?;
            }
        }
    }
    stage("conv_out.0", "conv_out.1", [3, 1, 1], WIDTHS[3], 128)?;
    Ok(weights.into_checkpoint())
}
