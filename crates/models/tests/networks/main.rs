//! Networks from checkpoints against float64 on dense grids, and what becomes of checkpoints that
//! are not theirs.

mod dense;
mod edges;
mod encoders;
mod libraries;
mod others;
mod random;
mod training;
mod unets;
mod wrong;

/// Largest error that is rounding.
const LIMIT: f64 = 2e-5;
