//! Which algorithm runs, and why.
//!
//! Resolution answers from the first of: a name pinned by the environment, the exact key on this
//! very device, the exact key on another device of the architecture, a near key, a model of cost, the
//! default. The user's cache goes before the embedded one within each grade. A cache is a hint: only
//! an algorithm that the registry finds applicable and available ever runs.

mod embedded;
mod grade;
mod near;
mod tuner;

pub use grade::{Grade, Resolution, Source};
pub use tuner::{MissPolicy, Tuner, TunerBuilder};
