//! The tuner: from a grid of shapes to evidence and decisions.
//!
//! ```text
//! Request ─> Plan ─> for each configuration: set-up ─> verify ─> race ─> records ─> commit
//! ```
//!
//! | step | module |
//! |---|---|
//! | which configurations over which clouds | [`plan`] |
//! | how long and how much memory, before it starts | [`estimate`] |
//! | cloud, kernel map and operands of a configuration | [`setup`] |
//! | right or wrong, by the worst element | [`verify`] |
//! | who is fastest, in interleaved rounds | [`race`], [`statistics`] |
//! | one key measured on one cloud | [`entry`] |
//! | what new measurements do to stored ones | [`commit`] |
//! | the whole run | [`populate`] |
//!
//! The tuner calls the runtime's registry and nothing else, on a device that it is given; it reads
//! no cache to decide what to run, so a bad cache cannot stop it.
#![forbid(unsafe_code)]

pub mod commit;
pub mod entry;
pub mod estimate;
pub mod plan;
pub mod populate;
pub mod race;
pub mod setup;
pub mod statistics;
pub mod verify;

pub use plan::{Plan, PlanError, Request};
pub use populate::{Event, Observer, Outcome, Populate, Summary};
