//! Which algorithm runs, and why.
//!
//! Resolution answers from the first of: a pinned name, the exact key on this very device, the
//! exact key on another device of the architecture, a near key, a model of cost, the default. The user's cache goes
//! before the embedded one within each grade. A cache is a hint: only an algorithm that the
//! registry finds applicable and available ever runs.
//!
//! | idea | module |
//! |---|---|
//! | the walk through the grades | `search`, `near`, `why` |
//! | what it found | `grade` |
//! | the same walk, told | `explain` |
//! | which caches, which policy | `builder`, `tuner`, `layer`, `embedded` |
//! | pinned algorithms | `pins` |
//! | what happens to misses | `policy`, `tuned` |

mod builder;
mod embedded;
mod explain;
mod grade;
mod layer;
mod near;
mod pins;
mod policy;
mod search;
mod tuned;
mod tuner;
mod tuner_error;
mod why;

pub use builder::TunerBuilder;
pub use explain::{Answer, Explanation, MeasuredWorkload, PassedGrade};
pub use grade::{Grade, GradeKind, Resolution, Source};
pub use pins::{PinError, modes_of_process, read_modes};
pub use policy::{Miss, MissPolicy, TuneError, TuneOnMiss};
pub use tuner::Tuner;
pub use tuner_error::TunerError;
pub use why::Why;
