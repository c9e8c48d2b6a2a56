//! Stored results beside new ones: who is measured, and what is kept.

pub mod commit;
pub mod phase_times;
pub mod select;
