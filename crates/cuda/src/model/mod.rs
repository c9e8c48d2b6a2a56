//! What a launch costs, from first principles.
//!
//! ```text
//! Operation, MapSize ─┐
//! geometry of a tile ─┼─> Work ─┬─> nanoseconds
//! Rates of a device ──┘         │
//! Constants of a family ────────┘
//! ```
//!
//! A launch is blocks that repeat one step. A step takes as long as the busiest unit of its SM, and
//! no less than one pipeline stage. Units are tensor cores, shared memory, a share of the L2 cache
//! and the issue of copies. How many steps a block has follows from the statistics of masks
//! (`offsets.rs`): how many offsets the rows of a tile have together, in the order of rows. Blocks
//! fill the device in waves. Whatever else happens, the memory has to deliver what does not stay in
//! the cache.
//!
//! Rates are measured and documented in [`Rates`]; each family adds the few [`Constants`] that
//! arithmetic does not give. What is left is learned: a [`Correction`] says by what factor a launch
//! takes longer, from its [`Features`] and the parameters in its algorithm's id. It is fitted per
//! architecture and family to what was measured there, by `xtask fit`, and known nowhere else. A
//! new family describes its tile as a `RowTile` or a `PairTile`. Its time is then known from the
//! next fit on; constants make it known before.

mod constants;
mod features;
mod learned;
mod offsets;
mod pair_tile;
mod rates;
mod row_tile;
mod work;

use voxtune_types::{Operation, Product};

pub use constants::Constants;
pub use features::{Described, FEATURE_NAMES, FEATURES, Features};
pub use learned::{Correction, Group, LearnedModel, LearnedModelError, Split, Tree};
pub use rates::Rates;
pub use work::{Passes, Tiles, Work};

pub(crate) use constants::{
    EXPLICIT, EXPLICIT_WGRAD, IMPLICIT, IMPLICIT_WGRAD, MASK, PACKED, PAIR, RESIDENT, UNFITTED,
    WGMMA, WGMMA_WGRAD,
};
pub(crate) use pair_tile::PairTile;
pub(crate) use row_tile::RowTile;
pub(crate) use work::Unit;

/// Rows and pairs of a kernel map: what a cost follows from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapSize {
    /// Input rows.
    pub n_in: usize,
    /// Output rows.
    pub n_out: usize,
    /// Pairs over all offsets.
    pub pairs: usize,
}

/// Gathered and result channels.
pub(crate) const fn channels(op: &Operation) -> (u32, u32) {
    match op.direction.product() {
        Product::Dgrad => (op.c_out, op.c_in),
        Product::Forward | Product::Wgrad => (op.c_in, op.c_out),
    }
}
