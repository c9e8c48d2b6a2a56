//! Stored results and new ones.
//!
//! | file | holds |
//! |---|---|
//! | [`entry`] | an entry before its measurement, and after it |
//! | [`select`] | which candidates are measured, given what is stored |
//! | [`commit`] | what new measurements do to stored ones |
//! | [`phase_times`] | where the time of a measurement went |

pub mod commit;
pub mod entry;
pub mod phase_times;
pub mod select;
