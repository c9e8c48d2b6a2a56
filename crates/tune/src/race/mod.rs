//! Racing: who is fastest, in interleaved rounds.
//!
//! The candidates run in turn, round after round, so that a drifting clock or a busy neighbour
//! strikes all of them alike. A candidate leaves when its first sample is dominated, and later when
//! its interval cannot reach the leader's (after Tørring et al. 2021, arXiv 2103.08716). The
//! default is never dominated, since ratios to it come from the rounds in which both ran.
//!
//! Where results are to be proven at full size, whoever is not dominated owes proofs: its next samples
//! are of runs whose results are compared, whatever the budget says. So a race ends with two kinds of
//! candidates, proven ones, which may win, and others.
//!
//! The leader and the default are owed as many rounds together as prove something, whatever the budget says.
//!
//! Whoever came near the leader is owed more samples than others, late ones are taken again, and where the
//! decision would fall on the edge of the band of noise, a tie-break goes on until it does not.
//!
//! Whoever won before, by what is stored, and has lost this race [defends its place](confirm_incumbent) against the winner.
//!
//! Nothing here knows devices or clocks: a [`Sampler`] provides both, so that policies are tested on
//! made-up times.

mod confirm;
mod eliminate;
mod policy;
mod rounds;
mod sampler;
mod samples;
mod shared_rounds;
pub mod statistics;
pub mod summarize;

#[cfg(test)]
mod tests;
mod tie_break;

pub use confirm::confirm_incumbent;
pub use policy::Policy;
pub use rounds::{TieOrder, race, ranks};
pub use sampler::Sampler;
pub use samples::CandidateSamples;
