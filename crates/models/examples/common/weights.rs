//! Random weights.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use voxtune_models::Checkpoint;

use super::outcome::Anything;

/// The tensors of an untrained network, the same whenever they are made.
pub(crate) struct RandomWeights {
    checkpoint: Checkpoint,
    random: ChaCha8Rng,
}

impl RandomWeights {
    /// No tensors yet.
    pub(crate) fn new(seed: u64) -> Self {
        Self { checkpoint: Checkpoint::new(), random: ChaCha8Rng::seed_from_u64(seed) }
    }

    /// Adds a convolution's weights, in the order of spconv 1. They are uniform, of a variance that
    /// keeps that of features behind a ReLU (He et al., *Delving Deep into Rectifiers*, 2015).
    ///
    /// # Errors
    /// If memory cannot hold them.
    pub(crate) fn conv(
        &mut self,
        name: &str,
        kernel: [usize; 3],
        c_in: usize,
        c_out: usize,
    ) -> Result<(), Anything> {
        let [k0, k1, k2] = kernel;
        let shape = [k0, k1, k2, c_in, c_out];
        let bound = (6.0 / (k0 * k1 * k2 * c_in) as f32).sqrt();
        let values = shape.iter().product();
        let values = (0..values).map(|_| self.random.random_range(-bound..bound)).collect();
        Ok(self.checkpoint.insert(format!("{name}.weight"), &shape, values)?)
    }

    /// Adds a bias of zeros.
    ///
    /// # Errors
    /// If memory cannot hold it.
    pub(crate) fn bias(&mut self, name: &str, channels: usize) -> Result<(), Anything> {
        Ok(self.checkpoint.insert(format!("{name}.bias"), &[channels], vec![0.0; channels])?)
    }

    /// Adds a batch normalisation that does nothing yet.
    ///
    /// # Errors
    /// If memory cannot hold it.
    pub(crate) fn norm(&mut self, name: &str, channels: usize) -> Result<(), Anything> {
        let parts = [("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)];
        for (part, value) in parts {
            let name = format!("{name}.{part}");
            self.checkpoint.insert(name, &[channels], vec![value; channels])?;
        }
        Ok(())
    }

    /// All of them.
    pub(crate) fn into_checkpoint(self) -> Checkpoint {
        self.checkpoint
    }
}
