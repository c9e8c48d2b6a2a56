//! Pointcept's U-Net with untrained weights.

use voxtune_models::Checkpoint;

use super::outcome::Anything;
use super::weights::RandomWeights;

/// How wide and how deep a U-Net is.
pub(crate) struct UnetShape {
    stem: usize,
    /// Channels and blocks of the levels below the finest, from fine to coarse.
    down: [(usize, usize); 4],
    /// Those of the way back, in the same order: of the finest level first.
    up: [(usize, usize); 4],
}

impl UnetShape {
    /// `SpUNet-v1m1`, with the widths of MinkUNet34C.
    pub(crate) const FULL: Self = Self {
        stem: 32,
        down: [(32, 2), (64, 3), (128, 4), (256, 6)],
        up: [(96, 2), (96, 2), (128, 2), (256, 2)],
    };

    /// One that a processor trains in a minute.
    pub(crate) const SMALL: Self = Self {
        stem: 16,
        down: [(16, 1), (24, 1), (32, 1), (32, 1)],
        up: [(16, 1), (16, 1), (24, 1), (32, 1)],
    };

    /// A checkpoint with Pointcept's names.
    ///
    /// # Errors
    /// If memory cannot hold it.
    pub(crate) fn random_checkpoint(
        &self,
        c_in: usize,
        classes: usize,
        seed: u64,
    ) -> Result<Checkpoint, Anything> {
        let mut weights = RandomWeights::new(seed);
        stage(&mut weights, "conv_input", [5; 3], c_in, self.stem)?;
        let (mut channels, mut skips) = (self.stem, Vec::new());
        for (level, &(width, count)) in self.down.iter().enumerate() {
            skips.push(channels);
            stage(&mut weights, &format!("down.{level}"), [2; 3], channels, width)?;
            blocks(&mut weights, &format!("enc.{level}"), count, width, width)?;
            channels = width;
        }
        for (level, &(width, count)) in self.up.iter().enumerate().rev() {
            stage(&mut weights, &format!("up.{level}"), [2; 3], channels, width)?;
            blocks(&mut weights, &format!("dec.{level}"), count, width + skips[level], width)?;
            channels = width;
        }
        weights.conv("final", [1; 3], channels, classes)?;
        weights.bias("final", classes)?;
        Ok(weights.into_checkpoint())
    }
}

/// A convolution and its normalisation.
fn stage(
    weights: &mut RandomWeights,
    name: &str,
    kernel: [usize; 3],
    c_in: usize,
    c_out: usize,
) -> Result<(), Anything> {
    weights.conv(&format!("{name}.0"), kernel, c_in, c_out)?;
    weights.norm(&format!("{name}.1"), c_out)
}

/// Residual blocks, the first with a shortcut where it changes the channels.
fn blocks(
    weights: &mut RandomWeights,
    name: &str,
    count: usize,
    mut c_in: usize,
    c_out: usize,
) -> Result<(), Anything> {
    for number in 0..count {
        let block = format!("{name}.block{number}");
        for (part, c_in) in [(1, c_in), (2, c_out)] {
            weights.conv(&format!("{block}.conv{part}"), [3; 3], c_in, c_out)?;
            weights.norm(&format!("{block}.bn{part}"), c_out)?;
        }
        if c_in != c_out {
            stage(weights, &format!("{block}.proj"), [1; 3], c_in, c_out)?;
        }
        c_in = c_out;
    }
    Ok(())
}
