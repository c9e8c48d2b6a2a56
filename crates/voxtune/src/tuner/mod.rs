//! Which algorithm runs, and why.
//!
//! Resolution answers from the first that has an answer: a pinned name, the exact key on this
//! device or on another of the architecture, a near key, a model of cost, the default. The user's
//! cache goes before the embedded one within each grade. A cache is a hint: only an algorithm that
//! the registry finds applicable and available ever runs.
//!
//! | idea | module |
//! |---|---|
//! | the walk through the grades | `search`, `near`, `skip_reason` |
//! | what it found | `grade` |
//! | the same walk, told | `explain` |
//! | which caches, which policy | `builder`, `resolve`, `decision_cache`, `embedded` |
//! | pinned algorithms | `pins` |
//! | what happens to misses | `policy`, `journal`, `tuned` |

mod builder;
mod decision_cache;
mod embedded;
mod explain;
mod grade;
mod journal;
mod near;
mod pins;
mod policy;
mod resolve;
mod search;
mod skip_reason;
mod tuned;
mod tuner_error;

pub use builder::TunerBuilder;
pub use explain::{ExplainedChoice, Explanation, MeasuredWorkload, SkippedGrade};
pub use grade::{Grade, GradeKind, Resolution, Source};
pub use journal::MissJournal;
pub use pins::{PinError, modes_of_process, read_modes};
pub use policy::{Miss, MissPolicy, TuneError, TuneOnMiss};
pub(crate) use resolve::Call;
pub use resolve::Tuner;
pub use skip_reason::SkipReason;
pub use tuner_error::TunerError;
