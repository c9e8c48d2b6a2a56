//! Racing: who is fastest, in interleaved rounds.
//!
//! The candidates run in turn, round after round, so that a drifting clock or a busy neighbour
//! strikes all of them alike. A candidate leaves when its first sample is hopeless, and later when
//! its interval cannot reach the leader's (after Tørring et al. 2021, arXiv 2103.08716). The
//! default is never hopeless, since ratios to it come from the rounds in which both ran.
//!
//! Where results are to be proven at full size, whoever is not hopeless owes proofs: its next samples
//! are of runs whose results are compared, whatever the budget says. So a race ends with two kinds of
//! lanes, proven ones, which may win, and others.
//!
//! The leader and the default are owed as many rounds together as prove something, whatever the budget says.
//!
//! Whoever came near the leader is owed more samples than others, late ones are taken again, and where the
//! decision would fall on the edge of the band of noise, a shoot-out goes on until it does not.
//!
//! Whoever won before, by what is stored, and has lost this race [defends its place](holds_its_place) against the winner.
//!
//! Nothing here knows devices or clocks: a [`Track`] provides both, so that policies are tested on
//! made-up times.

mod confirm;
mod eliminate;
mod policy;
mod proof;
mod rounds;
mod sampler;
mod samples;
pub mod statistics;
pub mod summarize;

#[cfg(test)]
mod tests;
mod tie_break;

pub use confirm::holds_its_place;
pub use policy::Policy;
pub use rounds::{Grid, race, ranks};
pub use sampler::Track;
pub use samples::Lane;
