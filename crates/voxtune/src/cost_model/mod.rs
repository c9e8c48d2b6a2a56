//! What modelled times are used for: leaving candidates out of a race, and choosing where nothing
//! was measured.

mod choose;
mod estimate;
#[cfg(test)]
mod evidence;
mod prune;

pub use estimate::Estimate;

pub(crate) use choose::{choose, choose_named};
pub(crate) use prune::{Contender, worth_measuring};
