//! The tuner: from a grid of shapes to evidence and decisions.
//!
//! ```text
//! Request ─> Plan ─> for each configuration: prepare ─> select ─> verify ─> race ─> records ─> commit
//!                                            └───────── in a worker ──────────────┘
//! ```
//!
//! | step | module |
//! |---|---|
//! | which configurations over which clouds | [`plan`] |
//! | grids of layers and counts, and those known by name | [`grid`], [`presets`] |
//! | shapes out of a file in place of a grid | [`shapes`] |
//! | the part of them that falls to this machine | [`partition`] |
//! | what of that concerns whoever runs candidates | [`job`] |
//! | how long and how much memory, before it starts | [`estimate`] |
//! | cloud, kernel map and operands of a configuration | [`setup`] |
//! | which candidates are measured, given what is stored | [`select`] |
//! | right or wrong, by the worst element | [`verify`], [`at_scale`] |
//! | who is fastest, in interleaved rounds | [`race`], [`statistics`] |
//! | one key measured on one cloud | [`entry`] |
//! | all that on a device | [`session`] |
//! | in this process or in a worker of it | [`executor`], [`worker`], [`monitor`] |
//! | on several GPUs of a host at once | [`crew`] |
//! | what new measurements do to stored ones | [`commit`] |
//! | the whole run, what it tells and where its time goes | [`populate`], [`report`], [`spent`] |
//! | a key measured while a program runs | [`on_miss`] |
//! | raw samples in a file, and search policies tried on them | [`samples`], [`replay`] |
//! | how much slower stored choices are than the best | [`regret`] |
//! | whether stored results can be right, and still are | [`audit`] |
//!
//! Two commands beside it look at kernels without tuning: [`kernel_check`] compares every one of a GPU
//! with what is known to be right, and [`mod@bench`] times layers beside what the device could do. They share
//! [`named_cloud`] and [`cuda_kernels`].
//!
//! The tuner calls the runtime's registry and nothing else, on a device that it is given; it reads
//! no cache to decide what to run, so a bad cache cannot stop it.
#![forbid(unsafe_code)]

pub mod at_scale;
pub mod audit;
pub mod bench;
pub mod candidate;
pub mod commit;
pub mod crew;
pub mod cuda_kernels;
pub mod distribution;
pub mod entry;
pub mod estimate;
pub mod executor;
#[path = "plan/grid.rs"]
pub mod grid;
pub mod job;
pub mod kernel_check;
mod lane;
mod ledger;
#[cfg(test)]
mod made_up;
pub mod monitor;
pub mod named_cloud;
mod note;
pub mod on_miss;
mod pace;
pub mod pack;
pub mod partition;
pub mod plan;
pub mod populate;
#[path = "plan/presets.rs"]
pub mod presets;
mod queue;
pub mod race;
pub mod regret;
pub mod replay;
pub mod report;
pub mod samples;
pub mod select;
pub mod session;
pub mod setup;
pub mod shapes;
pub mod spent;
pub mod statistics;
mod steady;
pub mod summary;
mod track;
mod trial;
pub mod verify;
pub mod worker;

pub use crew::{Crew, Gpus};
pub use executor::Executor;
pub use grid::{Configuration, Grid, GridOverrides};
pub use on_miss::TuneNow;
pub use plan::{Extent, Plan, PlanError, Request};
pub use populate::Populate;
pub use presets::Preset;
pub use report::{Event, Observer, Outcome, Summary};
pub use worker::{DeviceSpec, Worker};
