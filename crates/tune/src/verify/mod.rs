//! Right or wrong, before and during a race.

pub mod float64;
pub mod full_size;
