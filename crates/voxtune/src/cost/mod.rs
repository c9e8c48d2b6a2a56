//! What a call costs, before it is made: how long a model expects it to take, and how long it takes
//! at least.
//!
//! | file | holds |
//! |---|---|
//! | `estimate` | a modelled time, and how far it is trusted; the model is `voxtune_cuda::model` |
//! | `learned` | what it has learned of an architecture, as it ships |
//! | `prune` | what is left out of a race for its modelled time |
//! | `choose` | what runs where nothing was measured |
//! | `lower_bound` | the least time of an operation's products and bytes, by a roofline |
//! | `peaks` | ceilings of a device by its vendor's figures |

mod choose;
mod estimate;
#[cfg(test)]
mod evidence_tests;
mod learned;
mod lower_bound;
mod peaks;
mod prune;

pub use estimate::{Basis, Estimate};
pub use lower_bound::{Ceilings, Limit, LowerBound, Work, lower_bound};

pub(crate) use choose::{choose, choose_named};
pub(crate) use learned::learned;
pub(crate) use prune::{Contender, worth_measuring};
