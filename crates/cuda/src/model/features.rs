//! What a correction sees of a launch: how its modelled time comes about, and of what layer it is.

use voxtune_types::{Operation, Product};

use super::work::{TileTime, Tiles};
use super::{Constants, MapSize, Rates, Work, channels};

/// How many features a launch has.
pub const FEATURES: usize = 23;

/// What a launch looks like to a correction: logarithms to the base 2 but where the
/// [name](FEATURE_NAMES) says something else.
pub type Features = [f32; FEATURES];

/// The features' names, in their order.
pub const FEATURE_NAMES: [&str; FEATURES] = [
    "modelled time",
    "blocks / time",
    "memory / time",
    "busiest unit / step",
    "stage / step",
    "products / step",
    "shared memory / step",
    "cache / step",
    "steps",
    "waves",
    "resident blocks",
    "idle share of waves (linear)",
    "copies per thread",
    "reduction / time (linear)",
    "useful products",
    "pairs per row",
    "rows",
    "gathered channels",
    "result channels",
    "offsets",
    "dgrad (0 or 1)",
    "aligned gathered channels",
    "aligned output channels",
];

/// A launch as a correction sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Described {
    /// What the model says without a correction, in nanoseconds.
    pub time_ns: f64,
    /// What the correction goes by.
    pub features: Features,
}

impl Described {
    /// `None` for sequences of kernels, which nothing is learned of.
    pub(crate) fn of(
        op: &Operation,
        size: MapSize,
        rates: &Rates,
        work: &Work,
        constants: &Constants,
    ) -> Option<Self> {
        let Work::Tiles(tiles) = work else { return None };
        let time = tiles.time(rates, constants);
        Some(Self { time_ns: time.total_ns, features: features(op, size, rates, tiles, &time) })
    }
}

fn features(
    op: &Operation,
    size: MapSize,
    rates: &Rates,
    tiles: &Tiles,
    time: &TileTime,
) -> Features {
    let is_dgrad = op.direction.product() == Product::Dgrad;
    let rows = if is_dgrad { size.n_in } else { size.n_out }.max(1) as f64;
    let (gathered, result) = channels(op);
    let products = tiles.blocks * tiles.steps * tiles.multiply_ns;
    let idle = if time.waves > 1.0 { time.waves.ceil() / time.waves - 1.0 } else { 0.0 };
    let aligned = |channels: u32| f64::from((1_u32 << channels.trailing_zeros().min(3)).min(8));
    [
        log(time.total_ns),
        log(time.blocks_ns / time.total_ns),
        log(time.memory_ns / time.total_ns),
        log(time.busy_ns / time.step_ns),
        log(time.stage_ns / time.step_ns),
        log(tiles.multiply_ns / time.step_ns),
        log(tiles.shared_ns / time.step_ns),
        log(tiles.cache_bytes / rates.cache_bytes_ns / time.step_ns),
        log(tiles.steps),
        log(time.waves),
        log(tiles.resident),
        idle as f32,
        log(tiles.copies_a_thread),
        (tiles.reduce_ns / time.total_ns) as f32,
        log(op.flops(size.pairs) as f64 / products.max(f64::MIN_POSITIVE)),
        log(size.pairs as f64 / rows),
        log(rows),
        log(f64::from(gathered)),
        log(f64::from(result)),
        log(op.kernel.volume() as f64),
        f32::from(u8::from(is_dgrad)),
        log(aligned(gathered)),
        log(aligned(op.c_out)),
    ]
}

/// The logarithm to the base 2 of what is never negative; of what is nearly nothing that of a
/// millionth.
fn log(value: f64) -> f32 {
    const LEAST: f64 = 1e-6;
    value.max(LEAST).log2() as f32
}
