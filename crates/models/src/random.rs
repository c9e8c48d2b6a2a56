//! Checkpoints of random numbers, for measuring a network without a trained one.

use crate::chain::{Chain, LayerTensors, NetworkLayer, Norm};
use crate::checkpoint::Checkpoint;
use crate::error::ModelError;
use crate::load::Definition;
use crate::names::WeightOrder;
use crate::source::normalisation_of;

/// Numbers that repeat: splitmix64 (Steele et al., *Fast Splittable Pseudorandom Number
/// Generators*, 2014).
struct Random(u64);

impl Random {
    fn between(&mut self, low: f32, high: f32) -> f32 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^= bits >> 31;
        low + (high - low) * (bits >> 40) as f32 / (1_u64 << 24) as f32
    }

    fn numbers(&mut self, len: usize, low: f32, high: f32) -> Vec<f32> {
        (0..len).map(|_| self.between(low, high)).collect()
    }
}

/// The tensors of a network at its authors' widths under the first names that it may have.
/// Activations keep their size through normalised layers, and no statistic is trivial.
pub(crate) fn checkpoint(
    definition: &Definition,
    c_in: Option<u32>,
    seed: u64,
) -> Result<Checkpoint, ModelError> {
    let mut chain = Chain::default();
    (definition.layers)(&mut chain);
    if let (Some(first), Some(c_in)) = (chain.tensors.first_mut(), c_in) {
        first.layer.c_in = c_in;
    }
    let (mut random, mut checkpoint) = (Random(seed), Checkpoint::new());
    let map = &definition.names[0];
    for LayerTensors { name, layer, is_linear, has_bias, norm } in chain.tensors {
        let wide = layer.c_out as usize;
        let mut vector = |ours: String, low, high| {
            checkpoint.insert(map.theirs(&ours), &[wide], random.numbers(wide, low, high))
        };
        if has_bias {
            vector(format!("{name}.bias"), -0.1, 0.1)?;
        }
        let beside = normalisation_of(&name);
        if norm.is_some() {
            vector(format!("{beside}.weight"), 0.5, 1.5)?;
            vector(format!("{beside}.bias"), -0.1, 0.1)?;
        }
        if norm == Some(Norm::Batch) {
            vector(format!("{beside}.running_mean"), -0.1, 0.1)?;
            vector(format!("{beside}.running_var"), 0.5, 2.0)?;
        }
        let shape = shape(&layer, is_linear, map.order);
        let len: usize = shape.iter().product();
        let bound = (3.0 / (len / wide) as f32).sqrt();
        let name = map.theirs(&format!("{name}.weight"));
        checkpoint.insert(name, &shape, random.numbers(len, -bound, bound))?;
    }
    Ok(checkpoint)
}

/// The shape of weights in the order of names that have one, else in that of spconv 2.
fn shape(layer: &NetworkLayer, is_linear: bool, order: Option<WeightOrder>) -> Vec<usize> {
    let [c_in, c_out] = [layer.c_in, layer.c_out].map(|channels| channels as usize);
    let kernel = layer.geometry.kernel;
    match (is_linear, order) {
        (true, _) => vec![c_out, c_in],
        (false, None | Some(WeightOrder::Spconv2)) => {
            let [k0, k1, k2] = kernel.extents().map(usize::from);
            vec![c_out, k0, k1, k2, c_in]
        }
        (false, Some(WeightOrder::Spconv1)) => {
            let [k0, k1, k2] = kernel.extents().map(usize::from);
            vec![k0, k1, k2, c_in, c_out]
        }
        (false, Some(WeightOrder::Minkowski | WeightOrder::Torchsparse)) => match kernel.volume() {
            1 => vec![c_in, c_out],
            volume => vec![volume, c_in, c_out],
        },
    }
}
