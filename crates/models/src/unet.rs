//! What U-Nets have in common. Levels of residual blocks follow each other, each half as fine as
//! the one before. A way back reads each level's features once more.

use voxtune::{Inverse, Sequential, Skip, Sparse, Submanifold};

use crate::blocks::then;
use crate::error::ModelError;
use crate::source::{Kernel, Source};

/// Windows between levels do not overlap.
const WINDOW: [u32; 3] = [2; 3];

/// The layers `stem0`, `stem1` and so on; of each level `down0`, `enc0.block0` …, `up0` and
/// `dec0.block0` …, counted from the finest; and `head`, if there is one. And the channels of the
/// last.
pub(crate) fn describe(source: &mut Source<'_>) -> Result<(Sequential, u32), ModelError> {
    let (stem, mut channels) = source.submanifold("stem0", None)?;
    let mut layers = Sequential::new().then(stem);
    for number in 1.. {
        let name = format!("stem{number}");
        if !source.has(&name) {
            break;
        }
        let (stem, c_out) = source.submanifold(&name, Some(channels))?;
        (layers, channels) = (layers.then(stem), c_out);
    }
    let has_level = |source: &Source<'_>, level: u32| {
        ["down", "enc", "up", "dec"].iter().any(|part| source.has(&format!("{part}{level}")))
    };
    let levels = (0..).take_while(|level| has_level(source, *level)).count() as u32;
    let (layers, channels) = below(source, layers, 0, levels.max(1), channels)?;
    if !source.has("head") {
        return Ok((layers, channels));
    }
    let (head, weights) =
        source.conv::<Submanifold>("head", Kernel::Of([1; 3]), Some(channels), |conv, _| conv)?;
    Ok((then(layers, head), weights.c_out))
}

/// Modules, and behind them everything from a level downwards and back.
fn below(
    source: &mut Source<'_>,
    before: Sequential,
    level: u32,
    levels: u32,
    channels: u32,
) -> Result<(Sequential, u32), ModelError> {
    if level == levels {
        return Ok((before, channels));
    }
    let window = Kernel::Of(WINDOW);
    let (down, c_down) =
        source.stage::<Sparse>(&format!("down{level}"), window, Some(channels), |conv, _| {
            conv.stride(2)
        })?;
    let (encoder, c_down, _) = source.blocks(down, &format!("enc{level}"), c_down)?;
    let (body, c_back) = below(source, encoder, level + 1, levels, c_down)?;
    let (up, c_up) =
        source.stage::<Inverse>(&format!("up{level}"), window, Some(c_back), |conv, _| {
            conv.stride(2)
        })?;
    let joined = before.then(Skip::new(body.then(up)));
    let (decoder, c_out, _) =
        source.blocks(Sequential::new(), &format!("dec{level}"), c_up.saturating_add(channels))?;
    Ok((joined.then(decoder), c_out))
}
