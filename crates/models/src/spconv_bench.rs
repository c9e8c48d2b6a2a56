//! The network that spconv is measured with.

use voxtune::{AxisOrder, MaxPool3d, Sequential, Submanifold};

use crate::blocks::then;
use crate::chain::{Chain, submanifold};
use crate::error::ModelError;
use crate::load::Definition;
use crate::model::{Model, kind};
use crate::names::{ITSELF, NameMap};
use crate::source::{Kernel, Source};

/// The network of spconv's `test/benchmark.py` and `docs/BENCHMARK.md`: two submanifold
/// convolutions on each of seven levels, without normalisations, and a maximum of 2×2×2 between
/// levels. spconv's maximum is one with 0.
///
/// Of a list of modules only convolutions have tensors, so a number without any is a maximum.
/// Coordinates are `(batch, z, y, x)`.
pub type SpconvBench = Model<SpconvBenchmark>;

kind! {
    /// That of [`SpconvBench`].
    SpconvBenchmark, DEFINITION
}

pub(crate) static DEFINITION: Definition = Definition {
    name: "spconv-bench",
    network: "spconv's benchmark network",
    names: NAMES,
    first: &["layer0"],
    epsilon: 1e-3,
    axes: AxisOrder::Zyx,
    describe,
    layers,
};

const NAMES: &[NameMap] =
    &[NameMap { of: "spconv", order: None, modules: &[("net.{i}", "layer{i}", ITSELF)] }];

fn describe(source: &mut Source<'_>) -> Result<(Sequential, u32), ModelError> {
    let (mut layers, mut channels) = (Sequential::new(), None);
    // Convolutions of the first level, of this one, and modules so far.
    let (mut of_first, mut of_level, mut place) = (None, 0, 0);
    loop {
        let name = format!("layer{place}");
        if source.has(&name) || place == 0 {
            let (conv, weights) =
                source.conv::<Submanifold>(&name, Kernel::Odd, channels, |conv, _| conv)?;
            (layers, channels) = (then(layers, conv), Some(weights.c_out));
            of_level += 1;
        } else {
            let expected = *of_first.get_or_insert(of_level);
            if of_level != expected {
                source.lacks(&name, format!("{expected} convolutions between maxima"));
            }
            if !source.has(&format!("layer{}", place + 1)) {
                return Ok((layers, channels.unwrap_or(0)));
            }
            layers = layers.then(MaxPool3d::builder(2).clamped_at_zero().build()?);
            of_level = 0;
        }
        place += 1;
    }
}

fn layers(chain: &mut Chain) {
    let (mut before, mut place) = (3, 0);
    for width in [64, 96, 128, 160, 192, 224, 256] {
        if place > 0 {
            chain.pool();
            place += 1;
        }
        for c_in in [before, width] {
            chain.conv(format!("layer{place}"), submanifold(3), c_in, width);
            place += 1;
        }
        before = width;
    }
}
