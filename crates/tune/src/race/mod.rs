//! Races: timing candidates in interleaved rounds.
//!
//! Candidates run one after another, round after round, so that a drifting clock or a neighbour's
//! load affects all of them alike. A candidate leaves when its first sample is dominated. Later it
//! leaves when its confidence interval lies above the leader's (after Tørring et al. 2021, arXiv
//! 2103.08716). The default is never dominated: ratios to it come from the rounds in which both
//! ran.
//!
//! Where results are compared at full size, candidates that are not dominated get
//! `verified_samples` verified samples, even past the budget. Only a candidate with all of them may
//! win.
//!
//! The leader and the default share a minimum of rounds, even past the budget. Contenders whose
//! ratio to the default is not that of their times run on beside it.
//!
//! Candidates near the leader get more samples, and outliers are sampled again. A tie-break follows
//! where the decision falls on the edge of the noise band.
//!
//! A stored winner that lost the race meets the challenger in [confirmation
//! rounds](confirm_incumbent).
//!
//! What a candidate reads beyond its kernel map has to be made, too. Its share of that is part of
//! its time ([`Charged`]).
//!
//! A [`Sampler`] provides the device and the clock, so that policies are tested on made-up times.

mod agreement;
pub mod charged;
mod confirm;
mod due_rounds;
mod eliminate;
mod paired;
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

pub use charged::Charged;
pub use confirm::confirm_incumbent;
pub use policy::Policy;
pub use rounds::{TieOrder, race, ranks};
pub use sampler::Sampler;
pub use samples::CandidateSamples;
